"""One image file -> its pixels: any common format, depth and orientation, alike for all four questions."""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageOps, ImageStat, PngImagePlugin

from common.errors import RunError

MOST_PIXELS = 100_000_000
MOST_TEXT = 64 << 20  # bytes of text or colour profile in a PNG
FORMATS = "AVIF BMP GIF JPEG JPEG2000 PNG PPM TIFF WEBP".split()  # EPS would start Ghostscript
LIMITS = (255, 4095, 65535)  # of 8, 12 and 16 bits
ORDERS = ("BL", "LB", "NB" if sys.byteorder == "little" else "NL")  # of bytes, and the other way round
Made = TypeVar("Made")

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow warns from here on, where open_image refuses
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT  # Pillow refuses the whole picture from 1 MB on
PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT


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


def read_each(read: Callable[[Path], Made], files: Iterable[Path]) -> tuple[dict[Path, Made], list[str]]:
    """Reads each file by `read`, and goes on after one that cannot be read.

    Returns:
        File -> what `read` returned, and one message for each of the others.

    Raises:
        RunError: none can be read.
    """
    made, failed = {}, []
    for file in files:
        try:
            made[file] = read(file)
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
