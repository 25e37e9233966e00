"""Translates your own photos of any size with a trained generator.

    python q3_pix2pix/predict.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt --input PHOTO_OR_FOLDER --output maps

A picture larger than the network's size is cut into overlapping tiles whose results are blended; a smaller one is padded by reflection.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from common.cli import command
from common.images import list_images
from common.runtime import RunError, ScriptOptions, UsageError, start
from q3_pix2pix.evaluate import load_generator, translate
from q3_pix2pix.maps_dataset import open_rgb


@dataclass
class Options(ScriptOptions):
    """Translate photos."""

    checkpoint: Path = Path()  # a checkpoint of train.py, such as logs/q3_pix2pix/RUN/checkpoints/last.pt
    input: Path = Path()  # a photo, or a folder of photos
    output: Path = Path("predictions")  # folder for the results, under the photos' own names as .png
    mode: Literal["auto", "paper", "eval"] = (
        "auto"  # paper: dropout and own statistics, better on small runs; eval: no seams; auto: paper for one tile, eval for many
    )
    overlap: float = 0.5  # share of a tile's side that it shares with its neighbour
    side_by_side: bool = False  # write photo and result beside each other


def tiled(function: Callable[[Tensor], Tensor], image: Tensor, size: int, overlap: float = 0.5) -> Tensor:
    """Applies a function of tiles to a picture of any size and blends the tiles smoothly.

    Args:
        function: (n, 3, size, size) uint8 -> (n, 3, size, size) float.
        image: (3, height, width) uint8.
        size: side of the tiles.
        overlap: share of the side that neighbours have in common, 0 to below 1. The weight of a tile falls to its borders as a
            squared sine, so where two overlap by half the weights add up to one.

    Returns:
        (3, height, width) float.
    """
    height, width = image.shape[1:]
    stride = max(1, round(size * (1 - overlap)))
    counts = [max(0, -(-(side - size) // stride)) + 1 for side in (height, width)]  # tiles down and across
    padded = [size + (count - 1) * stride for count in counts]
    canvas = image.float()[None]
    while (
        canvas.shape[2] < padded[0] or canvas.shape[3] < padded[1]
    ):  # a reflection is at most one pixel short of the side
        grow = [min(goal - now, now - 1) for goal, now in zip(padded, canvas.shape[2:])]
        canvas = F.pad(canvas, (0, grow[1], 0, grow[0]), mode="reflect")
    corners = [(y * stride, x * stride) for y in range(counts[0]) for x in range(counts[1])]
    ramp = torch.sin(torch.pi * (torch.arange(size, device=image.device) + 0.5) / size).square()
    weight = ramp[:, None] * ramp[None, :] + 1e-6
    total, weights = torch.zeros(3, *padded, device=image.device), torch.zeros(padded, device=image.device)
    for first in range(0, len(corners), 8):
        batch = corners[first : first + 8]
        tiles = torch.stack([canvas[0, :, y : y + size, x : x + size] for y, x in batch]).byte()
        for (y, x), tile in zip(batch, function(tiles)):
            total[:, y : y + size, x : x + size] += tile * weight
            weights[y : y + size, x : x + size] += weight
    return (total / weights)[:, :height, :width]


def main(options: Options) -> list[Path]:
    if options.checkpoint == Path() or options.input == Path():
        raise UsageError("--checkpoint FILE and --input PHOTO_OR_FOLDER are both needed")
    if not 0 <= options.overlap < 0.95:
        raise UsageError("--overlap must be from 0 to below 0.95")
    if not options.input.exists():
        raise UsageError(f"--input {options.input} does not exist")
    files = [options.input]
    if options.input.is_dir():
        files = list_images(options.input)
        if not files:
            raise UsageError(f"no images (.png, .jpg, ...) in {options.input}")
    if options.output.resolve() == files[0].parent.resolve():
        raise UsageError(
            f"--output {options.output} is the folder of the photos, which would be overwritten: give another"
        )
    stems = [file.stem for file in files]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise UsageError(
            f"these names are in {options.input} with several endings, and their results would have one name: {', '.join(twice[:5])}"
        )
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    size = state["architecture"]["image_size"]
    options.output.mkdir(parents=True, exist_ok=True)
    written, failed = [], []
    for file in tqdm(files, "translating", disable=None):
        try:
            photo = torch.from_numpy(np.asarray(open_rgb(file)).transpose(2, 0, 1).copy()).to(runtime.device)
        except RunError as error:  # the others are still worth having
            failed.append(str(error))
            continue
        single = max(photo.shape[1:]) <= size
        mode = options.mode if options.mode != "auto" else "paper" if single else "eval"
        result = tiled(
            lambda tiles, mode=mode: translate(generator, tiles, mode), photo, size, options.overlap
        )
        pixels = (result * 255).round().byte()
        pixels = torch.cat([photo, pixels], 2) if options.side_by_side else pixels
        target = options.output / f"{file.stem}.png"
        Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(target)
        written.append(target)
    print(f"{len(written)} of {len(files)} photos translated, in {options.output}")
    if failed:
        raise RunError("; ".join(failed))
    return written


if __name__ == "__main__":
    command(main, Options, __doc__)
