"""Digits that the program draws, for trying everything without a download."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from common.labelled_images import LabelledImages
from q1_dcgan.mnist_files import SIZE


def draw_digits(count: int, seed: int) -> LabelledImages:
    """Draws digits in Pillow's own font, each with its own size, stroke, turn, shear and place."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, SIZE, SIZE), np.uint8)
    labels = random.integers(0, 10, count)
    fonts = [ImageFont.load_default(size) for size in (44, 48, 52, 56)]
    for i, digit in enumerate(labels):
        # Draw at twice the size.
        canvas = Image.new("L", (2 * SIZE, 2 * SIZE))
        stroke = int(random.integers(0, 3))
        font = fonts[random.integers(len(fonts))]
        draw = ImageDraw.Draw(canvas)
        draw.text((SIZE, SIZE), str(digit), 255, font, anchor="mm", stroke_width=stroke)

        # Turn, shear and move, then scale down.
        turn, shear = random.normal(0, 0.15, 2)
        matrix = np.array([[np.cos(turn), -np.sin(turn) + shear], [np.sin(turn), np.cos(turn)]])
        move = SIZE - matrix @ (SIZE + random.normal(0, 3, 2))
        affine = (*matrix[0], move[0], *matrix[1], move[1])
        canvas = canvas.transform(canvas.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        images[i] = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return LabelledImages(torch.from_numpy(images), torch.from_numpy(labels), [str(d) for d in range(10)])
