"""Trains pix2pix (Isola et al. 2017), from satellite photo to map, and measures it on the validation pairs.

python q3_pix2pix/train.py
python q3_pix2pix/train.py --dataset aerial_maps --gan_weight 0     # the L1-only control
"""

import sys
from dataclasses import dataclass
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q3_pix2pix.options import QUESTION, resolve
from q3_pix2pix.options import TrainOptions as Options

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from common.averaging import Average, averaged
from common.batches import Batches, split_batch
from common.device import Runtime, start
from common.replay import Replayed, replays
from common.training import Training
from q3_pix2pix import figures, measures
from q3_pix2pix.legend import MapColors, find_colors
from q3_pix2pix.mapper import translate
from q3_pix2pix.maps_dataset import Pairs, load, prepare, random_crop_and_mirror, random_crop_and_turn
from q3_pix2pix.paper import INFERENCE, RAW_WEIGHTS
from q3_pix2pix.pix2pix import PatchGAN, UNet, seed_dropout
from q3_pix2pix.pix2pix_loss import (
    L1_WEIGHT,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    l1_loss,
    random_signs,
)
from q3_pix2pix.schedule import planned, set_rate

PENALTY_EVERY = 4  # steps; so much heavier in each of them, as in lazy regularisation (Karras et al. 2020)
LOSSES = ("g_gan", "g_l1", "d_real", "d_fake")
L1_ALONE = ("g_l1",)


@dataclass
class GAN:
    """Both networks and whatever else changes while they train; the names are those in a checkpoint."""

    generator: UNet
    discriminator: PatchGAN
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    average: Average | None  # of the generator
    crops: torch.Generator  # of places, mirrors and turns
    architecture: dict  # of both

    @property
    def optimizers(self) -> tuple[Optimizer, Optimizer]:
        """The generator's and the discriminator's."""
        return self.optimizer_g, self.optimizer_d

    @property
    def mapping(self) -> UNet:
        """The network that is measured and kept: the average where there is one."""
        return self.average.module if self.average else self.generator


def build(options: Options, runtime: Runtime) -> GAN:
    """Builds both networks and their optimisers."""
    # Networks.
    generator = UNet(options.image_size, options.base_channels).to(runtime.device)
    discriminator = PatchGAN(options.base_channels).to(runtime.device)

    # Optimisers.
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    optimizer_g = Adam(generator.parameters(), **adam)
    optimizer_d = Adam(discriminator.parameters(), **adam)

    average = averaged(generator, options.average_weights)
    if options.compile:
        generator.compile()
        discriminator.compile()
    crops = torch.Generator(runtime.device).manual_seed(options.seed)
    architecture = {
        "image_size": options.image_size,
        "base_channels": options.base_channels,
        "direction": options.direction,
    }
    return GAN(generator, discriminator, optimizer_g, optimizer_d, average, crops, architecture)


def train_step(
    networks: tuple[UNet, PatchGAN],
    optimizers: tuple[Optimizer, Optimizer],
    photo: Tensor,
    real: Tensor,
    gan_weight: float,
    penalty: float,
    runtime: Runtime,
) -> tuple[Tensor, ...]:
    """Takes a step of both networks, the discriminator first (Isola et al. 2017, section 3.3).

    Args:
        networks, optimizers: the generator's first, then the discriminator's.
        photo, real: the inputs x and their true maps y, (n, 3, size, size) in [-1, 1].
        gan_weight: of the adversarial loss; 0 leaves the discriminator alone.
        penalty: weight of the gradient penalty in this step.

    Returns:
        The losses g_gan, g_l1, d_real and d_fake; g_l1 alone without a discriminator.
    """
    generator, discriminator = networks
    optimizer_g, optimizer_d = optimizers
    with runtime.autocast():
        fake = generator(photo)  # G(x, z); z is the dropout

    # L1 alone.
    if not gan_weight:
        g_l1 = l1_loss(fake, real)  # eq. 3
        step_generator(generator, optimizer_g, L1_WEIGHT * g_l1, runtime)
        return (g_l1,)

    # The discriminator.
    with runtime.autocast():
        on_real = discriminator(photo, real)
        on_fake = discriminator(photo, fake.detach())
    d_real, d_fake = discriminator_loss(on_real, on_fake)  # eq. 1, halved
    d_loss = d_real + d_fake
    if penalty:
        signs = random_signs(on_real.shape, on_real.device)
        d_loss = d_loss + penalty * gradient_penalty(discriminator, photo, real, signs)
    optimizer_d.zero_grad()
    d_loss.backward()
    runtime.average_gradients(discriminator)
    optimizer_d.step()

    # The generator. The discriminator's weights need no gradient here.
    discriminator.requires_grad_(False)
    with runtime.autocast():
        g_gan = generator_loss(discriminator(photo, fake))  # eq. 1, non-saturating
    discriminator.requires_grad_(True)
    g_l1 = l1_loss(fake, real)  # eq. 3
    step_generator(generator, optimizer_g, gan_weight * g_gan + L1_WEIGHT * g_l1, runtime)  # eq. 4
    return g_gan, g_l1, d_real, d_fake


def step_generator(generator: UNet, optimizer: Optimizer, loss: Tensor, runtime: Runtime) -> None:
    """Moves the generator's weights down the slope of its loss."""
    optimizer.zero_grad()
    loss.backward()
    runtime.average_gradients(generator)
    optimizer.step()


def prepare_step(gan: GAN, options: Options, runtime: Runtime) -> Replayed:
    """Returns the step of photo, real and penalty, with that of the average, which a GPU replays."""

    def step_and_average(photo: Tensor, real: Tensor, penalty: float) -> tuple[Tensor, ...]:
        networks = (gan.generator, gan.discriminator)
        losses = train_step(networks, gan.optimizers, photo, real, options.gan_weight, penalty, runtime)
        if gan.average:
            gan.average.update(gan.generator)
        return losses

    return Replayed(step_and_average, gan.optimizers, replays(options, runtime))


