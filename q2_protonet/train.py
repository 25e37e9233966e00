"""Trains a prototypical network (Snell et al. 2017) on episodes, keeps the best by validation, and tests it.

python q2_protonet/train.py --num_support_tr 1 --classes_per_it_val 20 --num_support_val 1
torchrun --nproc_per_node 2 q2_protonet/train.py     # one episode per process and step, gradients averaged
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q2_protonet.options import QUESTION, WHOLE_OMNIGLOT, describe, resolve, warn_of_start
from q2_protonet.options import TrainOptions as Options

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from common.averaging import Average, averaged
from common.device import Runtime, start
from common.json_files import plain
from common.replay import Replayed, replays
from common.training import Training
from q2_protonet.figures import plot_run, record_episode
from q2_protonet.measures import accuracy_rows, add_to_names, beside_paper, calibrate_unknown, embed, validate
from q2_protonet.omniglot_dataset import Characters, jitter, load, merge, prepare
from q2_protonet.paper import UNTRAINED
from q2_protonet.protonet import ProtoNet, untrained_network
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler, check
from q2_protonet.prototypical_loss import every_support, prototypical_loss

STEP_COLUMNS = ("train_loss", "train_accuracy")


@dataclass
class Learner:
    """The network and everything that changes with it.

    model: is trained.
    average: of its weights; None without --average_weights.
    draws: samples the training episodes. Like `moves`, it goes on over the epochs.
    moves: jitters the training drawings.
    """

    model: ProtoNet
    average: Average | None
    optimizer: torch.optim.Optimizer
    scheduler: StepLR
    draws: torch.Generator
    moves: torch.Generator
    architecture: dict

    @property
    def network(self) -> nn.Module:
        """What is validated, kept and tested: the average of the weights, if there is one."""
        return self.average.module if self.average else self.model


def build(options: Options, runtime: Runtime) -> Learner:
    """Builds the network, its optimiser and its schedule as the options say."""
    architecture = {"hidden_channels": options.hidden_channels, "residual_convs": options.residual_convs}
    model = ProtoNet(**architecture).to(runtime.device)
    average = averaged(model, options.average_weights)
    optimizer = torch.optim.Adam(model.parameters(), options.learning_rate, fused=True)
    if options.compile:
        model.compile()
    return Learner(
        model=model,
        average=average,
        optimizer=optimizer,
        scheduler=StepLR(optimizer, options.lr_scheduler_step, options.lr_scheduler_gamma),
        draws=torch.Generator(runtime.device).manual_seed(options.seed),
        moves=torch.Generator(runtime.device).manual_seed(options.seed + 1),
        architecture=plain(architecture),
    )


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    way: int,
    shot: int,
    in_turn: bool,
    runtime: Runtime,
) -> tuple[Tensor, Tensor]:
    """Trains on one episode (Snell et al. 2017, algorithm 1).

    Args:
        model: the network; under torchrun its DistributedDataParallel, which averages the gradients.
        images: (way * (shot + query), 1, 28, 28), class by class, the support of each class first.
        in_turn: every drawing is support in turn, and the loss is the mean.

    Returns:
        Loss in nats and accuracy in 0..1 before the step, scalars on the device.
    """
    with runtime.autocast():
        embeddings = model(images)  # (way * (shot + query), d)
    embeddings = embeddings.unflatten(0, (way, -1))  # (way, shot + query, d)
    if in_turn:
        embeddings = every_support(embeddings)  # (shot + query, way, shot + query, d)
    loss, accuracy = prototypical_loss(embeddings, shot)  # eq. 1 and 2; in fp32, outside of autocast
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss, accuracy.mean()


def train(training: Training, learner: Learner, parts: dict[str, Characters], options: Options) -> None:
    """Trains on episodes, and keeps the network of the epoch with the best validation accuracy."""
    runtime = training.runtime
    at = training.position
    classes_of_training = parts["train"]
    sampler = PrototypicalBatchSampler(classes_of_training, *options.training_episode, learner.draws)
    model = runtime.parallel(learner.model)

    # A step: on a GPU it is recorded once and replayed.
    def step(images: Tensor) -> tuple[Tensor, Tensor]:
        way, shot, _ = options.training_episode
        figures = train_step(model, learner.optimizer, images, way, shot, options.every_support, runtime)
        if learner.average:
            learner.average.update(learner.model)
        return figures

    replayed_step = Replayed(step, [learner.optimizer], active=replays(options, runtime))

    for epoch in training.epochs(options.epochs):
        # Train.
        model.train()
        for _ in training.steps(options.iterations, STEP_COLUMNS):
            classes, drawings = sampler.sample(runtime.world)  # one episode per process
            images = prepare(classes_of_training.images[classes[runtime.rank], drawings[runtime.rank]])
            if options.augment:
                images = jitter(images, learner.moves, runtime.rank, runtime.world)
            training.record(*replayed_step(images))

        # Validate; with --trainval there is nothing to validate on, and the last epoch is kept.
        row = {"epoch": epoch} | training.means()
        score = float(epoch)
        if not options.trainval:
            loss, score = validate(
                learner.network,
                parts["validation"],
                options.test_episode,
                options.validation_episodes,
                options.seed,
            )
            row |= {"validation_loss": loss, "validation_accuracy": score}
            score = runtime.from_rank_0(score)  # every process has BatchNorm statistics of its own
        training.write_epoch(row | {"learning_rate": learner.scheduler.get_last_lr()[0]})
        learner.scheduler.step()

        # Keep the best.
        if score > at.best:
            at.best = score
            at.best_epoch = epoch
            training.save_network("best", learner.network, epoch)


def finish(training: Training, learner: Learner, parts: dict[str, Characters], options: Options) -> dict:
    """Tests the best network, and random weights as a control; writes results and pictures."""
    network = learner.network
    best_epoch = training.position.best_epoch
    training.load_network("best", network, best_epoch)

    # The limit of predict.py --unknown, from classes that were not trained on.
    if not options.trainval:
        validation = parts["validation"]
        limit = calibrate_unknown(embed(network, validation.images), validation.counts)
        training.note(unknown_distance=limit)
        training.save_network("best", network, best_epoch)

    # Test.
    test = parts["test"]
    way, shot, query = options.test_episode
    untrained = untrained_network(learner.architecture, options.seed).to(training.runtime.device)
    numbers = (test, [(way, shot)], query, options.test_episodes, options.seed)
    rows = accuracy_rows(embed(network, test.images), *numbers)
    if options.dataset == "omniglot" and options.split in WHOLE_OMNIGLOT:
        rows = beside_paper(rows)
    control = accuracy_rows(embed(untrained, test.images), *numbers)
    rows += add_to_names(control, UNTRAINED)

    # Draw.
    data = describe(options)
    title = (
        f"Prototypical network, {data}, trained {options.classes_per_it_tr}-way {options.num_support_tr}-shot"
    )
    if training.writing:
        record_episode(network, test, options.test_episode, options.seed, training.folder)
        chosen = None if options.trainval else best_epoch
        plot_run(training.folder, training.figures, f"{options.run_name}: {title}", chosen)

    return training.finish(
        {
            "title": title,
            "rows": rows,
            "best_epoch": best_epoch,
            "best_validation_accuracy": None if options.trainval else training.position.best,
            "epochs": options.epochs,
            "episodes": options.epochs * options.iterations * training.runtime.world,
            "parameters": sum(p.numel() for p in learner.model.parameters()),
        }
    )


def main(options: Options) -> dict:
    options = resolve(options)
    runtime = start(options)

    # Data: uint8 drawings on the device; with --trainval the validation classes train too.
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    facts = {"data": {name: part.facts() for name, part in parts.items()}}
    parts = {name: part.to(runtime.device) for name, part in parts.items()}
    if options.trainval:
        parts["train"] = merge([parts["train"], parts["validation"]])

    # Episodes that cannot be sampled are refused now rather than after training.
    check(parts["train"], *options.training_episode, "train")
    check(parts["validation"], *options.test_episode, "validation")
    check(parts["test"], *options.test_episode, "test")

    # Network, optimiser, schedule, average, and the generators of a resumed run.
    learner = build(options, runtime)

    # Train and measure; the training loads, saves, records and stops.
    with Training(QUESTION, options, runtime, learner, facts, best=-1.0, best_epoch=0) as training:
        if text := warn_of_start(options.dataset, training.options.start_from):
            training.log(text)
        classes = len(parts["train"])
        training.log(f"{training.folder}: {classes} classes of {describe(options)}, {training.where}")
        train(training, learner, parts, options)
        return finish(training, learner, parts, options)


if __name__ == "__main__":
    cli.run(main, options)
