"""Draws cells and what a search did to its alphas, with matplotlib alone.

python q4_darts/visualize.py --genotype DARTS_V2 --output darts_v2.png
python q4_darts/visualize.py --genotype logs/q4_darts/RUN/genotype.json --output found.png
"""

import json
import sys
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc
from PIL import Image

from common import plots
from common.cli import command
from common.runtime import UsageError
from q4_darts.genotypes import NODES, PRIMITIVES, Edge, Genotype, parse, read

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
class Options:
    """Draw the two cells of a genotype."""

    genotype: str = "DARTS_V2"  # a genotype.json, or DARTS_V1, DARTS_V2, PC_DARTS or random:SEED
    output: Path = Path("figures/q4_darts/cells.png")  # the picture: .png, .pdf or .svg
    title: str = ""  # above the cells (default: the genotype's name)
    debug: bool = False  # show the whole traceback of an error


def draw_cell(axis: Axes, edges: tuple[Edge, ...], title: str) -> None:
    """A cell as an arc diagram: states on a line, a node's first edge above it and its second below; no two arcs coincide."""
    for node in range(NODES):
        for place, (operation, state) in enumerate(edges[2 * node : 2 * node + 2]):
            end, side, color = node + 2, 1 - 2 * place, COLORS[operation]
            middle, width = (state + end) / 2, end - state
            height = 0.55 * width + 0.3
            angles = {"theta1": 0, "theta2": 180} if side > 0 else {"theta1": 180, "theta2": 360}
            axis.add_patch(
                Arc((middle, 0.18 * side), width, 2 * height, color=color, linewidth=1.8, **angles)
            )
            axis.plot(end, 0.24 * side, marker="v" if side > 0 else "^", color=color, markersize=7)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
            text = operation.replace("_connect", "").replace("_", " ")
            axis.text(
                middle,
                (0.18 + height) * side,
                text,
                ha="center",
                va="center",
                fontsize=9,
                color=color,
                bbox=box,
            )
    for node in range(NODES):  # the output concatenates all nodes
        axis.plot([node + 2, NODES + 2], [0, 0], color="#bbbbbb", linewidth=4, zorder=0)
    for place, name in enumerate(STATES):
        inner = 2 <= place < NODES + 2
        face = "#cfe3f5" if inner else "#d9ead3" if place < 2 else "#fde9c8"
        box = {
            "boxstyle": "circle,pad=0.3" if inner else "round,pad=0.3",
            "facecolor": face,
            "edgecolor": "black",
        }
        axis.text(place, 0, name, ha="center", va="center", fontsize=11, bbox=box)
    reach = 0.55 * (NODES + 1) + 0.75
    axis.set(xlim=(-0.6, NODES + 2.5), ylim=(-reach, reach), title=title)
    axis.axis("off")


def cells(genotype: Genotype, title: str) -> Figure:
    """Normal and reduction cell, one above the other."""
    canvas, axes = plots.figure(2, 1, (7.6, 3.6))
    for axis, kind, edges in zip(axes.flat, ("normal cell", "reduction cell"), genotype):
        draw_cell(axis, edges, kind)
    canvas.suptitle(title)
    return canvas


def read_epochs(folder: Path) -> list[dict]:
    """What a search wrote after each epoch: `epoch`, `normal`, `reduce`, and `weights` of both cells, (2, 14, 8)."""
    return [json.loads(file.read_text()) for file in sorted((folder / "genotypes").glob("epoch_*.json"))]


def draw_gif(folder: Path, path: Path, frames: int = 60) -> Path:
    """The cells after every epoch (every n-th, for at most `frames`), and the last one longer."""
    epochs = read_epochs(folder)
    chosen = epochs[:: -(-len(epochs) // frames)]
    chosen += [epochs[-1]] * (chosen[-1] is not epochs[-1])
    pictures = []
    for row in chosen:
        canvas = cells(parse(row), f"after epoch {row['epoch']}")
        picture = BytesIO()
        canvas.savefig(picture, dpi=70)
        pictures.append(Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=32))
    path.parent.mkdir(parents=True, exist_ok=True)
    durations = [400] * (len(pictures) - 1) + [2500]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return path


def draw_alphas(folder: Path, path: Path, title: str) -> Path:
    """Heat maps of the softmax weights over the epochs: a row a kind of cell, a column an operation, a line an edge."""
    epochs = read_epochs(folder)
    weights = np.array([row["weights"] for row in epochs])  # (epochs, 2, 14, 8)
    edges = [f"{STATES[state]} → {node}" for node in range(NODES) for state in range(node + 2)]
    canvas, axes = plots.figure(2, len(PRIMITIVES), (1.7, 3.4), sharex=True, sharey=True)
    first, last = epochs[0]["epoch"], epochs[-1]["epoch"]
    for row, kind in enumerate(("normal", "reduction")):
        for column, name in enumerate(PRIMITIVES):
            axis = axes[row, column]
            extent = (first - 0.5, last + 0.5, len(edges) - 0.5, -0.5)
            image = axis.imshow(
                weights[:, row, :, column].T,
                aspect="auto",
                vmin=0,
                vmax=weights.max(),
                extent=extent,
                cmap="viridis",
                interpolation="nearest",
            )
            axis.grid(False)
            axis.set(
                xlabel="epoch" if row else "",
                title="" if row else name.replace("_connect", "").replace("_", " "),
            )
            axis.set_yticks(range(len(edges)), edges, fontsize=8)
        axes[row, 0].set_ylabel(f"edge of the {kind} cell")
    canvas.colorbar(image, ax=axes, label="weight of the operation (softmax)", shrink=0.7)
    canvas.suptitle(title)
    return plots.save(canvas, path)


def main(options: Options) -> None:
    if options.output.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--output must end in .png, .pdf or .svg, not {options.output.name}")
    genotype = read(options.genotype)
    plots.save(cells(genotype, options.title or Path(options.genotype).stem), options.output)
    print(options.output)


if __name__ == "__main__":
    command(main, Options, __doc__)
