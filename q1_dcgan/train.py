"""Trains a DCGAN (Radford et al. 2016) on MNIST, or with --conditional one that draws the digit asked, and measures both.

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
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common import plots
from common.cli import above, at_least, command
from common.run import Run, RunOptions
from common.runtime import StopSignal, UsageError, start
from q1_dcgan.classifier import LEAST_ACCURACY, judge, trained_classifier
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.evaluate import QUESTION, as_drawn, as_rows, draw_samples, floor, generate, measure
from q1_dcgan.figures import draw_losses, write_sheet
from q1_dcgan.figures import draw_samples as draw_sample_figures
from q1_dcgan.gan_loss import discriminator_loss, generator_loss
from q1_dcgan.mnist_dataset import DataOptions, load, prepare

STEP_COLUMNS = ("d_loss", "g_loss", "d_real", "d_fake", "d_fake_after")


@dataclass
class Options(DataOptions, RunOptions):
    """Train a DCGAN on MNIST."""

    conditional: bool = False  # give both networks the label, so that a digit can be asked for
    label_as: Literal["projection", "plane"] = (
        "projection"  # how a conditional discriminator takes the label; plane is the older form
    )
    epochs: int = 15  # passes over the training pictures
    batch_size: int = 64  # real pictures a step (and process), and as many generated ones
    learning_rate: float = 2e-4  # Adam's, of both networks
    latent_size: int = 256  # length of the noise
    image_size: int = 28  # 28, or 64 for the original layout on enlarged pictures
    average_weights: float = (
        0.0  # sample from a moving average of the generator with this decay, e.g. 0.999; not in the paper
    )
    log_every: int = 10  # steps averaged into one row of steps.csv
    quality_samples: int = 2000  # samples measured after each epoch; 0 measures only at the end
    test_samples: int = 10000  # samples measured at the end


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded; fills in what follows from other options."""
    if options.smoke:
        tiny = {
            "epochs": 2,
            "batch_size": 256,
            "latent_size": 32,
            "quality_samples": 300,
            "test_samples": 300,
            "synthetic_pictures": 2048,
        }
        options = replace(options, dataset="synthetic", run_name=options.run_name or "smoke", **tiny)
    at_least(1, options, "epochs", "batch_size", "latent_size", "log_every")
    at_least(1000, options, "synthetic_pictures")
    at_least(0, options, "quality_samples")
    at_least(200, options, "test_samples")
    if 0 < options.quality_samples < 200:
        raise UsageError("--quality_samples must be 0, or 200 or more: the features have 128 dimensions")
    if options.image_size not in (28, 64):
        raise UsageError(f"--image_size must be 28 or 64, not {options.image_size}")
    above(0, options, "learning_rate")
    at_least(0, options, "average_weights", below=1)
    if options.folder is not None and options.dataset != "folder":
        raise UsageError(f"--folder is of --dataset folder, not of --dataset {options.dataset}")
    if options.label_as != "projection" and not options.conditional:
        raise UsageError(f"--label_as {options.label_as} is of --conditional")
    name = f"{options.dataset}{'-conditional' if options.conditional else ''}{'-64' if options.image_size == 64 else ''}"
    return replace(options, run_name=options.run_name or name)


