"""Searches a cell for CIFAR-10 with DARTS (Liu et al. 2019), or with PC-DARTS (Xu et al. 2020).

python q4_darts/train_search.py
python q4_darts/train_search.py --order second
python q4_darts/train_search.py --partial_channels 4
"""

import sys
from dataclasses import dataclass, replace
from math import cos, pi
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F

from common import plots
from common.cli import at_least, command
from common.results import read_table
from common.run import Run, RunOptions
from common.runtime import StopSignal, UsageError, start
from q4_darts import architect, visualize
from q4_darts.cifar10_dataset import DataOptions, augment, load, search_halves
from q4_darts.evaluate import QUESTION, accuracy_row, predict
from q4_darts.genotypes import NODES, save, skip_count
from q4_darts.model_search import Supernet

STEP_COLUMNS = ("train_loss", "train_accuracy", "alpha_loss")


@dataclass
class Options(DataOptions, RunOptions):
    """Search a cell for CIFAR-10."""

    # of the alphas' gradient; second makes a virtual step of the weights first, three times the work
    order: Literal["first", "second"] = "first"
    partial_channels: int = (
        1  # PC-DARTS with 4: operations see a 4th of the channels, and edges have weights of their own
    )
    epochs: int = 50  # passes over the half of the training pictures that the weights learn from
    batch_size: int = 0  # pictures of each half a step, and process (0: the paper's, 64, or 256 for PC-DARTS)
    init_channels: int = 16  # channels of the first cell
    layers: int = 8  # cells
    learning_rate: float = 0.0  # SGD's, at the start (0: the paper's, 0.025, or 0.1 for PC-DARTS)
    learning_rate_min: float = -1.0  # at the end of its cosine (-1: the paper's, 0.001, or 0 for PC-DARTS)
    arch_learning_rate: float = 0.0  # Adam's, of the alphas (0: the paper's, 3e-4, or 6e-4 for PC-DARTS)
    warm_up_epochs: int = (
        -1
    )  # epochs in which the alphas stay as they are (-1: the paper's, 0, or 15 of 50 for PC-DARTS)
    stop_on_skips: int = (
        0  # stop as soon as the normal cell has so many skip connections, 2 in DARTS+ (0: never)
    )
    log_every: int = 50  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        channels = max(4, 2 * options.partial_channels)
        tiny = {
            "epochs": 2,
            "init_channels": channels,
            "layers": 3,
            "batch_size": 64,
            "train_pictures": 256,
            "log_every": 2,
        }
        options = replace(options, dataset="synthetic", run_name=options.run_name or "smoke-search", **tiny)
    at_least(1, options, "epochs", "partial_channels", "init_channels", "log_every")
    at_least(3, options, "layers")
    at_least(
        0, options, "batch_size", "learning_rate", "arch_learning_rate", "train_pictures", "stop_on_skips"
    )
    at_least(-1, options, "warm_up_epochs")
    partial = options.partial_channels
    if options.init_channels % (2 * partial):
        raise UsageError(
            f"--init_channels must be a multiple of {2 * partial} with --partial_channels {partial}, not {options.init_channels}"
        )
    if options.warm_up_epochs >= options.epochs:
        raise UsageError(
            f"--warm_up_epochs {options.warm_up_epochs} leaves none of the {options.epochs} epochs for the alphas"
        )
    paper = {"batch_size": 256, "learning_rate": 0.1, "learning_rate_min": 0.0, "arch_learning_rate": 6e-4}
    if partial == 1:
        paper = {
            "batch_size": 64,
            "learning_rate": 0.025,
            "learning_rate_min": 0.001,
            "arch_learning_rate": 3e-4,
        }
    paper = {name: value for name, value in paper.items() if getattr(options, name) == getattr(Options, name)}
    warm_up = (
        options.warm_up_epochs
        if options.warm_up_epochs >= 0
        else (3 * options.epochs // 10 if partial > 1 else 0)
    )
    name = (
        f"search-{options.dataset}-{options.order}-{options.epochs}{f'-pc{partial}' if partial > 1 else ''}"
    )
    options = replace(options, warm_up_epochs=warm_up, run_name=options.run_name or name, **paper)
    if not 0 <= options.learning_rate_min <= options.learning_rate < float("inf"):
        raise UsageError(
            f"--learning_rate_min {options.learning_rate_min} must lie between 0 and --learning_rate {options.learning_rate}"
        )
    return options


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root):
        train = load(options.data_root, options, options.seed)["train"]
    train = train.to(device)
    halves = search_halves(train)
    share = (
        options.batch_size * runtime.world
    )  # pictures of each half in one step over all processes, each of which takes its slice
    mine = slice(runtime.rank * options.batch_size, (runtime.rank + 1) * options.batch_size)
    steps = len(halves[0]) // share
    if not steps:
        raise UsageError(
            f"{share} pictures a step (--batch_size) are more than the {len(halves[0])} pictures of a half"
        )

    classes = len(train.names)
    architecture = {
        "channels": options.init_channels,
        "layers": options.layers,
        "classes": classes,
        "partial": options.partial_channels,
    }
    model = Supernet(options.init_channels, options.layers, classes, options.partial_channels).to(device)
    weights, alphas = model.weights(), model.architecture()
    optimizer = torch.optim.SGD(weights, options.learning_rate, momentum=0.9, weight_decay=3e-4, fused=True)
    optimizer_a = torch.optim.Adam(
        alphas, options.arch_learning_rate, (0.5, 0.999), weight_decay=1e-3, fused=True
    )
    if options.compile:
        model.compile()
    draws = torch.Generator(device).manual_seed(options.seed)
    state = {"model": model, "optimizer": optimizer, "optimizer_a": optimizer_a, "draws": draws}

    facts = {
        "data": {
            "pictures": [len(half) for half in halves],
            "sha256": train.fingerprint(),
            "jpeg": options.dataset == "cifar10_images",
        }
    }
    facts["parameters"] = sum(weight.numel() for weight in weights)
    with (
        Run(QUESTION, options, runtime, architecture, fixed_epochs=True, **facts) as run,
        StopSignal() as stop,
    ):
        history = torch.zeros(steps, len(STEP_COLUMNS), device=device)
        position = {"epoch": 1, "step": 0, "history": history, "ended": False} | run.restore(state)
        epoch, step, history, ended = position.values()
        where = f"{runtime.device_name}, {runtime.precision}, from epoch {epoch}, step {step}"
        run.log(
            f"{run.folder}: {facts['parameters']:,} weights, twice {len(halves[0]):,} pictures of {options.dataset}, {where}"
        )
        if run.writing:
            (run.folder / "genotypes").mkdir(exist_ok=True)

        while epoch <= options.epochs and not ended:
            low, high = options.learning_rate_min, options.learning_rate
            rate = low + (high - low) * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            shuffle = torch.Generator(device).manual_seed(options.seed + 1000 * epoch)
            learning = epoch > options.warm_up_epochs  # the alphas
            orders = [torch.randperm(len(half), generator=shuffle, device=device) for half in halves]
            model.train()
            bar = run.progress(f"epoch {epoch}/{options.epochs}", steps, step, " steps")
            while step < steps:
                index, index_a = (order[step * share : (step + 1) * share] for order in orders)
                x, y = augment(halves[0].images[index], draws)[mine], halves[0].labels[index][mine]
                alpha_loss = torch.full((), torch.nan, device=device)
                if learning:  # the alphas step first, on a fresh batch of their own half
                    x_a, y_a = (
                        augment(halves[1].images[index_a], draws)[mine],
                        halves[1].labels[index_a][mine],
                    )
                    losses = [
                        lambda x=x, y=y: F.cross_entropy(model(x).float(), y) for x, y in ((x, y), (x_a, y_a))
                    ]
                    if options.order == "first":
                        alpha_loss = architect.first_order(
                            model, losses[1], runtime.autocast, mean=runtime.means
                        )
                    else:
                        alpha_loss = architect.second_order(
                            model, optimizer, *losses, runtime.autocast, mean=runtime.means
                        )
                    optimizer_a.step()
                with (
                    runtime.autocast()
                ):  # BatchNorm normalises each process's own batch; rank 0's running statistics are kept
                    logits = model(x)
                loss = F.cross_entropy(logits.float(), y)
                optimizer.zero_grad()
                loss.backward(inputs=weights)
                runtime.average_gradients(model)
                torch.nn.utils.clip_grad_norm_(weights, 5)
                optimizer.step()

                history[step] = torch.stack(
                    [loss.detach(), (logits.argmax(1) == y).float().mean(), alpha_loss]
                )
                step += 1
                bar.update()
                due = step % options.log_every == 0 or step == steps
                stopping = stop.requested if runtime.world == 1 else due and runtime.any(stop.requested)
                if due or stopping:
                    history = runtime.mean(history)  # of what is known already it is the same
                    seen = history[:step, : 3 if learning else 2]
                    if not seen.isfinite().all():
                        run.not_finite(epoch, 1 + int((~seen.isfinite().all(1)).nonzero()[0]))
                if due:
                    row = dict(
                        zip(
                            STEP_COLUMNS,
                            history[(step - 1) // options.log_every * options.log_every : step]
                            .mean(0)
                            .tolist(),
                        )
                    )
                    run.write("steps", {"step": (epoch - 1) * steps + step} | row)
                    bar.set_postfix(loss=f"{row['train_loss']:.2f}", accuracy=f"{row['train_accuracy']:.1%}")
                if stopping:
                    run.save_last(state, epoch=epoch, step=step, history=history, ended=False)
                    run.stop(epoch, step)
            bar.close()

            # As published, the half of the alphas is cropped and mirrored here too.
            logits = predict(model, halves[1].images, runtime, torch.Generator(device).manual_seed(epoch))
            right = (logits.argmax(1) == halves[1].labels).float().mean()
            mixing, genotype = model.alphas.detach().softmax(-1), model.genotype()
            skips = skip_count(genotype)
            row = {
                "epoch": epoch,
                "train_loss": history[:, 0].mean().item(),
                "validation_loss": F.cross_entropy(logits, halves[1].labels).item(),
            }
            row |= {
                "train_accuracy": history[:, 1].mean().item(),
                "validation_accuracy": right.item(),
                "learning_rate": rate,
            }
            entropy = (
                torch.special.entr(mixing).sum(-1).mean(1)
            )  # (2,), of the edges' weights in nats; log 8 = 2.08 when all are equal
            row |= {
                "skip_connections": skips,
                "entropy_normal": entropy[0].item(),
                "entropy_reduce": entropy[1].item(),
            }
            run.write("metrics", row)
            run.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))
            for path in (
                (run.folder / "genotypes" / f"epoch_{epoch:03d}.json", run.folder / "genotype.json")
                if run.writing
                else ()
            ):
                save(
                    genotype,
                    path,
                    epoch=epoch,
                    weights=mixing.cpu().tolist(),
                    edges=model.mixing()[1].tolist(),
                )
            if learning and skips >= NODES:
                run.log(
                    f"warning: {skips} of the normal cell's {2 * NODES} edges are skip connections, the known collapse of the search; "
                    "--stop_on_skips 2 stops before it, --partial_channels 4 seldom meets it"
                )
            ended = runtime.any(learning and 0 < options.stop_on_skips <= skips)
            epoch, step, history = epoch + 1, 0, torch.zeros_like(history)
            run.save_last(state, epoch=epoch, step=step, history=history, ended=ended)
            if runtime.any(stop.requested):
                run.stop(epoch, step)

        if not run.writing:
            return {}  # rank 0 writes the rest
        last = {name: values[-1] for name, values in read_table(run.folder / "metrics.csv").items()}
        epoch, skips = int(last["epoch"]), int(last["skip_connections"])
        if ended:
            run.log(
                f"stopped after epoch {epoch}: the normal cell has {skips} skip connections (--stop_on_skips)"
            )
        partial = f", 1/{options.partial_channels} of the channels" if options.partial_channels > 1 else ""
        title = f"DARTS search, {options.order} order{partial}, {options.dataset}, seed {options.seed}"
        real = options.dataset.startswith("cifar10")
        of_paper = {"paper": "88.8 to 89.1 (50 epochs)", "report": "83.81 (20 epochs)"} if real else {}
        rows = [
            accuracy_row(
                f"supernet on the alphas' half, epoch {epoch}",
                last["validation_accuracy"],
                len(halves[1]),
                **of_paper,
            )
        ]
        rows += [
            {
                "name": "skip connections in the normal cell",
                "value": skips,
                "unit": f"of {2 * NODES} edges",
                "count": f"epoch {epoch}",
            }
        ]
        results = {
            "title": title,
            "rows": rows,
            "epochs": epoch,
            "genotype": model.genotype()._asdict(),
            **facts,
        }
        plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title)
        plots.save(
            visualize.cells(model.genotype(), f"{title}, after epoch {epoch}"), run.figures / "cells.png"
        )
        visualize.draw_gif(run.folder, run.figures / "cells.gif")
        visualize.draw_alphas(run.folder, run.figures / "alphas.png", title)
        run.finish(results)
        for row in rows:
            print(f"{row['name']:52}{row['value']:>10} {row['unit']}")
        run.log(f"{title}: the genotype is in {run.folder / 'genotype.json'}, figures in {run.figures}")
        print(
            f"Train it from scratch with:\n    python q4_darts/train.py --genotype {run.folder / 'genotype.json'}"
        )
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
