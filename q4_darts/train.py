"""Trains the network of a genotype on CIFAR-10 and tests it once, at the end (Liu et al. 2019, appendix A.2).

python q4_darts/train.py --genotype logs/q4_darts/RUN/genotype.json
python q4_darts/train.py --genotype DARTS_V2
python q4_darts/train.py --genotype random:0    # the control
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q4_darts.options import QUESTION
from q4_darts.options import TrainOptions as Options
from q4_darts.options import resolve_training as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from dataclasses import dataclass
from functools import partial
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.batches import Batches, split_batch
from common.device import Runtime, start
from common.labelled_images import LabelledImages
from common.replay import Replayed, replays
from common.training import Training
from q4_darts.cifar10_dataset import count_shared, draw_batch, load, warn_of_shared
from q4_darts.figures import draw_training
from q4_darts.genotype_text import read, shown_name
from q4_darts.genotypes import Genotype
from q4_darts.measures import accuracy_row, count_parameters, multiply_adds, predict
from q4_darts.model import Network, draw_keep
from q4_darts.paper import PAPER

STEP_COLUMNS = ("train_loss", "train_accuracy")


@dataclass
class Learner:
    """The network in training, and all that a resumed run needs of it."""

    model: Network
    optimizer: torch.optim.SGD
    draws: torch.Generator
    architecture: dict


def build(genotype: Genotype, classes: int, options: Options, runtime: Runtime) -> Learner:
    """Builds the network of a genotype, its optimiser, and the generator of all random draws."""
    numbers = {
        "channels": options.init_channels,
        "layers": options.layers,
        "classes": classes,
        "auxiliary": options.auxiliary > 0,
    }
    model = Network(genotype, **numbers).to(runtime.device)
    optimizer = torch.optim.SGD(
        model.parameters(), options.learning_rate, momentum=0.9, weight_decay=3e-4, fused=True
    )
    # The same on all processes: each takes its part of every draw.
    draws = torch.Generator(runtime.device).manual_seed(options.seed)
    return Learner(model, optimizer, draws, {"genotype": genotype._asdict(), **numbers})


def train_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    batch: tuple[Tensor, Tensor],
    keep: Tensor | None,
    auxiliary: float,
    runtime: Runtime,
) -> tuple[Tensor, Tensor]:
    """Takes one step of SGD on the network's loss and its auxiliary head's (Liu et al. 2019, appendix A.2).

    Args:
        model: a Network, also in DistributedDataParallel.
        batch: normalised pictures (n, 3, h, w) and their labels (n,).
        keep: drop-path's factors (layers, 8, n, 1, 1, 1) from `draw_keep`; None drops nothing.
        auxiliary: weight of the auxiliary head's loss.

    Returns:
        The network's own loss and its accuracy, before the step.
    """
    images, labels = batch
    with runtime.autocast():
        logits, extra = model(images, keep)  # (n, classes) each; extra is None without the head
    own_loss = F.cross_entropy(logits.float(), labels)
    loss = own_loss
    if extra is not None:
        loss = own_loss + auxiliary * F.cross_entropy(extra.float(), labels)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
    optimizer.step()
    return own_loss, (logits.argmax(1) == labels).float().mean()


def train(
    training: Training, learner: Learner, images: LabelledImages, batches: Batches, options: Options
) -> None:
    """Trains for all epochs; the learning rate falls and drop-path grows from epoch to epoch."""
    model = learner.model
    optimizer = learner.optimizer
    if options.compile:
        model.compile()
    step_once = partial(
        train_step,
        training.runtime.parallel(model),
        optimizer,
        auxiliary=options.auxiliary,
        runtime=training.runtime,
    )
    replayed_step = Replayed(step_once, [optimizer], replays(options, training.runtime))

    for epoch in training.epochs(options.epochs):
        rate = options.learning_rate * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
        drop_path = options.drop_path * (epoch - 1) / options.epochs
        optimizer.param_groups[0]["lr"] = rate
        [order] = training.shuffle(len(images))
        model.train()
        for step in training.steps(batches.steps, STEP_COLUMNS):
            index = batches.of(order, step)
            batch = draw_batch(images, index, batches.own, learner.draws, options.cutout)
            keep = None
            if options.drop_path:
                keep = draw_keep(options.layers, len(index), drop_path, learner.draws)[:, :, batches.own]
            training.record(*replayed_step(batch, keep))
        row = {"epoch": epoch, **training.means(), "learning_rate": rate, "drop_path": drop_path}
        training.write_epoch(row)


def finish(
    training: Training, learner: Learner, genotype: Genotype, test: LabelledImages, options: Options
) -> dict:
    """Tests the last epoch's weights, here and nowhere else, and writes results.json and the figures."""
    # Test.
    logits = predict(learner.model, test.images)  # (n, classes)
    beside = {}
    if options.dataset.startswith("cifar10"):
        beside["paper"] = PAPER.get(options.genotype.partition(":")[0])
    accuracy = accuracy_row(f"test, epoch {options.epochs}", logits.argmax(1), test.labels, **beside)
    size = {
        "name": "parameters",
        "value": round(training.facts["parameters"] / 1e6, 3),
        "unit": "million, without the auxiliary head",
    }

    # Figures.
    name = shown_name(options.genotype)
    title = (
        f"{name} on {options.dataset}, {options.layers} cells, {options.init_channels} channels, "
        f"{options.epochs} epochs, seed {options.seed}"
    )
    if training.writing:
        named = f"{options.run_name}: {title}"
        draw_training(training.folder, training.figures, genotype, name, named)

    return training.finish(
        {
            "title": title,
            "rows": [accuracy, size],
            "epochs": options.epochs,
            "genotype": genotype._asdict(),
            **training.facts,
            "test_loss": F.cross_entropy(logits, test.labels).item(),
        }
    )


def main(options: Options) -> dict:
    options = resolve(options)
    genotype = read(options.genotype)
    runtime = start(options)

    # Data: uint8 on the device.
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    shared = count_shared(parts["train"], parts["test"])
    images = parts["train"].to(runtime.device)
    test = parts["test"].to(runtime.device)
    batches = split_batch(len(images), options.batch_size, runtime)

    # The network and what a resumed run needs of it.
    learner = build(genotype, len(images.names), options, runtime)
    jpeg = options.dataset == "cifar10_images"
    facts = {
        "data": {"pictures": len(images), "sha256": images.fingerprint(), "jpeg": jpeg},
        "parameters": count_parameters(learner.model),
        "classes": images.names,
        "depth": images.depth,
        "test_data": {"pictures": len(test), "sha256": test.fingerprint()},
        "test_pictures_in_training": shared,
        "multiply_adds": multiply_adds(learner.model, options.image_size, runtime.device),
    }

    # Train and test; the training loads, saves, records and stops.
    with Training(QUESTION, options, runtime, learner, facts, remade=("score.", "auxiliary.")) as training:
        training.log(
            f"{training.folder}: {shown_name(options.genotype)}, {facts['parameters']:,} parameters, "
            f"{len(images):,} pictures of {options.dataset}, {training.where}"
        )
        if shared:
            training.log(warn_of_shared(shared, len(test)))
        train(training, learner, images, batches, options)
        return finish(training, learner, genotype, test, options)


if __name__ == "__main__":
    cli.run(main, options)
