"""Omniglot as a uint8 tensor (class, drawing, 28, 28), ink 255 on 0; each rotation is a class of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from common.cache import cached_images
from common.images import MOST_PIXELS, read_image
from common.pictures import fingerprint
from common.runtime import RunError

SIZE = 28


@dataclass
class Characters:
    """Drawings of a set of classes.

    images: (class, drawing, 28, 28) uint8, ink 255 on 0; classes with fewer drawings are padded with blanks.
    counts: (class,) int64, how many drawings of each class are real.
    names: one per class, such as "Greek/character05/rot090".
    """

    images: Tensor
    counts: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, classes: Sequence[int]) -> "Characters":
        """Only these classes, in this order."""
        index = torch.as_tensor(classes, dtype=torch.long)
        return Characters(self.images[index], self.counts[index], [self.names[i] for i in classes])

    def with_rotations(self) -> "Characters":
        """Four classes for each: turned counterclockwise by 0, 90, 180 and 270 degrees."""
        turned = torch.stack([self.images.rot90(quarter, (-2, -1)) for quarter in range(4)], 1)
        names = [f"{name}/rot{90 * quarter:03d}" for name in self.names for quarter in range(4)]
        return Characters(turned.flatten(0, 1), self.counts.repeat_interleave(4), names)  # (4 * class, ...)

    def to(self, device: torch.device | str) -> "Characters":
        return Characters(self.images.to(device), self.counts.to(device), self.names)

    def fingerprint(self) -> str:
        """SHA-256 of the pixels and names."""
        return fingerprint(self.images, self.names)


def merge(parts: Sequence[Characters]) -> Characters:
    """The classes of several parts as one."""
    most = max(part.images.shape[1] for part in parts)
    images = [F.pad(part.images, (0, 0, 0, 0, 0, most - part.images.shape[1])) for part in parts]
    counts = torch.cat([part.counts for part in parts])
    return Characters(torch.cat(images), counts, sum((part.names for part in parts), []))


def prepare(images: Tensor) -> Tensor:
    """uint8 drawings (..., 28, 28) as the network takes them: (n, 1, 28, 28) float, ink 1 on 0."""
    return images.reshape(-1, 1, SIZE, SIZE).float() / 255


def jitter(images: Tensor, generator: torch.Generator, rank: int = 0, world: int = 1) -> Tensor:
    """Moves each drawing (n, 1, 28, 28) a little: turned within 10 degrees, scaled and sheared within 15 %,
    shifted within 2 pixels.
    """
    # every rank draws for all
    chance = torch.rand(6, world, len(images), generator=generator, device=images.device) * 2 - 1
    turn, grow_x, grow_y, shear, x, y = chance[:, rank].unbind()
    cos, sin = (turn * 0.175).cos(), (turn * 0.175).sin()
    grow_x, grow_y, shear = 1 + grow_x * 0.15, 1 + grow_y * 0.15, shear * 0.15
    x, y = x * 4 / SIZE, y * 4 / SIZE
    rows = [cos * grow_x, -sin * grow_y + shear, x, sin * grow_x, cos * grow_y, y]
    grid = F.affine_grid(torch.stack(rows, 1).view(-1, 2, 3), images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


# Images -----------------------------------------------------------------------------------------------------


def read_ink(path: Path, invert: Literal["auto", "yes", "no"] = "auto") -> np.ndarray:
    """Any image file as a drawing: (28, 28) uint8, ink 255 on 0.

    The picture is padded to a square, the contrast stretched so that the strongest ink is 255, and then
    scaled with an antialiasing filter: as the 1-bit files they are, Omniglot's strokes would break up.

    Args:
        path: the image.
        invert: "no" reads dark ink on light, "yes" light ink on dark; "auto" decides by whether the picture's
            border is lighter than its average, or where ink touches the border by `_has_light_ink`.

    Raises:
        RunError: the file is not a readable image, has too many pixels once it is padded, or no ink.
    """
    grey = np.asarray(read_image(path, "F"))
    height, width = grey.shape
    if max(height, width) ** 2 > 2 * MOST_PIXELS:
        raise RunError(f"{path} is {width:,} x {height:,} pixels: too many to pad it to a square")
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    paper, middle = float(np.median(border)), (float(grey.min()) + float(grey.max())) / 2
    touched = 0.05 < (border > middle).mean() < 0.95
    light_ink = invert == "yes"
    if invert == "auto":
        light_ink = _has_light_ink(grey > middle) if touched else bool(grey.mean() > paper)
    if (touched or invert != "auto") and (paper > middle) == light_ink:  # ink covers the border
        paper = float(np.median(grey[grey <= middle] if light_ink else grey[grey >= middle]))
    ink = np.clip(grey - paper if light_ink else paper - grey, 0, None)
    if ink.max() < 1:
        raise RunError(f"{path} has no ink: all of it has one colour")
    drawing = Image.fromarray((ink * (255 / ink.max())).round().astype(np.uint8))
    side = max(height, width)
    square = Image.new("L", (side, side))
    square.paste(drawing, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def _has_light_ink(light: np.ndarray) -> bool:
    """Which of two levels (height, width) is the ink of a tightly cropped drawing.

    A drawing hangs together and cuts its paper into pieces; where both have as many, there is less ink.
    """
    from scipy import ndimage  # takes time to import, and is rarely needed

    pieces = []
    for level in (light, ~light):
        labels, _ = ndimage.label(level, np.ones((3, 3)))
        pieces.append((np.bincount(labels.ravel())[1:] > 0.005 * light.size).sum())  # specks aside
    return bool(light.mean() < 0.5 if pieces[0] == pieces[1] else pieces[0] < pieces[1])


def decode(classes: dict[str, list[Path]], data_root: Path, invert: str = "auto") -> Characters:
    """Reads the drawings of each class, from the cache in `data_root` where they were read before."""
    files = [file for listed in classes.values() for file in listed]
    read = partial(read_ink, invert=invert)
    images = cached_images(data_root, f"ink 2, {invert}, bilinear", files, (SIZE, SIZE), read)
    counts = torch.tensor([len(listed) for listed in classes.values()])
    real = torch.arange(int(counts.max())) < counts[:, None]  # (class, drawing)
    padded = torch.zeros(*real.shape, SIZE, SIZE, dtype=torch.uint8)
    padded[real] = images
    return Characters(padded, counts, list(classes))


# Synthetic --------------------------------------------------------------------------------------------------


def make_synthetic(seed: int, characters: int = 200, drawings: int = 20) -> Characters:
    """Invented characters of one to three random strokes, drawn `drawings` times with an unsteady hand."""
    random = np.random.default_rng(seed)
    images = np.zeros((characters, drawings, SIZE, SIZE), np.uint8)
    t = np.linspace(0, 1, 12)[:, None]
    bezier = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])  # (12, 4)
    for character in range(characters):
        strokes = random.uniform(8, 48, (random.integers(1, 4), 4, 2))  # control points on 56 x 56 pixels
        for drawing in range(drawings):
            canvas = Image.new("L", (2 * SIZE, 2 * SIZE))
            pen = ImageDraw.Draw(canvas)
            move = np.eye(2) + random.normal(0, 0.15, (2, 2))
            hand = (strokes - 28) @ move + 28 + random.normal(0, 3, 2) + random.normal(0, 2.5, strokes.shape)
            for stroke in hand:
                pen.line([tuple(point) for point in bezier @ stroke], fill=255, width=3, joint="curve")
            images[character, drawing] = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    names = [f"synthetic/character{i + 1:03d}" for i in range(characters)]
    return Characters(torch.from_numpy(images), torch.full((characters,), drawings), names)
