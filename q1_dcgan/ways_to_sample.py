"""Compares ways of drawing samples from one conditional generator by the paper's nearest-neighbour error.

python q1_dcgan/ways_to_sample.py                                  # on training digits, for a choice
python q1_dcgan/ways_to_sample.py --ways plain sobol --part test   # once, with what was chosen

A way changes the latents or what BatchNorm divides by, never the weights.
"""

import sys
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q1_dcgan.options import WaysOptions as Options
from q1_dcgan.options import resolve_ways as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import torch
from torch import Tensor, nn
from torch.quasirandom import SobolEngine
from tqdm import tqdm

from common.device import Runtime, start
from common.errors import UsageError
from common.labelled_images import LabelledImages
from q1_dcgan.dcgan import Generator
from q1_dcgan.measures import neighbour_errors
from q1_dcgan.mnist_dataset import load
from q1_dcgan.options import DataOptions
from q1_dcgan.painter import Painter, generate

HELD_OUT = 10_000  # training digits on which a way is chosen


def main(options: Options) -> dict[str, list[float]]:
    options = resolve(options)
    runtime = start(options)
    painter = Painter.load(options.checkpoint, runtime)
    if not painter.classes or painter.options["dataset"] != "mnist":
        raise UsageError("this needs a conditional generator of MNIST, such as dcgan-conditional")
    asked = asked_pictures(options, runtime)

    errors: dict[str, list[float]] = {}
    runs = [(way, seed) for way in options.ways for seed in options.seeds]
    for way, seed in tqdm(runs, desc="ways", disable=None):
        known = draw(painter, way, options.samples, seed)
        errors.setdefault(way, []).append(100 * neighbour_errors(known, asked) / len(asked))

    known_and_asked = f"{options.samples:,} samples known, {len(asked):,} {options.part} digits"
    print(f"nearest-neighbour error in %, {known_and_asked}")
    for way, values in errors.items():
        by_seed = ", ".join(f"{value:.2f}" for value in values)
        print(f"{way:18}{sum(values) / len(values):6.2f}   by seed: {by_seed}")
    return errors


def asked_pictures(options: Options, runtime: Runtime) -> LabelledImages:
    """Returns the digits that the nearest-neighbour classifier is asked for."""
    data = DataOptions(dataset="mnist")
    with runtime.one_first(options.data_root, data.dataset):
        parts = load(options.data_root, data, 0, runtime.device)
    return parts["test"] if options.part == "test" else parts["train"][-HELD_OUT:]


def draw(painter: Painter, way: str, count: int, seed: int) -> LabelledImages:
    """Draws samples, the classes in turn, in one of the ways of `Way`."""
    generator = painter.generator
    labels = painter.labels(count)
    noise = latents(way, count, generator, seed).to(painter.device)
    batch = 1000
    if way == "batch-statistics":
        generator = with_batch_statistics(generator)
        batch = painter.options["batch_size"]
    return LabelledImages(generate(generator, noise, labels, batch), labels, painter.classes)


def latents(way: str, count: int, generator: Generator, seed: int) -> Tensor:
    """Returns the latents (count, latent_size) of a way, for labels that take turns."""
    size = generator.latent_size
    if way == "sobol":
        return sobol_latents(count, size, generator.classes, seed)
    noise = torch.randn(count, size, generator=torch.Generator().manual_seed(seed + 10**6))
    if way == "sphere":  # all of the length that Gaussian noise has on average
        return noise / noise.norm(dim=1, keepdim=True) * size**0.5
    if way.startswith("radius-"):
        return noise * float(way.removeprefix("radius-"))
    return noise


def sobol_latents(count: int, size: int, classes: int, seed: int) -> Tensor:
    """Returns Gaussian latents (count, size) from a scrambled Sobol sequence of its own for each class.

    Owen 1998: they fill the cube more evenly than random points do; the quantile function makes them normal.
    """
    noise = torch.empty(count, size)
    for label in range(classes):
        mine = noise[label::classes]
        engine = SobolEngine(size, scramble=True, seed=classes * seed + label)
        cube = engine.draw(len(mine), dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        mine.copy_(torch.special.ndtri(cube))
    return noise


def with_batch_statistics(generator: Generator) -> Generator:
    """Returns a copy whose BatchNorm takes each batch's own mean and variance, as in training."""
    copied = deepcopy(generator)
    for module in copied.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
            module.running_mean = module.running_var = None
    return copied


if __name__ == "__main__":
    cli.run(main, options)
