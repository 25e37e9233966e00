"""The pictures of this folder: cells, what a search did to its alphas, and classified pictures."""

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from matplotlib.patches import Arc
from PIL import Image

from common import plots
from common.plot_style import in_our_style
from q4_darts.genotypes import NODES, PRIMITIVES, Edge, Genotype, from_lists

COLORS = {
    "skip_connect": "#444444",
    "max_pool_3x3": "#d95f02",
    "avg_pool_3x3": "#b8860b",
    "sep_conv_3x3": "#1f77b4",
    "sep_conv_5x5": "#08306b",
    "dil_conv_3x3": "#1b9e77",
    "dil_conv_5x5": "#00441b",
}
STATES = ("cₖ₋₂", "cₖ₋₁", *map(str, range(NODES)), "cₖ")
MOST_SHOWN = 30  # pictures in the figure of predict.py


# Cells ------------------------------------------------------------------------------------------------------


@dataclass
class Curve:
    """Half an ellipse from one state to a node, above the line of the states (side 1) or below it (-1)."""

    operation: str
    start: int
    end: int
    side: int

    @property
    def middle(self) -> float:
        """Where its apex is, along the line."""
        return (self.start + self.end) / 2

    @property
    def height(self) -> float:
        """How far it goes from the line."""
        return 0.55 * (self.end - self.start) + 0.3

    def points(self, degrees: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Returns x and y at these angles, from 0 at the node to 180 at the start."""
        angle = np.radians(degrees)
        x = self.middle + (self.end - self.start) / 2 * np.cos(angle)
        return x, self.side * (0.18 + self.height * np.sin(angle))


@dataclass
class Box:
    """A label's place: its centre, and half its width and height."""

    x: float
    y: float
    half_width: float
    half_height: float

    def holds(self, x: np.ndarray, y: np.ndarray) -> int:
        """Counts the points inside."""
        inside = (abs(x - self.x) < self.half_width) & (abs(y - self.y) < self.half_height)
        return int(inside.sum())

    def meets(self, other: "Box") -> bool:
        """Returns whether two boxes overlap."""
        across = abs(self.x - other.x) < self.half_width + other.half_width
        return across and abs(self.y - other.y) < self.half_height + other.half_height


def place_label(curve: Curve, curves: list[Curve], boxes: list[Box], size: tuple[float, float]) -> Box:
    """Finds a place for a label on its curve: the one nearest to the apex where no other curve or label is.

    Args:
        curves: all that are drawn.
        boxes: of the labels placed so far.
        size: half the width and half the height of the label.
    """
    line = np.linspace(0, 180, 181)
    others = [other.points(line) for other in curves if other is not curve]
    places = {}  # what is in the way -> the first such place
    for away in range(0, 51, 3):  # degrees from the apex
        for degrees in (90 + away, 90 - away):
            x, y = curve.points(degrees)
            box = Box(float(x), float(y), *size)
            crossed = sum(box.holds(*points) for points in others)
            crossed += 100 * sum(box.meets(other) for other in boxes)
            places.setdefault(crossed, box)
    return places[min(places)]


def plot_cell(axis: Axes, edges: tuple[Edge, ...], title: str) -> None:
    """Draws a cell as an arc diagram: states on a line, each node's first edge above it, its second below."""
    curves = []
    for node in range(NODES):
        for place, (operation, state) in enumerate(edges[2 * node : 2 * node + 2]):
            curves.append(Curve(operation, state, node + 2, 1 - 2 * place))
    above = max(curve.height for curve in curves if curve.side > 0) + 0.5
    below = max(curve.height for curve in curves if curve.side < 0) + 0.5
    axis.set(xlim=(-0.6, NODES + 2.5), ylim=(-below, above), title=title)
    axis.axis("off")

    # Edges: an arc and an arrow at its end.
    for curve in curves:
        color = COLORS[curve.operation]
        arc = Arc(
            (curve.middle, 0.18 * curve.side),
            curve.end - curve.start,
            2 * curve.height,
            theta1=0 if curve.side > 0 else 180,
            theta2=180 if curve.side > 0 else 360,
            color=color,
            linewidth=1.8,
        )
        axis.add_patch(arc)
        axis.plot(curve.end, 0.3 * curve.side, "v" if curve.side > 0 else "^", color=color, markersize=7)

    write_labels(axis, curves, above + below)

    # States, and the output, which concatenates all nodes.
    for node in range(NODES):
        axis.plot([node + 2, NODES + 2], [0, 0], color="#bbbbbb", linewidth=4, zorder=0)
    for place, name in enumerate(STATES):
        inner = 2 <= place < NODES + 2
        face = "#cfe3f5" if inner else "#d9ead3" if place < 2 else "#fde9c8"
        shape = "circle,pad=0.3" if inner else "round,pad=0.3"
        box_style = {"boxstyle": shape, "facecolor": face, "edgecolor": "black"}
        axis.text(place, 0, name, ha="center", va="center", fontsize=11, bbox=box_style)


def write_labels(axis: Axes, curves: list[Curve], axis_height: float) -> None:
    """Writes each curve's operation on it, on white, so that no curve shows through.

    Args:
        axis_height: from the lower to the upper limit.
    """
    boxes: list[Box] = []
    # The short curves have the least room and choose first.
    for curve in sorted(curves, key=lambda curve: curve.height):
        text = operation_name(curve.operation)
        size = 0.034 * len(text), 0.022 * axis_height  # as large as it is drawn, about
        box = place_label(curve, curves, boxes, size)
        boxes.append(box)
        axis.text(
            box.x,
            box.y,
            text,
            ha="center",
            va="center",
            fontsize=9,
            color=COLORS[curve.operation],
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            zorder=5,
        )


def operation_name(operation: str) -> str:
    """Returns an operation's name as figures write it."""
    return operation.replace("_connect", "").replace("_", " ")


@in_our_style
def plot_cells(genotype: Genotype, title: str) -> Figure:
    """Draws normal and reduction cell, one above the other."""
    canvas, axes = plots.figure(2, 1, (7.6, 3.6))
    for axis, kind, edges in zip(axes.flat, ("normal cell", "reduction cell"), genotype):
        plot_cell(axis, edges, kind)
    plots.write_title(canvas, title)
    return canvas


# Searches ---------------------------------------------------------------------------------------------------


def draw_search(folder: Path, figures: Path, genotype: Genotype, epoch: int, title: str) -> None:
    """Draws curves.png, cells.png, cells.gif and alphas.png of a search.

    Args:
        folder: of the run.
        figures: where the pictures go.
        genotype, epoch: the cell found, and after which epoch.
        title: which names the run.
    """
    plots.curves(folder / "metrics.csv", figures / "curves.png", title)
    plots.save(plot_cells(genotype, f"{title}, after epoch {epoch}"), figures / "cells.png")
    plot_cells_gif(folder, figures / "cells.gif")
    plot_alphas(folder, figures / "alphas.png", title)


def read_epochs(folder: Path) -> list[dict]:
    """Reads what a search wrote after each epoch: `epoch`, `normal`, `reduce`, and `weights` (2, 14, 8)."""
    return [json.loads(file.read_text()) for file in sorted((folder / "genotypes").glob("epoch_*.json"))]


@in_our_style
def plot_cells_gif(folder: Path, path: Path, frames: int = 60) -> Path:
    """Draws the cells after every epoch (every n-th, for at most `frames`), the last one for longer."""
    epochs = read_epochs(folder)
    every = -(-len(epochs) // frames)
    images = []
    for row in epochs[:-1:every] + epochs[-1:]:
        png = BytesIO()
        canvas = plot_cells(from_lists(row), f"{folder.name}, after epoch {row['epoch']}")
        canvas.savefig(png, dpi=70)
        images.append(Image.open(png))
    return plots.write_gif(images, path, duration=400)


@in_our_style
def plot_alphas(folder: Path, path: Path, title: str) -> Path:
    """Draws heat maps of the softmax weights over the epochs: one row per cell, one column per operation.

    White is 1/8, the weight that every operation begins with.
    """
    epochs = read_epochs(folder)
    weights = np.array([row["weights"] for row in epochs])  # (epochs, 2, 14, 8)
    equal = 1 / len(PRIMITIVES)
    reach = max(float(abs(weights - equal).max()), 1e-6)
    edges = [f"{STATES[state]} → {node}" for node in range(NODES) for state in range(node + 2)]
    canvas, axes = plots.figure(2, len(PRIMITIVES), (1.7, 3.4), sharex=True, sharey=True)
    extent = (epochs[0]["epoch"] - 0.5, epochs[-1]["epoch"] + 0.5, len(edges) - 0.5, -0.5)
    for row, kind in enumerate(("normal", "reduction")):
        for column, name in enumerate(PRIMITIVES):
            axis = axes[row, column]
            image = axis.imshow(
                weights[:, row, :, column].T,
                norm=CenteredNorm(equal, reach),
                cmap="RdBu_r",
                aspect="auto",
                extent=extent,
                interpolation="nearest",
            )
            axis.grid(False)
            if row == 0:
                axis.set_title(operation_name(name))
            else:
                axis.set_xlabel("epoch")
            axis.set_yticks(range(len(edges)), edges, fontsize=8)
        axes[row, 0].set_ylabel(f"edge of the {kind} cell")
    label = f"weight of the operation (softmax; white: 1/{len(PRIMITIVES)})"
    canvas.colorbar(image, ax=axes, label=label, shrink=0.7)
    plots.write_title(canvas, title)
    return plots.save(canvas, path)


# Predictions ------------------------------------------------------------------------------------------------


@in_our_style
def plot_predictions(images: np.ndarray, rows: list[dict], network: str) -> Figure:
    """Draws the first pictures (n, h, w, 3) uint8, each with its likeliest class.

    Args:
        rows: of predict.py's table.
        network: which one classified them.
    """
    shown = min(len(images), MOST_SHOWN)
    columns = 6
    canvas, axes = plots.figure(-(-shown // columns), columns, (1.5, 1.75))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, row in zip(axes.flat, images[:shown], rows):
        axis.axis("on")
        plots.show(axis, image, f"{plots.short(row['class_1'], 16)} {float(row['probability_1']):.0%}")
    count = f"{len(images)} picture{'s' if len(images) > 1 else ''}"
    if shown < len(images):
        count += f", the first {shown}"
    plots.write_title(canvas, f"{count}, classified by {network}")
    return canvas
