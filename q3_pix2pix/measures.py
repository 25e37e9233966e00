"""Measures of generated maps, beside those of controls that know less, and the rows of results.json."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from common.device import no_tf32
from common.statistics import mean_row
from q3_pix2pix.legend import MapColors, on_legend, pixel_accuracy
from q3_pix2pix.maps_dataset import Pairs
from q3_pix2pix.paper import MEAN_MAP, NEAREST_MAP


class Named(NamedTuple):
    """Names a measure as results.json does, with its unit."""

    name: str
    unit: str


NAMES = {
    "l1": Named("L1", "grey levels"),
    "psnr": Named("PSNR", "dB"),
    "ssim": Named("SSIM", "(1 is equal)"),
    "sharpness": Named("sharpness", "of the targets'"),
    "pixel_accuracy": Named("pixel accuracy", "%"),
    "on_legend": Named("on the legend", "%"),
}
PARTS = {"val": "validation pairs", "test": "test pairs"}  # what results.json calls the pairs of a part


@no_tf32()
def measure(outputs: Tensor, targets: Tensor, colors: MapColors | None = None) -> dict[str, Tensor]:
    """Measures each picture; (n,) of each measure.

    Args:
        outputs, targets: (n, 3, size, size) in [0, 1].
        colors: those of flat maps, as `find_colors` gives them.

    Returns:
        l1: mean absolute difference in grey levels.
        psnr: in dB.
        ssim: Wang et al. 2004, with an 11x11 Gaussian window.
        sharpness: mean absolute difference of neighbouring pixels, relative to the mean of all targets.
        pixel_accuracy: % of the pixels that have the right colour of the palette; only with colours.
        on_legend: % of the outputs' pixels that have a colour of the legend; only with colours.
    """
    blocks = []
    for output, target in zip(outputs.split(16), targets.split(16)):  # a few at a time, to save memory
        blocks.append(measure_block(output, target, colors))
    measured = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    true_sharpness = torch.cat([edges(target) for target in targets.split(16)]).mean()
    measured["sharpness"] = measured["sharpness"] / true_sharpness.clamp_min(1e-6)
    return measured


def measure_block(output: Tensor, target: Tensor, colors: MapColors | None) -> dict[str, Tensor]:
    """Does as `measure`, with a sharpness that is not yet relative to the targets'."""
    squares = (output - target).square().mean((1, 2, 3))
    ssim = structural_similarity_index_measure(output, target, data_range=1.0, reduction="none")
    measured = {
        "l1": 255 * (output - target).abs().mean((1, 2, 3)),
        "psnr": -10 * squares.clamp_min(1e-10).log10(),
        "ssim": ssim.reshape(-1),
        "sharpness": edges(output),
    }
    if colors is not None:
        measured["pixel_accuracy"] = 100 * pixel_accuracy(output, target, colors.palette)
        measured["on_legend"] = 100 * on_legend(output, colors.legend.colors)
    return measured


def edges(images: Tensor) -> Tensor:
    """Returns the mean absolute difference of neighbouring pixels of each picture, (n,)."""
    across = images.diff(dim=-1).abs().mean((1, 2, 3))
    down = images.diff(dim=-2).abs().mean((1, 2, 3))
    return across + down


@no_tf32()
def controls(train: Pairs, pairs: Pairs) -> dict[str, Tensor]:
    """Makes maps without a network, (n, 3, size, size) in [0, 1]: the mean training map, the nearest pair's.

    The nearest training photo is the one with the least squared difference at 32x32 pixels.
    """
    size = pairs.images.shape[-1]
    nearest = torch.cdist(scaled(pairs.photos, 32).flatten(1), scaled(train.photos, 32).flatten(1)).argmin(1)
    total = sum(maps.float().sum(0) for maps in train.maps.split(64))  # (3, load side, load side)
    mean = scaled(total[None] / (255 * len(train)), size).expand(len(pairs), -1, -1, -1)
    return {MEAN_MAP: mean.contiguous(), NEAREST_MAP: scaled(train.maps[nearest], size) / 255}


def scaled(images: Tensor, side: int) -> Tensor:
    """Scales pictures to `side` x `side`, as floats of the same grey levels."""
    pieces = [F.interpolate(some.float(), (side, side), mode="area") for some in images.split(64)]
    return torch.cat(pieces)


def rows(
    candidates: dict[str, Tensor],
    train: Pairs,
    pairs: Pairs,
    colors: MapColors | None,
    control: str = "",
    part: str = "val",
) -> list[dict]:
    """Returns rows of results.json: each measure's mean over the pairs of a part, with its 95% interval.

    Args:
        candidates: maps of the photos of `pairs` by name, (n, 3, size, size) uint8; `controls` are added.
        pairs: those of the part "val" or "test"; rows of the test end in its name.
        colors: as `find_colors` gives them.
        control: the candidate that the first one is compared with, pair by pair.
    """
    targets = pairs.maps / 255
    measured = {name: measure(maps / 255, targets, colors) for name, maps in candidates.items()}
    for name, maps in controls(train, pairs).items():
        measured[name] = measure(maps, targets, colors)
    if control:
        first = next(iter(measured.values()))
        differences = {key: values - measured[control][key] for key, values in first.items()}
        measured[f"minus {control}"] = differences
    if colors is not None:
        measured["true maps"] = {"on_legend": 100 * on_legend(targets, colors.legend.colors)}

    where = "" if part == "val" else f", part {part}"
    count = f"{len(pairs)} {PARTS[part]}"
    result = []
    for candidate, of_each in measured.items():
        for key, values in of_each.items():
            name = f"{NAMES[key].name}, {candidate}{where}"
            result.append(mean_row(name, values, NAMES[key].unit, 4, count=count))
    return result
