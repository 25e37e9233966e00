"""Trains the network of a genotype from scratch on CIFAR-10 and tests it once, at the end (Liu et al. 2019, appendix A.2).

python q4_darts/train.py --genotype logs/q4_darts/RUN/genotype.json
python q4_darts/train.py --genotype DARTS_V2
python q4_darts/train.py --genotype random:0    # the control
"""

import sys
from dataclasses import dataclass, replace
from math import cos, pi
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F

from common import plots
from common.cli import above, at_least, command
from common.run import Run, RunOptions
from common.runtime import StopSignal, UsageError, start
from q4_darts import visualize
from q4_darts.cifar10_dataset import DataOptions, augment, load
from q4_darts.evaluate import QUESTION, accuracy_row, multiply_adds, predict
from q4_darts.genotypes import read
from q4_darts.model import Network, draw_keep

PAPER_ACCURACY = {
    "DARTS_V1": "97.00 ± 0.14",
    "DARTS_V2": "97.24 ± 0.09",
    "PC_DARTS": "97.43 ± 0.07",
    "random": "96.71 ± 0.15",
}


@dataclass
class Options(DataOptions, RunOptions):
    """Train the network of a genotype from scratch."""

    genotype: str = "DARTS_V2"  # a genotype.json, or DARTS_V1, DARTS_V2, PC_DARTS or random:SEED
    epochs: int = 600  # passes over all training pictures
    batch_size: int = 96  # pictures a step, and process
    init_channels: int = 36  # channels of the first cell
    layers: int = 20  # cells
    learning_rate: float = 0.025  # SGD's, at the start; a cosine takes it to 0
    cutout: int = 16  # side of the square that is cut out (0: none)
    drop_path: float = (
        0.2  # share of the edges' outputs that are dropped at the end; it grows linearly from 0
    )
    auxiliary: float = 0.4  # weight of the auxiliary head's loss (0: no head)
    log_every: int = 50  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {
            "epochs": 2,
            "init_channels": 4,
            "layers": 3,
            "batch_size": 64,
            "train_pictures": 512,
            "log_every": 2,
        }
        options = replace(options, dataset="synthetic", run_name=options.run_name or "smoke-train", **tiny)
    at_least(1, options, "epochs", "init_channels", "log_every")
    at_least(2, options, "batch_size")  # BatchNorm needs two values
    at_least(3, options, "layers")
    at_least(0, options, "cutout", "auxiliary", "train_pictures")
    at_least(0, options, "drop_path", below=1)
    above(0, options, "learning_rate")
    if options.init_channels % 2:
        raise UsageError(
            f"--init_channels must be even, not {options.init_channels}: reductions compute half of them twice"
        )
    return replace(
        options,
        run_name=options.run_name
        or f"train-{short_name(options.genotype).replace(':', '-')}-{options.epochs}",
    )


def short_name(genotype: str) -> str:
    """A genotype's name; for a search's genotype.json that of the run."""
    path = Path(genotype)
    return path.parent.name if path.name == "genotype.json" else path.stem


