"""Searches a cell for CIFAR-10 with DARTS (Liu et al. 2019), or with PC-DARTS (Xu et al. 2020).

python q4_darts/train_search.py
python q4_darts/train_search.py --order second
python q4_darts/train_search.py --partial_channels 4
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q4_darts.options import QUESTION
from q4_darts.options import SearchOptions as Options
from q4_darts.options import resolve_search as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import shlex
from dataclasses import dataclass
from functools import partial
from math import cos, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from common.batches import Batches, split_batch
from common.device import Runtime, start
from common.provenance import script_here
from common.replay import Replayed, replays
from common.rows import read_table
from common.statistics import share_row
from common.training import Training
from q4_darts import architect
from q4_darts.cifar10_dataset import Halves, draw_batch, load, search_halves
from q4_darts.figures import draw_search, search_title
from q4_darts.genotypes import NODES
from q4_darts.measures import count_parameters, save_cell, search_row
from q4_darts.model_search import Supernet
from q4_darts.paper import PAPER, REPORT, SKIPS, SUPERNET

STEP_COLUMNS = ("train_loss", "train_accuracy", "alpha_loss")
Optimizers = tuple[torch.optim.SGD, torch.optim.Adam]  # of the weights and of the alphas
Batch = tuple[Tensor, Tensor]  # normalised pictures (n, 3, h, w) and their labels (n,)


@dataclass
class Search:
    """The supernet with its two optimisers, and all that a resumed run needs of them."""

    model: Supernet
    optimizer: torch.optim.SGD
    optimizer_a: torch.optim.Adam
    draws: torch.Generator
    architecture: dict


def build(classes: int, options: Options, runtime: Runtime) -> Search:
    """Builds the supernet, the optimisers of weights and alphas, and the generator of all random draws."""
    architecture = {
        "channels": options.init_channels,
        "layers": options.layers,
        "classes": classes,
        "partial": options.partial_channels,
    }
    model = Supernet(**architecture).to(runtime.device)
    optimizer = torch.optim.SGD(
        model.weights(), options.learning_rate, momentum=0.9, weight_decay=3e-4, fused=True
    )
    optimizer_a = torch.optim.Adam(
        model.architecture(), options.arch_learning_rate, (0.5, 0.999), weight_decay=1e-3, fused=True
    )
    draws = torch.Generator(runtime.device).manual_seed(options.seed)
    return Search(model, optimizer, optimizer_a, draws, architecture)


def train_step(
    model: Supernet, optimizers: Optimizers, batch: Batch, batch_a: Batch | None, order: str, runtime: Runtime
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Takes one step of the search (Liu et al. 2019, algorithm 1): first the alphas, then the weights.

    Args:
        optimizers: of the weights and of the alphas.
        batch: of the weights' half.
        batch_a: of the alphas' half; None leaves the alphas as they are (warm-up).
        order: of the alphas' gradient, "first" or "second".

    Returns:
        Loss and accuracy on `batch` before the weights' step; the loss on `batch_a` that the alphas descend.
    """
    optimizer, optimizer_a = optimizers

    def loss_on(images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(images).float(), labels)

    # Step 1: alphas, by the gradient of L_val(w - xi dL_train/dw, alpha).
    alpha_loss = None
    if batch_a is not None:
        train_loss = partial(loss_on, *batch)
        validation_loss = partial(loss_on, *batch_a)
        how = {"autocast": runtime.autocast, "mean": runtime.means}
        if order == "first":  # xi = 0
            alpha_loss = architect.first_order(model, validation_loss, **how)
        else:
            alpha_loss = architect.second_order(model, optimizer, train_loss, validation_loss, **how)
        optimizer_a.step()

    # Step 2: weights, by the gradient of L_train(w, alpha).
    images, labels = batch
    weights = optimizer.param_groups[0]["params"]
    with runtime.autocast():  # each process normalises its own batch; rank 0's running statistics are kept
        logits = model(images)  # (n, classes)
    loss = F.cross_entropy(logits.float(), labels)
    optimizer.zero_grad()
    loss.backward(inputs=weights)
    runtime.average_gradients(model)
    torch.nn.utils.clip_grad_norm_(weights, 5)
    optimizer.step()
    return loss, (logits.argmax(1) == labels).float().mean(), alpha_loss


