"""The pictures of a run, what a search did to its alphas, and classified pictures."""

import json
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure
from PIL import Image

from common import gif, plots
from common.epoch_files import epoch_files
from common.json_files import read_json
from common.plot_style import in_our_style
from q4_darts.cell_figure import STATES, operation_name, plot_cells
from q4_darts.genotype_text import shown_name
from q4_darts.genotypes import NODES, PRIMITIVES, Genotype, from_lists

MOST_SHOWN = 30  # pictures in the figure of predict.py
CURVES = {  # panel of curves.png -> column of metrics.csv -> its name in the legend
    "loss (nats)": {"train_loss": "train", "validation_loss": "validation"},
    "accuracy (%)": {"train_accuracy": "train", "validation_accuracy": "validation"},
    plots.LEARNING_RATE: {"learning_rate": ""},
    "probability that an edge is dropped": {"drop_path": ""},
    "skip connections in the normal cell": {"skip_connections": ""},
    "entropy of the weights (nats)": {"entropy_normal": "normal cell", "entropy_reduce": "reduction cell"},
}


# A run ------------------------------------------------------------------------------------------------------


def redraw(folder: Path, figures: Path) -> None:
    """Draws the figures of a finished run once more, from its log files alone; not confusion.png."""
    results = read_json(folder / "results.json")
    options = read_json(folder / "config.json")["options"]
    genotype = from_lists(results["genotype"])
    title = read_title(folder)
    if "partial_channels" in options:
        draw_search(folder, figures, genotype, results["epochs"], title)
    else:
        draw_training(folder, figures, genotype, shown_name(options["genotype"]), title)


def redraw_curves(folder: Path, figures: Path) -> None:
    """Draws curves.png of a finished run once more."""
    plots.curves(folder / "metrics.csv", figures / "curves.png", read_title(folder), panels=CURVES)


def read_title(folder: Path) -> str:
    """Returns the title of a finished run's figures, which names the run."""
    options = read_json(folder / "config.json")["options"]
    if "partial_channels" in options:
        told = (options[name] for name in ("partial_channels", "order", "dataset", "seed"))
        return f"{folder.name}: {search_title(*told)}"
    return plots.read_title(folder)


def draw_training(folder: Path, figures: Path, genotype: Genotype, name: str, title: str) -> None:
    """Draws curves.png and cells.png of a network that was trained from scratch.

    Args:
        folder: of the run.
        figures: where the pictures go.
        name: of the genotype.
        title: of the curves, which names the run.
    """
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, CURVES)
    plots.save(plot_cells(genotype, f"{folder.name}: the cells of {name}"), figures / "cells.png")


# Searches ---------------------------------------------------------------------------------------------------


def search_title(partial_channels: int, order: str, dataset: str, seed: int) -> str:
    """Returns what a search is called: by its method, the order of the alphas' gradient and the data."""
    kind = "DARTS search"
    if partial_channels > 1:
        kind = f"PC-DARTS search on 1/{partial_channels} of the channels"
    return f"{kind}, {order} order, {dataset}, seed {seed}"


def draw_search(folder: Path, figures: Path, genotype: Genotype, epoch: int, title: str) -> None:
    """Draws curves.png, cells.png, cells.gif and alphas.png of a search.

    Args:
        folder: of the run.
        figures: where the pictures go.
        genotype, epoch: the cell found, and after which epoch.
        title: which names the run.
    """
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, CURVES)
    plots.save(plot_cells(genotype, f"{title}, after epoch {epoch}"), figures / "cells.png")
    plot_cells_gif(folder, figures / "cells.gif")
    plot_alphas(folder, figures / "alphas.png", title)


def read_epochs(folder: Path) -> list[dict]:
    """Reads what a search wrote after each epoch: `epoch`, `normal`, `reduce`, and `weights` (2, 14, 8)."""
    return [json.loads(file.read_text()) for file in epoch_files(folder / "genotypes", ".json")]


@in_our_style
def plot_cells_gif(folder: Path, path: Path, frames: int = 60) -> Path:
    """Draws the cells after every epoch (every n-th, for at most `frames`), the last one for longer."""
    images = []
    for row in gif.thin(read_epochs(folder), frames):
        png = BytesIO()
        canvas = plot_cells(from_lists(row), f"{folder.name}, after epoch {row['epoch']}")
        canvas.savefig(png, dpi=70)
        images.append(Image.open(png))
    return gif.write_gif(images, path, duration=400)


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
            axis.yaxis.set_visible(column == 0)  # ticks take most of the time
            axis.xaxis.set_visible(row == 1)
            if row == 0:
                axis.set_title(operation_name(name))
            else:
                axis.set_xlabel("epoch")
        axes[row, 0].set_yticks(range(len(edges)), edges, fontsize=8)
        axes[row, 0].set_ylabel(f"edge of the {kind} cell")
    label = f"weight of the operation (softmax; white: 1/{len(PRIMITIVES)})"
    bar = canvas.colorbar(image, ax=axes, label=label, shrink=0.7)
    bar.ax.set_ylim(weights.min(), weights.max())  # the norm reaches equally far below white, even below 0
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
    columns = max(3, min(6, shown))  # the title needs three
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
