"""The pictures of a run and of predictions, plotted from files in a log folder or from what was predicted."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from common import plots
from common.json_files import read_json
from common.plot_style import in_our_style
from common.rows import read_rows, write_rows
from q2_protonet.few_shot import Support
from q2_protonet.measures import embed
from q2_protonet.omniglot_dataset import Characters
from q2_protonet.options import SIZE, Episode
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypes_and_queries

MARKERS = {
    "query": {"marker": "o", "s": 14, "alpha": 0.55},
    "support": {"marker": "s", "s": 26, "alpha": 0.9},
    "prototype": {"marker": "*", "s": 190, "edgecolor": "black", "linewidth": 0.8, "zorder": 3},
}


CURVES = {  # panel of curves.png -> column of metrics.csv -> its name in the legend
    "loss (nats)": {"train_loss": "train", "validation_loss": "validation"},
    "accuracy (%)": {"train_accuracy": "train", "validation_accuracy": "validation"},
    plots.LEARNING_RATE: {"learning_rate": ""},
}


# A run ------------------------------------------------------------------------------------------------------


def redraw(folder: Path, figures: Path) -> None:
    """Draws the figures of a finished run once more, from its log files alone."""
    redraw_curves(folder, figures)
    plot_episode(folder, figures)


def redraw_curves(folder: Path, figures: Path) -> None:
    """Draws curves.png of a finished run once more."""
    results = read_json(folder / "results.json")
    validated = results.get("best_validation_accuracy") is not None
    chosen = results["best_epoch"] if validated else None
    plot_curves(folder, figures, f"{folder.name}: {results['title']}", chosen)


def plot_run(folder: Path, figures: Path, title: str, best_epoch: int | None) -> None:
    """Draws curves.png, episode.png and embedding.png from the files in `folder`, as `plot_curves` does."""
    plot_curves(folder, figures, title, best_epoch)
    plot_episode(folder, figures)


def plot_curves(folder: Path, figures: Path, title: str, best_epoch: int | None) -> None:
    """Draws curves.png from metrics.csv.

    Args:
        title: which names the run.
        best_epoch: the one chosen by validation; None with --trainval, where the last one is tested.
    """
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, CURVES, best_epoch)


# A test episode ---------------------------------------------------------------------------------------------


def record_episode(network: nn.Module, part: Characters, shape: Episode, seed: int, folder: Path) -> None:
    """Writes one test episode to `folder`: its drawings, and where they lie on two axes of the embedding.

    The axes are the two directions in which the prototypes differ most (their principal components), so that
    the picture shows the distances the classifier uses rather than the spread inside a class. The files are
    episode.csv and episode_drawings.png.
    """
    way, shot, query = shape
    generator = torch.Generator(part.counts.device).manual_seed(seed)
    classes, drawings = PrototypicalBatchSampler(part, way, shot, query, generator).sample(1)
    images = part.images[classes[0], drawings[0]]  # (way, shot + query, 28, 28)

    # Positions of prototypes, support and queries.
    embeddings = embed(network, images)  # (way, shot + query, dim)
    prototypes, _ = prototypes_and_queries(embeddings, shot)  # (way, dim)
    everything = torch.cat([prototypes[:, None], embeddings], 1)  # (way, 1 + shot + query, dim)
    points = (everything - prototypes.mean(0)) @ principal_axes(prototypes)  # (way, 1 + shot + query, 2)

    roles = ["prototype"] + ["support"] * shot + ["query"] * query
    rows = []
    for index, line in zip(classes.flatten().tolist(), points.tolist()):
        for role, (x, y) in zip(roles, line):
            rows.append({"class": part.names[index], "role": role, "x": f"{x:.5g}", "y": f"{y:.5g}"})
    write_rows(folder / "episode.csv", rows)
    sheet = images.permute(0, 2, 1, 3).reshape(way * SIZE, -1)  # (way * 28, (shot + query) * 28)
    Image.fromarray(sheet.cpu().numpy()).save(folder / "episode_drawings.png")


def principal_axes(points: Tensor) -> Tensor:
    """Returns the two directions in which points (n, dim) differ most: (dim, 2)."""
    return torch.linalg.svd(points - points.mean(0), full_matrices=False).Vh[:2].T


def plot_episode(folder: Path, figures: Path) -> None:
    """Plots episode.png (up to 10 classes) and embedding.png (up to 20) from `record_episode`'s files."""
    rows = read_rows(folder / "episode.csv")
    classes = list(dict.fromkeys(row["class"] for row in rows))
    roles = [row["role"] for row in rows if row["class"] == classes[0]]
    way = len(classes)
    shot = roles.count("support")
    names = [plots.short(name.removeprefix("synthetic/"), 40) for name in classes]
    episode = f"{way}-way {shot}-shot test episode"

    # The drawings.
    sheet = np.asarray(Image.open(folder / "episode_drawings.png")) / 255
    drawings = len(roles) - 1
    images = sheet.reshape(way, SIZE, drawings, SIZE).swapaxes(1, 2)  # (way, shot + query, 28, 28)
    shown = min(way, 10)
    columns = min(drawings, shot + 8)
    title = f"{folder.name}: a {episode}{_of_how_many(shown, way)}"
    column_names = roles[1 : 1 + columns]
    plots.image_grid(images[:shown, :columns], figures / "episode.png", title, names, column_names, 0.62)

    # The embedding.
    shown = min(way, 20)
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(way, len(roles), 2)
    title = f"{folder.name}: embedding of a {episode}{_of_how_many(shown, way)}"
    plot_embedding(points[:shown], roles, names[:shown], title, figures / "embedding.png")


