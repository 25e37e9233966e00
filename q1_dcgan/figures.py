"""The pictures of a run, drawn from its log folder, and those of an evaluation."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import plots
from q1_dcgan.classifier import Classifier, judge
from q1_dcgan.measures import nearest_training
from q1_dcgan.mnist_dataset import SIZE, Pictures


def write_sheet(images: Tensor, columns: int, path: Path, zoom: int = 1) -> None:
    """Writes pictures (n, 28, 28) uint8 as one image with `columns` per row, each enlarged `zoom` times."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * columns, SIZE, SIZE), np.uint8)
    sheet[: len(images)] = images.cpu().numpy()
    sheet = sheet.reshape(rows, columns, SIZE, SIZE).swapaxes(1, 2).reshape(rows * SIZE, columns * SIZE)
    Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1)).save(path)


def plot_run(folder: Path, figures: Path, title: str, best_epoch: int) -> None:
    """All the pictures of a run's logs in `folder`."""
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, best_epoch)
    plot_losses(folder, figures, title)
    plot_samples(folder, figures, title)


def plot_samples(folder: Path, figures: Path, title: str) -> None:
    """samples.png: one fixed noise after epochs 1, n/2 and n; samples.gif: after at most 20 epochs."""
    sheets = sorted((folder / "samples").glob("epoch_*.png"))
    epochs = [int(sheet.stem.split("_")[1]) for sheet in sheets]
    chosen = sorted({1, max(1, epochs[-1] // 2), epochs[-1]})
    canvas, axes = plots.figure(1, len(chosen), (4, 4.3))
    for axis, epoch in zip(axes[0], chosen):
        axis.imshow(np.asarray(Image.open(sheets[epochs.index(epoch)])), cmap="gray", interpolation="nearest")
        axis.set_title(f"after epoch {epoch}")
        axis.axis("off")
    separator = ": " if len(chosen) > 1 else "\n"  # over a single panel the title takes two lines
    canvas.suptitle(f"{title}{separator}one fixed noise")
    plots.save(canvas, figures / "samples.png")

    recent = sheets[::-1][:: -(-len(sheets) // 20)][::-1]  # at most 20, the last one among them
    frames = [Image.open(sheet) for sheet in recent]
    frames = [frame.resize((2 * frame.width, 2 * frame.height), Image.Resampling.NEAREST) for frame in frames]
    plots.write_gif(frames, figures / "samples.gif", 400)


def plot_losses(folder: Path, figures: Path, title: str) -> None:
    """losses.png from steps.csv: both losses, and what the discriminator says of its pictures."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    canvas, ((left, right),) = plots.figure(1, 2, (6, 3.8))
    losses = (("d_loss", "discriminator (real + fake)", "#1f77b4"), ("g_loss", "generator", "#d95f02"))
    for name, label, color in losses:
        left.plot(table["step"], table[name], color=color, alpha=0.2, linewidth=0.7)
        left.plot(smooth["step"], smooth[name], color=color, label=label)
    chance = {"color": "black", "linestyle": ":", "linewidth": 1}
    left.axhline(2 * np.log(2), label="discriminator at chance", **chance)
    left.set(xlabel="step", ylabel="loss (nats)", title="Losses")
    beliefs = (
        ("d_real", "D(x), real", "#1f77b4"),
        ("d_fake", "D(G(z)), before D's step", "#d95f02"),
        ("d_fake_after", "D(G(z)), after", "#7b3294"),
    )
    for name, label, color in beliefs:
        right.plot(smooth["step"], smooth[name], color=color, label=label)
    right.axhline(0.5, **chance)
    right.set(xlabel="step", ylabel="mean probability of real", ylim=(0, 1), title="Discriminator's output")
    left.legend(fontsize=9)
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    canvas.suptitle(title)
    plots.save(canvas, figures / "losses.png")


def plot_neighbours(images: Tensor, train: Pictures, path: Path) -> list[float]:
    """Samples (n, 28, 28) above their nearest training pictures; returns their RMS grey-level distances."""
    index, distance = nearest_training(images, train.images)
    rows = [list(images.cpu().numpy() / 255), list(train.images[index].cpu().numpy() / 255)]
    columns = [f"{value:.0f}" for value in distance.tolist()]
    title = "Samples and their nearest training pictures (RMS distance in grey levels)"
    plots.image_grid(rows, path, title, ["sample", "nearest"], columns)
    return distance.tolist()


def plot_histogram(images: Tensor, classifier: Classifier, names: list[str], path: Path) -> None:
    """How often the classifier reads each class in the samples."""
    predicted = judge(classifier, images)[1].argmax(1)
    shares = torch.bincount(predicted, minlength=len(names)).cpu().numpy() / len(images) * 100
    canvas, ((axis,),) = plots.figure(size=(max(6, 0.22 * len(names)), 3.4))
    axis.bar(names, shares, color=plots.COLORS["train"])
    axis.axhline(100 / len(names), color="black", linestyle="--", linewidth=1, label="uniform")
    title = f"Classes of {len(images):,} samples"
    axis.set(xlabel="class according to the classifier", ylabel="share of the samples (%)", title=title)
    axis.tick_params(axis="x", labelrotation=0 if max(map(len, names)) < 4 else 45)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # above the axes, where no bar is
    plots.save(canvas, path)
