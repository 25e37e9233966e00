"""Finds the image files a user gives: classes, parts, inputs. What is left out is named on the screen."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.errors import RunError, UsageError
from common.folder_listing import HIDDEN, Reason, contents, one_form, say_left_out, scan
from common.notices import say_once

BESIDE_CLASSES = Reason("picture beside the classes", "pictures beside the classes")
INSIDE_CLASS = Reason("folder inside a class", "folders inside classes")
INSIDE = Reason("folder inside", "folders inside")
BESIDE_PARTS = Reason("picture beside the parts", "pictures beside the parts")
NO_PART = Reason("folder that is no part", "folders that are no parts")
# What the folder of a part may be called; questions with two parts also take the third one's name.
PARTS = {
    "train": ["train"],
    "val": ["val", "validation", "valid", "test"],
    "validation": ["validation", "val", "valid"],
    "test": ["test", "val", "validation", "valid"],
}


def list_images(folder: Path, folders_too: bool = False) -> list[Path]:
    """Lists the image files of a folder in natural order, and says what else it holds.

    Args:
        folders_too: the caller reads the folders inside as well; otherwise they are left out.

    Raises:
        RunError: the folder cannot be read.
    """
    listing = scan(folder)
    inside = [] if folders_too else listing.folders
    say_left_out(folder, listing.others | {INSIDE: inside})
    return listing.images


def list_folders(folder: Path) -> list[Path]:
    """Lists the subfolders of a folder in natural order."""
    return scan(folder).folders


def list_classes(folder: Path, least: int = 0) -> dict[str, list[Path]]:
    """Lists the images of each class of a tree <class>/<image>, and says what is left out.

    Args:
        least: classes with fewer images are left out.

    Returns:
        Class -> its images; the names are in one Unicode form.

    Raises:
        RunError: there is no class, one without images, or two of one name; or a folder cannot be read.
    """
    tree = scan(folder)
    others = defaultdict(list, tree.others)
    others[BESIDE_CLASSES] = tree.images
    folders: dict[str, Path] = {}
    classes = {}
    for inner in tree.folders:
        name = one_form(inner.name)
        if name in classes:
            raise RunError(f"{folders[name]} and {inner} have one name, written in two Unicode forms")
        listing = scan(inner)
        folders[name] = inner
        classes[name] = listing.images
        others[INSIDE_CLASS] += listing.folders
        for reason, paths in listing.others.items():
            others[reason] += paths
    classes = skip_small(classes, least)
    if not classes:
        raise RunError(f"no images in {folder}: it must hold <class>/<image>, and holds {contents(folder)}")
    for name, files in classes.items():
        if not files:
            inner = folders[name]
            raise RunError(f"no images in the class {inner}, which holds {contents(inner)}")
    say_left_out(folder, others)
    return classes


def skip_small(classes: dict[str, list[Path]], least: int) -> dict[str, list[Path]]:
    """Returns the classes with `least` images or more; the others are named on the screen."""
    small = [f"{name} ({len(files)})" for name, files in classes.items() if len(files) < least]
    if small:
        say_once(f"left out, with fewer than {least} images: {', '.join(small)}")
    return {name: files for name, files in classes.items() if len(files) >= least}


def find_parts(folder: Path, *parts: str, suffix: str = "", beside: Sequence[str] = ()) -> dict[str, Path]:
    """Finds the folders of a data set's parts, in upper or lower case.

    A folder is divided where it holds a folder "train" with folders in it, or with another part's folder
    beside it: among kinds of vehicles, "train" may be a class.

    Args:
        parts: names of PARTS, "train" first.
        suffix: what follows each name, such as "A" for trainA.
        beside: names of folders that may lie beside the parts, and are not mentioned.

    Returns:
        Part -> its folder; {} where `folder` is not divided.

    Raises:
        UsageError: `folder` is divided and lacks a part.
    """
    listing = scan(folder)
    there = {one_form(path.name).lower(): path for path in listing.folders}
    found = {}
    for part in parts:
        names = [name + suffix.lower() for name in PARTS[part]]
        if folders := [there[name] for name in names if name in there]:
            found[part] = folders[0]
    distinct = set(found.values())
    if "train" not in found:
        return {}
    if len(distinct) == 1 and not list_folders(found["train"]):
        return {}
    if len(distinct) < len(parts):
        needed = ", ".join("/ or ".join(name + suffix for name in PARTS[part][:2]) + "/" for part in parts)
        raise UsageError(f"{folder} must hold {needed}, and holds {contents(folder)}")
    if not suffix:
        say_beside(folder, [*found.values(), *(there[name] for name in beside if name in there)])
    return found


def say_beside(folder: Path, used: Iterable[Path]) -> None:
    """Says which folders and images lie in a folder beside those of its folders that are used."""
    listing = scan(folder)
    unused = set(listing.folders) - set(used)
    folders = [path for path in listing.folders if path in unused]
    left_out = {NO_PART: folders, BESIDE_PARTS: listing.images, HIDDEN: listing.others[HIDDEN]}
    say_left_out(folder, left_out)


def list_labelled(
    folder: Path, parts: dict[str, Path]
) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
    """Lists the images of each part with their labels, in the order of the classes.

    Returns:
        Part -> (file, label) of each image, and the classes' names, which all parts share.

    Raises:
        RunError: as `list_classes`, or a class is in one part only.
    """
    trees = {part: list_classes(tree) for part, tree in parts.items()}
    names = list(next(iter(trees.values())))
    labelled = {}
    for part, tree in trees.items():
        differing = set(names) ^ set(tree)
        if differing:
            raise RunError(
                f"all parts of {folder} must hold the same classes: {min(differing)} is in one only"
            )
        labelled[part] = [(file, label) for label, name in enumerate(names) for file in tree[name]]
    return labelled, names


def find_inputs(paths: Sequence[Path], by_class: bool = False) -> list[Path]:
    """Finds the images that --input names: files, and folders of images; each of them once.

    Args:
        by_class: a folder may also hold one folder of images per class.

    Raises:
        UsageError: there is no --input, a path that does not exist, or a folder without images.
    """
    if not paths:
        raise UsageError("--input is needed: pictures, or folders of them")
    files = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"--input {path} does not exist")
        if path.is_dir():
            found = list_images(path, folders_too=by_class)
            for inner in list_folders(path) if by_class else ():
                found += list_images(inner)
        elif path.is_file():
            found = [path]
        else:
            raise UsageError(f"--input {path} is no regular file")
        if not found:
            raise UsageError(f"no images (.png, .jpg, ...) in {path}")
        files += found
    return list(dict.fromkeys(files))


def require_folder_option(dataset: str, folder: Path | None, layout: str, flag: str = "--folder") -> None:
    """Checks that a folder was given with --dataset folder, and only then.

    Args:
        layout: how the folder must be laid out, for the message.

    Raises:
        UsageError: it was not, or is no folder.
    """
    if dataset != "folder" and folder is not None:
        raise UsageError(f"{flag} needs --dataset folder, not --dataset {dataset}")
    if dataset != "folder":
        return
    if folder is None:
        raise UsageError(f"--dataset folder needs {flag} DIR, {layout}")
    if not folder.is_dir():
        raise UsageError(f"--dataset folder needs {flag} DIR, {layout}: {folder} is no folder")
