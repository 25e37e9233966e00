"""Samples a trained generator: a grid as a picture, arrays for other metrics, or a walk between latents.

python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --n 64
python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --digit 4 --array samples.npz
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from PIL import Image

from common.cli import at_least, command
from common.runtime import ScriptOptions, UsageError, start
from q1_dcgan.figures import write_sheet
from q1_dcgan.measures import generate, load_generator


@dataclass
class Options(ScriptOptions):
    """Draw samples from a generator."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    n: int = 64  # how many samples
    digit: int | None = None  # the class to draw (conditional generators); default: all in turn
    output: Path = Path("samples.png")  # the grid
    array: Path | None = None  # also write images (n, 28, 28) uint8 and labels (n,) int64 to this .npz
    interpolate: bool = (
        False  # draw walks in eight steps between latents, one walk a row, instead of single samples
    )


def walk(noise: torch.Tensor, steps: int = 8) -> torch.Tensor:
    """Great-circle walks between consecutive latents: (rows + 1, dim) -> (rows * steps, dim).

    A straight line would pass through lengths that Gaussian noise never has.
    """
    start_, end = noise[:-1, None], noise[1:, None]  # (rows, 1, dim)
    cosine = torch.nn.functional.cosine_similarity(start_, end, dim=-1, eps=1e-8).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[..., None]  # (rows, 1, 1)
    t = torch.linspace(0, 1, steps, device=noise.device)[None, :, None]  # (1, steps, 1)
    return ((((1 - t) * angle).sin() * start_ + (t * angle).sin() * end) / angle.sin()).flatten(0, 1)


def main(options: Options) -> np.ndarray:
    at_least(1, options, "n")
    runtime = start(options)
    generator, _ = load_generator(options.checkpoint, runtime)
    if options.digit is not None and not 0 <= options.digit < generator.classes:
        known = (
            f"its classes are 0 to {generator.classes - 1}"
            if generator.classes
            else "this generator is not conditional"
        )
        raise UsageError(f"--digit {options.digit}: {known}")
    draws = torch.Generator(runtime.device).manual_seed(options.seed)
    rows = -(-options.n // 8)
    noise = torch.randn(
        rows + 1 if options.interpolate else options.n,
        generator.latent_size,
        generator=draws,
        device=runtime.device,
    )
    noise = walk(noise) if options.interpolate else noise
    labels = None
    if generator.classes:
        turn = torch.arange(len(noise), device=runtime.device)
        labels = (turn // 8 if options.interpolate else turn) % generator.classes
        labels = torch.full_like(labels, options.digit) if options.digit is not None else labels
    images = generate(generator, noise, labels)
    write_sheet(images, 8 if options.interpolate else int(np.ceil(options.n**0.5)), options.output)
    with Image.open(options.output) as sheet:
        enlarged = sheet.resize([4 * side for side in sheet.size], Image.Resampling.NEAREST)
    enlarged.save(options.output)
    if options.array:
        options.array.parent.mkdir(parents=True, exist_ok=True)
        named = labels if labels is not None else torch.full((len(images),), -1)
        np.savez_compressed(options.array, images=images.cpu().numpy(), labels=named.cpu().numpy())
    print(f"{len(images)} samples: {options.output}{f' and {options.array}' if options.array else ''}")
    return images.cpu().numpy()


if __name__ == "__main__":
    command(main, Options, __doc__)
