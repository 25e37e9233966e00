"""The pictures of a run: an episode, and its embeddings in two dimensions. Drawn from embedding.npz in the log folder."""

from pathlib import Path

import numpy as np
import torch

from common import plots
from q2_protonet.evaluate import embed
from q2_protonet.omniglot_dataset import Characters
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypes_and_queries


def record_episode(model: ProtoNet, part: Characters, way: int, shot: int, query: int, seed: int, path: Path) -> None:
    """Writes one test episode to an .npz: its drawings, class names and embeddings projected on two axes.

    The axes are the two directions in which the prototypes differ most (their principal components), so that the picture
    shows the distances the classifier uses rather than the spread inside a class.
    """
    sampler = PrototypicalBatchSampler(part.counts, way, shot, query, torch.Generator(part.counts.device).manual_seed(seed))
    (classes,), (drawings,) = sampler.draw(1)
    images = part.images[classes, drawings]  # (way, shot + query, 28, 28)
    embeddings = embed(model, images)  # (way, shot + query, dim)
    prototypes, _ = prototypes_and_queries(embeddings, shot)
    center = prototypes.mean(0)
    axes = torch.linalg.svd(prototypes - center, full_matrices=False).Vh[:2].T  # (dim, 2)
    np.savez_compressed(
        path,
        images=images.cpu().numpy(),
        names=[part.names[i] for i in classes.flatten().tolist()],
        points=((embeddings - center) @ axes).cpu().numpy(),  # (way, shot + query, 2)
        prototypes=((prototypes - center) @ axes).cpu().numpy(),  # (way, 2)
        shot=shot,
    )


def draw_episode(path: Path, figures: Path) -> list[Path]:
    """Draws episode.png and embedding.png from what `record_episode` wrote."""
    saved = np.load(path)
    images, shot = saved["images"] / 255, int(saved["shot"])
    way, total = images.shape[:2]
    rows, columns = min(way, 10), min(total, shot + 8)
    names = ["support"] * shot + ["query"] * (columns - shot)
    short = [name.removeprefix("synthetic/") for name in saved["names"].tolist()]
    episode = plots.image_grid(images[:rows, :columns], figures / "episode.png", f"A {way}-way {shot}-shot test episode" + (f" ({rows} of its classes)" if rows < way else ""), short, names, 0.62)

    canvas, ((axis,),) = plots.figure(size=(7.5, 5.6))
    colors = plots.matplotlib.colormaps["tab20" if way > 10 else "tab10"].colors
    for label, points, prototype, color in zip(short, saved["points"], saved["prototypes"], colors * (way // len(colors) + 1)):
        axis.scatter(*points[:shot].T, color=color, marker="s", s=26, alpha=0.9)
        axis.scatter(*points[shot:].T, color=color, marker="o", s=14, alpha=0.55)
        axis.scatter(*prototype, color=color, marker="*", s=190, edgecolor="black", linewidth=0.8, label=label, zorder=3)
    axis.set(xlabel="first axis of the prototypes (embedding units)", ylabel="second axis (embedding units)")
    axis.set_title(f"Embedding of a {way}-way {shot}-shot test episode\nstars: prototypes, squares: support, dots: queries", fontsize=11)
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return [episode, plots.save(canvas, figures / "embedding.png")]
