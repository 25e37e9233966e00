"""One image file -> its pixels: any common format, depth and orientation, alike for all four questions."""

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from PIL import (
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    ImageOps,
    ImageStat,
    PngImagePlugin,
    UnidentifiedImageError,
)

from common.errors import RunError

MOST_PIXELS = 100_000_000
MOST_TEXT = 64 << 20  # bytes of text or colour profile in a PNG
FORMATS = "AVIF BMP GIF JPEG JPEG2000 PNG PPM TIFF WEBP".split()  # EPS would start Ghostscript
LIMITS = (255, 4095, 65535)  # of 8, 12 and 16 bits
# TIFF's tags.
BITS_PER_SAMPLE = 258
PHOTOMETRIC = 262
LARGEST_VALUE = 281
LARGEST_SAMPLE = 341
# Pillow's raw modes of 16-bit colours -> the same with the bytes of a value in the other order.
ORDERS = (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
SWAPPED = {f"{mode};16{a}": f"{mode};16{b}" for mode in ("RGB", "RGBA", "RGBX") for a, b in ORDERS}
SWAPPED["LA;16B"] = "RGBA"  # its four bytes one by one
PROBE = np.indices((5, 5, 5), np.uint8).reshape(3, 1, 125).transpose(2, 1, 0) * np.uint8(63)  # colours
Made = TypeVar("Made")

Image.MAX_IMAGE_PIXELS = MOST_PIXELS  # Pillow warns from here on, where open_image refuses
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT  # Pillow refuses the whole picture from 1 MB on
PngImagePlugin.MAX_TEXT_MEMORY = MOST_TEXT


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Opens an image. Decode and convert it within the block: a file may turn out to be damaged at any pixel.

    Raises:
        RunError: whatever goes wrong in the block: the file is missing, of no known format, damaged (Pillow's
            decoders raise almost any exception for that), or it claims more than MOST_PIXELS.
    """
    try:
        if isinstance(path, Path) and path.exists() and not path.is_file():
            raise ValueError("it is no regular file")  # reading a pipe could wait for ever
        Image.init()
        known = [name for name in FORMATS if name in Image.OPEN]  # AVIF is new
        with Image.open(path, formats=known) as image:
            if not 0 < image.width * image.height <= MOST_PIXELS:
                raise ValueError(
                    f"it claims {image.width:,} x {image.height:,} pixels, and the limit is {MOST_PIXELS:,}"
                )
            yield image
    except RunError:
        raise
    except UnidentifiedImageError as error:  # whose message repeats the path
        raise RunError(f"{path} cannot be read as an image (its format is not known)") from error
    except Exception as error:
        raise RunError(f"{path} cannot be read as an image ({str(error) or type(error).__name__})") from error


def read_each(read: Callable[[Path], Made], files: Iterable[Path]) -> tuple[dict[Path, Made], list[str]]:
    """Reads each file by `read`, and goes on after one that cannot be read.

    Returns:
        File -> what `read` returned, and one message for each of the others.

    Raises:
        RunError: none can be read.
    """
    made = {}
    failed = []
    for file in files:
        try:
            made[file] = read(file)
        except RunError as error:
            failed.append(str(error))
    if not made:
        raise RunError("; ".join(failed))
    return made, failed


def read_image(path: Path, mode: Literal["L", "F", "RGB"], depth: "Depth | None" = None) -> Image.Image:
    """Reads any image file, the right way up: 8-bit grey "L", grey floats from 0 to 255 "F", or 8-bit "RGB".

    Integers of more than 8 bits are divided by the file's own limit or that of `depth` (without it, of the
    file alone), floats are taken from 0 to 1. Colours are those of the file's profile. Transparency is laid
    on white; in grey on black where the opaque pixels are light, as ink may be. An animation gives its first
    frame, a file of several pages its first page.

    Raises:
        RunError: the file is not a readable image, or its values are outside of what they can be divided by.
    """
    with open_image(path) as image:
        always_white = mode == "RGB"
        deep = _deep_values(path, image)
        upright = ImageOps.exif_transpose(image)
        if deep is not None:
            levels = _grey_levels(path, image, deep, depth or Depth([path]), always_white)
            if mode == "F" and levels.ndim == 2:
                return Image.fromarray(levels)
            eight_bits = Image.fromarray(levels.round().astype(np.uint8)).convert("RGB")
            if upright.mode == "RGBA":
                eight_bits.putalpha(upright.getchannel("A"))
            upright = eight_bits
        elif "icc_profile" in image.info:
            upright = _to_srgb(upright, image.info["icc_profile"])
        if upright.has_transparency_data:
            upright = _on_paper(upright.convert("RGBA"), always_white)
        if mode == "F":
            return upright.convert("L").convert("F")
        return upright.convert(mode)


def _on_paper(image: Image.Image, always_white: bool) -> Image.Image:
    """Lays an RGBA image on white, or, unless `always_white`, on black where its opaque pixels are light."""
    alpha = image.getchannel("A")
    opaque = ImageChops.multiply(image.convert("L"), alpha)
    is_light = ImageStat.Stat(opaque).mean[0] > ImageStat.Stat(alpha).mean[0] / 2
    paper = Image.new("RGBA", image.size, "black" if is_light and not always_white else "white")
    return Image.alpha_composite(paper, image)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Returns a colour image with the colours that its profile gives it; one that is sRGB stays as it is."""
    if image.mode not in ("RGB", "RGBA", "CMYK"):
        return image
    output = "RGB" if image.mode == "CMYK" else image.mode
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        transform = ImageCms.buildTransform(own, ImageCms.createProfile("sRGB"), image.mode, output)
        if image.mode != "CMYK":
            probe = Image.fromarray(PROBE).convert(image.mode)
            seen = np.asarray(ImageCms.applyTransform(probe, transform))[..., :3]
            if np.abs(seen.astype(int) - PROBE).max() <= 3:
                return image
        return ImageCms.applyTransform(image, transform) or image
    except (OSError, ImageCms.PyCMSError):  # a damaged profile, or one of another kind of picture
        return image


