"""Samples a trained generator: one picture of all, a file for each, arrays, or walks between latents.

python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --n 64
python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --class 4 --array samples.npz
python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --n 1000 --files samples
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from common.cli import at_least, command
from common.runtime import ScriptOptions, UsageError, start
from q1_dcgan.figures import MOST_ROWS, plot_sheet
from q1_dcgan.measures import class_names, generate, load_generator

ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp", ".tif", ".tiff")
MOST_NAMED = 400  # samples with their class written below each


@dataclass
class Options(ScriptOptions):
    """Draw samples from a generator."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    n: int | None = None  # number of samples; default: 64, and with --interpolate a walk for each class
    # name of the class to draw (conditional generators); default: all in turn
    class_name: Annotated[str | None, tyro.conf.arg(name="class")] = None
    digit: int | None = None  # the same as --class, or the number of a class, from 0
    output: Path = Path("samples.png")  # the picture of all samples
    files: Path | None = None  # also write one PNG per sample into this folder, in a folder per class
    array: Path | None = None  # also write images (n, 28, 28 [, 3]) uint8 and labels (n,) int64 to this .npz
    interpolate: bool = False  # draw walks of eight steps between latents, one per row, instead


def check(options: Options) -> None:
    if options.n is not None:
        at_least(1, options, "n")
    output, array, files = options.output, options.array, options.files
    if output.suffix.lower() not in ENDINGS or output.is_dir():
        raise UsageError(f"--output must be a file that ends in one of {', '.join(ENDINGS)}: {output}")
    if array is not None and array.suffix != ".npz":
        raise UsageError(f"--array must be a file that ends in .npz: {array}")
    if files is not None and files.exists() and not files.is_dir():
        raise UsageError(f"--files must be a folder: {files}")
    if files is not None and files.is_dir() and any(files.iterdir()):
        raise UsageError(f"--files {files}: the folder is not empty; name a new one")
    if options.class_name is not None and options.digit is not None:
        raise UsageError("--class and --digit mean the same: give only one of them")


def requested_class(options: Options, names: list[str]) -> int | None:
    """The label that --class or --digit stands for, None without either."""
    flag, name, number = "--class", options.class_name, -1
    if options.digit is not None:
        flag, name, number = "--digit", str(options.digit), options.digit
    if name is None:
        return None
    if name in names:
        return names.index(name)
    if 0 <= number < len(names):
        return number
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if names[20:] else "")
    known = f"its classes are {shown}" if names else "this generator is not conditional"
    raise UsageError(f"{flag} {name}: {known}")


def walk(noise: Tensor, steps: int = 8) -> Tensor:
    """Great-circle walks between consecutive latents: (rows + 1, dim) -> (rows * steps, dim).

    A straight line would pass through lengths that Gaussian noise never has.
    """
    begin, end = noise[:-1, None], noise[1:, None]  # (rows, 1, dim)
    cosine = torch.nn.functional.cosine_similarity(begin, end, dim=-1, eps=1e-8).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[..., None]  # (rows, 1, 1)
    t = torch.linspace(0, 1, steps, device=noise.device)[None, :, None]  # (1, steps, 1)
    return ((((1 - t) * angle).sin() * begin + (t * angle).sin() * end) / angle.sin()).flatten(0, 1)


def main(options: Options) -> np.ndarray:
    check(options)
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    names = class_names(state)
    wanted = requested_class(options, names)
    draws = torch.Generator(runtime.device).manual_seed(options.seed)
    walks = min(generator.classes, MOST_ROWS) if options.interpolate and wanted is None else 0
    n = options.n or 8 * walks or 64
    count = -(-n // 8) + 1 if options.interpolate else n
    noise = torch.randn(count, generator.latent_size, generator=draws, device=runtime.device)
    noise = walk(noise) if options.interpolate else noise
    labels, called = None, [""] * len(noise)
    if generator.classes:
        turn = torch.arange(len(noise), device=runtime.device)
        labels = (turn // 8 if options.interpolate else turn) % generator.classes
        labels = labels if wanted is None else torch.full_like(labels, wanted)
        called = [names[label] for label in labels.tolist()]
    images = generate(generator, noise, labels)

    columns = 8 if options.interpolate else math.ceil(n**0.5)
    of_class = f" of class {names[wanted]}" if wanted is not None else ""
    title = f"{len(images)} samples{of_class}: {state['options']['run_name']}, epoch {state['epoch']}"
    below = called if any(called) and wanted is None and len(images) <= MOST_NAMED else []
    plot_sheet(images, columns, options.output, title, below)
    pixels, written = images.cpu().numpy(), [options.output]
    if options.files:  # what --dataset folder reads
        width = len(str(len(images)))
        for number, (image, name) in enumerate(zip(pixels, called), 1):
            path = options.files / name.replace("/", "_") / f"{number:0{width}}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
        written.append(options.files)
    if options.array:
        options.array.parent.mkdir(parents=True, exist_ok=True)
        numbers = labels if labels is not None else torch.full((len(images),), -1)
        np.savez_compressed(options.array, images=pixels, labels=numbers.cpu().numpy())
        written.append(options.array)
    print(f"{len(images)} samples{of_class}: {', '.join(map(str, written))}")
    return pixels


if __name__ == "__main__":
    command(main, Options, __doc__)
