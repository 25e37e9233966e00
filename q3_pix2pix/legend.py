"""The colours of flat maps: found in the training maps, and how close to them a generated map keeps."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from common.device import no_tf32
from q3_pix2pix.maps_dataset import Pairs
from q3_pix2pix.synthetic import MAP_COLORS

REACH = 0.08  # of a colour, in [0, 1]: what lies within it counts as the same
ON_LEGEND = 60  # grey levels between a pixel and a colour of the legend, in the channel that differs most
BINS = 32  # of each channel, when colours are counted
# data set -> name -> colour; pix2pix's maps and aerial_maps come without names for their colours
NAMES = {"synthetic": MAP_COLORS}


class Legend(NamedTuple):
    """All colours of flat maps, also those of a few pixels in a thousand, the most frequent ones first.

    colors: (colours, 3) in [0, 1].
    shares: of each in the areas of one colour of the training maps, 0 to 1.
    names: of each; "" where the data set names none.
    """

    colors: Tensor
    shares: list[float]
    names: list[str]

    def facts(self) -> list[dict]:
        """Returns the legend as a checkpoint holds it: 8-bit colours with share and name."""
        levels = (255 * self.colors).round().int().tolist()
        rows = zip(levels, self.shares, self.names)
        return [{"color": color, "share": round(share, 4), "name": name} for color, share, name in rows]

    @classmethod
    def from_facts(cls, facts: list[dict], device: torch.device | str) -> "Legend":
        """Returns the legend of a checkpoint."""
        levels = torch.tensor([fact["color"] for fact in facts], device=device)
        return cls(levels / 255, [fact["share"] for fact in facts], [fact["name"] for fact in facts])


class MapColors(NamedTuple):
    """The colours of flat maps.

    palette: (colours, 3) in [0, 1], the most frequent ones, of which pixel accuracy takes the nearest.
    legend: all of them.
    """

    palette: Tensor
    legend: Legend


# Finding the colours ----------------------------------------------------------------------------------------


def find_colors(train: Pairs, dataset: str = "") -> MapColors | None:
    """Finds the colours of the training maps; None where these are not flat.

    Args:
        dataset: whose names the colours get, where it names them.
    """
    palette = find_palette(train.maps[:200])
    if palette is None:
        return None
    return MapColors(palette, find_legend(train.maps, names=NAMES.get(dataset, {})))


def find_palette(targets: Tensor, reach: float = REACH, most: int = 12) -> Tensor | None:
    """Finds the main colours of flat maps: (colours, 3) in [0, 1], or None when the pictures are not flat.

    Takes the most frequent colour, sets aside what lies within `reach` of it, and so on until 90 % of the
    pixels are accounted for. If that takes more than `most` colours, the maps are not flat.

    Args:
        targets: (n, 3, size, size) uint8.
    """
    palette = []
    left = 1.0
    for color, share in frequent_colors(count_colors(targets.permute(0, 2, 3, 1).reshape(-1, 3)), reach):
        palette.append(color)
        left -= share
        if left < 0.1:
            return torch.stack(palette)
        if len(palette) == most:
            break
    return None


def find_legend(
    targets: Tensor,
    reach: float = REACH,
    least: float = 0.001,
    most: int = 32,
    names: Mapping[str, tuple[int, int, int]] = {},  # noqa: B006
) -> Legend:
    """Finds all colours of flat maps, also rare ones.

    Only pixels inside an area of one colour count, those like all their eight neighbours: at the edges,
    scaling and JPEG blend two colours into more. Takes their most frequent colour, sets aside what lies
    within `reach` of it, and so on until the next one has a share of less than `least`.

    Args:
        targets: (n, 3, size, size) uint8.
        names: name -> 8-bit colour, of the data set.
    """
    counts = torch.zeros(BINS**3, dtype=torch.long, device=targets.device)
    for some in targets.split(64):
        values = some.float()
        lowest = -F.max_pool2d(-values, 3, 1)
        highest = F.max_pool2d(values, 3, 1)
        inside = (highest - lowest).amax(1) <= 16  # (n, size - 2, size - 2), without the border
        counts += count_colors(some[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1)[inside])
    colors = []
    shares = []
    for color, share in frequent_colors(counts, reach):
        if share < least or len(colors) == most:
            break
        colors.append(color)
        shares.append(share)
    return Legend(torch.stack(colors), shares, [name_color(color, names, reach) for color in colors])


def name_color(color: Tensor, names: Mapping[str, tuple[int, int, int]], reach: float = REACH) -> str:
    """Returns the name of the nearest colour, "" where none is within `reach`."""
    distances = {}
    for name, known in names.items():
        levels = torch.tensor(known, device=color.device)
        distances[name] = float((color - levels / 255).norm())
    nearest = min(distances, key=distances.__getitem__, default="")
    return nearest if distances.get(nearest, reach) < reach else ""


def count_colors(pixels: Tensor) -> Tensor:
    """Counts how many of the pixels (n, 3) uint8 lie in each of 32 x 32 x 32 bins of colour, (32**3,)."""
    red, green, blue = (pixels.long() // 8).unbind(1)
    return torch.bincount(red * BINS**2 + green * BINS + blue, minlength=BINS**3)


def frequent_colors(counts: Tensor, reach: float) -> Iterator[tuple[Tensor, float]]:
    """Yields the most frequent colour and the share of the pixels within `reach` of it; then of those left.

    Args:
        counts: as `count_colors` gives them; of no pixel at all there is one colour, with a share of 0.
    """
    coarse = torch.cartesian_prod(*[torch.arange(BINS, device=counts.device)] * 3)
    colors = (coarse.float() * 8 + 3.5) / 255
    total = int(counts.sum())
    while True:
        color = colors[counts.argmax()]
        near = (colors - color).norm(dim=1) < reach
        yield color, int(counts[near].sum()) / max(1, total)
        counts = counts.masked_fill(near, 0)


# Measures ---------------------------------------------------------------------------------------------------


@no_tf32()
def pixel_accuracy(outputs: Tensor, targets: Tensor, palette: Tensor) -> Tensor:
    """Returns the share (n,) of the pixels whose nearest palette colour is also the target's.

    Args:
        outputs, targets: (n, 3, size, size) in [0, 1].
        palette: (colours, 3) in [0, 1].
    """

    def snap(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1).flatten(1, 2)  # (n, size * size, 3)
        return torch.cdist(pixels, palette.expand(len(images), -1, -1)).argmin(-1)

    return (snap(outputs) == snap(targets)).float().mean(1)


@no_tf32()
def on_legend(outputs: Tensor, colors: Tensor) -> Tensor:
    """Returns the share (n,) of the pixels within ON_LEGEND grey levels of a colour, in every channel.

    Args:
        outputs: (n, 3, height, width) in [0, 1].
        colors: of the legend, (colours, 3) in [0, 1].
    """
    pixels = outputs.permute(0, 2, 3, 1).flatten(1, 2)  # (n, height * width, 3)
    distances = torch.cdist(pixels, colors.expand(len(outputs), -1, -1), p=torch.inf)
    # with room for the rounding of floats: pixels hold whole grey levels
    return (255 * distances.amin(-1) <= ON_LEGEND + 0.01).float().mean(1)