# More than 8 bits -------------------------------------------------------------------------------------------


class Depth:
    """Finds the one limit that the integers of a data set's deep files (more than 8 bits) are divided by.

    `limit` is the smallest of LIMITS that is not below the largest value in any of the files. They are looked
    through when the first deep one is read, so a set of 8-bit files costs nothing; until then `found` is 0.

    Args:
        least: `limit` is no smaller: the one a network was trained with, so that a dark picture stays dark.
    """

    def __init__(self, files: Sequence[Path], least: int = 0):
        self.files = files
        self.least = least
        self.found = 0
        self.lock = threading.Lock()

    @property
    def limit(self) -> int:
        """The limit, which is found out by the first thread that asks for it."""
        with self.lock:
            if not self.found:
                with ThreadPoolExecutor() as pool:
                    largest = max([self.least, *pool.map(_largest, self.files)])
                self.found = next((limit for limit in LIMITS if limit >= largest), LIMITS[-1])
            return self.found


def _grey_levels(
    path: Path, image: Image.Image, values: np.ndarray, depth: Depth, always_white: bool
) -> np.ndarray:
    """Scales the values of a deep file to 0..255, float32; a transparent level becomes paper, as _on_paper.

    Raises:
        RunError: some are outside of what they can be divided by.
    """
    limit = 1 if image.mode == "F" else _own_limit(image) or depth.limit
    low = float(values.min())
    high = float(values.max())
    if not (low >= 0 and high <= limit):
        raise RunError(
            f"{path} holds pixels that are no grey levels: values from {low:g} to {high:g}, "
            f"not from 0 to {limit:,}"
        )
    hidden_level = image.info.get("transparency")
    if isinstance(hidden_level, int):  # one level is transparent
        hidden = values == hidden_level
        is_light = not hidden.all() and values[~hidden].mean() > limit / 2
        paper = 0 if is_light and not always_white else limit
        values = np.where(hidden, paper, values)
    if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # "white is zero": Pillow inverts 8 bits only
        values = limit - values
    return values * np.float32(255 / limit)


def _own_limit(image: Image.Image) -> int:
    """Returns the largest value that a deep file's integers can have, as it says itself; 0 if it does not."""
    if image.format == "PPM":
        return 65535  # Pillow has multiplied it up to that
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
    stated = tags.get(LARGEST_SAMPLE, tags.get(LARGEST_VALUE, (0,)))
    return int(stated[0]) or (2**bits - 1 if 8 < bits < 16 else 0)


def _largest(path: Path) -> float:
    """Returns the largest value of a deep file of integers without a limit of its own, 0 of all others."""
    try:
        with open_image(path) as image:
            if image.mode == "F" or _own_limit(image):
                return 0
            values = _deep_values(path, image)
            return 0 if values is None else float(values.max())
    except RunError:  # whoever reads this file itself says so
        return 0


def _deep_values(path: Path, image: ImageFile.ImageFile) -> np.ndarray | None:
    """Returns the upright values (height, width) or (height, width, 3) of a deep file; None for 8 bits.

    Of 16-bit colours Pillow keeps the upper byte. The lower one is found by reading the bytes in the other
    order.
    """
    if image.mode[0] in "IF":
        return np.asarray(ImageOps.exif_transpose(image), np.float32)
    stored = [str(tile.args[0] if isinstance(tile.args, tuple) else tile.args) for tile in image.tile]
    if not stored or not all(raw in SWAPPED for raw in stored):
        return None
    with Image.open(path) as other:
        tiles = []
        for tile, raw in zip(other.tile, stored):
            swapped = SWAPPED[raw]
            args = (swapped, *tile.args[1:]) if isinstance(tile.args, tuple) else swapped
            tiles.append(tile._replace(args=args))
        other.tile = tiles
        low = np.asarray(ImageOps.exif_transpose(other), np.float32)
    if stored[0] == "LA;16B":
        return low[..., 0] * 256 + low[..., 1]
    high = np.asarray(ImageOps.exif_transpose(image), np.float32)
    return high[..., :3] * 256 + low[..., :3]
