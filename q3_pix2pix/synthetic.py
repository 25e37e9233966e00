"""Little towns that the program draws: a flat map of roads, houses, parks and water, and its photo."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from q3_pix2pix.pair_reader import stack

SIDE = 256  # pixels of a town as it is drawn
COLORS = {  # name -> the colour on the map, and in the photo
    "ground": ((242, 239, 233), (134, 122, 96)),
    "park": ((200, 250, 204), (62, 92, 48)),
    "water": ((170, 211, 223), (38, 62, 84)),
    "road": ((255, 255, 255), (108, 108, 110)),
    "house": ((217, 208, 201), (160, 92, 74)),
}
PARK, WATER, ROAD, HOUSE = range(1, 5)
MAP_COLORS = {name: on_map for name, (on_map, _) in COLORS.items()}


def draw_town(random: np.random.Generator, side: int) -> np.ndarray:
    """Draws one town as a pair (6, side, side) uint8, the photo first."""
    kinds = draw_kinds(random)
    flat, photo = np.array(list(COLORS.values()))[kinds].transpose(2, 0, 1, 3)  # (256, 256, 3) each
    seen = photograph(photo.astype(np.float32), kinds, random)
    return stack([seen, Image.fromarray(flat.astype(np.uint8))], side)


def draw_kinds(random: np.random.Generator) -> np.ndarray:
    """Draws what lies where, (256, 256): an index into COLORS."""
    layers = Image.new("L", (SIDE, SIDE), 0)
    pen = ImageDraw.Draw(layers)

    # Two parks and a pond.
    for kind in (PARK, PARK, WATER):
        x = random.uniform(-20, SIDE)
        y = random.uniform(-20, SIDE)
        width, height = random.uniform(30, 110, 2)
        pen.ellipse((x, y, x + width, y + height), fill=kind)

    # Up to three houses in each block between the roads, and none in the pond.
    across = np.cumsum(random.uniform(38, 80, 8)) - 30
    down = np.cumsum(random.uniform(38, 80, 8)) - 30
    for x0, x1 in zip(across, across[1:]):
        for y0, y1 in zip(down, down[1:]):
            for _ in range(random.integers(0, 4)):
                width, height = random.uniform(8, 22, 2)
                x = random.uniform(x0 + 6, max(x0 + 7, x1 - width - 6))
                y = random.uniform(y0 + 6, max(y0 + 7, y1 - height - 6))
                corner = (int(np.clip(x, 0, SIDE - 1)), int(np.clip(y, 0, SIDE - 1)))
                if layers.getpixel(corner) != WATER:
                    pen.rectangle((x, y, x + width, y + height), fill=HOUSE)

    # The roads.
    for x, y in zip(across, down):
        width = int(random.integers(4, 9))
        pen.line((x, 0, x + random.uniform(-8, 8), SIDE), fill=ROAD, width=width)
        pen.line((0, y, SIDE, y + random.uniform(-8, 8)), fill=ROAD, width=width)
    return np.asarray(layers)


def photograph(photo: np.ndarray, kinds: np.ndarray, random: np.random.Generator) -> Image.Image:
    """Adds the houses' shadows and a texture, less of it on water, and blurs the whole a little.

    Args:
        photo: the colours without them, (256, 256, 3) float32.
        kinds: as `draw_kinds` gives them.
    """
    houses = (kinds == HOUSE).astype(np.float32)
    shadow = np.clip(np.roll(houses, (4, 4), (0, 1)) - houses, 0, 1)[..., None]
    coarse = Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8))
    coarse = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    texture = (np.asarray(coarse, np.float32)[..., None] - 127) * 0.15 + random.normal(0, 7, (SIDE, SIDE, 1))
    share = np.where(kinds == WATER, 0.3, 1)[..., None]
    shaded = photo * (1 - 0.45 * shadow) + texture * share
    return Image.fromarray(shaded.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
