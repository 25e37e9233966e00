"""Which image files there are: folders, parts and classes, and a word on whatever is left out.

Nothing here imports Pillow or torch: a script refuses a wrong folder before it loads either.
"""

import functools
import os
import re
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import RunError, UsageError

# The endings that Pillow gives to the formats of image_reader.FORMATS.
ENDINGS = set(
    ".apng .avif .avifs .bmp .gif .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx "
    ".pbm .pfm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)
# What systems leave behind, which nobody misses.
JUNK = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information", "thumbs.db"}
JUNK |= {"desktop.ini", "cachedir.tag"}
# What the folder of a part may be called; questions with two parts also take the third one's name.
PARTS = {
    "train": ["train"],
    "val": ["val", "validation", "valid", "test"],
    "validation": ["validation", "val", "valid"],
    "test": ["test", "val", "validation", "valid"],
}
MOST_NAMED = 5  # files in a message


class Listing(NamedTuple):
    """What a folder holds, in natural order.

    images: its image files, told by their endings.
    folders: its subfolders.
    others: reason -> entries that are neither.
    """

    images: list[Path]
    folders: list[Path]
    others: dict[str, list[Path]]


def scan(folder: Path) -> Listing:
    """Lists everything in a folder but hidden files, what systems leave behind, and caches of our own.

    Raises:
        RunError: the folder cannot be read.
    """
    images = []
    folders = []
    others = defaultdict(list)
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.is_dir():
            folders.append(path)
        elif not entry.is_file() and not _leads_nowhere(path):
            others["not a regular file"].append(path)
        elif path.suffix.lower() in ENDINGS:
            images.append(path)
        else:
            others["no picture"].append(path)
    return Listing(images, folders, dict(others))


def list_images(folder: Path, folders_too: bool = False) -> list[Path]:
    """Lists the image files of a folder in natural order, and names what else it holds on the screen.

    Args:
        folders_too: the caller reads the folders inside as well; otherwise they are left out.
    """
    listing = scan(folder)
    others = dict(listing.others)
    if listing.folders and not folders_too:
        others["a folder"] = listing.folders
    say_left_out(folder, others)
    return listing.images


def list_folders(folder: Path) -> list[Path]:
    """Lists the subfolders of a folder in natural order."""
    return scan(folder).folders


def list_classes(folder: Path, least: int = 0) -> dict[str, list[Path]]:
    """Lists the images of each class of a tree <class>/<image>, and names what is left out on the screen.

    Args:
        least: classes with fewer images are left out.

    Returns:
        Class -> its images; the names are in one Unicode form.

    Raises:
        RunError: there is no class, one without images, or two of one name; or a folder cannot be read.
    """
    tree = scan(folder)
    others = defaultdict(list, tree.others)
    others["a picture beside the classes"] = tree.images
    folders = {}
    classes = {}
    for inner in tree.folders:
        name = one_form(inner.name)
        if name in classes:
            raise RunError(f"{folders[name]} and {inner} have one name, written in two Unicode forms")
        folders[name] = inner
        listing = scan(inner)
        classes[name] = listing.images
        others["a folder inside a class"] += listing.folders
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
        _say(f"left out, with fewer than {least} images: {', '.join(small)}")
    return {name: files for name, files in classes.items() if len(files) >= least}


def find_parts(folder: Path, *parts: str, suffix: str = "") -> dict[str, Path]:
    """Finds the folders of a data set's parts, in upper or lower case.

    A folder is divided where it holds a folder "train" with folders in it, or with another part's folder
    beside it: among kinds of vehicles, "train" may be a class.

    Args:
        parts: names of PARTS, "train" first.
        suffix: what follows each name, such as "A" for trainA.

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
        found[part] = next((there[name] for name in names if name in there), None)
    distinct = set(found.values()) - {None}
    if found["train"] is None:
        return {}
    if len(distinct) == 1 and not list_folders(found["train"]):
        return {}
    if len(distinct) < len(parts):
        needed = ", ".join("/ or ".join(name + suffix for name in PARTS[part][:2]) + "/" for part in parts)
        raise UsageError(f"{folder} must hold {needed}, and holds {contents(folder)}")
    if not suffix:
        say_beside(folder, found.values())
    return found


def say_beside(folder: Path, used: Iterable[Path]) -> None:
    """Names on the screen what lies in a folder beside those of its folders that are used."""
    listing = scan(folder)
    others = dict(listing.others)
    others["a picture beside the parts"] = listing.images
    unused = set(listing.folders) - set(used)
    others["a folder beside the parts"] = [path for path in listing.folders if path in unused]
    say_left_out(folder, others)


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


def contents(folder: Path) -> str:
    """Returns what a folder holds, for messages."""
    return _name([entry.name + "/" * entry.is_dir() for entry in _entries(folder)]) or "nothing"


def one_form(name: str) -> str:
    """Returns a name in the Unicode form that names are compared in: é may be one character or two."""
    return unicodedata.normalize("NFC", name)


def natural(name: str) -> tuple:
    """Returns a sorting key by which numbers in a name count by their value: "2" comes before "10"."""
    pieces = re.split(r"(\d+)", one_form(name))  # text and digits in turn
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def say_left_out(folder: Path, others: dict[str, list[Path]]) -> None:
    """Names on the screen, in one line, what of a folder is not read, and why."""
    texts = []
    for reason, paths in others.items():
        if not paths:
            continue
        endings = sorted({path.suffix.lower() or "no ending" for path in paths if reason == "no picture"})
        kind = f"{reason} ({_name(endings)})" if endings else reason
        names = [str(path.relative_to(folder)) + "/" * path.is_dir() for path in paths]
        texts.append(f"{len(paths)} x {kind}: {_name(names)}")
    if texts:
        _say(f"left out of {folder}: {'; '.join(texts)}")


@functools.cache
def _say(line: str) -> None:
    """Prints a line on the screen unless it stands there already."""
    print(line, file=sys.stderr)


def _name(names: Sequence[str]) -> str:
    """Returns the first few of many names."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _entries(folder: Path) -> list[os.DirEntry]:
    """Lists what a folder holds in natural order, without hidden files, leftovers and caches of our own."""
    try:
        with os.scandir(folder) as inside:
            seen = [entry for entry in inside if entry.name[0] != "." and entry.name.lower() not in JUNK]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror})") from error
    return sorted(
        (entry for entry in seen if not _is_own_cache(entry)), key=lambda entry: natural(entry.name)
    )


def _is_own_cache(entry: os.DirEntry) -> bool:
    """Returns whether a folder is a cache of this project, which may lie beside a user's classes."""
    if entry.name != "cache" or not os.path.isfile(Path(entry.path, "CACHEDIR.TAG")):
        return False
    return not any(Path(name).suffix.lower() in ENDINGS for name in os.listdir(entry.path))


def _leads_nowhere(path: Path) -> bool:
    """Returns whether a path is a link without a target: an image then, which its reader misses by name."""
    return os.path.islink(path) and not os.path.exists(path)
