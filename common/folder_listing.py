"""Lists what a folder holds: image files, subfolders, and what is neither, which is named on the screen.

Nothing here imports Pillow or torch: a script refuses a wrong folder before it loads either.
"""

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import RunError
from common.notices import say_once

# The endings that Pillow gives to the formats of image_reader.FORMATS.
ENDINGS = ".apng .avif .avifs .bmp .gif .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx".split()
ENDINGS += ".pbm .pfm .pgm .png .pnm .ppm .tif .tiff .webp".split()
# What systems leave behind, which nobody misses: folders, files, and what is hidden.
JUNK_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"}
JUNK_FILES = {"thumbs.db", "desktop.ini", "cachedir.tag"}
HIDDEN_JUNK = {".ds_store", ".git", ".svn", ".hg", ".dvc", ".venv", ".cache", ".idea", ".vscode", ".trash"}
HIDDEN_JUNK |= {".ipynb_checkpoints", ".thumbnails", ".fseventsd", ".trashes", ".temporaryitems"}
HIDDEN_JUNK |= {".spotlight-v100", ".documentrevisions-v100", ".appledouble"}
# What a cache of our own holds: common/image_cache.py and those who use it.
OWN_CACHE = re.compile(r"CACHEDIR\.TAG|(pictures|classifier|apart)-.*\.pt|[0-9a-f]+\.content|.*\.partial\d+")
MOST_NAMED = 5  # files in a message


class Reason(NamedTuple):
    """Why something is not read, in words for one and for several."""

    one: str
    several: str


NO_PICTURE = Reason("file that is no picture", "files that are no pictures")
PIPE = Reason("pipe or device", "pipes or devices")
HIDDEN = Reason("hidden picture or folder", "hidden pictures or folders")


class Listing(NamedTuple):
    """Lists what a folder holds, in natural order.

    images: its image files, told by their endings.
    folders: its subfolders.
    others: reason -> what is neither.
    """

    images: list[Path]
    folders: list[Path]
    others: dict[Reason, list[Path]]


def scan(folder: Path) -> Listing:
    """Lists everything in a folder but what systems leave behind, and caches of our own.

    Of what is hidden, pictures and folders are among the others; hidden files of another kind are not listed.

    Raises:
        RunError: the folder cannot be read.
    """
    listing = Listing([], [], {NO_PICTURE: [], PIPE: [], HIDDEN: []})
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.name[0] == ".":
            if _is_folder(entry) or path.suffix.lower() in ENDINGS:
                listing.others[HIDDEN].append(path)
        elif _is_folder(entry):
            listing.folders.append(path)
        elif _is_pipe(entry):
            listing.others[PIPE].append(path)
        elif path.suffix.lower() in ENDINGS:
            listing.images.append(path)
        else:
            listing.others[NO_PICTURE].append(path)
    return listing


def contents(folder: Path) -> str:
    """Returns what a folder holds, for messages."""
    seen = [entry for entry in _entries(folder) if entry.name[0] != "."]
    return _name([entry.name + "/" * _is_folder(entry) for entry in seen]) or "nothing"


def one_form(name: str) -> str:
    """Returns a name in the Unicode form that names are compared in: é may be one character or two."""
    return unicodedata.normalize("NFC", name)


def natural(name: str) -> tuple:
    """Returns a sorting key by which numbers in a name count by their value: "2" comes before "10"."""
    pieces = re.split(r"(\d+)", one_form(name))  # text and digits in turn
    return [int(piece) if i % 2 else piece for i, piece in enumerate(pieces)], name


def say_left_out(folder: Path, others: dict[Reason, list[Path]]) -> None:
    """Says in one line on the screen what of a folder is not read, and why."""
    texts = []
    for reason, paths in others.items():
        if not paths:
            continue
        text = f"{len(paths)} {reason.one if len(paths) == 1 else reason.several}"
        if reason is NO_PICTURE:
            endings = {path.suffix.lower() or "no ending" for path in paths}
            text += f" ({_name(sorted(endings))})"
        names = [str(path.relative_to(folder)) for path in paths]
        texts.append(f"{text}: {_name(names)}")
    if texts:
        say_once(f"left out of {folder}: {'; '.join(texts)}")


def _name(names: Sequence[str]) -> str:
    """Returns the first few of many names."""
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _entries(folder: Path) -> list[os.DirEntry]:
    """Lists what a folder holds in natural order, without leftovers of systems and caches of our own."""
    try:
        with os.scandir(folder) as inside:
            seen = [entry for entry in inside if not _is_junk(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror})") from error
    users = [entry for entry in seen if not _is_own_cache(entry)]
    return sorted(users, key=lambda entry: natural(entry.name))


def _is_junk(entry: os.DirEntry) -> bool:
    """Returns whether a system left a file or folder behind; a class may be called as such a file."""
    name = entry.name.lower()
    if name.startswith("."):
        return name in HIDDEN_JUNK or name.startswith("._")
    return name in (JUNK_FOLDERS if _is_folder(entry) else JUNK_FILES)


def _is_own_cache(entry: os.DirEntry) -> bool:
    """Returns whether a folder is a cache of this project, which may lie beside a user's classes.

    A tag alone does not make it one: people tag folders of their own, to spare a backup.
    """
    if entry.name != "cache" or not os.path.isfile(Path(entry.path, "CACHEDIR.TAG")):
        return False
    try:
        return all(OWN_CACHE.fullmatch(name) for name in os.listdir(entry.path))
    except OSError:  # whoever lists it says so
        return False


def _is_folder(entry: os.DirEntry) -> bool:
    """Returns whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to where this user may not look
        return False


def _is_pipe(entry: os.DirEntry) -> bool:
    """Returns whether an entry is neither file nor folder, but a pipe, a socket or a device.

    A link that leads nowhere counts as a file, so that whoever reads it says so.
    """
    try:
        return not entry.is_file() and os.path.exists(entry.path)
    except OSError:
        return False
