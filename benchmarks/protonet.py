"""Seconds per training episode: ours against a plain implementation of the same mathematics, in one run.

    python benchmarks/protonet.py [--way 60 --shot 5 --query 5] [--device cuda --compile]

The plain version is what the popular ports do: NCHW fp32, ReLU before the pool, a Python loop over classes to
choose the drawings and to average the prototypes, embeddings moved to the CPU for the loss, loss and accuracy
read at every step. All versions start from the same weights and see the same episodes.
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
from torch import Tensor, nn

from benchmarks.race import RaceOptions, in_modes, replays, run
from common.cli import command
from common.replay import Replayed
from common.runtime import Runtime, start
from q2_protonet.omniglot_dataset import Characters, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.splits import DataOptions, load
from q2_protonet.train import train_step


@dataclass
class Options(RaceOptions):
    """Time training episodes."""

    way: int = 60  # classes per episode
    shot: int = 5  # support drawings per class
    query: int = 5  # query drawings per class
    steps: int = 20  # timed episodes of each version, ten times as many on a GPU


def episodes(part: Characters, options: Options) -> Iterator[tuple[Tensor, Tensor]]:
    """Classes (way, 1) and drawings (way, shot + query) of one episode after another, always the same."""
    generator = torch.Generator(part.images.device).manual_seed(options.seed)
    sampler = PrototypicalBatchSampler(part, options.way, options.shot, options.query, generator)
    while True:
        (classes,), (drawings,) = sampler.sample(1)
        yield classes, drawings


def plain(part: Characters, runtime: Runtime, options: Options) -> Iterator[float]:
    """Trains on one episode at every next()."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(b.conv, b.norm, nn.ReLU(), nn.MaxPool2d(2)) for b in ProtoNet().blocks]
    model = nn.Sequential(*blocks, nn.Flatten()).to(runtime.device, memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, foreach=False)
    images = (part.images.float() / 255).unsqueeze(2).cpu()  # the whole data set as fp32 on the CPU
    for classes, drawings in episodes(part, options):
        batch = torch.cat([images[c][d] for c, d in zip(classes.flatten().tolist(), drawings.cpu())])
        output = model(batch.to(runtime.device)).cpu()
        per_class = output.view(len(classes), -1, output.shape[-1])
        prototypes = torch.stack([per_class[c][: options.shot].mean(0) for c in range(len(classes))])
        losses, right = [], []
        for c in range(len(classes)):
            differences = per_class[c][options.shot :].unsqueeze(1) - prototypes.unsqueeze(0)
            scores = F.log_softmax(-torch.pow(differences, 2).sum(2), dim=1)
            losses.append(-scores[:, c])
            right.append(scores.argmax(1) == c)
        loss = torch.cat(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        torch.cat(right).float().mean().item()
        yield loss.item()


def ours(part: Characters, runtime: Runtime, options: Options, precision: str, mode: str) -> Iterator[Tensor]:
    """Trains on one episode at every next(), as train.py does."""
    torch.manual_seed(0)
    model = ProtoNet().to(runtime.device)
    if mode == "compiled":
        model.compile()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    runtime = Runtime(runtime.device, precision)
    bound = partial(train_step, model, optimizer, runtime, way=options.way, shot=options.shot)
    replayed_step = Replayed(bound, [optimizer], replays(mode, runtime))
    for classes, drawings in episodes(part, options):
        loss, _ = replayed_step(prepare(part.images[classes, drawings]))  # (way * (shot + query), 1, 28, 28)
        yield loss.detach()


def main(options: Options) -> None:
    runtime = start(options)
    part = load(Path("data"), DataOptions("synthetic"))["train"].to(runtime.device)
    versions: dict[str, Iterator] = {"plain fp32": plain(part, runtime, options)}
    mine = partial(ours, part, runtime, options)
    versions |= in_modes(mine, options.compile, runtime.device)
    what = f"{options.way}-way {options.shot}-shot, {options.query} queries"
    run(what, versions, options, runtime)


if __name__ == "__main__":
    command(main, Options, __doc__)
