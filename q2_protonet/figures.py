"""The pictures of a run, plotted from files in its log folder: a test episode and its embeddings."""

import csv
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from common import plots
from common.results import write_rows
from q2_protonet.measures import embed
from q2_protonet.omniglot_dataset import SIZE, Characters
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypes_and_queries

MARKERS = {
    "query": {"marker": "o", "s": 14, "alpha": 0.55},
    "support": {"marker": "s", "s": 26, "alpha": 0.9},
    "prototype": {"marker": "*", "s": 190, "edgecolor": "black", "linewidth": 0.8, "zorder": 3},
}


def record_episode(
    model: ProtoNet, part: Characters, way: int, shot: int, query: int, seed: int, folder: Path
) -> None:
    """Writes one test episode to `folder`: its drawings, and where they lie on two axes of the embedding.

    The axes are the two directions in which the prototypes differ most (their principal components), so that
    the picture shows the distances the classifier uses rather than the spread inside a class. The files are
    episode.csv and episode_drawings.png.
    """
    generator = torch.Generator(part.counts.device).manual_seed(seed)
    (classes,), (drawings,) = PrototypicalBatchSampler(part, way, shot, query, generator).sample(1)
    images = part.images[classes, drawings]  # (way, shot + query, 28, 28)
    embeddings = embed(model, images)  # (way, shot + query, dim)
    prototypes, _ = prototypes_and_queries(embeddings, shot)  # (way, dim)
    center = prototypes.mean(0)
    axes = torch.linalg.svd(prototypes - center, full_matrices=False).Vh[:2].T  # (dim, 2)
    points = (torch.cat([prototypes[:, None], embeddings], 1) - center) @ axes  # (way, 1 + shot + query, 2)
    roles, rows = ["prototype"] + ["support"] * shot + ["query"] * query, []
    for index, line in zip(classes.flatten().tolist(), points.tolist()):
        for role, (x, y) in zip(roles, line):
            rows.append({"class": part.names[index], "role": role, "x": f"{x:.5g}", "y": f"{y:.5g}"})
    write_rows(folder / "episode.csv", rows)
    sheet = images.permute(0, 2, 1, 3).reshape(way * SIZE, -1)  # (way * 28, (shot + query) * 28)
    Image.fromarray(sheet.cpu().numpy()).save(folder / "episode_drawings.png")


def plot_episode(folder: Path, figures: Path) -> None:
    """Plots episode.png (up to 10 classes) and embedding.png (up to 20) from `record_episode`'s files."""
    with open(folder / "episode.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    classes = list(dict.fromkeys(row["class"] for row in rows))
    roles = [row["role"] for row in rows if row["class"] == classes[0]][1:]
    shot, way = roles.count("support"), len(classes)
    sheet = np.asarray(Image.open(folder / "episode_drawings.png")) / 255
    images = sheet.reshape(way, SIZE, len(roles), SIZE).swapaxes(1, 2)  # (way, shot + query, 28, 28)
    short = [plots.short(name.removeprefix("synthetic/"), 40) for name in classes]

    def title(shown: int) -> str:
        return f"{way}-way {shot}-shot test episode" + (f" ({shown} of its classes)" if shown < way else "")

    shown, columns = min(way, 10), min(len(roles), shot + 8)
    names = short, roles[:columns]
    plots.image_grid(images[:shown, :columns], figures / "episode.png", f"A {title(shown)}", *names, 0.62)

    shown, stars = min(way, 20), []  # prototypes, for a legend: labels that begin with _ are left out of one
    canvas, ((axis,),) = plots.figure(size=(8.5 if shown > 10 else 7.5, 5.6))
    colors = plots.matplotlib.colormaps["tab20" if shown > 10 else "tab10"].colors
    points = np.array([[float(row["x"]), float(row["y"])] for row in rows]).reshape(way, 1 + len(roles), 2)
    for i in range(shown):
        for role, marker in MARKERS.items():
            xy = points[i, [j for j, name in enumerate(["prototype", *roles]) if name == role]].T
            drawn = axis.scatter(*xy, color=colors[i], **marker)
        stars.append(drawn)
    axis.set(xlabel="first axis of the prototypes (embedding units)", ylabel="second axis (embedding units)")
    legend = "stars: prototypes, squares: support, dots: queries"
    axis.set_title(f"Embedding of a {title(shown)}\n{legend}", fontsize=11)
    axis.legend(stars, short[:shown], loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    plots.save(canvas, figures / "embedding.png")


def plot_support(support: dict[str, torch.Tensor], prototypes: torch.Tensor, query: torch.Tensor) -> Figure:
    """Examples, prototypes and the unknown drawing along the two directions in which they differ most."""
    everything = torch.cat([*support.values(), query[None]])
    center = everything.mean(0)
    axes = torch.linalg.svd(everything - center, full_matrices=False).Vh[:2].T  # (dim, 2)
    canvas, ((axis,),) = plots.figure(size=(5, 4))
    for (name, points), prototype in zip(support.items(), prototypes):
        dots = axis.scatter(*((points - center) @ axes).T, marker="s", label=name)
        star = (prototype - center) @ axes
        axis.scatter(*star, marker="*", s=220, color=dots.get_facecolor(), edgecolor="black")
    axis.scatter(*((query - center) @ axes), marker="o", s=90, color="black", label="unknown")
    axis.set(title="squares: examples, stars: prototypes", xlabel="first axis", ylabel="second axis")
    axis.legend()
    return canvas
