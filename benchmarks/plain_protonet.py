"""A training episode of a prototypical network as the popular ports write it, and its race against ours.

The plain version is in NCHW and fp32, with ReLU before the pool. A Python loop over classes chooses the
drawings and averages the prototypes, embeddings are moved to the CPU for the loss, and loss and accuracy are
read at every step. All versions start from the same weights and see the same episodes.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.options import ProtonetOptions
from benchmarks.versions import Fast, Setup, in_modes
from common.device import Runtime
from q2_protonet.omniglot_dataset import Characters, load, prepare
from q2_protonet.options import DataOptions, TrainOptions
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.train import build, train_step


def plain_network(model: ProtoNet) -> nn.Sequential:
    """Returns a network with the layers of ours, in the order of the paper and in NCHW."""
    blocks = [nn.Sequential(each.conv, each.norm, nn.ReLU(), nn.MaxPool2d(2)) for each in model.blocks]
    return nn.Sequential(*blocks, nn.Flatten()).to(memory_format=torch.contiguous_format)


def plain_step(
    model: nn.Module, optimizer: Optimizer, images: Tensor, way: int, shot: int
) -> tuple[float, float]:
    """Trains on one episode and returns its loss and accuracy.

    Args:
        images: (way * (shot + query), 1, 28, 28), class by class, the support of each class first.
    """
    output = model(images).cpu()
    per_class = output.view(way, -1, output.shape[-1])  # (way, shot + query, d)
    prototypes = torch.stack([per_class[c][:shot].mean(0) for c in range(way)])
    losses = []
    right = []
    for c in range(way):
        differences = per_class[c][shot:].unsqueeze(1) - prototypes.unsqueeze(0)  # (query, way, d)
        scores = F.log_softmax(-torch.pow(differences, 2).sum(2), dim=1)
        losses.append(-scores[:, c])
        right.append(scores.argmax(1) == c)
    loss = torch.cat(losses).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), torch.cat(right).float().mean().item()


def plain(part: Characters, options: ProtonetOptions, runtime: Runtime) -> Iterator[tuple[float, float]]:
    """Trains on one episode at every next()."""
    torch.manual_seed(0)
    model = plain_network(ProtoNet()).to(runtime.device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, foreach=False)
    images = (part.images.float() / 255).unsqueeze(2).cpu()  # the whole data set as fp32 on the CPU
    for classes, drawings in episodes(part, options):
        chosen = zip(classes.flatten().tolist(), drawings.cpu())
        batch = torch.cat([images[c][of_class] for c, of_class in chosen])
        yield plain_step(model, optimizer, batch.to(runtime.device), options.way, options.shot)


def fast(part: Characters, options: ProtonetOptions, runtime: Runtime, **training: object) -> Fast:
    """Builds our version, as train.py does."""
    train_options = TrainOptions(**training)
    learner = build(train_options, runtime)
    step = partial(
        train_step,
        learner.model,
        learner.optimizer,
        way=options.way,
        shot=options.shot,
        in_turn=False,
        runtime=runtime,
    )
    batches = ((prepare(part.images[classes, drawings]),) for classes, drawings in episodes(part, options))
    return Fast(train_options, [learner.optimizer], step, batches)


def episodes(part: Characters, options: ProtonetOptions) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields classes (way, 1) and drawings (way, shot + query) of episodes, always the same ones."""
    draws = torch.Generator(part.images.device).manual_seed(0)
    sampler = PrototypicalBatchSampler(part, options.way, options.shot, options.query, draws)
    while True:
        [classes], [drawings] = sampler.sample(1)
        yield classes, drawings


def set_up(options: ProtonetOptions, runtime: Runtime) -> Setup:
    """Draws the data and names the versions."""
    part = load(Path("data"), DataOptions(dataset="synthetic"))["train"].to(runtime.device)
    versions = {"plain fp32": plain(part, options, runtime)}
    versions |= in_modes(partial(fast, part, options), options.compile, runtime)
    return Setup(f"{options.way}-way {options.shot}-shot, {options.query} queries", versions)
