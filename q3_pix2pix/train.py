"""Trains pix2pix (Isola et al. 2017), from satellite photo to map, and measures it every epoch on the validation pairs.

python q3_pix2pix/train.py
python q3_pix2pix/train.py --dataset aerial_maps --gan_weight 0     # the L1-only control
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from PIL import Image

from common import plots
from common.cli import above, at_least, command
from common.run import Run, RunOptions
from common.runtime import StopSignal, UsageError, start
from q3_pix2pix.evaluate import QUESTION, as_rows, controls, draw_triplets, find_palette, measure, translate
from q3_pix2pix.figures import draw_gif, draw_losses
from q3_pix2pix.maps_dataset import DataOptions, load, prepare, random_crop_and_mirror
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q3_pix2pix.pix2pix_loss import L1_WEIGHT, discriminator_loss, generator_loss, l1_loss

STEP_COLUMNS = ("g_gan", "g_l1", "d_real", "d_fake")


@dataclass
class Options(DataOptions, RunOptions):
    """Train pix2pix."""

    epochs: int = 200  # passes over the training pairs
    constant_epochs: int = (
        -1
    )  # epochs of constant learning rate before it falls linearly (default: half of them)
    batch_size: int = 1  # pairs a step (and process)
    learning_rate: float = 2e-4  # Adam's, of both networks
    gan_weight: float = 1.0  # weight of the adversarial loss; 0 leaves L1 alone, the control
    image_size: int = 256  # a power of two; 128 or 64 for small machines
    base_channels: int = 64  # feature maps of the first layers; 32 or 16 for small machines
    log_every: int = 10  # steps averaged into one row of steps.csv


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {"epochs": 2, "image_size": 32, "base_channels": 8, "batch_size": 8, "log_every": 2}
        options = replace(options, dataset="synthetic", run_name=options.run_name or "smoke", **tiny)
    at_least(1, options, "epochs", "batch_size", "base_channels", "log_every")
    at_least(32, options, "image_size")
    at_least(0, options, "gan_weight")
    at_least(-1, options, "constant_epochs")
    if options.pairs is not None and options.dataset != "folder":
        raise UsageError(f"--pairs is of --dataset folder, not of --dataset {options.dataset}")
    if options.image_size & (options.image_size - 1):
        raise UsageError(
            f"--image_size must be a power of two, not {options.image_size}: every layer of the U-Net halves it"
        )
    above(0, options, "learning_rate")
    constant = options.constant_epochs if options.constant_epochs >= 0 else options.epochs // 2
    if constant > options.epochs:
        raise UsageError(f"--constant_epochs {constant} is more than --epochs {options.epochs}")
    name = f"{options.dataset}-{options.image_size}{'' if options.gan_weight else '-l1'}"
    return replace(options, constant_epochs=constant, run_name=options.run_name or name)


def rate_factor(epoch: int, epochs: int, constant: int) -> float:
    """Factor of the learning rate in `epoch` (from 1): 1 for `constant` epochs, then linearly towards 0 after the last."""
    return min(1.0, (epochs - epoch + 1) / (epochs - constant + 1))


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root):
        parts = load(options.data_root, options, options.image_size, options.seed)
    parts = {name: part.to(device) for name, part in parts.items()}
    train, validation = parts["train"], parts["val"]
    inputs, targets = validation.images.split(3, 1)
    truth = targets.float() / 255
    shown = list(range(min(4, len(validation))))  # the fixed row of triplets

    architecture = {
        "image_size": options.image_size,
        "base_channels": options.base_channels,
        "direction": options.direction,
    }
    generator = UNet(options.image_size, options.base_channels).to(device)
    discriminator = PatchGAN(options.base_channels).to(device)
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    optimizer_g, optimizer_d = (
        torch.optim.Adam(network.parameters(), **adam) for network in (generator, discriminator)
    )
    if options.compile:
        generator.compile(), discriminator.compile()
    crops = torch.Generator(device).manual_seed(options.seed)
    state = {
        "generator": generator,
        "discriminator": discriminator,
        "optimizer_g": optimizer_g,
        "optimizer_d": optimizer_d,
    }
    state |= {"crops": crops}

    share = options.batch_size * runtime.world  # pairs of one step over all processes
    steps = len(train) // share
    if not steps:
        raise UsageError(f"{share} pairs a step are more than the {len(train)} training pairs")
    facts = {
        "data": {name: {"pairs": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    }
    with (
        Run(QUESTION, options, runtime, architecture, fixed_epochs=True, **facts) as run,
        StopSignal() as stop,
    ):
        history = torch.zeros(steps, len(STEP_COLUMNS), device=device)
        position = {
            "epoch": 1,
            "step": 0,
            "best": float("inf"),
            "best_epoch": 0,
            "history": history,
        } | run.restore(state)
        epoch, step, best, best_epoch, history = position.values()
        where = f"{runtime.device_name}, {runtime.precision}, from epoch {epoch}, step {step}"
        run.log(
            f"{run.folder}: {len(train):,} pairs of {options.dataset} at {options.image_size} pixels, {where}"
        )

        while epoch <= options.epochs:
            rate = options.learning_rate * rate_factor(epoch, options.epochs, options.constant_epochs)
            for group in optimizer_g.param_groups + optimizer_d.param_groups:
                group["lr"] = rate
            order = torch.randperm(
                len(train),
                generator=torch.Generator(device).manual_seed(options.seed + 1000 * epoch),
                device=device,
            )
            generator.train(), discriminator.train()
            bar = run.progress(f"epoch {epoch}/{options.epochs}", steps, step, " steps")
            while step < steps:
                pairs = random_crop_and_mirror(
                    train.images[order[step * share : (step + 1) * share]], options.image_size, crops
                )
                mine = pairs[runtime.rank * options.batch_size : (runtime.rank + 1) * options.batch_size]
                photo, real = prepare(mine).split(3, 1)
                # Dropout draws from torch's own generator: seeded every step, each process's draws are the same after a resume.
                torch.manual_seed(
                    int(
                        np.random.SeedSequence((options.seed, epoch, step, runtime.rank)).generate_state(1)[0]
                    )
                )
                with runtime.autocast():
                    fake = generator(photo)

                zero = torch.zeros((), device=device)
                d_real = d_fake = g_gan = zero
                if options.gan_weight:  # D before G
                    with runtime.autocast():
                        on_real, on_fake = discriminator(photo, real), discriminator(photo, fake.detach())
                    d_real, d_fake = discriminator_loss(on_real, on_fake)
                    optimizer_d.zero_grad()
                    (d_real + d_fake).backward()
                    runtime.average_gradients(discriminator)
                    optimizer_d.step()
                    discriminator.requires_grad_(
                        False
                    )  # its weights need no gradient in the generator's step
                    with runtime.autocast():
                        g_gan = generator_loss(discriminator(photo, fake))
                    discriminator.requires_grad_(True)
                g_l1 = l1_loss(fake, real)
                optimizer_g.zero_grad()
                (options.gan_weight * g_gan + L1_WEIGHT * g_l1).backward()
                runtime.average_gradients(generator)
                optimizer_g.step()

                history[step] = torch.stack([value.detach() for value in (g_gan, g_l1, d_real, d_fake)])
                step += 1
                bar.update()
                due = step % options.log_every == 0 or step == steps
                stopping = stop.requested if runtime.world == 1 else due and runtime.any(stop.requested)
                if due or stopping:
                    history = runtime.mean(history)  # of what is known already it is the same
                    if not history[:step].isfinite().all():
                        run.not_finite(epoch, 1 + int((~history[:step].isfinite().all(1)).nonzero()[0]))
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
                    bar.set_postfix(D=f"{row['d_real'] + row['d_fake']:.2f}", L1=f"{row['g_l1']:.3f}")
                if stopping:
                    run.save_last(
                        state, epoch=epoch, step=step, best=best, best_epoch=best_epoch, history=history
                    )
                    run.stop(epoch, step)
            bar.close()

            outputs = translate(generator, inputs)
            figures = {
                f"validation_{name}": float(value.mean()) for name, value in measure(outputs, truth).items()
            }
            row = (
                {"epoch": epoch}
                | dict(zip(STEP_COLUMNS, history.mean(0).tolist()))
                | figures
                | {"learning_rate": rate}
            )
            run.write("metrics", row)
            run.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))
            if run.writing:
                picture = torch.cat(
                    [inputs[shown].float() / 255, truth[shown], outputs[shown]], 2
                )  # (4, 3, 3 * size, size)
                sheet = (picture.permute(2, 0, 3, 1).flatten(1, 2) * 255).byte().cpu().numpy()
                (run.folder / "samples").mkdir(exist_ok=True)
                Image.fromarray(np.ascontiguousarray(sheet)).save(
                    run.folder / "samples" / f"epoch_{epoch:03d}.jpg", quality=90
                )
            if figures["validation_l1"] < best:
                best, best_epoch = figures["validation_l1"], epoch
                run.save_network("best", generator, epoch)
            epoch, step, history = epoch + 1, 0, torch.zeros_like(history)
            run.save_last(state, epoch=epoch, step=step, best=best, best_epoch=best_epoch, history=history)
            if runtime.any(stop.requested):
                run.stop(epoch, step)

        palette = find_palette(train.images[:200, 3:])
        outputs = translate(generator, inputs)
        rows = as_rows(outputs, truth, palette, "train-mode inference (the paper's)")
        rows += as_rows(translate(generator, inputs, "eval"), truth, palette, "eval mode")
        for name, images in controls(train, validation).items():
            rows += as_rows(images, truth, palette, name)
        title = f"pix2pix, {options.dataset}, {options.image_size} pixels, {'GAN + L1' if options.gan_weight else 'L1 only'}"
        results = {
            "title": title,
            "rows": rows,
            "best_epoch": best_epoch,
            "best_validation_l1": best,
            "epochs": options.epochs,
        }
        results["parameters"] = {
            n: sum(p.numel() for p in m.parameters())
            for n, m in (("generator", generator), ("discriminator", discriminator))
        }
        if run.writing:
            plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title, best_epoch)
            draw_losses(run.folder, run.figures, title)
            draw_gif(run.folder, run.figures)
            first = list(range(min(10, len(validation))))
            named = inputs.float() / 255, truth, outputs, validation.names
            draw_triplets(
                *named,
                first,
                run.figures / "triplets.png",
                f"The first {len(first)} of {len(validation)} validation pairs",
            )
            run.finish(results)
            for row in rows:
                print(f"{row['name']:58}{row['value']:>10.3f} ± {row['interval']:.3f} {row['unit']}")
            run.log(f"{title}: results in {run.folder / 'results.json'}, figures in {run.figures}")
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
