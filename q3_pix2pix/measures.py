"""Runs a generator on whole data sets and measures what comes out, beside controls that know less."""

import contextlib
from pathlib import Path
from typing import Literal

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


def load_generator(path: Path, runtime: Runtime) -> tuple[UNet, dict]:
    """The generator of a checkpoint in eval mode, on the device, and the checkpoint's contents.

    Raises:
        RunError: as `checkpoint.load_network`.
    """

    def build(image_size: int, base_channels: int, direction: str = "") -> UNet:  # part of the data
        return UNet(image_size, base_channels)

    parts = "model", "generator"
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
def measure(outputs: Tensor, targets: Tensor, palette: Tensor | None = None) -> dict[str, Tensor]:
    """Measures of each picture, (n,) each.

    Args:
        outputs, targets: (n, 3, size, size) in [0, 1].
        palette: the colours of flat maps, as `find_palette` gives them.

    Returns:
        l1: mean absolute difference in grey levels.
        psnr: in dB.
        ssim: Wang et al. 2004, with an 11x11 Gaussian window.
        sharpness: mean absolute difference of neighbouring pixels, relative to the mean of all targets.
        pixel_accuracy: % of the pixels that have the right colour of the palette; only with one.
    """

    def edges(images: Tensor) -> Tensor:
        return images.diff(dim=-1).abs().mean((1, 2, 3)) + images.diff(dim=-2).abs().mean((1, 2, 3))

    blocks = []
    for output, target in zip(outputs.split(16), targets.split(16)):  # a few at a time, to save memory
        block = {"l1": 255 * (output - target).abs().mean((1, 2, 3))}
        block["psnr"] = -10 * (output - target).square().mean((1, 2, 3)).clamp_min(1e-10).log10()
        ssim = structural_similarity_index_measure(output, target, data_range=1.0, reduction="none")
        block |= {"ssim": ssim.reshape(-1), "sharpness": edges(output)}
        if palette is not None:
            block["pixel_accuracy"] = 100 * pixel_accuracy(output, target, palette)
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
    pixels = targets.permute(0, 2, 3, 1).reshape(-1, 3)
    red, green, blue = (pixels.long() // 8).unbind(1)
    counts = torch.bincount(red * 32**2 + green * 32 + blue, minlength=32**3)
    coarse = torch.cartesian_prod(*[torch.arange(32, device=pixels.device)] * 3)
    colors, palette, total = (coarse.float() * 8 + 3.5) / 255, [], counts.sum()
    for _ in range(most):
        palette.append(colors[counts.argmax()])
        near = (colors - palette[-1]).norm(dim=1) < reach
        counts = counts.masked_fill(near, 0)
        if counts.sum() < 0.1 * total:
            return torch.stack(palette)
    return None


@no_tf32()
def pixel_accuracy(outputs: Tensor, targets: Tensor, palette: Tensor) -> Tensor:
    """Share (n,) of the pixels whose nearest palette colour is also the target's; pictures in [0, 1]."""

    def snap(images: Tensor) -> Tensor:
        pixels = images.permute(0, 2, 3, 1).flatten(1, 2)  # (n, size * size, 3)
        return torch.cdist(pixels, palette.expand(len(images), -1, -1)).argmin(-1)

    return (snap(outputs) == snap(targets)).float().mean(1)


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


def rows(candidates: dict[str, Tensor], train: Pairs, validation: Pairs, control: str = "") -> list[dict]:
    """Rows of results.json: the mean of each measure over the validation pairs, with its 95% interval.

    Args:
        candidates: maps of the validation photos by name, (n, 3, size, size) in [0, 1]; `controls` are added.
        control: the candidate that the first one is compared with, pair by pair.
    """
    targets, palette = validation.images[:, 3:].float() / 255, find_palette(train.images[:200, 3:])
    count = f"{len(validation)} validation pairs"
    candidates = candidates | controls(train, validation)
    measured = {name: measure(outputs, targets, palette) for name, outputs in candidates.items()}
    if control:
        first = next(iter(measured.values()))
        differences = {key: values - measured[control][key] for key, values in first.items()}
        measured[f"minus {control}"] = differences
    return [
        mean_row(f"{ROWS[key][0]}, {name}", values, ROWS[key][1], 4, count=count)
        for name, of_each in measured.items()
        for key, values in of_each.items()
    ]
