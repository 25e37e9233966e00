"""Finds the examples of each class, and what is to be classified. Nothing here imports torch."""

from collections.abc import Container, Sequence
from pathlib import Path

from common.errors import RunError, UsageError
from common.folder_listing import one_form
from common.image_files import list_classes, list_folders, list_images
from common.notices import say_once

UNKNOWN = "unknown"  # what predict.py --unknown calls a drawing of another class


def find_support(folder: Path, least: int) -> dict[str, list[Path]]:
    """Returns the image files of each class of --support, the folders in it.

    Args:
        least: classes with fewer images are left out and named.

    Raises:
        UsageError: this is no folder, or has fewer than two classes, one without images, or two of one name.
    """
    if not folder.is_dir():
        raise UsageError(f"--support {folder} is not a folder")
    try:
        support = list_classes(folder, least)
    except RunError as error:
        raise UsageError(f"--support: {error}") from error
    if len(support) < 2:
        raise UsageError(f"--support {folder} must hold two or more folders, one per class")
    return support


def find_queries(paths: Sequence[Path], classes: Container[str], unknown: bool) -> dict[Path, str]:
    """Returns the image files of --query with their classes, "" where that is not known.

    Args:
        paths: images, folders of images, and folders of one folder per class.
        classes: of the support.
        unknown: a folder that is none of the classes holds UNKNOWN images; without, it is left out and named.

    Raises:
        UsageError: a path is not there, or there are no images.
    """
    queries: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise UsageError(f"--query {path} does not exist")
        if not path.is_dir():
            queries.setdefault(path, "")  # a folder may have named its class already
            continue
        for inner in list_folders(path):
            name = one_form(inner.name)
            if name in classes or unknown:
                label = name if name in classes else UNKNOWN
                queries |= dict.fromkeys(list_images(inner), label)
            else:
                say_once(f"left out: {inner}, no class of --support")
        for image in list_images(path, folders_too=True):
            queries.setdefault(image, "")
    if not queries:
        raise UsageError("no images (.png, .jpg, ...) in --query")
    return queries
