"""A user's image files: how they are found, and one reader for all four questions."""

import contextlib
import functools
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageOps, ImageStat

from common.runtime import RunError, UsageError

MOST_PIXELS = 100_000_000
FORMATS = "AVIF BMP GIF JPEG JPEG2000 PNG PPM TIFF WEBP".split()  # EPS would start Ghostscript
JUNK = {"__macosx", "@eadir", "$recycle.bin", "lost+found", "system volume information"}  # made by systems
# What the folder of a part may be called; questions with two parts also take the third one's name.
PARTS = {"train": ["train"], "val": ["val", "validation", "valid", "test"]}
PARTS |= {"validation": ["validation", "val", "valid"], "test": ["test", "val", "validation", "valid"]}
LIMITS = (255, 4095, 65535)  # of 8, 12 and 16 bits
Made = TypeVar("Made")
ORDERS = ("BL", "LB", "NB" if sys.byteorder == "little" else "NL")  # of bytes, and the other way round

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow warns from here on, where open_image refuses
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


# Finding them -----------------------------------------------------------------------------------------------


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder (not of its subfolders) in natural order, told by their endings."""
    return [file for file in _entries(folder) if file.suffix.lower() in _endings() and not file.is_dir()]


def list_folders(folder: Path) -> list[Path]:
    """The subfolders of a folder in natural order, without caches, which may lie beside a user's classes."""
    return [inner for inner in _entries(folder) if inner.is_dir() and not (inner / "CACHEDIR.TAG").exists()]


def list_classes(folder: Path, least: int = 0) -> dict[str, list[Path]]:
    """The images of each class of a tree <class>/<image>, without classes of fewer than `least` images.

    Raises:
        RunError: there is no class, or one without images.
    """
    classes = skip_small({inner.name: list_images(inner) for inner in list_folders(folder)}, least)
    if not classes:
        raise RunError(f"no images in {folder}: it must hold <class>/<image>, and holds {contents(folder)}")
    for name, files in classes.items():
        if not files:
            raise RunError(f"no images in the class {folder / name}, which holds {contents(folder / name)}")
    return classes


def skip_small(classes: dict[str, list[Path]], least: int) -> dict[str, list[Path]]:
    """The classes with `least` images or more; the others are named on the screen."""
    small = [f"{name} ({len(files)})" for name, files in classes.items() if len(files) < least]
    if small:
        print(f"left out, with fewer than {least} images: {', '.join(small)}", file=sys.stderr)
    return {name: files for name, files in classes.items() if len(files) >= least}


def find_parts(folder: Path, *parts: str, suffix: str = "") -> dict[str, Path]:
    """The folders of a data set's parts, in upper or lower case; {} where `folder` is not divided.

    Divided means that there is a folder "train" with folders in it, or with another part's folder beside
    it: among kinds of vehicles, "train" may be a class.

    Args:
        parts: names of PARTS, "train" first.
        suffix: what follows each name, such as "A" for trainA.

    Raises:
        UsageError: `folder` is divided and lacks a part.
    """
    there = {path.name.lower(): path for path in list_folders(folder)}
    names = {part: [name + suffix for name in PARTS[part]] for part in parts}
    found = {p: next((there[n.lower()] for n in names[p] if n.lower() in there), None) for p in parts}
    distinct = set(found.values()) - {None}
    if found["train"] is None or len(distinct) == 1 and not list_folders(found["train"]):
        return {}
    if len(distinct) < len(parts):
        needed = ", ".join("/ or ".join(names[part][:2]) + "/" for part in parts)
        raise UsageError(f"{folder} must hold {needed}, and holds {contents(folder)}")
    return found


def list_labelled(folder: Path, parts: dict[str, Path]) -> tuple[dict[str, list], list[str]]:
    """(file, label) of each part in the order of the classes, and the classes' names, which all parts share.

    Raises:
        RunError: as `list_classes`, or a class is in one part only.
    """
    trees = {part: list_classes(tree) for part, tree in parts.items()}
    names = list(next(iter(trees.values())))
    for tree in trees.values():
        if differing := set(names) ^ set(tree):
            differs = f"{min(differing)} is in one only"
            raise RunError(f"all parts of {folder} must hold the same classes: {differs}")
    places = list(enumerate(names))
    return {p: [(file, i) for i, name in places for file in tree[name]] for p, tree in trees.items()}, names


