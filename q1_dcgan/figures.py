"""The pictures of a run, drawn from its log folder, and those of an evaluation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import gif, plots
from common.epoch_files import epoch_files, epoch_of
from common.json_files import read_json
from common.labelled_images import LabelledImages
from common.plot_style import in_our_style
from q1_dcgan.classifier import Classifier, judge
from q1_dcgan.measures import nearest
from q1_dcgan.mnist_files import SIZE

SHEET_COLUMNS = 8
MOST_ROWS = 30  # classes in samples.png
MOST_BARS = 80  # classes in classes.png
MOST_PIXELS = 4000  # across samples.png, which is hardly wider; imshow takes 100 bytes for each pixel
MOST_FRAMES = 20  # epochs in samples.gif
# Panels of curves.png: label of the y axis -> column of metrics.csv -> its name in the legend
CURVES = {
    "Fréchet distance to the test set": {"frechet_distance": ""},
    "share of a class (1 is uniform)": {"commonest_class": "commonest class", "rarest_class": "rarest class"},
    "classifier on the samples (%)": {"label_accuracy": "label accuracy", "confidence": "mean confidence"},
}


def sheet(images: np.ndarray, columns: int, gap: int = 0) -> np.ndarray:
    """Lays images (n, 28, 28 [, 3]) in rows of `columns` into one, with `gap` white lines below each."""
    rows = -(-len(images) // columns)
    height, width, *colours = images.shape[1:]
    cells = np.full((rows * columns, height + gap, width, *colours), 255, np.uint8)
    cells[: len(images), :height] = images
    cells = cells.reshape(rows, columns, height + gap, width, *colours).swapaxes(1, 2)
    return cells.reshape(rows * (height + gap), columns * width, *colours)


def write_sheet(images: Tensor, path: Path) -> None:
    """Writes the samples of one epoch, SHEET_COLUMNS per row, pixel for pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet(images.cpu().numpy(), SHEET_COLUMNS)).save(path)


