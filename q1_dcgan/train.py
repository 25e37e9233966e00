"""Trains and measures a DCGAN (Radford et al. 2016) on MNIST, unconditional or drawing a requested digit.

python q1_dcgan/train.py
python q1_dcgan/train.py --conditional
torchrun --nproc_per_node 2 q1_dcgan/train.py     # a step takes 2 x --batch_size pictures
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
from torch import Tensor

from common.averaging import averaged
from common.cli import above, as_smoke, at_least, command
from common.loop import Loop, split_batch
from common.replay import Replayed
from common.run import Run, RunOptions
from common.runtime import Runtime, UsageError, start
from q1_dcgan import figures, measures
from q1_dcgan.classifier import LEAST_ACCURACY, judge, trained_classifier
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.gan_loss import discriminator_loss, generator_loss, gradient_penalty
from q1_dcgan.mnist_dataset import DataOptions, load, prepare
from q1_dcgan.paper import QUESTION

PENALTY_EVERY = 4  # steps; so much heavier in each of them, as in lazy regularisation (Karras et al. 2020)
STEP_COLUMNS = ("d_loss", "g_loss", "d_real", "d_fake", "d_fake_after")


@dataclass
class Options(DataOptions, RunOptions):
    """Train a DCGAN on MNIST."""

    conditional: bool = False  # give both networks the label, so that a digit can be requested
    label_as: Literal["projection", "plane"] = "projection"  # how a conditional discriminator takes the label
    epochs: int = 15  # passes over the training pictures
    batch_size: int = 64  # real pictures per step (and process), and as many generated ones
    learning_rate: float = 2e-4  # of Adam, for both networks
    latent_size: int = 256  # length of the noise
    base_channels: int = 64  # feature maps of the discriminator's first layer; 16 for small machines
    image_size: int = 28  # 28, or 64 for the original layout on enlarged pictures
    # sample from a moving average of the generator with this decay, such as 0.999; not in the paper
    average_weights: float = 0.0
    # weight of R1, the discriminator's squared slope at real pictures, such as 1; not in the paper
    gradient_penalty: float = 0.0
    log_every: int = 10  # steps averaged into one row of steps.csv
    quality_samples: int = 2000  # samples measured after each epoch; 0 measures only at the end
    test_samples: int = 10000  # samples measured at the end


def check(options: Options) -> Options:
    """Checks ranges and combinations before anything is loaded; names the run."""
    if options.smoke:
        tiny = {"epochs": 2, "batch_size": 256, "latent_size": 32, "synthetic_pictures": 2048}
        tiny |= {"quality_samples": 300, "test_samples": 300}
        options = as_smoke(options, run_name="smoke", **tiny)
    at_least(1, options, "epochs", "batch_size", "latent_size", "base_channels", "log_every")
    at_least(1000, options, "synthetic_pictures")
    at_least(0, options, "quality_samples", "gradient_penalty")
    at_least(200, options, "test_samples")
    if 0 < options.quality_samples < 200:
        raise UsageError("--quality_samples must be 0, or 200 or more: the features have 128 dimensions")
    if options.image_size not in (28, 64):
        raise UsageError(f"--image_size must be 28 or 64, not {options.image_size}")
    above(0, options, "learning_rate")
    at_least(0, options, "average_weights", below=1)
    if options.channels not in (1, 3):
        raise UsageError(f"--channels must be 1 for grey or 3 for colour, not {options.channels}")
    if options.channels == 3 and options.dataset != "folder":
        raise UsageError(f"--channels 3 needs --dataset folder: the pictures of {options.dataset} are grey")
    if options.invert and options.dataset != "folder":
        raise UsageError(f"--invert needs --dataset folder, not --dataset {options.dataset}")
    if options.label_as != "projection" and not options.conditional:
        raise UsageError(f"--label_as {options.label_as} needs --conditional")
    name = options.dataset
    name += "-conditional" if options.conditional else ""
    name += "-64" if options.image_size == 64 else ""
    return replace(options, run_name=options.run_name or name)


def train_step(
    networks: tuple[Generator, Discriminator],
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    real: Tensor,
    noise: Tensor,
    labels: Tensor | None,
    requested: Tensor | None,
    runtime: Runtime,
    penalty: float = 0.0,
) -> tuple[Tensor, ...]:
    """A step of the discriminator, then one of the generator (Goodfellow et al. 2014, algorithm 1, k = 1).

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
    (generator, discriminator), (optimizer_g, optimizer_d) = networks, optimizers
    # Real and generated pictures pass the discriminator separately: each has its own BatchNorm statistics.
    # Of several processes each normalises its own batch; the running statistics of rank 0 are kept.
    with runtime.autocast():
        fake = generator(noise, requested)  # (n, channels, size, size)
        on_real, on_fake = discriminator(real, labels), discriminator(fake.detach(), requested)  # logits (n,)
    d_loss = discriminator_loss(on_real, on_fake)
    penalised = d_loss
    if penalty:
        penalised = d_loss + penalty * gradient_penalty(discriminator, real, labels)
    optimizer_d.zero_grad()
    penalised.backward()
    runtime.average_gradients(discriminator)
    optimizer_d.step()

    discriminator.requires_grad_(False)  # its weights need no gradient in the generator's step
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


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root, options.dataset):
        parts = load(options.data_root, options, options.seed)
    parts = {name: part.to(device) for name, part in parts.items()}
    train, classes = parts["train"], len(parts["train"].names) if options.conditional else 0
    if options.conditional and not classes:
        there = f"{options.folder} holds images, not one folder per class"
        raise UsageError(f"--conditional needs classes: {there}")
    steps, global_batch, mine = split_batch(len(train), options.batch_size, runtime)
    with runtime.one_first(options.data_root, options.dataset):
        least = LEAST_ACCURACY if options.dataset == "mnist" else 0
        classifier, classifier_facts = trained_classifier(parts, options.data_root, runtime, least)
    seen = {name: measures.as_sampled(part, options.image_size) for name, part in parts.items()}
    test_features = judge(classifier, seen["test"].images)[0]

    architecture = {"latent_size": options.latent_size, "classes": classes, "image_size": options.image_size}
    widths = {"base_channels": options.base_channels, "channels": options.channels}
    # a checkpoint without them has the defaults
    architecture |= {name: width for name, width in widths.items() if width != getattr(Options, name)}
    generator = Generator(**architecture).to(device)
    discriminator = Discriminator(classes, options.image_size, options.label_as, **widths).to(device)
    networks, optimizers = (generator, discriminator), []
    for network in networks:
        adam = torch.optim.Adam(network.parameters(), options.learning_rate, (0.5, 0.999), fused=True)
        optimizers.append(adam)
        if options.compile:
            network.compile()

    noise_generator = torch.Generator(device).manual_seed(options.seed)
    fixed = torch.Generator(device).manual_seed(options.seed + 1)
    rows = min(classes, figures.MOST_ROWS) or figures.SHEET_COLUMNS  # one class per row
    cells = rows * figures.SHEET_COLUMNS
    fixed_noise = torch.randn(cells, options.latent_size, generator=fixed, device=device)
    fixed_labels = torch.arange(cells, device=device) // figures.SHEET_COLUMNS if classes else None
    data = {name: {"pictures": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    facts = {"classifier": classifier_facts, "data": data, "classes": train.names}

    with Run(QUESTION, options, runtime, architecture, **facts) as run:
        named = {"generator": generator, "discriminator": discriminator}
        run.start_from(named, remade=("embedding.",))
        average = averaged(generator, options.average_weights)
        kept = average.module if average else generator  # the one that draws samples

        def one_step(*pictures: Tensor | None, penalty: float) -> tuple[Tensor, ...]:
            measured = train_step(networks, optimizers, *pictures, runtime, penalty)
            if average:
                average.update(generator)
            return measured

        replayed_step = Replayed(one_step, optimizers, options.replays(runtime))
        state = named | {"average": average, "noise_draws": noise_generator}
        state |= {"optimizer_g": optimizers[0], "optimizer_d": optimizers[1]}
        loop = Loop(run, state, steps, STEP_COLUMNS, options.log_every)
        run.log(f"{run.folder}: {len(train):,} pictures of {options.dataset}, {loop.where}")
        for epoch in loop.epochs(options.epochs):
            [order] = loop.shuffle(options.seed, len(train))
            for step in loop.steps():
                batch = order[step * global_batch : (step + 1) * global_batch][mine]
                real = prepare(train.images[batch], options.image_size)  # (n, channels, size, size)
                # Every process draws the noise of the global batch and takes its slice.
                drawn = {"generator": noise_generator, "device": device}
                noise = torch.randn(global_batch, options.latent_size, **drawn)[mine]
                labels = requested = None
                if classes:
                    labels = train.labels[batch]
                    requested = torch.randint(classes, (global_batch,), **drawn)[mine]
                penalty = options.gradient_penalty * PENALTY_EVERY if step % PENALTY_EVERY == 0 else 0
                pictures = real, noise, labels, requested
                loop.record(*replayed_step(*pictures, penalty=penalty))

            row = {"epoch": epoch} | loop.means()
            if options.quality_samples:
                samples = measures.sample(kept, options.quality_samples, options.seed, device)
                quality = measures.measure(classifier, test_features, *samples)
                row |= {name: q for name, q in quality.items() if not name.startswith("label_accuracy_")}
            run.write_epoch(row)
            if run.writing:
                sheet = measures.generate(kept, fixed_noise, fixed_labels)
                figures.write_sheet(sheet, run.folder / "samples" / f"epoch_{epoch:03d}.png")
            if epoch in (1, options.epochs // 2, options.epochs):
                run.save_network(f"epoch_{epoch}", kept, epoch)

        results = measures.measure_run(run, kept, generator, classifier, seen, test_features)
        counts = {name: sum(p.numel() for p in network.parameters()) for name, network in named.items()}
        results["parameters"] = counts
        if run.writing:
            figures.plot_run(run.folder, run.figures, results["title"])
            run.finish(results)
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