def main(options: Options) -> dict:
    options = check(options)
    runtime = start(options)
    device = runtime.device
    with runtime.one_first(options.data_root):
        parts = load(options.data_root, options, options.seed)
    parts = {name: part.to(device) for name, part in parts.items()}
    train, classes = parts["train"], len(parts["train"].names) if options.conditional else 0
    share = (
        options.batch_size * runtime.world
    )  # pictures of one step over all processes, each of which takes its slice
    mine = slice(runtime.rank * options.batch_size, (runtime.rank + 1) * options.batch_size)
    steps = len(train) // share
    if not steps:
        raise UsageError(
            f"{share} pictures a step (--batch_size) are more than the {len(train)} training pictures"
        )
    required = LEAST_ACCURACY if options.dataset == "mnist" else 0
    with runtime.one_first(options.data_root):
        classifier, classifier_facts = trained_classifier(parts, options.data_root, runtime, required)
    drawn = {name: as_drawn(part, options.image_size) for name, part in parts.items()}
    test_features = judge(classifier, drawn["test"].images)[0]

    architecture = {"latent_size": options.latent_size, "classes": classes, "image_size": options.image_size}
    generator = Generator(**architecture).to(device)
    discriminator = Discriminator(classes, options.image_size, options.label_as).to(device)
    decay = options.average_weights
    average = (
        AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        if decay
        else None
    )
    kept = average.module if average else generator  # the one that draws samples
    adam = {"lr": options.learning_rate, "betas": (0.5, 0.999), "fused": True}
    optimizer_g = torch.optim.Adam(generator.parameters(), **adam)
    optimizer_d = torch.optim.Adam(discriminator.parameters(), **adam)
    if options.compile:
        generator.compile(), discriminator.compile()

    noise_draws = torch.Generator(device).manual_seed(options.seed)
    fixed = torch.randn(
        80 if classes else 64,
        options.latent_size,
        generator=torch.Generator(device).manual_seed(options.seed + 1),
        device=device,
    )
    fixed_labels = torch.arange(80, device=device) // 8 % classes if classes else None  # one class a row
    state = {
        "generator": generator,
        "discriminator": discriminator,
        "average": average,
        "optimizer_g": optimizer_g,
    }
    state |= {"optimizer_d": optimizer_d, "noise_draws": noise_draws}
    facts = {
        "data": {name: {"pictures": len(part), "sha256": part.fingerprint()} for name, part in parts.items()}
    }

    with (
        Run(
            QUESTION, options, runtime, architecture, fixed_epochs=True, classifier=classifier_facts, **facts
        ) as run,
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
        run.log(f"{run.folder}: {len(train):,} pictures of {options.dataset}, {where}")

        while epoch <= options.epochs:
            order = torch.randperm(
                len(train),
                generator=torch.Generator(device).manual_seed(options.seed + 1000 * epoch),
                device=device,
            )
            bar = run.progress(f"epoch {epoch}/{options.epochs}", steps, step, " steps")
            while step < steps:
                batch = order[step * share : (step + 1) * share][mine]
                real = prepare(train.images[batch], options.image_size)  # (n, 1, 28, 28)
                noise = torch.randn(share, options.latent_size, generator=noise_draws, device=device)[mine]
                labels = asked = None
                if classes:
                    labels, asked = (
                        train.labels[batch],
                        torch.randint(classes, (share,), generator=noise_draws, device=device)[mine],
                    )

                with (
                    runtime.autocast()
                ):  # BatchNorm normalises each process's own batch; rank 0's running statistics are kept
                    fake = generator(noise, asked)
                    on_real, on_fake = discriminator(real, labels), discriminator(fake.detach(), asked)
                d_loss = discriminator_loss(on_real, on_fake)
                optimizer_d.zero_grad()
                d_loss.backward()
                runtime.average_gradients(discriminator)
                optimizer_d.step()

                discriminator.requires_grad_(False)  # its weights need no gradient in the generator's step
                with runtime.autocast():
                    after = discriminator(fake, asked)
                g_loss = generator_loss(after)
                optimizer_g.zero_grad()
                g_loss.backward()
                runtime.average_gradients(generator)
                optimizer_g.step()
                discriminator.requires_grad_(True)
                if average:
                    average.update_parameters(generator)

                beliefs = [logits.detach().float().sigmoid().mean() for logits in (on_real, on_fake, after)]
                history[step] = torch.stack([d_loss.detach(), g_loss.detach(), *beliefs])
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
                    bar.set_postfix(D=f"{row['d_loss']:.2f}", G=f"{row['g_loss']:.2f}")
                if stopping:
                    run.save_last(
                        state, epoch=epoch, step=step, best=best, best_epoch=best_epoch, history=history
                    )
                    run.stop(epoch, step)
            bar.close()

            row = {"epoch": epoch} | dict(zip(STEP_COLUMNS, history.mean(0).tolist()))
            if options.quality_samples:
                figures = measure(
                    classifier,
                    test_features,
                    *draw_samples(kept, options.quality_samples, options.seed, device),
                )
                row |= {
                    name: value for name, value in figures.items() if not name.startswith("label_accuracy_")
                }
            run.write("metrics", row)
            run.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))
            if run.writing:
                write_sheet(
                    generate(kept, fixed, fixed_labels), 8, run.folder / "samples" / f"epoch_{epoch:03d}.png"
                )
            if (
                row.get("frechet_distance", -epoch) < best
            ):  # without the quality figures the last epoch is the best
                best, best_epoch = row.get("frechet_distance", -epoch), epoch
                run.save_network("best", kept, epoch)
            if epoch in (1, options.epochs // 2, options.epochs):
                run.save_network(f"epoch_{epoch}", kept, epoch)
            epoch, step, history = epoch + 1, 0, torch.zeros_like(history)
            run.save_last(state, epoch=epoch, step=step, best=best, best_epoch=best_epoch, history=history)
            if runtime.any(stop.requested):
                run.stop(epoch, step)

        least = floor(classifier, drawn["train"], test_features, options.test_samples, options.seed)
        figures = {}
        for shown in sorted({1, max(1, options.epochs // 2), options.epochs}):
            run.load_network(f"epoch_{shown}", kept)
            figures[shown] = measure(
                classifier, test_features, *draw_samples(kept, options.test_samples, options.seed, device)
            )
        rows = as_rows(figures[options.epochs], least, options.test_samples, f"epoch {options.epochs}")
        earlier = [
            {
                "name": f"Frechet distance after epoch {e}",
                "value": round(f["frechet_distance"], 3),
                "unit": "to the test set",
            }
            for e, f in figures.items()
            if e != options.epochs
        ]
        if average:
            raw = measure(
                classifier,
                test_features,
                *draw_samples(generator, options.test_samples, options.seed, device),
            )
            figures["raw generator"] = raw
            value = round(raw["frechet_distance"], 3)
            earlier.append(
                {
                    "name": "Frechet distance without averaging the weights",
                    "value": value,
                    "unit": "to the test set",
                }
            )
        title = f"{'Conditional ' if classes else ''}DCGAN, {options.dataset}, {options.image_size} pixels, seed {options.seed}"
        results = {"title": title, "rows": rows[:1] + earlier + rows[1:], "figures": figures}
        results |= {"best_epoch": best_epoch, "epochs": options.epochs}
        results["parameters"] = {
            n: sum(p.numel() for p in m.parameters())
            for n, m in (("generator", generator), ("discriminator", discriminator))
        }
        if run.writing:
            plots.curves(run.folder / "metrics.csv", run.figures / "curves.png", title, best_epoch)
            draw_losses(run.folder, run.figures, title)
            draw_sample_figures(run.folder, run.figures, title)
            run.finish(results)
            for row in results["rows"]:
                print(f"{row['name']:52}{row['value']:>10} {row['unit']}")
            run.log(f"{results['title']}: results in {run.folder / 'results.json'}, figures in {run.figures}")
    return results


if __name__ == "__main__":
    command(main, Options, __doc__)
