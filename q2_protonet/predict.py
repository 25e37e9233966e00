"""Classifies your own images with a trained network and a few examples of each class.

    python q2_protonet/predict.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --support examples --query unknown

The support folder holds one folder a class with one image or more; queries are image files, or folders of them. Images may
have any size and format, dark ink on light or light on dark.
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch

from common import plots
from common.cli import at_least, command
from common.images import list_folders, list_images
from common.runtime import ScriptOptions, UsageError, start
from q2_protonet.measures import embed
from q2_protonet.omniglot_dataset import read_ink
from q2_protonet.protonet import load_model
from q2_protonet.prototypical_loss import squared_distances


@dataclass
class Options(ScriptOptions):
    """Classify images by a few examples of each class."""

    checkpoint: Path = Path()  # a trained network, such as logs/q2_protonet/RUN/checkpoints/best.pt
    support: Path = Path()  # folder with one folder a class, each with one or more images
    query: tuple[Path, ...] = ()  # images, or folders of images, to classify
    output: Path = Path("predictions.csv")  # table to write; the picture goes beside it as <name>_picture.png
    invert: Literal["auto", "yes", "no"] = (
        "auto"  # yes: light ink on dark, no: dark ink on light, auto: find out image by image
    )
    pictured: int = 20  # at most this many queries in the picture


def read_all(files: list[Path], invert: Literal["auto", "yes", "no"]) -> torch.Tensor:
    """(n, 28, 28) uint8 drawings."""
    return torch.from_numpy(np.stack([read_ink(file, invert) for file in files]))


def collect(options: Options) -> tuple[dict[str, list[Path]], list[Path]]:
    """The support files of each class and the query files.

    Raises:
        UsageError: a path that is not there, fewer than two classes, a class or the query without images.
    """
    if options.checkpoint == Path() or options.support == Path() or not options.query:
        raise UsageError("--checkpoint FILE, --support FOLDER and --query IMAGES_OR_FOLDERS are all needed")
    if not options.support.is_dir():
        raise UsageError(f"--support {options.support} is not a folder")
    support = {folder.name: list_images(folder) for folder in list_folders(options.support)}
    empty = [name for name, files in support.items() if not files]
    if empty:
        raise UsageError(f"no images in these classes of --support {options.support}: {', '.join(empty)}")
    if len(support) < 2:
        raise UsageError(f"--support {options.support} must hold two or more folders, one a class")
    queries: list[Path] = []
    for path in options.query:
        if not path.exists():
            raise UsageError(f"--query {path} does not exist")
        queries += list_images(path) if path.is_dir() else [path]
    if not queries:
        raise UsageError("no images (.png, .jpg, ...) in --query")
    return support, queries


def draw(
    queries: list[Path],
    images: torch.Tensor,
    nearest: torch.Tensor,
    near_names: list[str],
    probabilities: torch.Tensor,
    names: list[str],
    path: Path,
) -> None:
    """Pairs of a query and its nearest support image, with the predicted class and its probability."""
    count = len(queries)
    columns = min(count, 5)
    lines = -(-count // columns)
    canvas, axes = plots.figure(lines, 2 * columns, (1.05, 1.95))
    for axis in axes.flat:
        axis.axis("off")
    for i in range(count):
        left, right = axes[i // columns, 2 * (i % columns) : 2 * (i % columns) + 2]
        best = int(probabilities[i].argmax())
        for axis, image, title, below in (
            (
                left,
                images[i],
                queries[i].name[-16:],
                f"{names[best][-14:]}\n{100 * probabilities[i, best]:.1f} %",
            ),
            (right, nearest[i], "nearest", near_names[i][-14:]),
        ):
            axis.axis("on")
            plots.show(axis, image.numpy() / 255, below)
            axis.set_title(title, fontsize=8, color="black" if axis is left else "grey")
    canvas.suptitle(
        "Queries, the predicted class with its probability, and the nearest support image", fontsize=10
    )
    plots.save(canvas, path)


def main(options: Options) -> list[dict]:
    support, queries = collect(options)
    picture = options.output.with_name(f"{options.output.stem}_picture.png")
    clash = {file.resolve() for file in (options.output, picture)} & {
        file.resolve() for file in [*queries, *sum(support.values(), [])]
    }
    if clash:
        raise UsageError(f"--output would overwrite the image {clash.pop()}: give another name")
    at_least(1, options, "pictured")
    runtime = start(options)
    model, _ = load_model(options.checkpoint, runtime)
    names = list(support)
    support_images = read_all([file for files in support.values() for file in files], options.invert)
    owner = torch.tensor(
        [i for i, files in enumerate(support.values()) for _ in files]
    )  # (n,) class of each support image
    query_images = read_all(queries, options.invert)

    support_embeddings, query_embeddings = (
        embed(model, images.to(runtime.device)).cpu() for images in (support_images, query_images)
    )
    prototypes = torch.stack(
        [support_embeddings[owner == i].mean(0) for i in range(len(names))]
    )  # (way, dim)
    probabilities = (-squared_distances(query_embeddings, prototypes)).softmax(-1)  # (n, way)
    nearest = squared_distances(query_embeddings, support_embeddings).argmin(-1)  # (n,)

    rows = [
        {"file": str(file), "predicted": names[int(p.argmax())]}
        | {f"p({name})": round(float(x), 6) for name, x in zip(names, p)}
        for file, p in zip(queries, probabilities)
    ]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with open(options.output, "w", newline="") as file:
        out = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(rows)
    shown = slice(options.pictured)
    draw(
        queries[shown],
        query_images[shown],
        support_images[nearest[shown]],
        [names[owner[i]] for i in nearest[shown]],
        probabilities[shown],
        names,
        picture,
    )
    for row, p in zip(rows, probabilities):
        print(f"{row['file']}: {row['predicted']} ({100 * float(p.max()):.1f} %)")
    print(f"{len(rows)} images, {len(names)} classes: {options.output} and {picture}")
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
