"""Trains a prototypical network (Snell et al. 2017) on episodes, keeps the best by validation, and tests it.

python q2_protonet/train.py --classes_per_it_tr 60 --num_support_tr 1 --classes_per_it_val 20 --num_support_val 1
torchrun --nproc_per_node 2 q2_protonet/train.py     # one episode a process and step, gradients averaged
"""

import copy
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common import plots
from common.cli import above, at_least, command
from common.run import Run, RunOptions
from common.runtime import StopSignal, UsageError, start
from q2_protonet.evaluate import QUESTION, describe, embed, print_table, run_episodes, test
from q2_protonet.figures import draw_episode, record_episode
from q2_protonet.omniglot_dataset import DataOptions, jitter, load, merge, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss


@dataclass
class Options(DataOptions, RunOptions):
    """Train a prototypical network on Omniglot."""

    epochs: int = 100  # epochs of `iterations` episodes
    iterations: int = 100  # training episodes an epoch
    classes_per_it_tr: int = 60  # way of the training episodes
    num_support_tr: int = 5  # shot of the training episodes
    num_query_tr: int = 5  # queries a class of the training episodes
    classes_per_it_val: int = 5  # way of the validation and test episodes
    num_support_val: int = 5  # shot of the validation and test episodes
    num_query_val: int = 15  # queries a class of the validation and test episodes
    validation_episodes: int = 100  # episodes of each validation, the same every epoch
    test_episodes: int = 1000  # episodes of the test at the end
    learning_rate: float = 1e-3  # Adam's
    lr_scheduler_step: int = 20  # epochs between reductions of the learning rate
    lr_scheduler_gamma: float = 0.5  # factor of each reduction
    hidden_channels: int = 64  # feature maps of each block
    augment: bool = False  # move each training drawing a little (turn, scale, shear, shift); not in the paper
    average_weights: float = (
        0.0  # validate and keep a moving average of the weights with this decay, e.g. 0.999; not in the paper
    )
    trainval: str = ""  # as the paper ends: train on train + validation for the best number of epochs of this finished run


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {
            "epochs": 2,
            "iterations": 5,
            "classes_per_it_tr": 20,
            "validation_episodes": 20,
            "test_episodes": 100,
        }
        options = replace(options, dataset="synthetic", run_name=options.run_name or "smoke", **tiny)
    at_least(1, options, "epochs", "iterations", "classes_per_it_tr", "num_support_tr", "num_query_tr")
    at_least(1, options, "num_support_val", "num_query_val", "validation_episodes", "lr_scheduler_step")
    at_least(2, options, "test_episodes", "classes_per_it_val", "hidden_channels")
    above(0, options, "learning_rate", "lr_scheduler_gamma")
    at_least(0, options, "average_weights", below=1)
    if options.trainval:
        finished = options.log_root / QUESTION / options.trainval / "results.json"
        if not finished.exists():
            raise UsageError(f"--trainval {options.trainval}: no finished run at {finished}")
        options = replace(options, epochs=json.loads(finished.read_text())["best_epoch"])
    data = options.split if options.dataset == "omniglot" else options.dataset
    name = f"{data}-{options.classes_per_it_tr}w{options.num_support_tr}s-{options.classes_per_it_val}w{options.num_support_val}s"
    return replace(options, run_name=options.run_name or name + ("-trainval" if options.trainval else ""))


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    with runtime.one_first(options.data_root):
        parts = load(options.data_root, options, options.seed)
    parts = {name: part.to(runtime.device) for name, part in parts.items()}
    train = merge([parts["train"], parts["validation"]]) if options.trainval else parts["train"]

    # Every random draw has its own generator: training episodes and jitter go on over the epochs (their state is in the
    # checkpoint), validation draws the same episodes each epoch.
    draws = torch.Generator(runtime.device).manual_seed(options.seed)
    moves = torch.Generator(runtime.device).manual_seed(options.seed + 1)
    sampler = PrototypicalBatchSampler(
        train.counts, options.classes_per_it_tr, options.num_support_tr, options.num_query_tr, draws
    )
    episode = options.classes_per_it_val, options.num_support_val, options.num_query_val
    validation = PrototypicalBatchSampler(
        parts["validation"].counts, *episode, torch.Generator(runtime.device)
    )
    PrototypicalBatchSampler(
        parts["test"].counts, *episode, draws
    )  # complains now rather than after the training

    model = ProtoNet(options.hidden_channels).to(runtime.device)
    untrained = copy.deepcopy(model)
    decay = options.average_weights
    average = (
        AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None
    )
    kept = average.module if average else model
    optimizer = torch.optim.Adam(model.parameters(), options.learning_rate, fused=True)
    scheduler = torch.optim.lr_scheduler.StepLR(
        optimizer, options.lr_scheduler_step, options.lr_scheduler_gamma
    )
    learner = runtime.parallel(model)
    if options.compile:
        model.compile()
    state = {
        "model": model,
        "average": average,
        "optimizer": optimizer,
        "scheduler": scheduler,
        "draws": draws,
        "moves": moves,
    }

    facts = {
        "data": {name: {"classes": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    }
    architecture = {"hidden_channels": options.hidden_channels}
    with Run(QUESTION, options, runtime, architecture, **facts) as run, StopSignal() as stop:
        history = torch.zeros(
            options.iterations, 2, device=runtime.device
        )  # loss and accuracy of each episode of the epoch
        position = {"epoch": 1, "step": 0, "best": -1.0, "best_epoch": 0, "history": history} | run.restore(
            state
        )
        epoch, step, best, best_epoch, history = position.values()
        where = f"{runtime.device_name}, {runtime.precision}, from epoch {epoch}, step {step}"
        run.log(f"{run.folder}: {len(train)} classes of {describe(options)}, {where}")

        while epoch <= options.epochs:
            model.train()
            bar = run.progress(f"epoch {epoch}/{options.epochs}", options.iterations, step, " episodes")
            while step < options.iterations:
                classes, drawings = sampler.draw(runtime.world)
                images = prepare(
                    train.images[classes[runtime.rank], drawings[runtime.rank]]
                )  # (way * (shot + query), 1, 28, 28)
                if options.augment:
                    images = jitter(images, moves, runtime.rank, runtime.world)
                with runtime.autocast():
                    embeddings = learner(images)
                loss, accuracy = prototypical_loss(embeddings.unflatten(0, (sampler.way, -1)), sampler.shot)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if average:
                    average.update_parameters(model)
                history[step] = torch.stack([loss.detach(), accuracy])
                step += 1
                bar.update()
                stopping = runtime.any(stop.requested)
                if stopping or step % 10 == 0 or step == options.iterations:
                    if not history[:step, 0].isfinite().all():
                        run.not_finite(epoch, 1 + int((~history[:step, 0].isfinite()).nonzero()[0]))
                    mean_loss, mean_accuracy = history[:step].mean(0).tolist()
                    bar.set_postfix(loss=f"{mean_loss:.3f}", accuracy=f"{100 * mean_accuracy:.1f}%")
                if stopping:
                    run.save_last(
                        state,
                        epoch=epoch,
                        step=step,
                        best=best,
                        best_epoch=best_epoch,
                        history=runtime.mean(history),
                    )
                    run.stop(epoch, step)
            bar.close()

            train_loss, train_accuracy = runtime.mean(history).mean(0).tolist()
            row = {"epoch": epoch, "train_loss": train_loss, "train_accuracy": train_accuracy}
            if not options.trainval:
                validation.generator.manual_seed(options.seed)
                loss, accuracies = run_episodes(
                    embed(kept, parts["validation"].images), validation, options.validation_episodes
                )
                row |= {"validation_loss": loss, "validation_accuracy": float(accuracies.mean())}
            run.write("metrics", row | {"learning_rate": scheduler.get_last_lr()[0]})
            run.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))
            scheduler.step()
            score = row.get(
                "validation_accuracy", float(epoch)
            )  # with --trainval the last epoch is the one to keep
            if score > best:
                best, best_epoch = score, epoch
                run.save_network("best", kept, epoch)
            epoch, step, history = epoch + 1, 0, torch.zeros_like(history)
            run.save_last(state, epoch=epoch, step=step, best=best, best_epoch=best_epoch, history=history)
            if runtime.any(stop.requested):
                run.stop(epoch, step)

        runtime.any(False)  # all wait for rank 0, which writes the checkpoint
        run.load_network("best", kept)
        real = options.dataset == "omniglot"
        rows = test(
            kept,
            parts["test"],
            [episode[:2]],
            episode[2],
            options.test_episodes,
            options.seed,
            beside_paper=real,
        )
        rows += test(
            untrained,
            parts["test"],
            [episode[:2]],
            episode[2],
            options.test_episodes,
            options.seed,
            ", untrained network",
        )
        results = {
            "title": f"Prototypical network, {describe(options)}, trained {sampler.way}-way {sampler.shot}-shot",
            "rows": rows,
            "best_epoch": best_epoch,
            "best_validation_accuracy": None if options.trainval else best,
            "epochs": options.epochs,
            "episodes": options.epochs * options.iterations * runtime.world,
            "parameters": sum(p.numel() for p in model.parameters()),
        }
        if run.writing:
            plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", results["title"], best_epoch)
            record_episode(kept, parts["test"], *episode, options.seed, run.folder)
            draw_episode(run.folder, run.figures)
            run.finish(results)
            print_table(rows)
            run.log(
                f"best epoch {best_epoch}; results in {run.folder / 'results.json'}, figures in {run.figures}"
            )
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
