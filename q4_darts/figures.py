"""The pictures of this folder: cells, and what a search did to its alphas."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc
from PIL import Image

from common import plots
from q4_darts.genotypes import NODES, PRIMITIVES, Edge, Genotype, parse

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


def plot_cell(axis: Axes, edges: tuple[Edge, ...], title: str) -> None:
    """A cell as an arc diagram: states on a line, each node's first edge above it and its second below."""
    reach = {1: 0.0, -1: 0.0}  # how far the arcs go up and down
    outline = [patheffects.withStroke(linewidth=2.5, foreground="white")]  # of text that crosses an arc
    for node in range(NODES):
        for place, (operation, state) in enumerate(edges[2 * node : 2 * node + 2]):
            end, side, color = node + 2, 1 - 2 * place, COLORS[operation]
            middle, width = (state + end) / 2, end - state
            height = 0.55 * width + 0.3
            angles = {"theta1": 0, "theta2": 180} if side > 0 else {"theta1": 180, "theta2": 360}
            arc = Arc((middle, 0.18 * side), width, 2 * height, color=color, linewidth=1.8, **angles)
            axis.add_patch(arc)
            axis.plot(end, 0.3 * side, marker="v" if side > 0 else "^", color=color, markersize=7)
            text = operation.replace("_connect", "").replace("_", " ")
            look = {"ha": "center", "va": "bottom" if side > 0 else "top", "fontsize": 9, "color": color}
            axis.text(middle, (0.24 + height) * side, text, path_effects=outline, **look)
            reach[side] = max(reach[side], height + 0.75)
    for node in range(NODES):  # the output concatenates all nodes
        axis.plot([node + 2, NODES + 2], [0, 0], color="#bbbbbb", linewidth=4, zorder=0)
    for place, name in enumerate(STATES):
        inner = 2 <= place < NODES + 2
        face = "#cfe3f5" if inner else "#d9ead3" if place < 2 else "#fde9c8"
        shape = "circle,pad=0.3" if inner else "round,pad=0.3"
        box = {"boxstyle": shape, "facecolor": face, "edgecolor": "black"}
        axis.text(place, 0, name, ha="center", va="center", fontsize=11, bbox=box)
    axis.set(xlim=(-0.6, NODES + 2.5), ylim=(-reach[-1], reach[1]), title=title)
    axis.axis("off")


def plot_cells(genotype: Genotype, title: str) -> Figure:
    """Normal and reduction cell, one above the other."""
    canvas, axes = plots.figure(2, 1, (7.6, 3.6))
    for axis, kind, edges in zip(axes.flat, ("normal cell", "reduction cell"), genotype):
        plot_cell(axis, edges, kind)
    plots.write_title(canvas, title)
    return canvas


def read_epochs(folder: Path) -> list[dict]:
    """What a search wrote after each epoch: `epoch`, `normal`, `reduce`, and `weights` (2, 14, 8) of both."""
    return [json.loads(file.read_text()) for file in sorted((folder / "genotypes").glob("epoch_*.json"))]


def plot_cells_gif(folder: Path, path: Path, frames: int = 60) -> Path:
    """The cells after every epoch (every n-th, for at most `frames`), the last one for longer."""
    epochs, pictures = read_epochs(folder), []
    for row in epochs[:-1][:: -(-len(epochs) // frames)] + epochs[-1:]:
        picture = BytesIO()
        plot_cells(parse(row), f"after epoch {row['epoch']}").savefig(picture, dpi=70)
        pictures.append(Image.open(picture))
    return plots.write_gif(pictures, path, duration=400)


def plot_alphas(folder: Path, path: Path, title: str) -> Path:
    """Heat maps of the softmax weights over the epochs: one row per cell, one column per operation."""
    epochs = read_epochs(folder)
    weights = np.array([row["weights"] for row in epochs])  # (epochs, 2, 14, 8)
    edges = [f"{STATES[state]} → {node}" for node in range(NODES) for state in range(node + 2)]
    canvas, axes = plots.figure(2, len(PRIMITIVES), (1.7, 3.4), sharex=True, sharey=True)
    first, last = epochs[0]["epoch"], epochs[-1]["epoch"]
    extent = (first - 0.5, last + 0.5, len(edges) - 0.5, -0.5)
    look = {"aspect": "auto", "extent": extent, "cmap": "viridis", "interpolation": "nearest"}
    for row, kind in enumerate(("normal", "reduction")):
        for column, name in enumerate(PRIMITIVES):
            axis = axes[row, column]
            image = axis.imshow(weights[:, row, :, column].T, vmin=weights.min(), vmax=weights.max(), **look)
            axis.grid(False)
            if row == 0:
                axis.set_title(name.replace("_connect", "").replace("_", " "))
            else:
                axis.set_xlabel("epoch")
            axis.set_yticks(range(len(edges)), edges, fontsize=8)
        axes[row, 0].set_ylabel(f"edge of the {kind} cell")
    canvas.colorbar(image, ax=axes, label="weight of the operation (softmax)", shrink=0.7)
    plots.write_title(canvas, title)
    return plots.save(canvas, path)