def main(options: Options) -> dict:
    options = check(options)
    genotype = read(options.genotype)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root):
        parts = load(options.data_root, options, options.seed)
    train, test = parts["train"].to(device), parts["test"].to(device)

    architecture = {
        "genotype": genotype._asdict(),
        "channels": options.init_channels,
        "layers": options.layers,
        "classes": len(train.names),
    }
    architecture |= {"auxiliary": options.auxiliary > 0}
    model = Network(**architecture | {"genotype": genotype}).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), options.learning_rate, momentum=0.9, weight_decay=3e-4, fused=True
    )
    draws = torch.Generator(device).manual_seed(
        options.seed
    )  # the same on all processes: each takes its part of every draw
    state = {"model": model, "optimizer": optimizer, "draws": draws}

    parameters = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("auxiliary"))
    facts = {
        "data": {
            "pictures": len(train),
            "sha256": train.fingerprint(),
            "jpeg": options.dataset == "cifar10_images",
        }
    }
    facts |= {"parameters": parameters, "multiply_adds": multiply_adds(model, device)}
    if options.compile:
        model.compile()
    parallel = runtime.parallel(model)
    share = options.batch_size * runtime.world  # pictures of one step over all processes
    mine = slice(runtime.rank * options.batch_size, (runtime.rank + 1) * options.batch_size)
    steps = len(train) // share
    if not steps:
        raise UsageError(f"{share} pictures a step are more than the {len(train)} training pictures")

    with (
        Run(QUESTION, options, runtime, architecture, fixed_epochs=True, **facts) as run,
        StopSignal() as stop,
    ):
        history = torch.zeros(steps, 2, device=device)
        position = {"epoch": 1, "step": 0, "history": history} | run.restore(state)
        epoch, step, history = position.values()
        where = f"{runtime.device_name}, {runtime.precision}, from epoch {epoch}, step {step}"
        run.log(
            f"{run.folder}: {options.genotype}, {parameters:,} parameters, {len(train):,} pictures of {options.dataset}, {where}"
        )

        while epoch <= options.epochs:
            rate = options.learning_rate * (1 + cos(pi * (epoch - 1) / options.epochs)) / 2
            optimizer.param_groups[0]["lr"] = rate
            drop = options.drop_path * (epoch - 1) / options.epochs
            order = torch.randperm(
                len(train),
                generator=torch.Generator(device).manual_seed(options.seed + 1000 * epoch),
                device=device,
            )
            model.train()
            bar = run.progress(f"epoch {epoch}/{options.epochs}", steps, step, " steps")
            while step < steps:
                index = order[step * share : (step + 1) * share]
                x, y = augment(train.images[index], draws, options.cutout)[mine], train.labels[index][mine]
                keep = (
                    draw_keep(options.layers, share, drop, draws)[:, :, mine] if options.drop_path else None
                )
                with runtime.autocast():
                    logits, extra = parallel(x, keep)
                loss = main_loss = F.cross_entropy(logits.float(), y)
                if extra is not None:
                    loss = main_loss + options.auxiliary * F.cross_entropy(extra.float(), y)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
                optimizer.step()

                history[step] = torch.stack([main_loss.detach(), (logits.argmax(1) == y).float().mean()])
                step += 1
                bar.update()
                due = step % options.log_every == 0 or step == steps
                stopping = stop.requested if runtime.world == 1 else due and runtime.any(stop.requested)
                if due or stopping:
                    history = runtime.mean(history)  # of what is known already it is the same
                    if not history[:step].isfinite().all():
                        run.not_finite(epoch, 1 + int((~history[:step].isfinite().all(1)).nonzero()[0]))
                if due:
                    seen = (
                        history[(step - 1) // options.log_every * options.log_every : step].mean(0).tolist()
                    )
                    run.write(
                        "steps",
                        {
                            "step": (epoch - 1) * steps + step,
                            "train_loss": seen[0],
                            "train_accuracy": seen[1],
                        },
                    )
                    bar.set_postfix(loss=f"{seen[0]:.3f}", accuracy=f"{seen[1]:.1%}")
                if stopping:
                    run.save_last(state, epoch=epoch, step=step, history=history)
                    run.stop(epoch, step)
            bar.close()

            loss, accuracy = history.mean(0).tolist()
            row = {
                "epoch": epoch,
                "train_loss": loss,
                "train_accuracy": accuracy,
                "learning_rate": rate,
                "drop_path": drop,
            }
            run.write("metrics", row)
            run.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))
            epoch, step, history = epoch + 1, 0, torch.zeros_like(history)
            run.save_last(state, epoch=epoch, step=step, history=history)
            if runtime.any(stop.requested):
                run.stop(epoch, step)

        # The test pictures are used here, once, with the weights of the last epoch.
        logits = predict(model, test.images, runtime)
        size = f"{options.layers} cells, {options.init_channels} channels"
        title = f"{short_name(options.genotype)} on {options.dataset}, {size}, {options.epochs} epochs, seed {options.seed}"
        right = (logits.argmax(1) == test.labels).double().mean().item()
        paper = (
            {"paper": PAPER_ACCURACY.get(options.genotype.partition(":")[0])}
            if options.dataset.startswith("cifar10")
            else {}
        )
        rows = [accuracy_row(f"test, epoch {options.epochs}", right, len(test), **paper)]
        rows.append(
            {
                "name": "parameters",
                "value": round(parameters / 1e6, 3),
                "unit": "million, without the auxiliary head",
            }
        )
        results = {
            "title": title,
            "rows": rows,
            "epochs": options.epochs,
            "genotype": genotype._asdict(),
            **facts,
        }
        results["test_loss"] = F.cross_entropy(logits, test.labels).item()
        if run.writing:
            plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title)
            plots.save(visualize.cells(genotype, short_name(options.genotype)), run.figures / "cells.png")
            run.finish(results)
            print(
                f"{rows[0]['name']}: {rows[0]['value']:.2f} ± {rows[0]['interval']:.2f} % of {len(test):,} pictures"
            )
            run.log(f"{title}: results in {run.folder / 'results.json'}, figures in {run.figures}")
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
