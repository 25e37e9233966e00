"""The two cells of a genotype as arc diagrams, with a label on every arc."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from common import plots
from common.plot_style import in_our_style
from q4_darts.genotypes import NODES, Edge, Genotype

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
    line = np.linspace(0, 180, 721)
    others = np.hstack([other.points(line) for other in curves if other is not curve])  # (2, points)
    places = {}  # what is in the way -> the first such place
    for box in candidates(curve, size):
        crossed = box.holds(*others) + 1000 * sum(box.meets(other) for other in boxes)
        if not crossed:
            return box
        places.setdefault(crossed, box)
    return places[min(places)]


def candidates(curve: Curve, size: tuple[float, float]) -> Iterator[Box]:
    """Yields places for a label, from the apex outwards: each in the middle of the curve, then beside it."""
    half_width, half_height = size
    for away in range(0, 70, 3):  # degrees from the apex
        for degrees in (90 + away, 90 - away):
            x, y = curve.points(degrees)
            for aside, lift in product((0, 0.9, -0.9), repeat=2):  # the curve goes on through the label
                yield Box(float(x) + aside * half_width, float(y) + lift * half_height, *size)


def to_curves(edges: tuple[Edge, ...]) -> list[Curve]:
    """Returns the curves of a cell's edges: each node's first edge above the line, its second below."""
    curves = []
    for node in range(NODES):
        for place, (operation, state) in enumerate(edges[2 * node : 2 * node + 2]):
            curves.append(Curve(operation, state, node + 2, 1 - 2 * place))
    return curves


def place_labels(curves: list[Curve], axis_height: float) -> list[tuple[Curve, Box]]:
    """Finds a place for the label of each curve; the short curves have the least room and choose first.

    Args:
        axis_height: from the lower to the upper limit.
    """
    placed: list[tuple[Curve, Box]] = []
    for curve in sorted(curves, key=lambda curve: curve.height):
        text = operation_name(curve.operation)
        size = 0.034 * len(text) + 0.04, 0.022 * axis_height  # as large as it is drawn, and a little more
        placed.append((curve, place_label(curve, curves, [box for _, box in placed], size)))
    return placed


def plot_cell(axis: Axes, edges: tuple[Edge, ...], title: str) -> None:
    """Draws a cell as an arc diagram: states on a line, each node's first edge above it, its second below."""
    curves = to_curves(edges)
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
    for curve, box in place_labels(curves, axis_height):
        axis.text(
            box.x,
            box.y,
            operation_name(curve.operation),
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
