"""A function of small square tiles, applied to a picture of any size: overlapping tiles, blended smoothly."""

from collections.abc import Callable

import torch
from torch import Tensor

Progress = Callable[[int, int], object]  # called with the tiles done and the tiles there are


def tiled(
    function: Callable[[Tensor], Tensor],
    image: Tensor,
    size: int,
    overlap: float = 0.5,
    progress: Progress | None = None,
    batch: int = 8,
) -> Tensor:
    """Applies a function of tiles to a picture of any size and blends the tiles smoothly.

    Args:
        function: (n, 3, size, size) uint8 -> the same, as a map of it.
        image: (3, height, width) uint8, two pixels or more each way.
        size: side of the tiles.
        overlap: share of the side that neighbours have in common, 0 to below 1. A tile's weight falls
            towards its borders as a squared sine, so that with an overlap of half the weights add up to one.
        progress: called after each batch.
        batch: tiles in each call of the function.

    Returns:
        (3, height, width) float, of the function's grey levels.
    """
    height, width = image.shape[1:]
    device = image.device

    # A canvas that holds a whole number of tiles: the picture goes on as its own reflection.
    stride = max(1, round(size * (1 - overlap)))
    rows = count_tiles(height, size, stride)
    columns = count_tiles(width, size, stride)
    below = reflect(height, size + (rows - 1) * stride).to(device)
    beside = reflect(width, size + (columns - 1) * stride).to(device)
    canvas = image[:, below[:, None], beside[None, :]]
    corners = [(y * stride, x * stride) for y in range(rows) for x in range(columns)]

    # Each tile is added with its weight.
    ramp = torch.sin(torch.pi * (torch.arange(size, device=device) + 0.5) / size).square()
    weight = ramp[:, None] * ramp[None, :] + 1e-6
    total = torch.zeros(canvas.shape, device=device)
    weights = torch.zeros(canvas.shape[1:], device=device)
    for first in range(0, len(corners), batch):
        chosen = corners[first : first + batch]
        tiles = torch.stack([canvas[:, y : y + size, x : x + size] for y, x in chosen])
        for (y, x), tile in zip(chosen, function(tiles)):
            total[:, y : y + size, x : x + size] += tile * weight
            weights[y : y + size, x : x + size] += weight
        if progress:
            progress(first + len(chosen), len(corners))
    return (total / weights)[:, :height, :width]


def count_tiles(side: int, size: int, stride: int) -> int:
    """Returns how many tiles cover a side of the picture."""
    beyond_first = max(0, side - size)
    return -(-beyond_first // stride) + 1


def reflect(side: int, padded: int) -> Tensor:
    """Returns for each of `padded` pixels its place in a side that is reflected at its ends, (padded,)."""
    period = 2 * side - 2
    place = torch.arange(padded) % period
    return torch.minimum(place, period - place)