@in_our_style
def plot_embedding(points: np.ndarray, roles: list[str], names: list[str], title: str, path: Path) -> None:
    """Plots where prototypes, support and queries lie, in one colour per class.

    Args:
        points: (way, 1 + shot + query, 2).
        roles: of each point of a class, "prototype" first.
        names: of the classes.
    """
    many = len(points) > 10
    canvas, ((axis,),) = plots.figure(size=(8.5 if many else 7.5, 5.6))
    colors = matplotlib.colormaps["tab20" if many else "tab10"].colors
    stars = []  # prototypes, for a legend: labels that begin with _ are left out of one
    for of_class, color in zip(points, colors):
        for role, marker in MARKERS.items():
            own = of_class[[name == role for name in roles]]
            drawn = axis.scatter(own[:, 0], own[:, 1], color=color, **marker)
        stars.append(drawn)
    axis.set(xlabel="first axis of the prototypes (embedding units)", ylabel="second axis (embedding units)")
    axis.set_title(f"{title}\nstars: prototypes, squares: support, dots: queries", fontsize=11)
    axis.legend(stars, names, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    plots.save(canvas, path)


def _of_how_many(shown: int, way: int) -> str:
    return f" ({shown} of its classes)" if shown < way else ""


# Predictions ------------------------------------------------------------------------------------------------


@in_our_style
def plot_support(support: Support, query: Tensor, label: str = "unknown") -> Figure:
    """Plots examples, prototypes and an unknown drawing along the two directions in which they differ most.

    Args:
        query: (dim,) the embedding of the unknown drawing.
        label: what the legend calls it.
    """
    everything = torch.cat([support.embeddings, query[None]])
    center = everything.mean(0)
    axes = principal_axes(everything)  # (dim, 2)
    canvas, ((axis,),) = plots.figure(size=(5, 4))
    for place, name in enumerate(support.names):
        own = (support.embeddings[support.labels == place] - center) @ axes
        dots = axis.scatter(*own.T, marker="s", label=plots.short(name, 40))
        star = (support.prototypes[place] - center) @ axes
        axis.scatter(*star, marker="*", s=220, color=dots.get_facecolor(), edgecolor="black")
    axis.scatter(*((query - center) @ axes), marker="o", s=90, color="black", label=label)
    axis.set(title="squares: examples, stars: prototypes", xlabel="first axis", ylabel="second axis")
    axis.legend()
    return canvas


@in_our_style
def plot_predictions(
    rows: list[dict], images: np.ndarray, nearest: np.ndarray, network: str, path: Path
) -> None:
    """Plots each query beside its nearest support image, with the predicted class and its probability.

    Args:
        rows: "file", "predicted", "note" (its probability) and "nearest" (a class) of each query.
        images, nearest: (n, 28, 28) uint8, the queries and their nearest support images.
        network: named in the title.
    """
    columns = min(len(rows), 5)
    canvas, axes = plots.figure(-(-len(rows) // columns), 2 * columns, (1.05, 1.95))
    for axis in axes.flat:
        axis.axis("off")
    for row, left, right, image, near in zip(rows, axes.flat[::2], axes.flat[1::2], images, nearest):
        left.axis("on")
        plots.show(left, image / 255, f"{row['predicted'][-14:]}\n{row['note']}")
        left.set_title(row["file"].name[-16:], fontsize=8)
        right.axis("on")
        plots.show(right, near / 255, row["nearest"][-14:])
        right.set_title("nearest", fontsize=8, color="grey")
    title = "queries, the predicted class with its probability, and the nearest support image"
    plots.write_title(canvas, f"{network}: {title}")
    plots.save(canvas, path)
