"""Synthetic pictures: striped and dotted shapes that the program draws."""

import numpy as np
import torch
from PIL import Image, ImageDraw

from common.labelled_images import LabelledImages
from q4_darts.options import SIZE

SHAPES = ("disc", "square", "triangle", "ring", "cross")


def draw_shapes(count: int, seed: int) -> LabelledImages:
    """Draws ten classes: five shapes, striped or dotted, in any colours, size and place on a noisy ground."""
    random = np.random.default_rng(seed)
    names = [f"{texture} {shape}" for shape in SHAPES for texture in ("striped", "dotted")]
    labels = random.integers(0, len(names), count)
    images = np.stack([draw_shape(random, int(label)) for label in labels])
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels), names)


def draw_shape(random: np.random.Generator, label: int) -> np.ndarray:
    """Draws one picture (32, 32, 3) uint8."""
    shape = SHAPES[label // 2]
    dotted = label % 2
    r = random.uniform(7, 10)
    x, y = random.uniform(9, 23, 2)
    inside = draw_mask(shape, x, y, r)
    texture = draw_dots(random) if dotted else draw_stripes(random)
    ground, fill, ink = random.integers([[0], [100], [190]], [[90], [160], [256]], (3, 3))
    picture = np.where(inside[..., None], np.where(texture[..., None], ink, fill), ground)
    return (picture + random.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)


def draw_mask(shape: str, x: float, y: float, r: float) -> np.ndarray:
    """Draws a shape round (x, y) and returns which pixels (32, 32) lie inside."""
    mask = Image.new("L", (SIZE, SIZE))
    pen = ImageDraw.Draw(mask)
    box = (x - r, y - r, x + r, y + r)
    if shape in ("disc", "ring"):
        pen.ellipse(box, fill=255)
    if shape == "ring":
        pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=0)
    elif shape == "square":
        pen.rectangle(box, fill=255)
    elif shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=255)
    elif shape == "cross":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=255)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=255)
    return np.asarray(mask) > 0


def draw_dots(random: np.random.Generator) -> np.ndarray:
    """Draws squares of three pixels in a grid: True in (32, 32) where there is ink."""
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    shift_x, shift_y = random.integers(0, 6, 2)
    return ((across + shift_x) % 6 < 3) & ((down + shift_y) % 6 < 3)


def draw_stripes(random: np.random.Generator) -> np.ndarray:
    """Draws stripes of 2.5 pixels at any angle: True in (32, 32) where there is ink."""
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    angle = random.uniform(0, np.pi)
    return (across * np.cos(angle) + down * np.sin(angle)) % 5 < 2.5
