"""Trains a prototypical network (Snell et al. 2017) on episodes, keeps the best by validation, and tests it.

python q2_protonet/train.py --num_support_tr 1 --classes_per_it_val 20 --num_support_val 1
torchrun --nproc_per_node 2 q2_protonet/train.py     # one episode per process and step, gradients averaged
"""

import copy
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from torch import Tensor, nn

from common import plots
from common.averaging import averaged
from common.cli import above, as_smoke, at_least, command
from common.loop import Loop
from common.options import RunOptions, plain
from common.replay import Replayed
from common.run import Run
from common.runtime import Runtime, UsageError, start
from q2_protonet.figures import plot_episode, record_episode
from q2_protonet.measures import accuracy_rows, calibrate_unknown, embed, run_episodes
from q2_protonet.omniglot_dataset import jitter, merge, prepare
from q2_protonet.paper import QUESTION, UNTRAINED, WHOLE_OMNIGLOT
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import every_support, prototypical_loss
from q2_protonet.splits import DataOptions, describe, load

STEP_COLUMNS = ("train_loss", "train_accuracy")


@dataclass
class Options(DataOptions, RunOptions):
    """Train a prototypical network on Omniglot."""

    epochs: int = 100  # epochs of `iterations` episodes
    iterations: int = 100  # training episodes per epoch
    classes_per_it_tr: int = 60  # way of the training episodes
    num_support_tr: int = 5  # shot of the training episodes
    num_query_tr: int = 5  # queries per class of the training episodes
    classes_per_it_val: int = 5  # way of the validation and test episodes
    num_support_val: int = 5  # shot of the validation and test episodes
    num_query_val: int = 15  # queries per class of the validation and test episodes
    validation_episodes: int = 100  # episodes of each validation, the same in every epoch
    test_episodes: int = 1000  # episodes of the test at the end
    learning_rate: float = 1e-3  # Adam's
    lr_scheduler_step: int = 20  # epochs between reductions of the learning rate
    lr_scheduler_gamma: float = 0.5  # factor of each reduction
    # feature maps of every block, or of each of the four; the last is the length of the embedding
    hidden_channels: int | tuple[int, int, int, int] = 64
    # residual convolutions that follow each block but the last; not in the paper
    residual_convs: int = 0
    # move each training drawing a little (turn, scale, shear, shift); not in the paper
    augment: bool = False
    # score each training episode with every drawing as support in turn; not in the paper
    every_support: bool = False
    # validate and keep a moving average of the weights with this decay, e.g. 0.999; not in the paper
    average_weights: float = 0.0
    # as the paper ends: train on train + validation for the best number of epochs of this finished run
    trainval: str = ""
    log_every: int = 10  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {"epochs": 2, "iterations": 5, "classes_per_it_tr": 20}
        tiny |= {"validation_episodes": 20, "test_episodes": 100}
        options = as_smoke(options, run_name="smoke", **tiny)
    at_least(1, options, "epochs", "iterations", "classes_per_it_tr", "num_support_tr", "num_query_tr")
    at_least(1, options, "num_support_val", "num_query_val", "validation_episodes", "lr_scheduler_step")
    at_least(1, options, "test_episodes", "log_every")
    at_least(2, options, "classes_per_it_val")
    if np.min(options.hidden_channels) < 2:
        raise UsageError(f"--hidden_channels must be 2 or more, not {np.min(options.hidden_channels)}")
    at_least(0, options, "skip_small", "residual_convs")
    above(0, options, "learning_rate", "lr_scheduler_gamma")
    at_least(0, options, "average_weights", below=1)
    if options.trainval:
        finished = options.log_root / QUESTION / options.trainval / "results.json"
        if not finished.exists():
            raise UsageError(f"--trainval {options.trainval}: no finished run at {finished}")
        options = replace(options, epochs=json.loads(finished.read_text())["best_epoch"])
    data = options.split if options.dataset == "omniglot" else options.dataset
    training = f"{options.classes_per_it_tr}w{options.num_support_tr}s"
    testing = f"{options.classes_per_it_val}w{options.num_support_val}s"
    name = f"{data}-{training}-{testing}{'-trainval' if options.trainval else ''}"
    return replace(options, run_name=options.run_name or name)


