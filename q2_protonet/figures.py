"""The pictures of a run: an episode, and its embeddings in two dimensions. Both are drawn from files in the log folder."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from common import plots
from q2_protonet.evaluate import embed
from q2_protonet.omniglot_dataset import SIZE, Characters
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypes_and_queries


def record_episode(
    model: ProtoNet, part: Characters, way: int, shot: int, query: int, seed: int, folder: Path
) -> None:
    """Writes one test episode to `folder`: episode.csv, its drawings on two axes of the embedding, and episode_drawings.png.

    The axes are the two directions in which the prototypes differ most (their principal components), so that the picture
    shows the distances the classifier uses rather than the spread inside a class.
    """
    sampler = PrototypicalBatchSampler(
        part.counts, way, shot, query, torch.Generator(part.counts.device).manual_seed(seed)
    )
    (classes,), (drawings,) = sampler.draw(1)
    images = part.images[classes, drawings]  # (way, shot + query, 28, 28)
    embeddings = embed(model, images)  # (way, shot + query, dim)
    prototypes, _ = prototypes_and_queries(embeddings, shot)
    center = prototypes.mean(0)
    axes = torch.linalg.svd(prototypes - center, full_matrices=False).Vh[:2].T  # (dim, 2)
    points = (
        ((torch.cat([prototypes[:, None], embeddings], 1) - center) @ axes).cpu().tolist()
    )  # (way, 1 + shot + query, 2)
    roles = ["prototype"] + ["support"] * shot + ["query"] * query
    with open(folder / "episode.csv", "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["class", "role", "x", "y"])
        for name, line in zip((part.names[i] for i in classes.flatten().tolist()), points):
            out.writerows([name, role, f"{x:.5g}", f"{y:.5g}"] for role, (x, y) in zip(roles, line))
    sheet = images.permute(0, 2, 1, 3).reshape(way * SIZE, -1)  # (way * 28, (shot + query) * 28)
    Image.fromarray(sheet.cpu().numpy()).save(folder / "episode_drawings.png")


def draw_episode(folder: Path, figures: Path) -> list[Path]:
    """Draws episode.png and embedding.png from what `record_episode` wrote."""
    with open(folder / "episode.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    classes = list(dict.fromkeys(row["class"] for row in rows))
    roles = [row["role"] for row in rows if row["class"] == classes[0]][1:]
    shot, way = roles.count("support"), len(classes)
    sheet = np.asarray(Image.open(folder / "episode_drawings.png")) / 255
    images = sheet.reshape(way, SIZE, len(roles), SIZE).swapaxes(1, 2)  # (way, shot + query, 28, 28)
    shown, columns = min(way, 10), min(len(roles), shot + 8)
    short = [name.removeprefix("synthetic/") for name in classes]
    title = f"A {way}-way {shot}-shot test episode" + (f" ({shown} of its classes)" if shown < way else "")
    episode = plots.image_grid(
        images[:shown, :columns], figures / "episode.png", title, short, roles[:columns], 0.62
    )

    canvas, ((axis,),) = plots.figure(size=(8.5 if way > 10 else 7.5, 5.6))
    colors = plots.matplotlib.colormaps["tab20" if way > 10 else "tab10"].colors
    looks = {
        "query": {"marker": "o", "s": 14, "alpha": 0.55},
        "support": {"marker": "s", "s": 26, "alpha": 0.9},
        "prototype": {"marker": "*", "s": 190, "edgecolor": "black", "linewidth": 0.8, "zorder": 3},
    }
    for i, name in enumerate(classes):
        for role, look in looks.items():
            points = np.array(
                [
                    (float(row["x"]), float(row["y"]))
                    for row in rows
                    if (row["class"], row["role"]) == (name, role)
                ]
            )
            axis.scatter(
                *points.T,
                color=colors[i % len(colors)],
                label=short[i] if role == "prototype" else None,
                **look,
            )
    axis.set(xlabel="first axis of the prototypes (embedding units)", ylabel="second axis (embedding units)")
    axis.set_title(
        f"Embedding of a {way}-way {shot}-shot test episode\nstars: prototypes, squares: support, dots: queries",
        fontsize=11,
    )
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return [episode, plots.save(canvas, figures / "embedding.png")]
