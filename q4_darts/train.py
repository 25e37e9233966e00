"""Trains the network of a genotype on CIFAR-10 and tests it once, at the end (Liu et al. 2019, appendix A.2).

python q4_darts/train.py --genotype logs/q4_darts/RUN/genotype.json
python q4_darts/train.py --genotype DARTS_V2
python q4_darts/train.py --genotype random:0    # the control
"""

import sys
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import plots
from common.cli import above, as_smoke, at_least, command
from common.loop import Loop, split_batch
from common.replay import Replayed
from common.run import Run, RunOptions
from common.runtime import Runtime, UsageError, start
from q4_darts.cifar10_dataset import DataOptions, Pictures, augment, check_class_count, check_data, load
from q4_darts.figures import plot_cells
from q4_darts.genotypes import read, short_name
from q4_darts.measures import accuracy_row, count_parameters, multiply_adds, predict
from q4_darts.model import Network, draw_keep
from q4_darts.paper import PAPER, QUESTION

STEP_COLUMNS = ("train_loss", "train_accuracy")


@dataclass
class Options(DataOptions, RunOptions):
    """Train the network of a genotype from scratch."""

    # a genotype.json, DARTS_V1, DARTS_V2, PC_DARTS, random:SEED, or Genotype(...) as published code prints it
    genotype: str = "DARTS_V2"
    epochs: int = 600  # passes over all training pictures
    batch_size: int = 96  # pictures per step and process
    init_channels: int = 36  # channels of the first cell
    layers: int = 20  # cells
    learning_rate: float = 0.025  # SGD's, at the start; a cosine takes it to 0
    cutout: int = 16  # side of the square that is cut out of each picture, in pixels (0: none)
    # probability that an edge's output is dropped, at the end; it grows linearly from 0
    drop_path: float = 0.2
    auxiliary: float = 0.4  # weight of the auxiliary head's loss (0: no head)
    log_every: int = 50  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Checks ranges and combinations before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {"epochs": 2, "init_channels": 4, "layers": 3, "batch_size": 64, "train_pictures": 512}
        options = as_smoke(options, run_name="smoke-train", log_every=2, **tiny)
    check_data(options)
    at_least(1, options, "epochs", "init_channels", "log_every")
    at_least(2, options, "batch_size")  # BatchNorm needs two values
    at_least(3, options, "layers")
    at_least(0, options, "cutout", "auxiliary")
    at_least(0, options, "drop_path", below=1)
    above(0, options, "learning_rate")
    if options.init_channels % 2:
        why = "a reduction computes each half by itself"
        raise UsageError(f"--init_channels must be even, not {options.init_channels}: {why}")
    name = f"train-{short_name(options.genotype).replace(':', '-')}-{options.epochs}"
    return replace(options, run_name=options.run_name or name)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    x: Tensor,
    y: Tensor,
    keep: Tensor | None,
    auxiliary: float,
    runtime: Runtime,
) -> tuple[Tensor, Tensor]:
    """One step of SGD on the network's loss and its auxiliary head's (Liu et al. 2019, appendix A.2).

    Args:
        model: a Network, also in DistributedDataParallel.
        x, y: normalised pictures (n, 3, h, w) and their labels (n,).
        keep: drop-path's factors (layers, 8, n, 1, 1, 1) from `draw_keep`; None drops nothing.
        auxiliary: weight of the auxiliary head's loss.

    Returns:
        The network's own loss and its accuracy, before the step.
    """
    with runtime.autocast():
        logits, extra = model(x, keep)  # (n, classes) each; extra is None without the head
    own = loss = F.cross_entropy(logits.float(), y)
    if extra is not None:
        loss = own + auxiliary * F.cross_entropy(extra.float(), y)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
    optimizer.step()
    return own, (logits.argmax(1) == y).float().mean()