def train(
    training: Training, gan: GAN, pairs: Pairs, validation: Pairs, colors: MapColors | None, batches: Batches
) -> None:
    """Trains epoch by epoch, and measures the validation pairs after each."""
    options = training.options
    runtime = training.runtime
    schedule = planned(training)
    columns = LOSSES if options.gan_weight else L1_ALONE
    random_crop = random_crop_and_turn if options.turns else random_crop_and_mirror
    replayed_step = prepare_step(gan, options, runtime)

    for epoch in training.epochs(options.epochs):
        rate = options.learning_rate * schedule.factor(epoch)
        set_rate(gan.optimizers, rate)
        [order] = training.shuffle(len(pairs))
        gan.generator.train()
        gan.discriminator.train()
        for step in training.steps(batches.steps, columns):
            # Every process draws the crops of the global batch and takes its slice.
            chosen = pairs.images[batches.of(order, step)]
            crops = random_crop(chosen, options.image_size, gan.crops)[batches.own]
            photo, real = prepare(crops).split(3, 1)  # (n, 3, size, size) each
            seed_dropout(options.seed, epoch, step, runtime.rank)
            penalty = options.gradient_penalty * PENALTY_EVERY if step % PENALTY_EVERY == 0 else 0
            training.record(*replayed_step(photo, real, penalty))

        measured = validate(training, gan, validation, colors, epoch)
        training.write_epoch({"epoch": epoch} | training.means() | measured | {"learning_rate": rate})
        keep_best(training, gan, measured["validation_l1"], epoch)


def validate(
    training: Training, gan: GAN, pairs: Pairs, colors: MapColors | None, epoch: int
) -> dict[str, float]:
    """Measures the validation pairs for metrics.csv, and writes the maps of the first four."""
    outputs = translate(gan.mapping, pairs.photos)
    if training.writing:
        sheet = training.folder / "samples" / f"epoch_{epoch:03d}.jpg"
        figures.write_samples(sheet, pairs.images[:4], outputs[:4])
    measured = measures.measure(outputs / 255, pairs.maps / 255, colors)
    return {f"validation_{name}": float(values.mean()) for name, values in measured.items()}


def keep_best(training: Training, gan: GAN, l1: float, epoch: int) -> None:
    """Keeps the network with the least L1 on the validation pairs as best.pt."""
    l1 = training.runtime.from_rank_0(l1)  # to the last bit, so that all processes agree
    if l1 < training.position.best:
        training.position.best = l1
        training.position.best_epoch = epoch
        training.save_network("best", gan.mapping, epoch)


def finish(training: Training, gan: GAN, parts: dict[str, Pairs], colors: MapColors | None) -> dict:
    """Measures the last epoch's weights in every way, draws the figures and ends the run."""
    options = training.options
    validation = parts["val"]

    # The network that is kept, in the paper's way and in eval mode; and the one it is an average of.
    outputs = translate(gan.mapping, validation.photos)
    candidates = {
        INFERENCE["paper"]: outputs,
        INFERENCE["eval"]: translate(gan.mapping, validation.photos, "eval"),
    }
    if gan.average:
        candidates[RAW_WEIGHTS] = translate(gan.generator, validation.photos)
    rows = measures.rows(candidates, parts["train"], validation, colors)

    # Figures.
    losses = "GAN + L1" if options.gan_weight else "L1 only"
    title = f"pix2pix, {options.dataset}, {options.image_size} pixels, {losses}"
    if training.writing:
        figures.plot_run(training.folder, training.figures, f"{options.run_name}: {title}")
        first = list(range(min(10, len(validation))))
        about = f"{options.run_name}: the first {len(first)} of {len(validation)} validation pairs"
        path = training.figures / "triplets.png"
        figures.plot_triplets(path, about, first, validation, outputs, colors and colors.legend)

    # Results.
    results = {
        "title": title,
        "rows": rows,
        "epochs": options.epochs,
        "best_checkpoint": {"epoch": training.position.best_epoch, "validation_l1": training.position.best},
        "parameters": {
            "generator": sum(weights.numel() for weights in gan.generator.parameters()),
            "discriminator": sum(weights.numel() for weights in gan.discriminator.parameters()),
        },
    }
    return training.finish(results)


def main(options: Options) -> dict:
    options = resolve(options)
    runtime = start(options)

    # Data: uint8 pairs on the device, and the colours of their maps.
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.image_size, options.seed, device=runtime.device)
    batches = split_batch(len(parts["train"]), options.batch_size, runtime)
    colors = find_colors(parts["train"], options.dataset)

    # Networks, optimisers, and what a resumed run needs of them.
    gan = build(options, runtime)
    facts = {
        "data": {name: {"pairs": len(part), "sha256": part.fingerprint()} for name, part in parts.items()},
        "scale": parts["val"].scale,
        "depth": parts["val"].depths[0],
        "legend": colors and colors.legend.facts(),
    }

    # Train and measure; the training loads, saves, records and stops.
    position = {"best": inf, "best_epoch": 0, "schedule": None}
    with Training(QUESTION, options, runtime, gan, facts, **position) as training:
        about = f"{len(parts['train']):,} pairs of {options.dataset} at {options.image_size} pixels"
        training.log(f"{training.folder}: {about}, {training.where}")
        train(training, gan, parts["train"], parts["val"], colors, batches)
        return finish(training, gan, parts, colors)


if __name__ == "__main__":
    cli.run(main, options)