def train(training: Training, search: Search, halves: Halves, batches: Batches, options: Options) -> None:
    """Searches for all epochs, or until --stop_on_skips, and writes each epoch's cell."""
    model = search.model
    optimizers = search.optimizer, search.optimizer_a
    model.run_dense(training.position.dense_up_to)
    if options.compile:
        model.compile()
    step_once = partial(train_step, model, optimizers, order=options.order, runtime=training.runtime)
    replayed_step = Replayed(step_once, optimizers, replays(options, training.runtime))

    low = options.learning_rate_min
    high = options.learning_rate
    for epoch in training.epochs(options.epochs):
        rate = low + (high - low) * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
        search.optimizer.param_groups[0]["lr"] = rate
        searching = epoch > options.warm_up_epochs
        order, order_a = training.shuffle(len(halves.weights), len(halves.alphas))
        model.train()
        for step in training.steps(batches.steps, STEP_COLUMNS):
            batch = draw_batch(halves.weights, batches.of(order, step), batches.own, search.draws)
            batch_a = None
            if searching:
                batch_a = draw_batch(halves.alphas, batches.of(order_a, step), batches.own, search.draws)
            training.record(*replayed_step(batch, batch_a))

        # The epoch's row and its cell.
        row = search_row(epoch, model, halves.alphas, training.means(), rate)
        training.write_epoch(row)
        if training.writing:
            save_cell(model, training.folder, epoch)

        # The known collapse of the search.
        skips = row["skip_connections"]
        if searching and skips >= NODES:
            training.log(
                f"warning: {skips} of the normal cell's edges are skip connections, the known collapse of "
                "the search; --stop_on_skips 2 stops before it"
            )
        training.position.ended = training.runtime.on_any_rank(
            searching and 0 < options.stop_on_skips <= skips
        )


def finish(training: Training, search: Search, options: Options) -> dict:
    """Writes results.json and the figures of a finished search, from the files in its folder."""
    if not training.writing:
        return {}
    last = {name: values[-1] for name, values in read_table(training.folder / "metrics.csv").items()}
    epoch = int(last["epoch"])
    skips = int(last["skip_connections"])
    if training.position.ended:
        training.log(
            f"stopped after epoch {epoch}: {skips} skip connections in the normal cell (--stop_on_skips)"
        )

    # Rows.
    count = training.facts["data"]["pictures"][1]  # of the alphas' half
    right = round(last["validation_accuracy"] * count)
    beside = {}
    if options.dataset.startswith("cifar10"):
        beside = {"paper": PAPER["supernet"], "report": REPORT["supernet"]}
    accuracy = share_row(f"{SUPERNET}, epoch {epoch}", right, count, **beside)
    collapse = {"name": SKIPS, "value": skips, "unit": f"of {2 * NODES} edges", "count": f"epoch {epoch}"}

    # Figures.
    title = search_title(options.partial_channels, options.order, options.dataset, options.seed)
    genotype = search.model.genotype()
    draw_search(training.folder, training.figures, genotype, epoch, f"{options.run_name}: {title}")

    results = training.finish(
        {
            "title": title,
            "rows": [accuracy, collapse],
            "epochs": epoch,
            "genotype": genotype._asdict(),
            **training.facts,
        }
    )

    # The next command.
    words = ["python", script_here("q4_darts/train.py")]
    words += ["--genotype", str(training.folder / "genotype.json")]
    if options.dataset != "cifar10":
        words += ["--dataset", options.dataset]
    if options.folder:
        words += ["--folder", str(options.folder), "--image_size", str(options.image_size)]
    print(f"Train it from scratch with:\n    {shlex.join(words)}")
    return results


def main(options: Options) -> dict:
    options = resolve(options)
    runtime = start(options)

    # Data: uint8 on the device, one half for the weights and one for the alphas.
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    images = parts["train"].to(runtime.device)
    halves = search_halves(images)
    batches = split_batch(len(halves.weights), options.batch_size, runtime)

    # The supernet and what a resumed run needs of it.
    search = build(len(images.names), options, runtime)
    facts = {
        "data": {
            "pictures": [len(half) for half in halves],
            "sha256": images.fingerprint(),
            "jpeg": options.dataset == "cifar10_images",
        },
        "parameters": count_parameters(search.model),
        "classes": images.names,
        "depth": images.depth,
    }

    # Search; the training loads, saves, records and stops. A resumed run keeps its dense convolutions.
    position = {"dense_up_to": search.model.best_dense()}
    with Training(QUESTION, options, runtime, search, facts, remade=("score.",), **position) as training:
        training.log(
            f"{training.folder}: {facts['parameters']:,} weights, twice {len(halves.weights):,} pictures of "
            f"{options.dataset}, {training.where}"
        )
        train(training, search, halves, batches, options)
        return finish(training, search, options)


if __name__ == "__main__":
    cli.run(main, options)