def main(options: Options) -> dict:
    options = check(options)
    genotype = read(options.genotype)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    train, test = parts["train"].to(device), parts["test"].to(device)
    check_class_count(train)
    steps, global_batch, mine = split_batch(len(train), options.batch_size, runtime)

    architecture = {"genotype": genotype._asdict(), "channels": options.init_channels}
    architecture |= {"layers": options.layers, "classes": len(train.names)}
    architecture["auxiliary"] = options.auxiliary > 0
    model = Network(**architecture | {"genotype": genotype}).to(device)
    sgd = {"lr": options.learning_rate, "momentum": 0.9, "weight_decay": 3e-4, "fused": True}
    optimizer = torch.optim.SGD(model.parameters(), **sgd)
    # The same on all processes: each takes its part of every draw.
    draws = torch.Generator(device).manual_seed(options.seed)
    state = {"model": model, "optimizer": optimizer, "draws": draws}

    data = {"pictures": len(train), "sha256": train.fingerprint()}
    data["jpeg"] = options.dataset == "cifar10_images"
    facts = {"data": data, "parameters": count_parameters(model)}
    facts |= {"classes": train.names, "depth": train.depth}
    facts["test_data"] = {"pictures": len(test), "sha256": test.fingerprint()}
    facts["multiply_adds"] = multiply_adds(model, options.image_size, device)
    if options.compile:
        model.compile()
    parallel = runtime.parallel(model)
    bound = partial(train_step, parallel, optimizer, auxiliary=options.auxiliary, runtime=runtime)
    replayed_step = Replayed(bound, [optimizer], options.replays(runtime))

    with Run(QUESTION, options, runtime, architecture, fixed_epochs=True, **facts) as run:
        run.start_from({"model": model}, remade=("score.", "auxiliary."))
        loop = Loop(run, state, steps, STEP_COLUMNS, options.log_every)
        what = f"{facts['parameters']:,} parameters, {len(train):,} pictures of {options.dataset}"
        run.log(f"{run.folder}: {short_name(options.genotype)}, {what}, {loop.where}")
        for epoch in loop.epochs(options.epochs):
            rate = options.learning_rate * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            drop = options.drop_path * (epoch - 1) / options.epochs
            [order] = loop.shuffle(options.seed, len(train))
            model.train()
            for step in loop.steps():
                index = order[step * global_batch : (step + 1) * global_batch]
                x, y = augment(train.images[index], draws, options.cutout)[mine], train.labels[index][mine]
                keep = None
                if options.drop_path:
                    keep = draw_keep(options.layers, global_batch, drop, draws)[:, :, mine]
                loop.record(*replayed_step(x, y, keep))
            run.write_epoch({"epoch": epoch} | loop.means() | {"learning_rate": rate, "drop_path": drop})
        return finish(run, options, model, test, facts)


def finish(run: Run, options: Options, model: Network, test: Pictures, facts: dict) -> dict:
    """Tests the last epoch's weights, here and nowhere else, and writes results.json and the figures."""
    logits = predict(model, test.images, run.runtime)  # (n, classes)
    name, genotype = short_name(options.genotype), read(options.genotype)
    size = f"{options.layers} cells, {options.init_channels} channels"
    title = f"{name} on {options.dataset}, {size}, {options.epochs} epochs, seed {options.seed}"
    real = options.dataset.startswith("cifar10")
    beside = {"paper": PAPER.get(options.genotype.partition(":")[0])} if real else {}
    rows = [accuracy_row(f"test, epoch {options.epochs}", logits.argmax(1), test.labels, **beside)]
    millions = round(facts["parameters"] / 1e6, 3)
    rows.append({"name": "parameters", "value": millions, "unit": "million, without the auxiliary head"})
    results = {"title": title, "rows": rows, "epochs": options.epochs, "genotype": genotype._asdict()}
    results |= {**facts, "test_loss": F.cross_entropy(logits, test.labels).item()}
    if run.writing:
        plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title)
        plots.save(plot_cells(genotype, name), run.figures / "cells.png")
        run.finish(results)
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
