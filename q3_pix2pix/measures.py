"""Runs a generator on whole data sets and measures what comes out, beside controls that know less."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from common import checkpoint
from common.results import mean_row
from common.runtime import Runtime, no_tf32
from q3_pix2pix.maps_dataset import Pairs, prepare, to_unit
from q3_pix2pix.paper import QUESTION
from q3_pix2pix.pix2pix import UNet, own_statistics

Inference = Literal["paper", "no_dropout", "eval"]
INFERENCE = {  # what results.json calls the ways to run a generator
    "paper": "train-mode inference (the paper's)",
    "no_dropout": "own statistics without dropout",
    "eval": "eval mode",
}
# measure -> its name and unit in results.json
ROWS = {"l1": ("L1", "grey levels"), "psnr": ("PSNR", "dB"), "ssim": ("SSIM", "(1 is equal)")}
ROWS |= {"sharpness": ("sharpness", "of the targets'"), "pixel_accuracy": ("pixel accuracy", "%")}
ROWS |= {"on_legend": ("on the legend", "%")}
PARTS = {"val": "validation pairs", "test": "test pairs"}  # what results.json calls the pairs of a part
ON_LEGEND = 60  # grey levels between a pixel and a colour of the legend, in the channel that differs most


class MapColors(NamedTuple):
    """The colours of flat maps, (colours, 3) each in [0, 1]."""

    palette: Tensor  # the most frequent ones, of which pixel accuracy takes the nearest
    legend: Tensor  # all of them, also those of a few pixels in a thousand


def load_generator(path: Path, runtime: Runtime) -> tuple[UNet, dict]:
    """The generator of a checkpoint in eval mode, on the device, and the checkpoint's contents.

    Of a run with averaged weights it is the moving average.

    Raises:
        RunError: as `checkpoint.load_network`.
    """

    def build(image_size: int, base_channels: int, direction: str = "") -> UNet:  # part of the data
        return UNet(image_size, base_channels)

    parts = "average", "model", "generator"
    generator, state = checkpoint.load_network(path, QUESTION, build, runtime.device, parts)
    return generator.eval(), state


@torch.inference_mode()
@no_tf32()
def translate(generator: UNet, inputs: Tensor, inference: Inference = "paper", batch: int = 8) -> Tensor:
    """Maps of photos, in fp32 and without torch.compile.

    Args:
        inputs: (n, 3, size, size) uint8.
        inference: "paper" keeps dropout on and normalises with each picture's own statistics (section 3.4);
            "no_dropout" does the latter alone; "eval" takes the running statistics, without dropout.

    Returns:
        (n, 3, size, size) floats in [0, 1], in whole grey levels.
    """
    generator.eval()
    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []), contextlib.ExitStack() as stack:
        torch.manual_seed(0)  # the same dropout in every epoch, leg, process and script
        if inference != "eval":
            stack.enter_context(own_statistics(generator, dropout=inference == "paper"))
        return torch.cat([to_unit(generator.forward(prepare(piece))) for piece in inputs.split(batch)])


@no_tf32()
def measure(outputs: Tensor, targets: Tensor, colors: MapColors | None = None) -> dict[str, Tensor]:
    """Measures of each picture, (n,) each.

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

    def edges(images: Tensor) -> Tensor:
        return images.diff(dim=-1).abs().mean((1, 2, 3)) + images.diff(dim=-2).abs().mean((1, 2, 3))

    blocks = []
    for output, target in zip(outputs.split(16), targets.split(16)):  # a few at a time, to save memory
        block = {"l1": 255 * (output - target).abs().mean((1, 2, 3))}
        block["psnr"] = -10 * (output - target).square().mean((1, 2, 3)).clamp_min(1e-10).log10()
        ssim = structural_similarity_index_measure(output, target, data_range=1.0, reduction="none")
        block |= {"ssim": ssim.reshape(-1), "sharpness": edges(output)}
        if colors is not None:
            block["pixel_accuracy"] = 100 * pixel_accuracy(output, target, colors.palette)
            block["on_legend"] = 100 * on_legend(output, colors.legend)
        blocks.append(block)
    figures = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    sharpness = torch.cat([edges(target) for target in targets.split(16)]).mean()
    return figures | {"sharpness": figures["sharpness"] / sharpness.clamp_min(1e-6)}


def find_palette(targets: Tensor, reach: float = 0.08, most: int = 12) -> Tensor | None:
    """The colours of flat maps: (colours, 3) in [0, 1], or None when the pictures are not flat.

    Takes the most frequent colour, sets aside what lies within `reach` of it, and so on until 90 % of the
    pixels are accounted for. If that takes more than `most` colours, the maps are not flat.

    Args:
        targets: (n, 3, size, size) uint8.
    """
    palette, left = [], 1.0
    for color, share in frequent_colors(count_colors(targets.permute(0, 2, 3, 1).reshape(-1, 3)), reach):
        palette.append(color)
        left -= share
        if left < 0.1:
            return torch.stack(palette)
        if len(palette) == most:
            break
    return None


