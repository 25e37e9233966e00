"""Trains pix2pix (Isola et al. 2017), from satellite photo to map, and measures it on the validation pairs.

python q3_pix2pix/train.py
python q3_pix2pix/train.py --dataset aerial_maps --gan_weight 0     # the L1-only control
"""

import sys
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam

from common import plots
from common.averaging import averaged
from common.cli import above, as_smoke, at_least, command
from common.loop import Loop, split_batch
from common.replay import Replayed
from common.run import Run, RunOptions
from common.runtime import Runtime, UsageError, start
from q3_pix2pix import figures, measures
from q3_pix2pix.maps_dataset import DataOptions, load, prepare, random_crop_and_mirror, random_crop_and_turn
from q3_pix2pix.measures import INFERENCE, translate
from q3_pix2pix.paper import QUESTION
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q3_pix2pix.pix2pix_loss import (
    L1_WEIGHT,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    l1_loss,
    random_signs,
)

PENALTY_EVERY = 4  # steps; so much heavier in each of them, as in lazy regularisation (Karras et al. 2020)
STEP_COLUMNS = ("g_gan", "g_l1", "d_real", "d_fake")


@dataclass
class Options(DataOptions, RunOptions):
    """Train pix2pix."""

    epochs: int = 200  # passes over the training pairs
    constant_epochs: int = -1  # of them at a constant rate, which then falls linearly to 0 (-1: half)
    batch_size: int = 1  # pairs per step and process
    learning_rate: float = 2e-4  # Adam's, for both networks
    gan_weight: float = 1.0  # weight of the adversarial loss; 0 leaves L1 alone, the control
    image_size: int = 256  # a power of two; 128 or 64 for small machines
    base_channels: int = 64  # feature maps of the first layers; 32 or 16 for small machines
    # turn and mirror training pairs in all eight ways of a square, not only sideways; not in the paper
    turns: bool = False
    # measure and keep a moving average of the generator with this decay, such as 0.999; not in the paper
    average_weights: float = 0.0
    # weight of R1, the discriminator's squared slope at true maps, such as 1; not in the paper
    gradient_penalty: float = 0.0
    log_every: int = 10  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Checks ranges and combinations before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {"epochs": 2, "image_size": 32, "base_channels": 8, "batch_size": 8, "log_every": 2}
        options = as_smoke(options, run_name="smoke", **tiny)
    at_least(1, options, "epochs", "batch_size", "base_channels", "log_every")
    at_least(32, options, "image_size")
    at_least(0, options, "gan_weight", "gradient_penalty")
    at_least(0, options, "average_weights", below=1)
    at_least(-1, options, "constant_epochs")
    above(0, options, "learning_rate")
    if options.gradient_penalty and not options.gan_weight:
        raise UsageError("--gradient_penalty flattens a discriminator: --gan_weight 0 trains without one")
    if options.image_size & (options.image_size - 1):
        why = "each layer halves it"
        raise UsageError(f"--image_size must be a power of two, not {options.image_size}: {why}")
    constant = options.constant_epochs if options.constant_epochs >= 0 else options.epochs // 2
    if constant > options.epochs:
        raise UsageError(f"--constant_epochs {constant} is more than --epochs {options.epochs}")
    name = f"{options.dataset}-{options.image_size}" + ("" if options.gan_weight else "-l1")
    return replace(options, constant_epochs=constant, run_name=options.run_name or name)


def rate_factor(epoch: int, epochs: int, constant: int) -> float:
    """Factor of the learning rate in an epoch: 1 for `constant` epochs, then linearly to 0 after the last."""
    return min(1.0, (epochs - epoch + 1) / (epochs - constant + 1))


