"""The scale of a data set: by which factors its pictures became as small as the network's."""

from collections.abc import Sequence

import numpy as np

MOST_PAIRS = 20  # of which the scale is the median


def ground_scale(
    sizes: Sequence[tuple[int, int]], side: int, resize: str | None = None
) -> tuple[float, float]:
    """Returns the factors of width and height by which pairs were scaled: the median of up to 20 of them.

    Args:
        sizes: width and height of each pair's pictures as they were.
        side: of the square they became.
        resize: how; "fit" and "crop" keep the pictures' proportions.
    """
    chosen = sizes[:: -(-len(sizes) // MOST_PAIRS)]
    if resize == "fit":
        chosen = [(max(size), max(size)) for size in chosen]
    elif resize == "crop":
        chosen = [(min(size), min(size)) for size in chosen]
    width, height = np.median(chosen, 0)
    return side / float(width), side / float(height)
