"""One pair of image files -> its pixels: two pictures of one size, made square."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from common.errors import RunError
from common.image_reader import Depth, read_image
from q3_pix2pix.maps_files import Files

BICUBIC = Image.Resampling.BICUBIC
LEAST_SIDE = 16  # pixels of a photo or a map


def open_rgb(path: Path, depth: Depth | None = None) -> Image.Image:
    """Reads any image file as RGB.

    Raises:
        RunError: the file is not a readable image, or smaller than 16 pixels.
    """
    rgb = read_image(path, "RGB", depth)
    if min(rgb.size) < LEAST_SIDE:
        raise RunError(f"{path} is only {rgb.width} x {rgb.height} pixels")
    return rgb


def open_pair(
    files: Files, depths: Sequence[Depth | None] = (None, None), resize: str | None = None
) -> list[Image.Image]:
    """Reads both pictures of a pair, which have the same size.

    Raises:
        RunError: as `open_rgb`; the halves cannot be told apart, or the two pictures differ in size.
    """
    pictures = [open_rgb(file, depth) for file, depth in zip(files, depths)]
    if len(files) == 2:
        first, second = pictures
        if first.size != second.size:
            raise RunError(f"{files[0]} is {first.size} and its partner {files[1]} is {second.size}")
        return pictures
    (both,) = pictures
    size = f"{both.width} x {both.height}"
    if resize is None and both.width != 2 * both.height:
        raise RunError(
            f"{files[0]} is {size}: a side-by-side pair is twice as wide as high; "
            "--resize stretch, fit or crop takes halves that are not square"
        )
    if both.width % 2:
        raise RunError(f"{files[0]} is {size}: its two halves need an even width")
    middle = both.width // 2
    left = both.crop((0, 0, middle, both.height))
    right = both.crop((middle, 0, both.width, both.height))
    return [left, right]


def make_square(picture: Image.Image, side: int, resize: str | None = None) -> Image.Image:
    """Scales a picture to `side` x `side`: distorted, fitted with a white border, or cut to the middle."""
    if resize == "fit":
        return ImageOps.pad(picture, (side, side), BICUBIC, "white")
    if resize == "crop":
        return ImageOps.fit(picture, (side, side), BICUBIC)
    return picture.resize((side, side), BICUBIC)


def stack(pictures: Sequence[Image.Image], side: int, resize: str | None = None) -> np.ndarray:
    """Returns n RGB pictures as (3 * n, side, side) uint8."""
    squares = [np.asarray(make_square(picture, side, resize)) for picture in pictures]
    return np.concatenate(squares, 2).transpose(2, 0, 1)


@dataclass
class PairReader:
    """Reads pairs, scaled to one side, and keeps their sizes.

    side: of the square they become.
    depths: what deep files of A and B, or of the pairs, are divided by.
    resize: how a picture that is not square becomes square.
    sizes: pair -> width and height of its pictures as they were, of those that were read.
    """

    side: int
    depths: Sequence[Depth]
    resize: str | None = None
    sizes: dict[Files, tuple[int, int]] = field(default_factory=dict)

    def __call__(self, files: Files) -> np.ndarray:
        """Reads one pair as (6, side, side) uint8.

        Raises:
            RunError: as `open_pair`.
        """
        pictures = open_pair(files, self.depths, self.resize)
        self.sizes[files] = pictures[0].size
        return stack(pictures, self.side, self.resize)