def own_folder(dataset: str, folder: Path | None, layout: str, flag: str = "--folder") -> None:
    """Checks that a folder was given with --dataset folder, and only then.

    Raises:
        UsageError: it was not, or is no folder.
    """
    if dataset != "folder" and folder is not None:
        raise UsageError(f"{flag} needs --dataset folder, not --dataset {dataset}")
    if dataset == "folder" and (folder is None or not folder.is_dir()):
        said = f": {folder} is no folder" if folder else ""
        raise UsageError(f"--dataset folder needs {flag} DIR, {layout}{said}")


def find_inputs(paths: Sequence[Path], by_class: bool = False) -> list[Path]:
    """The images that --input names: files, and folders of images; each of them once.

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
        folders = [path, *(list_folders(path) if by_class else ())]
        found = [file for folder in folders for file in list_images(folder)] if path.is_dir() else [path]
        if not found:
            raise UsageError(f"no images (.png, .jpg, ...) in {path}")
        files += found
    return list(dict.fromkeys(files))


def trained_folder(trained: dict, now: Path | None, flag: str = "--folder") -> Path | None:
    """Where the pictures are that a network was trained on; None where they were not a user's own.

    Args:
        trained: the options of its training, from its checkpoint.
        now: the value of `flag`, for pictures that have moved.

    Raises:
        UsageError: there is no such folder.
    """
    before = trained[flag.removeprefix("--")]
    folder = now or (Path(before) if before else None)
    if folder is not None and not folder.is_dir():
        where = f"the pictures are no longer in {folder.absolute()}"
        raise UsageError(f"{where}: give their place with {flag} DIR")
    return folder


def contents(folder: Path) -> str:
    """What a folder holds, for messages."""
    names = [entry.name + "/" * entry.is_dir() for entry in _entries(folder)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "") or "nothing"


def natural(name: str) -> tuple:
    """Sorting key: numbers in a name count by their value, so that "2" comes before "10"."""
    return [int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"(\d+)", name))], name


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, in natural order, without hidden files and what systems leave behind."""
    inside = folder.iterdir() if folder.is_dir() else ()
    seen = [path for path in inside if path.name[0] != "." and path.name.lower() not in JUNK]
    return sorted(seen, key=lambda path: natural(path.name))


@functools.cache
def _endings() -> set[str]:
    return {ending for ending, kind in Image.registered_extensions().items() if kind in FORMATS}


