"""One look for every figure: readable in print, axes and units named, drawn from log files alone."""

import re
import sys
import textwrap
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, MaxNLocator
from PIL import Image
from torch import Tensor

from common.rows import read_table

STYLE = {"font.size": 11, "axes.titlesize": 12, "grid.alpha": 0.3, "lines.linewidth": 1.6, "savefig.dpi": 130}
STYLE |= {"axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False}
STYLE |= {"legend.frameon": False, "text.parse_math": False}  # a $ in a class or file name is a dollar
MOST_CLASSES = 40  # that a confusion matrix can show legibly
Grid = Sequence[Sequence[np.ndarray]]
COLORS = {"train": "#1f77b4", "validation": "#d95f02"}  # distinct in grey print and for the colour-blind


def figure(rows: int = 1, columns: int = 1, size=(5.2, 3.6), **keywords: object) -> tuple[Figure, np.ndarray]:
    """A figure of `rows` x `columns` panels of `size` inches each; the axes come as a 2-D array."""
    matplotlib.rcParams.update(STYLE)
    canvas = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False, **keywords)


def save(canvas: Figure, path: Path) -> Path:
    """Writes the figure and returns its path; characters that the fonts lack are named once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for text in canvas.findobj(Text):
        text.set_text(printable(text.get_text()))
    for axis in (axis for axes in canvas.axes for axis in (axes.xaxis, axes.yaxis)):
        labels = [label.get_text() for label in axis.get_ticklabels()]
        if labels != (shown := [printable(label) for label in labels]):
            axis.set_ticks(axis.get_ticklocs(), shown)
    with warnings.catch_warnings(record=True) as caught:  # matplotlib warns about each of them, several times
        warnings.filterwarnings("always", r"Glyph \d+")
        canvas.savefig(path)
    lacking = {chr(int(n)) for warning in caught for n in re.findall(r"Glyph (\d+)", str(warning.message))}
    if lacking:
        print(f"note: {path} has boxes for {''.join(sorted(lacking))!r}: not in its font", file=sys.stderr)
    return path


def printable(name: str) -> str:
    """A name with a question mark for each byte that is not UTF-8, as old file systems have them."""
    return name.encode("utf-8", "replace").decode()


def write_title(canvas: Figure, title: str) -> None:
    """A title over the whole figure, in as many lines as its width needs; the figure grows by them."""
    lines = textwrap.wrap(title, int(8 * canvas.get_figwidth()))
    canvas.set_figheight(canvas.get_figheight() + 0.25 * (len(lines) - 1))
    canvas.suptitle("\n".join(lines), fontsize=12)


def short(name: str, most: int = 20) -> str:
    """A class or file name that may be long: its beginning and its end, in at most this many characters."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[len(name) - (most - 1) // 2 :]}"


