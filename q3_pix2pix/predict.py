"""Translates your own photos of any size with a trained generator.

python q3_pix2pix/predict.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt --input PHOTO_OR_FOLDER
python q3_pix2pix/predict.py --checkpoint CHECKPOINT --input photo.jpg --output map.png

A photo is first scaled as the training pairs were, and its result is scaled back. What is then larger than
the network's size is cut into overlapping tiles whose results are blended; what is smaller is padded by
reflection.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count
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

from common.cli import above, at_least, command
from common.images import FORMATS, MOST_PIXELS, Depth, find_inputs, make_each
from common.runtime import RunError, ScriptOptions, UsageError, start
from q3_pix2pix.maps_dataset import open_rgb
from q3_pix2pix.measures import load_generator, translate
from q3_pix2pix.pix2pix import UNet


@dataclass
class Options(ScriptOptions):
    """Translate photos."""

    # the name of a network in pretrained/, or a checkpoint: logs/q3_pix2pix/RUN/checkpoints/last.pt
    checkpoint: Path = Path("pix2pix-aerial")
    input: tuple[Path, ...] = ()  # photos, and folders of photos
    output: Path = Path("predictions")  # folder for the results, or for a single photo a file such as map.png
    # paper: each tile's own statistics, with dropout; no_dropout: without it; eval: the running statistics;
    # auto: paper for a single tile, no_dropout for several
    mode: Literal["auto", "paper", "no_dropout", "eval"] = "auto"
    scale: float | None = None  # factor of a photo's sides before translation (None: the training pairs')
    overlap: float = 0.5  # share of a tile's side that it has in common with its neighbour
    side_by_side: bool = False  # write photo and result beside each other


def find_photos(options: Options) -> dict[Path, Path]:
    """Where the result of each photo goes: photo -> file.

    Raises:
        UsageError: there is no photo, a result would replace one, or --output is one file for several.
    """
    photos = find_inputs(options.input)
    kind = Image.registered_extensions().get(options.output.suffix.lower())
    if kind and not options.output.is_dir():
        if kind not in FORMATS:
            raise UsageError(f"--output {options.output}: write .png, .jpg, .tif or .webp, not {kind}")
        if len(photos) > 1:
            raise UsageError(f"--output {options.output} is one file, and there are {len(photos)} photos")
        results = {photos[0]: options.output}
    else:
        results = dict(zip(photos, (options.output / f"{name}.png" for name in distinct_names(photos))))
    taken = {photo.resolve() for photo in photos} & {result.resolve() for result in results.values()}
    if taken:
        raise UsageError(f"--output {options.output} would replace the photo {min(taken)}: give another")
    return results


def distinct_names(files: list[Path]) -> list[str]:
    """A name for each file's result: the stem; where several share it, with the ending, then a number."""
    shared = Counter(file.stem for file in files)
    taken = {stem for stem, n in shared.items() if n == 1}
    names = []
    for file in files:
        name = file.stem
        if shared[name] > 1:
            name = f"{name}-{file.suffix[1:]}"
            name = next(n for n in chain([name], (f"{name}-{i}" for i in count(2))) if n not in taken)
        taken.add(name)
        names.append(name)
    return names


def tiled(function: Callable[[Tensor], Tensor], image: Tensor, size: int, overlap: float = 0.5) -> Tensor:
    """Applies a function of tiles to a picture of any size and blends the tiles smoothly.

    Args:
        function: (n, 3, size, size) uint8 -> (n, 3, size, size) float.
        image: (3, height, width) uint8, two pixels or more each way.
        size: side of the tiles.
        overlap: share of the side that neighbours have in common, 0 to below 1. A tile's weight falls
            towards its borders as a squared sine, so that with an overlap of half the weights add up to one.

    Returns:
        (3, height, width) float.
    """
    height, width = image.shape[1:]
    stride = max(1, round(size * (1 - overlap)))
    counts = [max(0, -(-(side - size) // stride)) + 1 for side in (height, width)]  # tiles down and across
    padded = [size + (count - 1) * stride for count in counts]
    canvas = image.float()[None]
    while list(canvas.shape[2:]) != padded:  # one reflection is at most a pixel short of the side
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


def translate_photo(
    generator: UNet, photo: Image.Image, size: int, scale: list[float], options: Options, fitted: bool = False
) -> Image.Image:
    """The map of a photo of any size, of the same size.

    Args:
        size: the side of the pictures the generator was trained on.
        scale: factors of the photo's width and height.
        fitted: it was trained on pictures in the middle of a white border, and so is a photo that is smaller.

    Raises:
        RunError: it would have more than MOST_PIXELS at this scale.
    """
    sides = [max(2, round(side * factor)) for side, factor in zip(photo.size, scale)]
    if sides[0] * sides[1] > MOST_PIXELS:
        sizes = f"{photo.width:,} x {photo.height:,} pixels would have {sides[0]:,} x {sides[1]:,}"
        advice = f"and the most are {MOST_PIXELS:,}: shrink it, or give another --scale"
        raise RunError(f"a photo of {sizes} at the scale of the training, {advice}")
    scaled = np.array(photo.resize(sides, Image.Resampling.BICUBIC))  # (height, width, 3)
    mode = options.mode
    if mode == "auto":
        mode = "paper" if max(sides) <= size else "no_dropout"
    image = torch.from_numpy(scaled).permute(2, 0, 1).to(next(generator.parameters()).device)
    room = [max(0, size - side) if fitted else 0 for side in sides]
    left, top = (round(space / 2) for space in room)  # as ImageOps.pad does
    image = F.pad(image, (left, room[0] - left, top, room[1] - top), value=255)
    result = tiled(lambda tiles: translate(generator, tiles, mode), image, size, options.overlap)
    result = result[:, top : top + sides[1], left : left + sides[0]]
    pixels = (result * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(pixels).resize(photo.size, Image.Resampling.BICUBIC)


def main(options: Options) -> list[Path]:
    at_least(0, options, "overlap", below=0.95)
    if options.scale is not None:
        above(0, options, "scale")
    results = find_photos(options)
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    facts, size = state.get("facts", {}), state["architecture"]["image_size"]
    fitted = state.get("options", {}).get("resize") == "fit"
    scale, depth = facts.get("scale"), Depth(list(results), facts.get("depth", 0))
    if options.scale is not None:
        scale = [options.scale, options.scale]
    elif scale is None:
        scale = [1.0, 1.0]
        print("the checkpoint does not say how its pairs were scaled: photos are taken as they are (--scale)")

    def write_map(photo: Path) -> Path:
        picture = open_rgb(photo, depth)
        result = translate_photo(generator, picture, size, scale, options, fitted)
        if options.side_by_side:
            result = Image.fromarray(np.concatenate([picture, result], 1))
        results[photo].parent.mkdir(parents=True, exist_ok=True)
        result.save(results[photo])
        return results[photo]

    written, failed = make_each(write_map, tqdm(results, "translating", disable=None))
    print(f"{len(written)} of {len(results)} photos translated, in {options.output}")
    if failed:
        raise RunError("; ".join(failed))
    return list(written.values())


if __name__ == "__main__":
    command(main, Options, __doc__)
