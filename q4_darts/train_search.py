"""Searches a cell for CIFAR-10 with DARTS (Liu et al. 2019), or with PC-DARTS (Xu et al. 2020).

python q4_darts/train_search.py
python q4_darts/train_search.py --order second
python q4_darts/train_search.py --partial_channels 4
"""

import shlex
import sys
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F
from torch import Tensor

from common import plots
from common.cli import as_smoke, at_least, command
from common.loop import Loop, split_batch
from common.provenance import script_here
from common.replay import Replayed
from common.results import read_table, share_row
from common.run import Run, RunOptions
from common.runtime import Runtime, UsageError, start
from q4_darts import architect
from q4_darts.cifar10_dataset import (
    DataOptions,
    Pictures,
    augment,
    check_class_count,
    check_data,
    load,
    search_halves,
)
from q4_darts.figures import plot_alphas, plot_cells, plot_cells_gif
from q4_darts.genotypes import NODES, Genotype, save, skip_count
from q4_darts.measures import count_parameters, predict
from q4_darts.model_search import DENSE_EARLIER, Supernet
from q4_darts.paper import PAPER, QUESTION, REPORT

STEP_COLUMNS = ("train_loss", "train_accuracy", "alpha_loss")


@dataclass
class Options(DataOptions, RunOptions):
    """Search a cell for CIFAR-10."""

    # order of the alphas' gradient; second makes a virtual step of the weights first: three times the work
    order: Literal["first", "second"] = "first"
    # PC-DARTS with 4: operations see a quarter of the channels, and edges have weights of their own
    partial_channels: int = 1
    epochs: int = 50  # passes over the half of the training pictures that the weights learn from
    # pictures of each half per step and process (0: the paper's, 64, or 256 for PC-DARTS)
    batch_size: int = 0
    init_channels: int = 16  # channels of the first cell
    layers: int = 8  # cells
    learning_rate: float = 0.0  # SGD's, at the start (0: the paper's, 0.025, or 0.1 for PC-DARTS)
    learning_rate_min: float = -1.0  # at the end of its cosine (-1: the paper's, 0.001, or 0 for PC-DARTS)
    arch_learning_rate: float = 0.0  # Adam's, for the alphas (0: the paper's, 3e-4, or 6e-4 for PC-DARTS)
    # epochs in which the alphas stay as they are (-1: the paper's, 0, or 15 of 50 for PC-DARTS)
    warm_up_epochs: int = -1
    stop_on_skips: int = 0  # stop once the normal cell has this many skip connections, 2 in DARTS+ (0: never)
    log_every: int = 50  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Checks ranges and combinations before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        channels = max(4, 2 * options.partial_channels)
        tiny = {"epochs": 2, "init_channels": channels, "layers": 3, "batch_size": 64, "train_pictures": 256}
        options = as_smoke(options, run_name="smoke-search", log_every=2, **tiny)
    check_data(options)
    at_least(1, options, "epochs", "partial_channels", "init_channels", "log_every")
    at_least(3, options, "layers")
    at_least(0, options, "batch_size", "learning_rate", "arch_learning_rate", "stop_on_skips")
    at_least(-1, options, "warm_up_epochs")
    one_in = options.partial_channels
    if options.init_channels % (2 * one_in):
        needed = f"a multiple of {2 * one_in} with --partial_channels {one_in}"
        raise UsageError(f"--init_channels must be {needed}, not {options.init_channels}")
    if options.warm_up_epochs >= options.epochs:
        left = f"none of the {options.epochs} epochs for the alphas"
        raise UsageError(f"--warm_up_epochs {options.warm_up_epochs} leaves {left}")
    names = ("batch_size", "learning_rate", "learning_rate_min", "arch_learning_rate")
    paper = dict(zip(names, (64, 0.025, 0.001, 3e-4) if one_in == 1 else (256, 0.1, 0.0, 6e-4)))
    paper = {name: value for name, value in paper.items() if getattr(options, name) == getattr(Options, name)}
    if options.warm_up_epochs < 0:
        paper["warm_up_epochs"] = 3 * options.epochs // 10 if one_in > 1 else 0
    name = f"search-{options.dataset}-{options.order}-{options.epochs}"
    name += f"-pc{one_in}" if one_in > 1 else ""
    options = replace(options, run_name=options.run_name or name, **paper)
    low, high = options.learning_rate_min, options.learning_rate
    if not 0 <= low <= high < float("inf"):
        raise UsageError(f"--learning_rate_min {low} must lie between 0 and --learning_rate {high}")
    return options