def find_legend(targets: Tensor, reach: float = 0.08, least: float = 0.001, most: int = 32) -> Tensor:
    """All colours of flat maps, also rare ones: (colours, 3) in [0, 1].

    Only pixels inside an area of one colour count, those like all their eight neighbours: at the edges,
    scaling and JPEG blend two colours into more. Takes their most frequent colour, sets aside what lies
    within `reach` of it, and so on until the next one has a share of less than `least`.

    Args:
        targets: (n, 3, size, size) uint8.
    """
    counts = torch.zeros(32**3, dtype=torch.long, device=targets.device)
    for some in targets.split(64):
        values = some.float()
        lowest, highest = -F.max_pool2d(-values, 3, 1), F.max_pool2d(values, 3, 1)
        inside = (highest - lowest).amax(1) <= 16  # (n, size - 2, size - 2), without the border
        counts += count_colors(some[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1)[inside])
    legend = []
    for color, share in frequent_colors(counts, reach):
        if share < least or len(legend) == most:
            break
        legend.append(color)
    return torch.stack(legend)


def count_colors(pixels: Tensor) -> Tensor:
    """How many of the pixels (n, 3) uint8 lie in each of 32 x 32 x 32 bins of colour, (32**3,)."""
    red, green, blue = (pixels.long() // 8).unbind(1)
    return torch.bincount(red * 32**2 + green * 32 + blue, minlength=32**3)


def frequent_colors(counts: Tensor, reach: float) -> Iterator[tuple[Tensor, float]]:
    """The most frequent colour and the share of the pixels within `reach` of it; then of those left over.

    Args:
        counts: as `count_colors` gives them; of no pixel at all there is one colour, with a share of 0.
    """
    coarse = torch.cartesian_prod(*[torch.arange(32, device=counts.device)] * 3)
    colors, total = (coarse.float() * 8 + 3.5) / 255, int(counts.sum())
    while True:
        color = colors[counts.argmax()]
        near = (colors - color).norm(dim=1) < reach
        yield color, int(counts[near].sum()) / max(1, total)
        counts = counts.masked_fill(near, 0)


def find_colors(train: Pairs) -> MapColors | None:
    """The colours of the training maps; None where these are not flat."""
    palette = find_palette(train.images[:200, 3:])
    return None if palette is None else MapColors(palette, find_legend(train.images[:, 3:]))


@no_tf32()
def pixel_accuracy(outputs: Tensor, targets: Tensor, palette: Tensor) -> Tensor:
    """Share (n,) of the pixels whose nearest palette colour is also the target's; pictures in [0, 1]."""

    def snap(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1).flatten(1, 2)  # (n, size * size, 3)
        return torch.cdist(pixels, palette.expand(len(images), -1, -1)).argmin(-1)

    return (snap(outputs) == snap(targets)).float().mean(1)


@no_tf32()
def on_legend(outputs: Tensor, legend: Tensor) -> Tensor:
    """Share (n,) of the pixels within ON_LEGEND grey levels of a colour of the legend, in every channel.

    Args:
        outputs: (n, 3, size, size) in [0, 1].
        legend: (colours, 3) in [0, 1].
    """
    pixels = outputs.permute(0, 2, 3, 1).flatten(1, 2)  # (n, size * size, 3)
    distances = torch.cdist(pixels, legend.expand(len(outputs), -1, -1), p=torch.inf)
    # with room for the rounding of floats: pixels hold whole grey levels
    return (255 * distances.amin(-1) <= ON_LEGEND + 0.01).float().mean(1)


@no_tf32()
def controls(train: Pairs, validation: Pairs) -> dict[str, Tensor]:
    """Maps made without a network, (n, 3, size, size) in [0, 1]: the mean training map, the nearest pair's.

    The nearest training photo is the one with the least squared difference at 32x32 pixels.
    """
    size = validation.images.shape[-1]

    def scaled(images: Tensor, side: int) -> Tensor:
        return torch.cat([F.interpolate(p.float(), (side, side), mode="area") for p in images.split(64)])

    photos = [scaled(pairs.images[:, :3], 32).flatten(1) for pairs in (validation, train)]
    nearest = torch.cdist(*photos).argmin(1)
    total = sum(maps[:, 3:].float().sum(0) for maps in train.images.split(64))  # (3, load side, load side)
    mean = scaled(total[None] / (255 * len(train)), size).expand(len(validation), -1, -1, -1)
    maps = scaled(train.images[nearest, 3:], size) / 255
    return {"mean training map": mean.contiguous(), "nearest training pair's map": maps}


def rows(
    candidates: dict[str, Tensor],
    train: Pairs,
    pairs: Pairs,
    colors: MapColors | None,
    control: str = "",
    part: str = "val",
) -> list[dict]:
    """Rows of results.json: the mean of each measure over the pairs of a part, with its 95% interval.

    Args:
        candidates: maps of the photos of `pairs` by name, (n, 3, size, size) in [0, 1]; `controls` are added.
        pairs: those of the part "val" or "test"; rows of the test end in its name.
        colors: as `find_colors` gives them.
        control: the candidate that the first one is compared with, pair by pair.
    """
    targets = pairs.images[:, 3:].float() / 255
    candidates = candidates | controls(train, pairs)
    measured = {name: measure(outputs, targets, colors) for name, outputs in candidates.items()}
    if control:
        first = next(iter(measured.values()))
        differences = {key: values - measured[control][key] for key, values in first.items()}
        measured[f"minus {control}"] = differences
    if colors is not None:
        measured["true maps"] = {"on_legend": 100 * on_legend(targets, colors.legend)}
    where = "" if part == "val" else f", part {part}"
    count = f"{len(pairs)} {PARTS[part]}"
    return [
        mean_row(f"{ROWS[key][0]}, {name}{where}", values, ROWS[key][1], 4, count=count)
        for name, of_each in measured.items()
        for key, values in of_each.items()
    ]
