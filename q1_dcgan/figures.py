"""The pictures of a run, drawn from its log folder, and those of an evaluation."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import plots
from common.pictures import Pictures
from q1_dcgan.classifier import Classifier, judge
from q1_dcgan.measures import nearest
from q1_dcgan.mnist_dataset import SIZE
from q1_dcgan.paper import CURVES

SHEET_COLUMNS = 8
MOST_ROWS = 30  # classes in samples.png
MOST_BARS = 80  # classes in classes.png


def sheet(images: Tensor, columns: int, gap: int = 0) -> np.ndarray:
    """Pictures (n, 28, 28 [, 3]) in rows of `columns`, with `gap` white lines below each, as one picture."""
    rows, (height, width, *colours) = -(-len(images) // columns), images.shape[1:]
    cells = np.full((rows * columns, height + gap, width, *colours), 255, np.uint8)
    cells[: len(images), :height] = images.cpu().numpy()
    cells = cells.reshape(rows, columns, height + gap, width, *colours).swapaxes(1, 2)
    return cells.reshape(rows * (height + gap), columns * width, *colours)


def write_sheet(images: Tensor, path: Path) -> None:
    """Writes the samples of one epoch, SHEET_COLUMNS per row, pixel for pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet(images, SHEET_COLUMNS)).save(path)


def plot_sheet(images: Tensor, columns: int, path: Path, title: str, names: Sequence[str] = ()) -> None:
    """Samples in rows of `columns`, each with its name below it if there are names."""
    gap = 10 if names else 1
    rows, cell = -(-len(images) // columns), min(0.6, 30 / columns)  # inches
    canvas, ((axis,),) = plots.figure(size=(max(4, columns * cell), rows * cell * (SIZE + gap) / SIZE + 0.6))
    axis.imshow(sheet(images, columns, gap), cmap="gray", interpolation="nearest", vmin=0, vmax=255)
    axis.axis("off")
    for place, name in enumerate(names):
        x, y = (place % columns + 0.5) * SIZE, place // columns * (SIZE + gap) + SIZE
        axis.text(x, y, plots.short(name, 10), fontsize=12 * cell, ha="center", va="top")
    plots.write_title(canvas, title)
    plots.save(canvas, path)


def plot_run(folder: Path, figures: Path, title: str) -> None:
    """All the pictures of a run's logs in `folder`."""
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, panels=CURVES)
    plot_losses(folder, figures, title)
    plot_samples(folder, figures, title)


def plot_samples(folder: Path, figures: Path, title: str) -> None:
    """samples.png: one fixed noise after epochs 1, n/2 and n; samples.gif: after at most 20 epochs."""
    sheets = sorted((folder / "samples").glob("epoch_*.png"))
    epochs = [int(path.stem.split("_")[1]) for path in sheets]
    chosen = sorted({1, max(1, epochs[-1] // 2), epochs[-1]})
    pictures = [np.asarray(Image.open(sheets[epochs.index(epoch)])) for epoch in chosen]
    config = json.loads((folder / "config.json").read_text())
    names = config.get("classes", []) if config["options"]["conditional"] else []
    rows = len(pictures[0]) // SIZE
    canvas, axes = plots.figure(1, len(chosen), (4, 0.47 * rows + 0.7))
    for axis, epoch, picture in zip(axes[0], chosen, pictures):
        axis.imshow(picture, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
        axis.set(title=f"after epoch {epoch}", xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.grid(False)
    if names:  # one class per row
        middles = SIZE * (np.arange(rows) + 0.5)
        axes[0, 0].set_yticks(middles, [plots.short(names[row % len(names)]) for row in range(rows)])
        axes[0, 0].tick_params(left=False)
    shown = f", the first {rows} of {len(names)} classes" if len(names) > rows else ""
    plots.write_title(canvas, f"{title}: one fixed noise{shown}")
    plots.save(canvas, figures / "samples.png")

    recent = sheets[::-1][:: -(-len(sheets) // 20)][::-1]  # at most 20, the last one among them
    frames = [Image.open(path) for path in recent]
    frames = [frame.resize((2 * frame.width, 2 * frame.height), Image.Resampling.NEAREST) for frame in frames]
    plots.write_gif(frames, figures / "samples.gif", 400)


def plot_losses(folder: Path, figures: Path, title: str) -> None:
    """losses.png from steps.csv: both losses, and the discriminator's mean output."""
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
    plots.write_title(canvas, title)
    plots.save(canvas, figures / "losses.png")


def plot_neighbours(images: Tensor, train: Pictures, path: Path) -> list[float]:
    """Samples (n, 28, 28 [, 3]) above their nearest training pictures; returns the RMS distances."""
    index, distance = nearest(images, train.images)
    rows = [list(images.cpu().numpy() / 255), list(train.images[index].cpu().numpy() / 255)]
    columns = [f"{value:.0f}" for value in distance.tolist()]
    title = "Samples and their nearest training pictures (RMS distance in grey levels)"
    plots.image_grid(rows, path, title, ["sample", "nearest"], columns)
    return distance.tolist()


def plot_histogram(images: Tensor, classifier: Classifier, names: list[str], path: Path) -> None:
    """How often the classifier sees each class in the samples; of many, the rarest and the commonest."""
    predicted = judge(classifier, images)[1].argmax(1)
    shares = torch.bincount(predicted, minlength=len(names)).cpu().numpy() / len(images) * 100
    title, uniform = f"Classes of {len(images):,} samples", 100 / len(names)
    if len(names) > MOST_BARS:
        half = MOST_BARS // 2
        order = shares.argsort(kind="stable")
        order = np.concatenate([order[:half], order[-half:]])
        title += f": the {half} rarest and {half} commonest of {len(names)}"
        names, shares = [names[place] for place in order], shares[order]
    canvas, ((axis,),) = plots.figure(size=(max(6, 0.22 * len(names)), 3.4))
    axis.bar(range(len(names)), shares, color=plots.COLORS["train"])
    axis.axhline(uniform, color="black", linestyle="--", linewidth=1, label="uniform")
    names = [plots.short(name) for name in names]
    axis.set_xticks(range(len(names)), names)
    upright = len(names) <= 12 and max(map(len, names)) < 5
    axis.tick_params(axis="x", labelrotation=0 if upright else 90, labelsize=11 if upright else 9)
    axis.set(xlabel="class according to the classifier", ylabel="share of the samples (%)")
    axis.set_title(title, loc="left")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # above the axes, where no bar is
    plots.save(canvas, path)