@in_our_style
def plot_sheet(images: np.ndarray, columns: int, path: Path, title: str, names: Sequence[str] = ()) -> None:
    """Draws samples in rows of `columns`, each with its name below it if there are names."""
    gap = 10 if names else 1
    rows = -(-len(images) // columns)
    cell = min(0.6, 30 / columns)  # inches
    size = (max(4, columns * cell), rows * cell * (SIZE + gap) / SIZE + 0.6)
    canvas, axes = plots.figure(size=size)
    axis = axes[0, 0]
    pixels = sheet(images, columns, gap)
    every = -(-columns * SIZE // MOST_PIXELS)
    axis.imshow(pixels[::every, ::every], cmap="gray", interpolation="nearest", vmin=0, vmax=255)
    axis.axis("off")
    for place, name in enumerate(names):
        x = (place % columns + 0.5) * SIZE
        y = place // columns * (SIZE + gap) + SIZE
        axis.text(x, y, plots.short(name, 10), fontsize=12 * cell, ha="center", va="top")
    plots.write_title(canvas, title)
    plots.save(canvas, path)


def redraw(folder: Path, figures: Path) -> None:
    """Draws the figures of a finished run once more, from its log files alone."""
    plot_run(folder, figures, plots.read_title(folder))


def redraw_curves(folder: Path, figures: Path) -> None:
    """Draws curves.png of a finished run once more."""
    plot_curves(folder, figures, plots.read_title(folder))


def plot_run(folder: Path, figures: Path, title: str) -> None:
    """Draws all the figures of a run from its log files in `folder`.

    Args:
        title: which names the run.
    """
    plot_curves(folder, figures, title)
    plot_losses(folder, figures, title)
    sheets = epoch_files(folder / "samples", ".png")
    plot_samples(sheets, folder, figures, title)
    animate(sheets, figures / "samples.gif")


@in_our_style
def plot_samples(sheets: Sequence[Path], folder: Path, figures: Path, title: str) -> None:
    """Draws samples.png: one fixed noise after epochs 1, n/2 and n.

    Args:
        sheets: what `write_sheet` wrote after each epoch, in order.
    """
    # The epochs.
    epochs = [epoch_of(sheet) for sheet in sheets]
    chosen = sorted({1, max(1, epochs[-1] // 2), epochs[-1]})
    images = [np.asarray(Image.open(sheets[epochs.index(epoch)])) for epoch in chosen]
    rows = len(images[0]) // SIZE

    # One panel for each.
    canvas, axes = plots.figure(1, len(chosen), (4, 0.47 * rows + 0.7))
    for axis, epoch, image in zip(axes[0], chosen, images):
        axis.imshow(image, cmap="gray", interpolation="nearest", vmin=0, vmax=255)
        axis.set(title=f"after epoch {epoch}", xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.grid(False)

    # One class per row.
    config = read_json(folder / "config.json")
    digits = [str(digit) for digit in range(10)]
    names = []
    if config["options"]["conditional"]:
        names = config.get("classes", digits)  # the first runs, on MNIST, did not write their names down
    if names:
        middles = SIZE * (np.arange(rows) + 0.5)
        axes[0, 0].set_yticks(middles, [plots.short(names[row % len(names)]) for row in range(rows)])
        axes[0, 0].tick_params(left=False)
    shown = f", the first {rows} of {len(names)} classes" if len(names) > rows else ""
    plots.write_title(canvas, f"{title}: one fixed noise{shown}")
    plots.save(canvas, figures / "samples.png")


def animate(sheets: Sequence[Path], path: Path) -> None:
    """Writes samples.gif: the fixed noise after at most MOST_FRAMES epochs, the last one among them."""
    frames = []
    for file in gif.thin(sheets, MOST_FRAMES):
        frame = Image.open(file)
        frames.append(frame.resize((2 * frame.width, 2 * frame.height), Image.Resampling.NEAREST))
    gif.write_gif(frames, path, 400)


def plot_curves(folder: Path, figures: Path, title: str) -> None:
    """Draws curves.png from metrics.csv."""
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, CURVES)


@in_our_style
def plot_losses(folder: Path, figures: Path, title: str) -> None:
    """Draws losses.png from steps.csv: both losses, and the discriminator's mean output."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    canvas, axes = plots.figure(1, 2, (6, 3.8))
    left, right = axes[0]
    chance = {"color": "black", "linestyle": ":", "linewidth": 1}

    # Losses.
    for name, label, color in (
        ("d_loss", "discriminator (real + fake)", "#1f77b4"),
        ("g_loss", "generator", "#d95f02"),
    ):
        left.plot(table["step"], table[name], color=color, alpha=0.2, linewidth=0.7)
        left.plot(smooth["step"], smooth[name], color=color, label=label)
    left.axhline(2 * np.log(2), label="discriminator at chance", **chance)
    left.set(xlabel="step", ylabel="loss (nats)", title="Losses")
    left.legend(fontsize=9)

    # What the discriminator believes.
    for name, label, color in (
        ("d_real", "D(x), real", "#1f77b4"),
        ("d_fake", "D(G(z)), before D's step", "#d95f02"),
        ("d_fake_after", "D(G(z)), after", "#7b3294"),
    ):
        right.plot(smooth["step"], smooth[name], color=color, label=label)
    right.axhline(0.5, **chance)
    right.set(xlabel="step", ylabel="mean probability of real", ylim=(0, 1), title="Discriminator's output")
    right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)

    plots.write_title(canvas, title)
    plots.save(canvas, figures / "losses.png")


def plot_neighbours(images: Tensor, train: LabelledImages, network: str, path: Path) -> list[float]:
    """Draws samples (n, 28, 28 [, 3]) above their nearest training pictures; returns the RMS distances.

    Args:
        network: which one drew the samples, for the title.
    """
    index, distance = nearest(images, train.images)
    rows = [list(images.cpu().numpy() / 255), list(train.images[index].cpu().numpy() / 255)]
    columns = [f"{value:.0f}" for value in distance.tolist()]
    title = f"{network}: samples and their nearest training pictures (RMS distance in grey levels)"
    plots.image_grid(rows, path, title, ["sample", "nearest"], columns)
    return distance.tolist()


@in_our_style
def plot_histogram(
    images: Tensor, classifier: Classifier, names: list[str], network: str, path: Path
) -> None:
    """Draws how often the classifier sees each class; of many classes, the rarest and the commonest.

    Args:
        names: of the classes.
        network: which one drew the samples, for the title.
    """
    predicted = judge(classifier, images)[1].argmax(1)
    shares = torch.bincount(predicted, minlength=len(names)).cpu().numpy() / len(images) * 100
    uniform = 100 / len(names)

    # Of many classes only some.
    title = f"{network}: classes of {len(images):,} samples"
    if len(names) > MOST_BARS:
        half = MOST_BARS // 2
        title += f": the {half} rarest and {half} commonest of {len(names)}"
        order = shares.argsort(kind="stable")
        order = np.concatenate([order[:half], order[-half:]])
        names = [names[place] for place in order]
        shares = shares[order]

    # Bars.
    canvas, axes = plots.figure(size=(max(6, 0.22 * len(names)), 3.4))
    axis = axes[0, 0]
    axis.bar(range(len(names)), shares, color=plots.COLORS["train"])
    axis.axhline(uniform, color="black", linestyle="--", linewidth=1, label="uniform")
    axis.set(xlabel="classified as, by the classifier", ylabel="share of the samples (%)")
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # above the axes, where no bar is
    plots.write_title(canvas, title)

    # Their names, upright where they are few and short.
    labels = [plots.short(name) for name in names]
    axis.set_xticks(range(len(labels)), labels)
    upright = len(labels) <= 12 and max(map(len, labels)) < 5
    axis.tick_params(axis="x", labelrotation=0 if upright else 90, labelsize=11 if upright else 9)
    plots.save(canvas, path)
