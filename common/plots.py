"""One look for every figure: readable in print, axes and units named, drawn from log files alone."""

import re
import sys
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, MaxNLocator
from torch import Tensor

from common.json_files import read_json
from common.plot_style import in_our_style
from common.rows import read_table

LEARNING_RATE = "learning rate"  # the label of a panel with a logarithmic axis
MOST_CLASSES = 40  # that a confusion matrix can show legibly
COLORS = {"train": "#1f77b4", "validation": "#d95f02"}  # distinct in grey print and for the colour-blind
Grid = Sequence[Sequence[np.ndarray]]
Panels = dict[str, dict[str, str]]  # label of the y axis -> column -> its name in the legend


def figure(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.2, 3.6), **keywords: Any
) -> tuple[Figure, np.ndarray]:
    """Makes a figure of `rows` x `columns` panels, in a function that is decorated with `in_our_style`.

    Args:
        size: of each panel, width and height in inches.

    Returns:
        The figure, and its axes as a 2-D array.
    """
    canvas = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    return canvas, canvas.subplots(rows, columns, squeeze=False, **keywords)


def read_title(folder: Path) -> str:
    """Returns the title of a finished run's figures, which names the run, from its folder."""
    return f"{folder.name}: {read_json(folder / 'results.json')['title']}"


@in_our_style
def save(canvas: Figure, path: Path) -> Path:
    """Writes the figure and returns its path; characters that the fonts lack are named once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_printable(canvas)
    with warnings.catch_warnings(record=True) as caught:  # matplotlib warns about each of them, several times
        warnings.filterwarnings("always", r"Glyph \d+")
        canvas.savefig(path)
    codes = re.findall(r"Glyph (\d+)", "\n".join(str(warning.message) for warning in caught))
    if codes:
        lacking = "".join(sorted({chr(int(code)) for code in codes}))
        print(f"note: {path} has boxes for {lacking!r}: not in its font", file=sys.stderr)
    return path


def _make_printable(canvas: Figure) -> None:
    """Replaces what is not UTF-8 in every text of a figure."""
    for text in canvas.findobj(Text):
        text.set_text(printable(text.get_text()))
    for axes in canvas.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_ticklabels()]
            shown = [printable(label) for label in labels]
            if shown != labels:
                axis.set_ticks(axis.get_ticklocs(), shown)


def printable(name: str) -> str:
    """Returns a name with a question mark for each byte that is not UTF-8, as old file systems have them."""
    return name.encode("utf-8", "replace").decode()


def write_title(canvas: Figure, title: str) -> None:
    """Writes a title over the whole figure, in as few lines as its width allows; the figure grows by them."""
    most = int(8 * canvas.get_figwidth())
    lines = textwrap.wrap(title, most, break_on_hyphens=False)
    even = len(title) // max(1, len(lines))
    for width in range(max(1, even), most):  # lines of one length rather than a last word alone
        balanced = textwrap.wrap(title, width, break_on_hyphens=False, break_long_words=False)
        if len(balanced) == len(lines) and max(map(len, balanced), default=0) <= most:
            lines = balanced
            break
    canvas.set_figheight(canvas.get_figheight() + 0.25 * (len(lines) - 1))
    canvas.suptitle("\n".join(lines), fontsize=12)


def short(name: str, most: int = 20) -> str:
    """Returns the beginning and the end of a name that may be long, in at most this many characters."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most // 2]}…{name[len(name) - end :]}"