# Reading them -----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Opens an image. Decode and convert it within the block: a file may turn out to be damaged at any pixel.

    Raises:
        RunError: whatever goes wrong in the block: the file is missing, of no known format, damaged (Pillow's
            decoders raise almost any exception for that), or it claims more than MOST_PIXELS.
    """
    try:
        Image.init()
        known = [name for name in FORMATS if name in Image.OPEN]  # AVIF is new
        with Image.open(path, formats=known) as image:
            if not 0 < image.width * image.height <= MOST_PIXELS:
                claim = f"{image.width:,} x {image.height:,} pixels"
                raise ValueError(f"it claims {claim}, and the limit is {MOST_PIXELS:,}")
            yield image
    except RunError:
        raise
    except Exception as error:
        raise RunError(f"{path} cannot be read as an image ({error or type(error).__name__})") from error


def make_each(make: Callable[[Path], Made], files: Iterable[Path]) -> tuple[dict[Path, Made], list[str]]:
    """What `make` makes of each file that can be read, and what is wrong with the others.

    Raises:
        RunError: none can be read.
    """
    made, failed = {}, []
    for file in files:
        try:
            made[file] = make(file)
        except RunError as error:  # the others are still worth having
            failed.append(str(error))
    if not made:
        raise RunError("; ".join(failed))
    return made, failed


class Depth:
    """What the integers of a data set's deep files (more than 8 bits) are divided by: one limit for all.

    `limit` is the smallest of LIMITS that is not below the largest value in any of the files. They are looked
    through when the first deep one is read, so a set of 8-bit files costs nothing; until then `found` is 0.

    Args:
        least: `limit` is no smaller: the one a network was trained with, so that a dark picture stays dark.
    """

    def __init__(self, files: Sequence[Path], least: int = 0):
        self.files, self.least, self.lock, self.found = files, least, threading.Lock(), 0

    @property
    def limit(self) -> int:
        with self.lock:
            if not self.found:
                with ThreadPoolExecutor() as pool:
                    largest = max([self.least, *pool.map(_largest, self.files)])
                self.found = next((limit for limit in LIMITS if limit >= largest), LIMITS[-1])
            return self.found


def read_image(path: Path, mode: Literal["L", "F", "RGB"], depth: Depth | None = None) -> Image.Image:
    """Any image file, the right way up, as 8-bit grey "L", grey floats from 0 to 255 "F", or 8-bit "RGB".

    Integers of more than 8 bits are divided by the file's own limit or that of `depth` (without it, of the
    file alone), floats are taken from 0 to 1. Transparency is laid on white, or on black where the opaque
    pixels are light. An animation gives its first frame, a file of several pages its first page.

    Raises:
        RunError: the file is not a readable image, or its values are outside of what they can be divided by.
    """
    with open_image(path) as image:
        limit = 1 if image.mode == "F" else _own_limit(image)
        inverted = getattr(image, "tag_v2", {}).get(262) == 0  # Pillow inverts "white is zero" at 8 bits only
        values = _deep_values(path, image)
        upright = ImageOps.exif_transpose(image)
        if values is not None:
            limit = limit or (depth or Depth([path])).limit
            low, high = float(values.min()), float(values.max())
            if not (low >= 0 and high <= limit):
                seen = f"no grey levels: values from {low:g} to {high:g}, not from 0 to {limit:,}"
                raise RunError(f"{path} holds pixels that are {seen}")
            if isinstance(image.info.get("transparency"), int):  # one level is transparent
                hidden = values == image.info["transparency"]
                light = not hidden.all() and values[~hidden].mean() > limit / 2
                values = np.where(hidden, 0 if light else limit, values)
            values = (limit - values if inverted else values) * np.float32(255 / limit)
            if mode == "F" and values.ndim == 2:
                return Image.fromarray(values)
            alpha = upright.getchannel("A") if upright.mode == "RGBA" else None
            upright = Image.fromarray(values.round().astype(np.uint8)).convert("RGB")
            if alpha:
                upright.putalpha(alpha)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            alpha = upright.getchannel("A")
            light = ImageStat.Stat(ImageChops.multiply(upright.convert("L"), alpha)).mean[0]
            paper = "black" if light > ImageStat.Stat(alpha).mean[0] / 2 else "white"
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, paper), upright)
        return upright.convert("L").convert("F") if mode == "F" else upright.convert(mode)


def _own_limit(image: Image.Image) -> int:
    """The largest value that a deep file's integers can have by its own account, 0 if it does not say."""
    if image.format == "PPM":
        return 65535  # Pillow has multiplied it up to that
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(258, (16,))[0]  # BitsPerSample
    stated = tags.get(341, tags.get(281, (0,)))  # SMaxSampleValue, MaxSampleValue
    return int(stated[0]) or (2**bits - 1 if 8 < bits < 16 else 0)


def _largest(path: Path) -> float:
    """The largest value of a deep file of integers without a limit of its own, 0 of all others."""
    try:
        with open_image(path) as image:
            if image.mode == "F" or _own_limit(image):
                return 0
            values = _deep_values(path, image)
            return 0 if values is None else float(values.max())
    except RunError:  # whoever reads this file itself says so
        return 0


def _deep_values(path: Path, image: Image.Image) -> np.ndarray | None:
    """The upright values (height, width) or (height, width, 3) of a deep file; None for 8 bits.

    Of 16-bit colours Pillow keeps the upper byte. The lower one is found by reading the bytes in the other
    order.
    """
    if image.mode[0] in "IF":
        return np.asarray(ImageOps.exif_transpose(image), np.float32)
    swapped = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBA", "RGBX") for a, b in ORDERS}
    swapped["LA;16B"] = "RGBA"  # its four bytes one by one
    raw = [tile.args[0] if isinstance(tile.args, tuple) else tile.args for tile in image.tile]
    if not raw or not all(mode in swapped for mode in raw):
        return None
    with Image.open(path) as other:
        tiles = [(tile, swapped[mode], tile.args) for tile, mode in zip(other.tile, raw)]
        other.tile = [t._replace(args=(m, *a[1:]) if isinstance(a, tuple) else m) for t, m, a in tiles]
        low = np.asarray(ImageOps.exif_transpose(other), np.float32)
    if raw[0] == "LA;16B":
        return low[..., 0] * 256 + low[..., 1]
    return np.asarray(ImageOps.exif_transpose(image), np.float32)[..., :3] * 256 + low[..., :3]
