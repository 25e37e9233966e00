"""A user's own images: which are for training, which for testing, and of which class. Imports no torch."""

from pathlib import Path
from typing import NamedTuple

from common.folder_listing import scan
from common.image_files import find_parts, list_images, list_labelled


class Division(NamedTuple):
    """The images of a folder.

    parts: "train", and "test" where the folder is divided -> (file, label) of each image.
    names: of the classes; none where there are no folders for classes, and all labels are 0.
    """

    parts: dict[str, list[tuple[Path, int]]]
    names: list[str]


def divide_folder(folder: Path) -> Division:
    """Lists a folder that holds one folder of images per class, or images without classes.

    Raises:
        UsageError: it is divided and lacks a part.
        RunError: it holds no images, or a class has none or is in one part only.
    """
    trees = find_parts(folder, "train", "test") or {"train": folder}
    listings = [scan(tree) for tree in trees.values()]
    if all(listing.images and not listing.folders for listing in listings):
        return Division({part: [(file, 0) for file in list_images(tree)] for part, tree in trees.items()}, [])
    parts, names = list_labelled(folder, trees)
    return Division(parts, names)