@in_our_style
def curves(metrics: Path, path: Path, title: str, panels: Panels, best_epoch: int | None = None) -> None:
    """Draws metrics.csv, if it has anything to draw.

    Args:
        metrics: the CSV; its first column is the x axis.
        path: the PNG to write.
        title: above the whole figure.
        panels: what to draw where it is there. Where a label ends in (%) the values are shares.
        best_epoch: marked by a line.
    """
    table = {name: np.array(values) for name, values in read_table(metrics).items()}
    x_name = next(iter(table), "")
    x = table.pop(x_name, np.empty(0))
    there = {}
    for label, lines in panels.items():
        drawn = {column: name for column, name in lines.items() if column in table}
        if drawn:
            there[label] = drawn
    if not there:
        return
    rows = -(-len(there) // 4)
    canvas, axes = figure(rows, -(-len(there) // rows))
    for unused in axes.flat[len(there) :]:
        unused.axis("off")
    for axis, (label, lines) in zip(axes.flat, there.items()):
        _draw_panel(axis, x, label, {column: table[column] for column in lines}, list(lines.values()))
        axis.set(xlabel=x_name, ylabel=label)
        if best_epoch:
            name = f"best: epoch {best_epoch}"
            axis.axvline(best_epoch, color="black", linestyle=":", linewidth=1.2, label=name)
        marked_here = best_epoch and axis is axes.flat[0]
        if label != LEARNING_RATE and (any(lines.values()) or marked_here):
            axis.legend()
    write_title(canvas, title)
    save(canvas, path)


def _draw_panel(
    axis: Axes, x: np.ndarray, label: str, lines: dict[str, np.ndarray], names: list[str]
) -> None:
    """Draws the columns of one panel, in percent, as counts or as a learning rate where they are."""
    for values, name in zip(lines.values(), names):
        axis.plot(
            x,
            100 * values if label.endswith("(%)") else values,
            label=name or None,
            color=COLORS.get(name),
            marker="o" if len(x) < 15 else None,
            markersize=3,
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if all((values % 1 == 0).all() for values in lines.values()):  # counts
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if label == LEARNING_RATE:
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(LogFormatter())  # plain text, as text.parse_math is off
        axis.yaxis.set_minor_formatter(LogFormatter())


def read_steps(steps: Path, points: int = 150) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the columns of steps.csv as they are, and as moving averages over a `points`-th of the run."""
    table = {name: np.array(values) for name, values in read_table(steps).items()}
    width = max(1, len(table["step"]) // points)
    window = np.ones(width) / width
    return table, {name: np.convolve(values, window, "valid") for name, values in table.items()}


def show(axis: Axes, image: np.ndarray, below: str = "") -> None:
    """Shows one image without axes, (height, width[, 3]), 0..1 or uint8, and a line of text below."""
    grey: dict[str, Any] = {"cmap": "gray_r", "vmin": 0} if image.ndim == 2 else {}
    axis.imshow(image, interpolation="nearest", **grey)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    if below:
        axis.set_xlabel(below, fontsize=9, color="black", labelpad=2)


@in_our_style
def image_grid(
    images: Grid,
    path: Path,
    title: str,
    row_names: Sequence[str] = (),
    column_names: Sequence[str] = (),
    size: float = 0.75,
) -> Path:
    """Draws a labelled grid of images, `images[row][column]`, as `show` takes them, of `size` inches."""
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


@in_our_style
def confusion(predicted: Tensor, labels: Tensor, names: list[str], path: Path, network: str = "") -> Path:
    """Draws which class is predicted for which: one row per true class, in percent of its pictures.

    Of more than 40 classes it shows the 40 with the lowest accuracy.

    Args:
        predicted, labels: (n,) int64.
        names: of the classes.
        network: which one predicted, for the title.
    """
    table = confusion_table(predicted, labels, len(names))
    title = f"Confusion on {len(labels):,} pictures (% of the true class)"
    if network:
        title = f"{network}\n{title}"
    if len(names) > MOST_CLASSES:
        title += f"\nThe {MOST_CLASSES} classes with the lowest accuracy of {len(names)}"
        worst = table.diag().argsort(stable=True)[:MOST_CLASSES].sort().values
        table = table[worst][:, worst]
        names = [names[i] for i in worst]

    # The matrix.
    side = max(5.4, 1.2 + 0.26 * len(names))
    canvas, ((axis,),) = figure(size=(side + 1, side))
    image = axis.imshow(table.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    axis.grid(False)
    is_small = len(names) <= 12
    if is_small:  # more numbers would overlap
        for row, column in (table >= 0.05).nonzero().tolist():
            share = table[row, column]
            color = "white" if share > 40 else "black"
            axis.text(column, row, f"{share:.1f}", ha="center", va="center", fontsize=7, color=color)

    # Names, titles and the scale.
    shown = [short(name) for name in names]
    font = 11 if is_small else 8
    axis.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor", fontsize=font)
    axis.set_yticks(range(len(names)), shown, fontsize=font)
    axis.set(xlabel="predicted class", ylabel="true class", title=title)
    shares = [0, 1, 10, 50, 100]
    bar = canvas.colorbar(image, ax=axis, label="% (square-root scale)", ticks=np.sqrt(shares))
    bar.set_ticklabels([str(share) for share in shares])
    return save(canvas, path)


def confusion_table(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Returns which class is predicted for which, (true class, predicted class), in percent of the true one.

    Args:
        predicted, labels: (n,) int64.
    """
    pairs = torch.bincount(labels * classes + predicted, minlength=classes**2)
    counts = pairs.view(classes, classes).cpu().double()
    return 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)
