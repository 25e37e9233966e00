"""Trains and measures a DCGAN (Radford et al. 2016) on MNIST, unconditional or drawing a requested digit.

python q1_dcgan/train.py
python q1_dcgan/train.py --conditional
torchrun --nproc_per_node 2 q1_dcgan/train.py     # a step takes 2 x --batch_size pictures
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q1_dcgan.options import QUESTION, resolve
from q1_dcgan.options import TrainOptions as Options

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from common.averaging import Average, averaged
from common.batches import Batches, split_batch
from common.device import Runtime, start
from common.epoch_files import epoch_files, epoch_of
from common.labelled_images import LabelledImages
from common.replay import Replayed, replays
from common.training import Training
from q1_dcgan import figures, measures
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.gan_loss import discriminator_loss, generator_loss, gradient_penalty
from q1_dcgan.measures import Reference
from q1_dcgan.mnist_dataset import load, prepare
from q1_dcgan.painter import generate
from q1_dcgan.paper import DISTANCE

PENALTY_EVERY = 4  # steps; so much heavier in each of them, as in lazy regularisation (Karras et al. 2020)
STEP_COLUMNS = ("d_loss", "g_loss", "d_real", "d_fake", "d_fake_after")


@dataclass
class GAN:
    """Both networks and whatever else changes while they train; the names are those in a checkpoint."""

    generator: Generator
    discriminator: Discriminator
    optimizer_g: Optimizer
    optimizer_d: Optimizer
    average: Average | None  # of the generator
    noise_draws: torch.Generator  # of noise and requested labels
    architecture: dict  # of the generator

    @property
    def drawing(self) -> Generator:
        """The network that draws samples: the average where there is one."""
        return self.average.module if self.average else self.generator


def build(options: Options, classes: int, runtime: Runtime) -> GAN:
    """Builds both networks and their optimisers.

    Args:
        classes: how many labels they are given, 0 for none.
    """
    # Networks.
    shared = {
        "classes": classes,
        "image_size": options.image_size,
        "base_channels": options.base_channels,
        "channels": options.channels,
    }
    architecture = {"latent_size": options.latent_size, **shared}
    generator = Generator(**architecture).to(runtime.device)
    discriminator = Discriminator(**shared, label_as=options.label_as).to(runtime.device)

    # Optimisers.
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    optimizer_g = Adam(generator.parameters(), **adam)
    optimizer_d = Adam(discriminator.parameters(), **adam)

    average = averaged(generator, options.average_weights)
    if options.compile:
        generator.compile()
        discriminator.compile()
    noise_draws = torch.Generator(runtime.device).manual_seed(options.seed)
    return GAN(generator, discriminator, optimizer_g, optimizer_d, average, noise_draws, architecture)


def train_step(
    networks: tuple[Generator, Discriminator],
    optimizers: tuple[Optimizer, Optimizer],
    real: Tensor,
    noise: Tensor,
    labels: Tensor | None,
    requested: Tensor | None,
    penalty: float,
    runtime: Runtime,
) -> tuple[Tensor, ...]:
    """Takes a step of the discriminator, then of the generator (Goodfellow et al. 2014, algorithm 1, k = 1).

    Args:
        networks, optimizers: the generator's first, then the discriminator's.
        real: pictures (n, channels, size, size) in [-1, 1].
        noise: (n, latent_size).
        labels, requested: (n,) of the real pictures and for the generated ones; None without labels.
        penalty: weight of the gradient penalty in this step.

    Returns:
        The discriminator's loss (without the penalty) and the generator's in nats, and the mean probability
        of being real that the discriminator gave to real pictures, to generated ones, and to these again
        after its step.
    """
    generator, discriminator = networks
    optimizer_g, optimizer_d = optimizers

    # The discriminator. Real and generated pictures pass it separately, each with BatchNorm statistics of
    # their own. Each process normalises its own batch; the running statistics of rank 0 are kept.
    with runtime.autocast():
        fake = generator(noise, requested)  # (n, channels, size, size)
        on_real = discriminator(real, labels)  # logits (n,)
        on_fake = discriminator(fake.detach(), requested)
    d_loss = discriminator_loss(on_real, on_fake)
    penalised = d_loss
    if penalty:
        penalised = d_loss + penalty * gradient_penalty(discriminator, real, labels)
    optimizer_d.zero_grad()
    penalised.backward()
    runtime.average_gradients(discriminator)
    optimizer_d.step()

    # The generator. The discriminator's weights need no gradient here.
    discriminator.requires_grad_(False)
    with runtime.autocast():
        on_fake_after = discriminator(fake, requested)
    g_loss = generator_loss(on_fake_after)
    optimizer_g.zero_grad()
    g_loss.backward()
    runtime.average_gradients(generator)
    optimizer_g.step()
    discriminator.requires_grad_(True)

    beliefs = [logits.detach().float().sigmoid().mean() for logits in (on_real, on_fake, on_fake_after)]
    return d_loss, g_loss, *beliefs


def train(
    training: Training, gan: GAN, pictures: LabelledImages, batches: Batches, reference: Reference
) -> None:
    """Trains epoch by epoch, and measures and draws samples after each."""
    options = training.options
    runtime = training.runtime
    optimizers = (gan.optimizer_g, gan.optimizer_d)

    # One step, which a GPU records once and replays.
    def step_and_average(*batch: Tensor | None, penalty: float) -> tuple[Tensor, ...]:
        networks = (gan.generator, gan.discriminator)
        measured = train_step(networks, optimizers, *batch, penalty, runtime)
        if gan.average:
            gan.average.update(gan.generator)
        return measured

    replayed_step = Replayed(step_and_average, optimizers, replays(options, runtime))

    # Epochs of such steps, with measures and samples after each.
    for epoch in training.epochs(options.epochs):
        [order] = training.shuffle(len(pictures))
        for step in training.steps(batches.steps, STEP_COLUMNS):
            chosen = batches.of(order, step)[batches.own]
            real = prepare(pictures.images[chosen], options.image_size)  # (n, channels, size, size)
            labels = pictures.labels[chosen] if gan.generator.classes else None
            noise, requested = draw_inputs(gan, batches)
            penalty = options.gradient_penalty * PENALTY_EVERY if step % PENALTY_EVERY == 0 else 0
            training.record(*replayed_step(real, noise, labels, requested, penalty=penalty))

        measured = quality(gan, reference, options, runtime)
        training.write_epoch({"epoch": epoch} | training.means() | measured)
        draw_fixed_noise(training, gan, epoch)
        if epoch in (1, options.epochs // 2, options.epochs):
            training.save_network(f"epoch_{epoch}", gan.drawing, epoch)


def draw_inputs(gan: GAN, batches: Batches) -> tuple[Tensor, Tensor | None]:
    """Draws noise and the labels to request; every process draws the global batch's and takes its slice."""
    count = batches.global_batch
    classes = gan.generator.classes
    drawn = {"generator": gan.noise_draws, "device": gan.noise_draws.device}
    noise = torch.randn(count, gan.generator.latent_size, **drawn)[batches.own]
    requested = torch.randint(classes, (count,), **drawn)[batches.own] if classes else None
    return noise, requested