def plan(options: Options, run: Run, loop: Loop) -> tuple[int, int]:
    """The epochs of the schedule, and how many of them are constant: those the run began with.

    A larger --epochs on --resume adds epochs at a constant rate, which config.json then says.

    Raises:
        UsageError: a resumed run would change its schedule.
    """
    began = run.options_before
    loop.at.schedule = scheduled, constant = loop.at.schedule or [began["epochs"], began["constant_epochs"]]
    if options.epochs < scheduled:
        raise UsageError(f"--resume: --epochs was {scheduled}, now {options.epochs}: it can only grow")
    added = options.epochs - scheduled
    if options.constant_epochs != constant and not (added and options.constant_epochs == options.epochs // 2):
        raise UsageError(f"--resume: --constant_epochs was {constant}, now {options.constant_epochs}")
    if added:
        text = f"{scheduled} epochs as planned, then {added} at a constant rate: not the one schedule"
        run.note(schedule=text)
    return scheduled, constant


def train_step(
    generator: UNet,
    discriminator: PatchGAN,
    optimizer_g: Adam,
    optimizer_d: Adam,
    photo: Tensor,
    real: Tensor,
    runtime: Runtime,
    gan_weight: float = 1.0,
    penalty: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step of both networks, the discriminator first (Isola et al. 2017, section 3.3).

    Args:
        photo, real: the inputs x and their true maps y, (n, 3, size, size) in [-1, 1].
        gan_weight: 0 leaves the discriminator alone.
        penalty: weight of the gradient penalty in this step.

    Returns:
        The losses g_gan, g_l1, d_real and d_fake; the three adversarial ones are 0 without a discriminator.
    """
    g_gan = d_real = d_fake = torch.zeros((), device=photo.device)
    with runtime.autocast():
        fake = generator(photo)  # G(x, z); z is the dropout

    if gan_weight:
        with runtime.autocast():
            on_real, on_fake = discriminator(photo, real), discriminator(photo, fake.detach())
        d_real, d_fake = discriminator_loss(on_real, on_fake)  # eq. 1, halved
        d_loss = d_real + d_fake
        if penalty:
            signs = random_signs(on_real.shape, on_real.device)
            d_loss = d_loss + penalty * gradient_penalty(discriminator, photo, real, signs)
        optimizer_d.zero_grad()
        d_loss.backward()
        runtime.average_gradients(discriminator)
        optimizer_d.step()

        discriminator.requires_grad_(False)  # the generator's step needs no gradient of its weights
        with runtime.autocast():
            g_gan = generator_loss(discriminator(photo, fake))  # eq. 1, non-saturating
        discriminator.requires_grad_(True)

    g_l1 = l1_loss(fake, real)  # eq. 3
    optimizer_g.zero_grad()
    (gan_weight * g_gan + L1_WEIGHT * g_l1).backward()  # eq. 4
    runtime.average_gradients(generator)
    optimizer_g.step()
    return g_gan, g_l1, d_real, d_fake


def dropout_seed(*where: int) -> int:
    """A seed for torch's own generator, from which dropout draws: the same again after a resume.

    Args:
        where: seed, epoch, step and rank.
    """
    return int(np.random.SeedSequence(where).generate_state(1)[0])


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.image_size, options.seed)
    parts = {name: part.to(device) for name, part in parts.items()}
    train, validation = parts["train"], parts["val"]
    photos, maps = validation.images.split(3, 1)
    maps = maps.float() / 255
    colors = measures.find_colors(train)
    steps, global_batch, mine = split_batch(len(train), options.batch_size, runtime)

    generator = UNet(options.image_size, options.base_channels).to(device)
    discriminator = PatchGAN(options.base_channels).to(device)
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    optimizer_g, optimizer_d = Adam(generator.parameters(), **adam), Adam(discriminator.parameters(), **adam)
    if options.compile:
        generator.compile(), discriminator.compile()
    trained = generator, discriminator, optimizer_g, optimizer_d
    crops = torch.Generator(device).manual_seed(options.seed)
    networks = {"generator": generator, "discriminator": discriminator}
    random_crop = random_crop_and_turn if options.turns else random_crop_and_mirror
    architecture = {key: getattr(options, key) for key in ("image_size", "base_channels", "direction")}
    data = {name: {"pairs": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    facts = {"data": data, "scale": validation.scale, "depth": validation.depths[0]}
    with Run(QUESTION, options, runtime, architecture, **facts) as run:
        run.start_from(networks)
        average = averaged(generator, options.average_weights)
        kept = average.module if average else generator  # the one that is measured

        def one_step(photo: Tensor, real: Tensor, penalty: float) -> tuple[Tensor, ...]:
            losses = train_step(*trained, photo, real, runtime, options.gan_weight, penalty)
            if average:
                average.update(generator)
            return losses

        replayed_step = Replayed(one_step, [optimizer_g, optimizer_d], options.replays(runtime))
        state = networks | {"average": average, "crops": crops}
        state |= {"optimizer_g": optimizer_g, "optimizer_d": optimizer_d}
        loop = Loop(run, state, steps, STEP_COLUMNS, options.log_every, best=inf, best_epoch=0, schedule=None)
        scheduled, constant = plan(options, run, loop)
        what = f"{len(train):,} pairs of {options.dataset} at {options.image_size} pixels"
        run.log(f"{run.folder}: {what}, {loop.where}")

        for epoch in loop.epochs(options.epochs):
            rate = options.learning_rate
            if epoch <= scheduled:
                rate *= rate_factor(epoch, scheduled, constant)
            for group in optimizer_g.param_groups + optimizer_d.param_groups:
                group["lr"] = rate
            [order] = loop.shuffle(options.seed, len(train))
            generator.train(), discriminator.train()
            for step in loop.steps():
                pairs = train.images[order[step * global_batch : (step + 1) * global_batch]]
                pairs = random_crop(pairs, options.image_size, crops)[mine]
                photo, real = prepare(pairs).split(3, 1)
                torch.manual_seed(dropout_seed(options.seed, epoch, step, runtime.rank))
                penalty = options.gradient_penalty * PENALTY_EVERY if step % PENALTY_EVERY == 0 else 0
                loop.record(*replayed_step(photo, real, penalty=penalty))

            outputs = translate(kept, photos)
            measured = measures.measure(outputs, maps, colors)
            row = {"epoch": epoch} | loop.means()
            row |= {f"validation_{name}": float(values.mean()) for name, values in measured.items()}
            run.write_epoch(row | {"learning_rate": rate})
            if run.writing:
                sheet = run.folder / "samples" / f"epoch_{epoch:03d}.jpg"
                figures.write_samples(sheet, validation.images[:4], outputs[:4])
            if row["validation_l1"] < loop.at.best:
                loop.at.best, loop.at.best_epoch = row["validation_l1"], epoch
                run.save_network("best", kept, epoch)

        outputs = {name: translate(kept, photos, name) for name in ("paper", "eval")}
        candidates = {INFERENCE[name]: images for name, images in outputs.items()}
        if average:
            candidates["without averaging the weights"] = translate(generator, photos)
        rows = measures.rows(candidates, train, validation, colors)
        losses = "GAN + L1" if options.gan_weight else "L1 only"
        title = f"pix2pix, {options.dataset}, {options.image_size} pixels, {losses}"
        results = {"title": title, "rows": rows, "epochs": options.epochs}
        results |= {"best_epoch": loop.at.best_epoch, "best_validation_l1": loop.at.best}
        sizes = {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}
        results["parameters"] = sizes
        if run.writing:
            curves = run.folder / "metrics.csv", run.figures / "curves.png", title, loop.at.best_epoch
            plots.curves(*curves, figures.CURVES)
            figures.plot_losses(run.folder, run.figures, title)
            figures.write_gif(run.folder, run.figures)
            first = list(range(min(10, len(validation))))
            about = f"{options.run_name}: the first {len(first)} of {len(validation)} validation pairs"
            figures.plot_triplets(run.figures / "triplets.png", about, first, validation, outputs["paper"])
            run.finish(results)
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