def search_step(
    model: Supernet,
    optimizer: torch.optim.SGD,
    optimizer_a: torch.optim.Adam,
    batch: tuple[Tensor, Tensor],
    batch_a: tuple[Tensor, Tensor] | None,
    runtime: Runtime,
    order: str = "first",
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One step of the search (Liu et al. 2019, algorithm 1): first the alphas, then the weights.

    Args:
        batch: normalised pictures (n, 3, h, w) and labels (n,) of the weights' half.
        batch_a: the same from the alphas' half; None leaves the alphas as they are (warm-up).
        order: of the alphas' gradient, "first" or "second".

    Returns:
        Loss and accuracy on `batch` before the weights' step; the loss on `batch_a` that the alphas descend.
    """

    def loss_on(x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(model(x).float(), y)

    alpha_loss = None
    if batch_a is not None:  # step 1: alphas, by the gradient of L_val(w - xi dL_train/dw, alpha)
        losses = partial(loss_on, *batch), partial(loss_on, *batch_a)
        how = {"autocast": runtime.autocast, "mean": runtime.means}
        if order == "first":  # xi = 0
            alpha_loss = architect.first_order(model, losses[1], **how)
        else:
            alpha_loss = architect.second_order(model, optimizer, *losses, **how)
        optimizer_a.step()

    x, y = batch  # step 2: weights, by the gradient of L_train(w, alpha)
    weights = optimizer.param_groups[0]["params"]
    with runtime.autocast():  # each process normalises its own batch; rank 0's running statistics are kept
        logits = model(x)  # (n, classes)
    loss = F.cross_entropy(logits.float(), y)
    optimizer.zero_grad()
    loss.backward(inputs=weights)
    runtime.average_gradients(model)
    torch.nn.utils.clip_grad_norm_(weights, 5)
    optimizer.step()
    return loss, (logits.argmax(1) == y).float().mean(), alpha_loss


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root, options.dataset):
        train = load(options.data_root, options, options.seed)["train"].to(device)
    check_class_count(train)
    half, half_a = search_halves(train)  # the weights' and the alphas'
    steps, global_batch, mine = split_batch(len(half), options.batch_size, runtime)

    architecture = {"channels": options.init_channels, "layers": options.layers}
    architecture |= {"classes": len(train.names), "partial": options.partial_channels}
    model = Supernet(**architecture).to(device)
    sgd = {"lr": options.learning_rate, "momentum": 0.9, "weight_decay": 3e-4, "fused": True}
    adam = {"lr": options.arch_learning_rate, "betas": (0.5, 0.999), "weight_decay": 1e-3, "fused": True}
    optimizer = torch.optim.SGD(model.weights(), **sgd)
    optimizer_a = torch.optim.Adam(model.architecture(), **adam)
    if options.compile:
        model.compile()
    bound = partial(search_step, model, optimizer, optimizer_a, runtime=runtime, order=options.order)
    replayed_step = Replayed(bound, [optimizer, optimizer_a], options.replays(runtime))
    draws = torch.Generator(device).manual_seed(options.seed)
    state = {"model": model, "optimizer": optimizer, "optimizer_a": optimizer_a, "draws": draws}

    data = {"pictures": [len(half), len(half_a)], "sha256": train.fingerprint()}
    data["jpeg"] = options.dataset == "cifar10_images"
    facts = {"data": data, "parameters": count_parameters(model)}
    facts |= {"classes": train.names, "depth": train.depth}

    def draw_batch(pictures: Pictures, index: Tensor) -> tuple[Tensor, Tensor]:
        """Augmented as a whole and then sliced, so that any number of processes draws the same."""
        return augment(pictures.images[index], draws)[mine], pictures.labels[index][mine]

    with Run(QUESTION, options, runtime, architecture, fixed_epochs=True, **facts) as run:
        run.start_from({"model": model}, remade=("score.",))
        loop = Loop(run, state, steps, STEP_COLUMNS, options.log_every, dense_up_to=None)
        if loop.at.dense_up_to is None:  # a new run, or one that an earlier version began
            began = loop.at.epoch > 1 or loop.at.step
            loop.at.dense_up_to = DENSE_EARLIER if began else model.best_dense()
        model.run_dense(loop.at.dense_up_to)
        what = f"{facts['parameters']:,} weights, twice {len(half):,} pictures of {options.dataset}"
        run.log(f"{run.folder}: {what}, {loop.where}")
        for epoch in loop.epochs(options.epochs):
            low, high = options.learning_rate_min, options.learning_rate
            rate = low + (high - low) * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            searching = epoch > options.warm_up_epochs
            order, order_a = loop.shuffle(options.seed, len(half), len(half_a))
            model.train()
            for step in loop.steps():
                now = slice(step * global_batch, (step + 1) * global_batch)
                batch = draw_batch(half, order[now])
                batch_a = draw_batch(half_a, order_a[now]) if searching else None
                loop.record(*replayed_step(batch, batch_a))

            # The alphas' half is cropped and mirrored in its measurement too, as in the published code.
            logits = predict(model, half_a.images, runtime, torch.Generator(device).manual_seed(epoch))
            mixing, genotype = model.alphas.detach().softmax(-1), model.genotype()  # mixing: (2, 14, 8)
            skips, means = skip_count(genotype), loop.means()
            entropy = torch.special.entr(mixing).sum(-1).mean(1).tolist()  # in nats, at most log 8
            accuracy = (logits.argmax(1) == half_a.labels).float().mean()
            row = {"epoch": epoch, "train_loss": means["train_loss"]}
            row |= {"validation_loss": F.cross_entropy(logits, half_a.labels).item()}
            row |= {"train_accuracy": means["train_accuracy"], "validation_accuracy": accuracy.item()}
            row |= {"learning_rate": rate, "skip_connections": skips}
            row |= {"entropy_normal": entropy[0], "entropy_reduce": entropy[1]}
            run.write_epoch(row)
            if run.writing:
                (run.folder / "genotypes").mkdir(exist_ok=True)
                edges = model.mixing()[1].tolist()  # (2, 14)
                for name in (f"genotypes/epoch_{epoch:03d}.json", "genotype.json"):
                    save(genotype, run.folder / name, epoch=epoch, weights=mixing.tolist(), edges=edges)
            if searching and skips >= NODES:
                collapse = "the known collapse of the search; --stop_on_skips 2 stops before it"
                run.log(f"warning: {skips} of the normal cell's edges are skip connections, {collapse}")
            loop.at.ended = runtime.on_any_rank(searching and 0 < options.stop_on_skips <= skips)
        return finish(run, loop, options, model.genotype(), facts) if run.writing else {}


def finish(run: Run, loop: Loop, options: Options, genotype: Genotype, facts: dict) -> dict:
    """Writes results.json and the figures of a finished search, from what its folder holds."""
    last = {name: values[-1] for name, values in read_table(run.folder / "metrics.csv").items()}
    epoch, skips = int(last["epoch"]), int(last["skip_connections"])
    if loop.at.ended:
        run.log(f"stopped after epoch {epoch}: {skips} skip connections in the normal cell (--stop_on_skips)")
    one_in = options.partial_channels
    kind = "DARTS search" if one_in == 1 else f"PC-DARTS search on 1/{one_in} of the channels"
    title = f"{kind}, {options.order} order, {options.dataset}, seed {options.seed}"
    real = options.dataset.startswith("cifar10")
    beside = {"paper": PAPER["supernet"], "report": REPORT["supernet"]} if real else {}
    count = facts["data"]["pictures"][1]  # of the alphas' half
    right = round(last["validation_accuracy"] * count)
    rows = [share_row(f"supernet on the alphas' half, epoch {epoch}", right, count, **beside)]
    row = {"name": "skip connections in the normal cell", "value": skips, "unit": f"of {2 * NODES} edges"}
    rows.append(row | {"count": f"epoch {epoch}"})
    results = {"title": title, "rows": rows, "epochs": epoch, "genotype": genotype._asdict(), **facts}
    plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title)
    plots.save(plot_cells(genotype, f"{title}, after epoch {epoch}"), run.figures / "cells.png")
    plot_cells_gif(run.folder, run.figures / "cells.gif")
    plot_alphas(run.folder, run.figures / "alphas.png", title)
    run.finish(results)
    words = ["python", script_here("q4_darts/train.py"), "--genotype", str(run.folder / "genotype.json")]
    words += ["--dataset", options.dataset] if options.dataset != "cifar10" else []
    if options.folder:
        words += ["--folder", str(options.folder), "--image_size", str(options.image_size)]
    print(f"Train it from scratch with:\n    {shlex.join(words)}")
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