def quality(gan: GAN, reference: Reference, options: Options, runtime: Runtime) -> dict[str, float]:
    """Measures --quality_samples samples for metrics.csv, which has no column per class."""
    if not options.quality_samples:
        return {}
    samples = measures.sample(gan.drawing, options.quality_samples, options.seed, runtime.device)
    measured = reference.measure(*samples)
    return {name: value for name, value in measured.items() if not name.startswith("label_accuracy_")}


def draw_fixed_noise(training: Training, gan: GAN, epoch: int) -> None:
    """Draws the same noise after every epoch into samples/epoch_NNN.png; conditional: one class per row."""
    if not training.writing:
        return
    device = training.runtime.device
    classes = gan.generator.classes
    rows = min(classes, figures.MOST_ROWS) or figures.SHEET_COLUMNS
    cells = rows * figures.SHEET_COLUMNS
    draws = torch.Generator(device).manual_seed(training.options.seed + 1)
    noise = torch.randn(cells, gan.generator.latent_size, generator=draws, device=device)
    labels = torch.arange(cells, device=device) // figures.SHEET_COLUMNS if classes else None
    images = generate(gan.drawing, noise, labels)
    figures.write_sheet(images, training.folder / "samples" / f"epoch_{epoch:03d}.png")


def finish(training: Training, gan: GAN, reference: Reference) -> dict:
    """Measures the weights after the first, middle and last epoch, draws the figures and ends the run."""
    options = training.options
    runtime = training.runtime

    def measure_now(generator: Generator) -> dict[str, float]:
        samples = measures.sample(generator, options.test_samples, options.seed, runtime.device)
        return reference.measure(*samples)

    # The raw weights, before those of earlier epochs take their place.
    counts = {}
    for name in ("generator", "discriminator"):
        counts[name] = sum(weights.numel() for weights in getattr(gan, name).parameters())
    floor = reference.floor(options.test_samples, options.seed)
    raw = measure_now(gan.generator) if gan.average else None

    # The first, middle and last epoch; `drawing` has the last one's weights again in the end.
    measured = {}
    epochs = kept_epochs(training, gan)
    for epoch in epochs:
        training.load_network(f"epoch_{epoch}", gan.drawing, epoch)
        measured[epoch] = measure_now(gan.drawing)
    last = epochs[-1]
    rows = measures.as_rows(measured[last], floor, options.test_samples, f"epoch {last}")
    for epoch in epochs[:-1]:
        distance = measured[epoch]["frechet_distance"]
        rows.append(measures.distance_row(f"{DISTANCE} after epoch {epoch}", distance))
    if raw:
        measured["raw generator"] = raw
        distance = raw["frechet_distance"]
        rows.append(measures.distance_row(f"{DISTANCE} without averaging the weights", distance))

    # Figures, results.
    kind = "Conditional DCGAN" if options.conditional else "DCGAN"
    title = f"{kind}, {options.dataset}, {options.image_size} pixels, seed {options.seed}"
    if training.writing:
        figures.plot_run(training.folder, training.figures, f"{options.run_name}: {title}")
    results = {"title": title, "rows": rows, "figures": measured, "epochs": last, "parameters": counts}
    return training.finish(results)