def train_step(
    learner: nn.Module,
    optimizer: torch.optim.Optimizer,
    runtime: Runtime,
    images: Tensor,
    way: int,
    shot: int,
    in_turn: bool = False,
) -> tuple[Tensor, Tensor]:
    """Trains on one episode (Snell et al. 2017, algorithm 1).

    Args:
        learner: the network; under torchrun its DistributedDataParallel, which averages the gradients.
        images: (way * (shot + query), 1, 28, 28), class by class, the support of each class first.
        in_turn: every drawing is support in turn, and the loss is the mean.

    Returns:
        Loss in nats and accuracy in 0..1 before the step, scalars on the device.
    """
    with runtime.autocast():
        embeddings = learner(images)  # (way * (shot + query), d)
    embeddings = embeddings.unflatten(0, (way, -1))  # (way, shot + query, d)
    if in_turn:
        embeddings = every_support(embeddings)  # (shot + query, way, shot + query, d)
    loss, accuracy = prototypical_loss(embeddings, shot)  # eq. 1 and 2; in fp32, outside of autocast
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, accuracy.mean()


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    facts = {name: {"classes": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    parts = {name: part.to(runtime.device) for name, part in parts.items()}
    train = merge([parts["train"], parts["validation"]]) if options.trainval else parts["train"]

    # Training episodes and jitter each have a generator that goes on over the epochs and is part of the
    # checkpoint; validation samples the same episodes in every epoch.
    episode_generator = torch.Generator(runtime.device).manual_seed(options.seed)
    jitter_generator = torch.Generator(runtime.device).manual_seed(options.seed + 1)
    training = options.classes_per_it_tr, options.num_support_tr, options.num_query_tr
    testing = options.classes_per_it_val, options.num_support_val, options.num_query_val
    sampler = PrototypicalBatchSampler(train, *training, episode_generator, "train")
    validation_generator = torch.Generator(runtime.device)
    validation = PrototypicalBatchSampler(parts["validation"], *testing, validation_generator, "validation")
    # complains now rather than after training
    PrototypicalBatchSampler(parts["test"], *testing, episode_generator, "test")

    architecture = plain({"hidden_channels": options.hidden_channels})
    if options.residual_convs:  # checkpoints of earlier versions do not name it
        architecture["residual_convs"] = options.residual_convs
    model = ProtoNet(**architecture).to(runtime.device)
    untrained = copy.deepcopy(model)
    average = averaged(model, options.average_weights)
    kept = average.module if average else model
    optimizer = torch.optim.Adam(model.parameters(), options.learning_rate, fused=True)
    reductions = options.lr_scheduler_step, options.lr_scheduler_gamma
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, *reductions)
    learner = runtime.parallel(model)
    if options.compile:
        model.compile()

    def one_step(images: Tensor) -> tuple[Tensor, Tensor]:
        episode = images, sampler.way, sampler.shot, options.every_support
        measured = train_step(learner, optimizer, runtime, *episode)
        if average:
            average.update(model)
        return measured

    replayed_step = Replayed(one_step, [optimizer], options.replays(runtime))
    state = {"model": model, "average": average, "optimizer": optimizer, "scheduler": scheduler}
    state |= {"draws": episode_generator, "moves": jitter_generator}

    with Run(QUESTION, options, runtime, architecture, data=facts) as run:
        run.start_from({"model": model})
        loop = Loop(run, state, options.iterations, STEP_COLUMNS, options.log_every, best=-1.0, best_epoch=0)
        run.log(f"{run.folder}: {len(train)} classes of {describe(options)}, {loop.where}")

        for epoch in loop.epochs(options.epochs):
            model.train()
            for _ in loop.steps():
                classes, drawings = sampler.sample(runtime.world)  # one episode per process
                images = prepare(train.images[classes[runtime.rank], drawings[runtime.rank]])
                if options.augment:
                    images = jitter(images, jitter_generator, runtime.rank, runtime.world)
                loop.record(*replayed_step(images))

            row = {"epoch": epoch} | loop.means()
            if not options.trainval:
                validation_generator.manual_seed(options.seed)
                embeddings = embed(kept, parts["validation"].images)  # (class, drawing, d)
                loss, accuracies = run_episodes(embeddings, validation, options.validation_episodes)
                row |= {"validation_loss": loss, "validation_accuracy": float(accuracies.mean())}
            run.write_epoch(row | {"learning_rate": scheduler.get_last_lr()[0]})
            scheduler.step()
            score = row.get("validation_accuracy", float(epoch))  # with --trainval the last epoch is kept
            if score > loop.at.best:
                loop.at.best, loop.at.best_epoch = score, epoch
                run.save_network("best", kept, epoch)

        run.load_network("best", kept)
        if not options.trainval:  # predict.py --unknown
            embeddings = embed(kept, parts["validation"].images)
            run.facts["unknown_distance"] = calibrate_unknown(embeddings, parts["validation"].counts)
            run.save_network("best", kept, loop.at.best_epoch)
        tested = parts["test"], [testing[:2]], testing[2], options.test_episodes, options.seed
        beside_paper = options.dataset == "omniglot" and options.split in WHOLE_OMNIGLOT
        rows = accuracy_rows(kept, *tested, beside_paper=beside_paper)
        rows += accuracy_rows(untrained, *tested, UNTRAINED)
        recipe = f"trained {sampler.way}-way {sampler.shot}-shot"
        results = {
            "title": f"Prototypical network, {describe(options)}, {recipe}",
            "rows": rows,
            "best_epoch": loop.at.best_epoch,
            "best_validation_accuracy": None if options.trainval else loop.at.best,
            "epochs": options.epochs,
            "episodes": options.epochs * options.iterations * runtime.world,
            "parameters": sum(p.numel() for p in model.parameters()),
        }
        if run.writing:
            about = results["title"], loop.at.best_epoch
            plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", *about)
            record_episode(kept, parts["test"], *testing, options.seed, run.folder)
            plot_episode(run.folder, run.figures)
            run.finish(results)
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
