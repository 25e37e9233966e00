"""Any picture as a drawing of 28 x 28 pixels, ink 255 on 0."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from common.errors import RunError
from common.image_reader import MOST_PIXELS, read_image
from q2_protonet.options import SIZE

Invert = Literal["auto", "yes", "no"]


def read_ink(path: Path, invert: Invert = "auto") -> np.ndarray:
    """Reads any image file as a drawing: (28, 28) uint8, ink 255 on 0.

    The picture is padded to a square, the contrast stretched so that the strongest ink is 255, and then
    scaled with an antialiasing filter: as the 1-bit files they are, Omniglot's strokes would break up.

    Args:
        path: the image.
        invert: "no" reads dark ink on light, "yes" light ink on dark; "auto" finds out which.

    Raises:
        RunError: the file is not a readable image, has too many pixels once it is padded, or no ink.
    """
    grey = np.asarray(read_image(path, "F"))
    height, width = grey.shape
    if max(height, width) ** 2 > 2 * MOST_PIXELS:
        raise RunError(f"{path} is {width:,} x {height:,} pixels: too many to pad it to a square")
    ink = separate_ink(grey, invert)
    if ink.max() < 1:
        raise RunError(f"{path} has no ink: all of it has one colour")
    stretched = (ink * (255 / ink.max())).round().astype(np.uint8)
    return pad_and_scale(stretched)


def separate_ink(grey: np.ndarray, invert: Invert = "auto") -> np.ndarray:
    """Returns how far each pixel is from the paper's level, towards the ink's: (height, width), 0 or more.

    The paper is the median of the border. Where ink touches the border and covers most of it, the paper is
    the median of the other half of the levels.

    Args:
        grey: (height, width) float, 0..255.
        invert: as `read_ink`; "auto" decides by whether the border is lighter than the average of the
            picture, or where ink touches the border by `has_light_ink`.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper = float(np.median(border))
    middle = (float(grey.min()) + float(grey.max())) / 2
    touched = 0.05 < (border > middle).mean() < 0.95

    # Is the ink light on dark?
    light_ink = invert == "yes"
    if invert == "auto" and touched:
        light_ink = has_light_ink(grey > middle)
    elif invert == "auto":
        light_ink = bool(grey.mean() > paper)

    # The paper's level, where the border is covered by ink.
    paper_is_light = paper > middle
    if (touched or invert != "auto") and paper_is_light == light_ink:
        levels = grey[grey <= middle] if light_ink else grey[grey >= middle]
        paper = float(np.median(levels))
    return np.clip(grey - paper if light_ink else paper - grey, 0, None)


def has_light_ink(light: np.ndarray) -> bool:
    """Returns whether the light one of two levels (height, width) is the ink of a tightly cropped drawing.

    A drawing hangs together and cuts its paper into pieces; where both have as many, there is less ink.
    """
    from scipy import ndimage  # takes time to import, and is rarely needed

    pieces = []
    for level in (light, ~light):
        labels, _ = ndimage.label(level, np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        pieces.append((areas > 0.005 * light.size).sum())  # specks aside
    if pieces[0] == pieces[1]:
        return bool(light.mean() < 0.5)
    return bool(pieces[0] < pieces[1])


def pad_and_scale(ink: np.ndarray) -> np.ndarray:
    """Pads ink (height, width) uint8 to a square and scales it: (28, 28) uint8."""
    height, width = ink.shape
    side = max(height, width)
    square = Image.new("L", (side, side))
    square.paste(Image.fromarray(ink), ((side - width) // 2, (side - height) // 2))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