def kept_epochs(training: Training, gan: GAN) -> list[int]:
    """Lists the first, middle and last epoch whose networks were kept; in a longer run, the nearest to it.

    A run that is resumed with fewer epochs than it was begun with, all of them done, keeps its last one here.
    """
    checkpoints = training.folder / "checkpoints"
    last = training.options.epochs
    if not (checkpoints / f"epoch_{last}.pt").exists():
        training.save_network(f"epoch_{last}", gan.drawing, last)
    training.runtime.barrier()  # until rank 0 has written the last network
    kept = [epoch_of(file) for file in epoch_files(checkpoints, ".pt")]
    wanted = training.options.epochs // 2
    middle = min(kept, key=lambda epoch: abs(epoch - wanted))
    if middle != max(1, wanted):
        training.log(f"epoch {wanted} was not kept: epoch {middle} stands for the middle")
    return sorted({1, middle, kept[-1]})


def main(options: Options) -> dict:
    options = resolve(options)
    runtime = start(options)

    # Data: uint8 on the device, and the judge of samples, trained on them once.
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed, runtime.device)
        batches = split_batch(len(parts["train"]), options.batch_size, runtime)
        reference = Reference.make(parts, options.dataset, options.image_size, options.data_root, runtime)

    # Networks, optimisers, and what a resumed run needs of them.
    names = parts["train"].names
    gan = build(options, len(names) if options.conditional else 0, runtime)
    data = {name: {"pictures": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    facts = {"classifier": reference.facts, "data": data, "classes": names}

    # Train and measure; the training loads, saves, records and stops. Another number of classes needs new
    # embeddings.
    with Training(QUESTION, options, runtime, gan, facts, remade=("embedding.",)) as training:
        training.log(
            f"{training.folder}: {len(parts['train']):,} pictures of {options.dataset}, {training.where}"
        )
        train(training, gan, parts["train"], batches, reference)
        return finish(training, gan, reference)


if __name__ == "__main__":
    cli.run(main, options)