def curves(metrics: Path, path: Path, title: str, best_epoch: int | None = None, panels=None) -> None:
    """Draws metrics.csv, if it has anything to draw.

    Args:
        metrics: the CSV; its first column is the x axis.
        path: the PNG to write.
        title: above the whole figure.
        best_epoch: marked by a line.
        panels: label of the y axis -> column -> its name in the legend (default: one panel per quantity, its
            `train_` and `validation_` columns together). Where the label ends in (%) the values are shares.
    """
    (x_name, x), *columns = read_table(metrics).items()
    table, by_quantity = dict(columns), {}
    for column in table:
        part, _, quantity = column.partition("_")
        part, quantity = (part, quantity) if part in COLORS else ("", column)
        label = quantity.replace("_", " ") + (" (%)" if "accuracy" in quantity else "")
        by_quantity.setdefault(label, {})[column] = part
    panels = {  # of the columns that are there
        label: there
        for label, lines in (panels or by_quantity).items()
        if (there := {column: name for column, name in lines.items() if column in table})
    }
    if not panels:
        return
    rows = -(-len(panels) // 4)
    canvas, axes = figure(rows, -(-len(panels) // rows))
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for axis, (label, lines) in zip(axes.flat, panels.items()):
        factor = 100 if label.endswith("(%)") else 1
        for column, name in lines.items():
            style = {"label": name or None, "color": COLORS.get(name), "marker": "o" if len(x) < 15 else None}
            axis.plot(x, factor * np.array(table[column]), **style, markersize=3)
        if best_epoch:
            style = {"color": "black", "linestyle": ":", "linewidth": 1.2}
            axis.axvline(best_epoch, **style, label=f"best: epoch {best_epoch}")
        axis.set(xlabel=x_name, ylabel=label)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if all(value % 1 == 0 for column in lines for value in table[column]):  # counts
            axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if label == "learning rate":
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(LogFormatter())  # plain text, as text.parse_math is off
            axis.yaxis.set_minor_formatter(LogFormatter())
        elif any(lines.values()) or (best_epoch and axis is axes.flat[0]):
            axis.legend()
    write_title(canvas, title)
    save(canvas, path)


def read_steps(steps: Path, points: int = 150) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The columns of steps.csv as they are, and as moving averages over a `points`-th of the run."""
    table = {name: np.array(values) for name, values in read_table(steps).items()}
    width = max(1, len(table["step"]) // points)
    return table, {name: np.convolve(x, np.ones(width) / width, "valid") for name, x in table.items()}


def show(axis: Axes, image: np.ndarray, below: str = "", color: str = "black") -> None:
    """One image without axes, (height, width[, 3]), 0..1 or uint8, and a line of text below."""
    grey = {"cmap": "gray_r", "vmin": 0} if image.ndim == 2 else {}
    axis.imshow(image, interpolation="nearest", **grey)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    if below:
        axis.set_xlabel(below, fontsize=9, color=color, labelpad=2)


def image_grid(images: Grid, path: Path, title: str, row_names=(), column_names=(), size=0.75) -> Path:
    """A labelled grid of images, `images[row][column]`, each as `show` takes them, `size` inches wide."""
    columns = max(map(len, images))
    canvas, axes = figure(len(images), columns, (size, size))
    margin = 0.09 * max(map(len, row_names), default=0)
    canvas.set_size_inches(columns * size + margin, len(images) * size + 0.6)
    for axis in axes.flat:
        axis.axis("off")
    for row, line in enumerate(images):
        for column, image in enumerate(line):
            axes[row, column].axis("on")
            show(axes[row, column], image)
    for axis, name in zip(axes[:, 0], row_names):
        axis.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    for axis, name in zip(axes[0], column_names):
        axis.set_title(name, fontsize=9)
    write_title(canvas, title)
    return save(canvas, path)


def confusion(predicted: Tensor, labels: Tensor, names: list[str], path: Path) -> Path:
    """Which class is predicted for which: one row per true class, in percent of its pictures.

    Of more than 40 classes it shows the 40 with the lowest accuracy.

    Args:
        predicted, labels: (n,) int64.
    """
    classes = len(names)
    pairs = torch.bincount(labels * classes + predicted, minlength=classes**2)
    table = pairs.view(classes, classes).cpu().double()
    table = 100 * table / table.sum(1, keepdim=True).clamp(min=1)
    worst = table.diag().argsort(stable=True)[:MOST_CLASSES].sort().values
    table, names = table[worst][:, worst], [names[i] for i in worst]
    side = max(5.4, 1.2 + 0.26 * len(names))
    canvas, ((axis,),) = figure(size=(side + 1, side))
    image = axis.imshow(table.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    if len(names) <= 12:  # more numbers would overlap
        for row, column in (table >= 0.05).nonzero().tolist():
            color = "white" if table[row, column] > 40 else "black"
            text = f"{table[row, column]:.1f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axis.grid(False)
    shown = [short(name) for name in names]
    small = {"fontsize": 11 if len(names) <= 12 else 8}
    axis.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor", **small)
    axis.set_yticks(range(len(names)), shown, **small)
    title = f"Confusion on {len(labels):,} pictures (% of the true class)"
    if len(names) < classes:
        title += f"\nThe {len(names)} classes with the lowest accuracy of {classes}"
    axis.set(xlabel="predicted class", ylabel="true class", title=title)
    bar = canvas.colorbar(image, ax=axis, label="% (square-root scale)", ticks=[0, 1, 3.1623, 7.0711, 10])
    bar.set_ticklabels(["0", "1", "10", "50", "100"])
    return save(canvas, path)


def write_gif(frames: Sequence[Image.Image], path: Path, duration=300, most_bytes=500_000) -> Path:
    """An endless GIF of frames of one size, `duration` milliseconds each and the last one five times as long.

    The frames are scaled down until the file holds at most `most_bytes`.
    """
    durations = [duration] * (len(frames) - 1) + [5 * duration]
    size, file = frames[0].size, BytesIO()
    while True:
        small = [frame.convert("RGB").resize(size, Image.Resampling.BOX) for frame in frames]
        small = [frame.quantize(48, dither=Image.Dither.NONE) for frame in small]
        small[0].save(file, "GIF", save_all=True, append_images=small[1:], duration=durations, loop=0)
        if file.tell() <= most_bytes:
            break
        size, file = tuple(max(1, int(0.85 * side)) for side in size), BytesIO()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
    return path
