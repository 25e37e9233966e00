"""Invented characters of random strokes, which the program draws itself."""

import numpy as np
from PIL import Image, ImageDraw

from q2_protonet.options import SIZE

CANVAS = 2 * SIZE  # a drawing is drawn at twice its size and scaled down


def draw_characters(seed: int, characters: int = 200, drawings: int = 20) -> tuple[np.ndarray, list[str]]:
    """Draws characters of one to three random strokes, each several times with an unsteady hand.

    Returns:
        (characters, drawings, 28, 28) uint8, ink 255 on 0; and a name for each character.
    """
    random = np.random.default_rng(seed)
    images = np.zeros((characters, drawings, SIZE, SIZE), np.uint8)
    for character in range(characters):
        strokes = random.uniform(8, 48, (random.integers(1, 4), 4, 2))  # control points of Bezier curves
        for drawing in range(drawings):
            images[character, drawing] = draw(shake(strokes, random))
    names = [f"synthetic/character{i + 1:03d}" for i in range(characters)]
    return images, names


def shake(strokes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Moves the control points (strokes, 4, 2) as an unsteady hand does: all together, and each alone."""
    move = np.eye(2) + random.normal(0, 0.15, (2, 2))
    shift = random.normal(0, 3, 2)
    tremble = random.normal(0, 2.5, strokes.shape)
    return (strokes - SIZE) @ move + SIZE + shift + tremble


def draw(strokes: np.ndarray) -> np.ndarray:
    """Draws cubic Bezier curves, control points (strokes, 4, 2) on 56 x 56 pixels: (28, 28) uint8."""
    t = np.linspace(0, 1, 12)[:, None]
    bernstein = np.hstack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3])  # (12, 4)
    canvas = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(canvas)
    for stroke in strokes:
        points = [tuple(point) for point in bernstein @ stroke]
        pen.line(points, fill=255, width=3, joint="curve")
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
