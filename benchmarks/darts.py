"""Seconds per first-order search step of DARTS: ours against the supernet written edge by edge, in one run.

    python benchmarks/darts.py [--device cuda --second]

A step is the alphas' pass on one batch and the weights' pass on another. The plain version is the published
one: every edge runs its eight operations by itself, in NCHW and fp32 (never TF32), the alphas' pass computes
gradients of all weights too, the optimisers launch one small kernel per tensor, and losses are read with
.item() at every step. The rows below it change only memory format and precision.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F

from benchmarks.plain_supernet import PlainSupernet
from benchmarks.race import PRECISIONS, RaceOptions, in_modes, replays, run
from common.cli import command
from common.replay import Replayed
from common.runtime import Runtime, start
from q4_darts.cifar10_dataset import augment, draw_shapes
from q4_darts.model_search import Supernet
from q4_darts.train_search import search_step


@dataclass
class Options(RaceOptions):
    """Time DARTS's search steps."""

    batch_size: int = 0  # pictures of each half (0: the paper's 64 on a GPU, 16 on a CPU)
    init_channels: int = 16  # as in train_search.py
    layers: int = 8  # as in train_search.py
    steps: int = 3  # timed steps of each version, ten times as many on a GPU
    second: bool = False  # also time ours in second order
    partial_channels: bool = False  # also time PC-DARTS


def plain(
    options: Options, runtime: Runtime, memory_format: torch.memory_format, precision: str = "fp32"
) -> Iterator[float]:
    """Makes one step of the published search at every next()."""
    runtime = Runtime(runtime.device, precision)
    torch.manual_seed(0)
    model = PlainSupernet(options.init_channels, options.layers)
    model.to(runtime.device, memory_format=memory_format)
    weights = [parameter for name, parameter in model.named_parameters() if name != "alphas"]
    sgd = torch.optim.SGD(weights, 0.025, 0.9, weight_decay=3e-4, foreach=False)
    adam = torch.optim.Adam([model.alphas], 3e-4, (0.5, 0.999), weight_decay=1e-3, foreach=False)

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with runtime.autocast():
            logits = model(x.contiguous(memory_format=memory_format))
        return F.cross_entropy(logits.float(), y)

    for batch, batch_a in batches(options, runtime):
        adam.zero_grad()
        loss_of(*batch_a).backward()
        adam.step()
        sgd.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 5, foreach=False)
        sgd.step()
        yield loss.item()


def ours(
    options: Options, runtime: Runtime, precision: str, mode="replayed", order="first", one_in=1
) -> Iterator:
    """Makes one step of train_search.py at every next()."""
    torch.manual_seed(0)
    runtime = Runtime(runtime.device, precision)
    model = Supernet(options.init_channels, options.layers, partial=one_in).to(runtime.device)
    model.run_dense(model.best_dense())
    if mode == "compiled":
        model.compile()
    sgd = torch.optim.SGD(model.weights(), 0.025, 0.9, weight_decay=3e-4, fused=True)
    adam = torch.optim.Adam(model.architecture(), 3e-4, (0.5, 0.999), weight_decay=1e-3, fused=True)
    bound = partial(search_step, model, sgd, adam, runtime=runtime, order=order)
    replayed_step = Replayed(bound, [sgd, adam], replays(mode, runtime))
    for batch, batch_a in batches(options, runtime):
        yield replayed_step(batch, batch_a)


def batches(options: Options, runtime: Runtime) -> Iterator:
    """Pairs of batches of pictures and labels, without end."""
    pictures = draw_shapes(4 * options.batch_size, 0).to(runtime.device)
    draws = torch.Generator(runtime.device).manual_seed(0)
    while True:
        order = torch.randperm(len(pictures), device=runtime.device).split(options.batch_size)
        yield tuple((augment(pictures.images[index], draws), pictures.labels[index]) for index in order[:2])


def main(options: Options) -> None:
    runtime = start(options)
    options.batch_size = options.batch_size or (64 if runtime.device.type == "cuda" else 16)
    versions = {
        "plain fp32": plain(options, runtime, torch.contiguous_format),
        "plain fp32, channels_last": plain(options, runtime, torch.channels_last),
        "plain bf16, channels_last": plain(options, runtime, torch.channels_last, "bf16"),
    }
    mine = partial(ours, options, runtime)
    versions |= in_modes(mine, options.compile, runtime.device)
    if options.second:
        versions |= {f"ours {p}, second order": mine(p, order="second") for p in PRECISIONS}
    if options.partial_channels:
        versions |= {f"ours {p}, 1/4 of the channels": mine(p, one_in=4) for p in PRECISIONS}
    what = f"{options.init_channels} channels, {options.layers} cells, batch {options.batch_size}"
    run(what, versions, options, runtime)


if __name__ == "__main__":
    command(main, Options, __doc__)
