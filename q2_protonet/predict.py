"""Classifies your own images with a trained network and a few examples of each class.

python q2_protonet/predict.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --support DIR --query DIR

The support folder holds one folder per class with one or more images; queries are image files, or folders of
them. Images may have any size and format, dark ink on light or light on dark.
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
from common.runtime import RunError, ScriptOptions, UsageError, start
from q2_protonet.measures import embed, load_model
from q2_protonet.omniglot_dataset import read_ink
from q2_protonet.prototypical_loss import squared_distances


@dataclass
class Options(ScriptOptions):
    """Classify images by a few examples of each class."""

    # the name of a network in pretrained/, or a checkpoint: logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Path = Path("protonet-1shot")
    support: Path | None = None  # folder with one folder per class, each with one or more images
    query: tuple[Path, ...] = ()  # images, or folders of images, to classify
    output: Path = Path("predictions.csv")  # table to write; the picture goes beside it as <name>_picture.png
    # yes: light ink on dark, no: dark ink on light, auto: find out image by image
    invert: Literal["auto", "yes", "no"] = "auto"
    pictured: int = 20  # at most this many queries in the picture


def collect(options: Options) -> tuple[dict[str, list[Path]], list[Path]]:
    """The support files of each class and the query files.

    Raises:
        UsageError: a path that is not there, fewer than two classes, a class or the query without images.
    """
    if options.support is None or not options.query:
        raise UsageError("--support FOLDER and --query IMAGES_OR_FOLDERS are both needed")
    if not options.support.is_dir():
        raise UsageError(f"--support {options.support} is not a folder")
    support = {folder.name: list_images(folder) for folder in list_folders(options.support)}
    empty = [name for name, files in support.items() if not files]
    if empty:
        raise UsageError(f"no images in these classes of --support {options.support}: {', '.join(empty)}")
    if len(support) < 2:
        raise UsageError(f"--support {options.support} must hold two or more folders, one per class")
    queries: list[Path] = []
    for path in options.query:
        if not path.exists():
            raise UsageError(f"--query {path} does not exist")
        queries += list_images(path) if path.is_dir() else [path]
    if not queries:
        raise UsageError("no images (.png, .jpg, ...) in --query")
    return support, queries


def read_queries(files: list[Path], invert: Literal["auto", "yes", "no"]) -> tuple[dict, list[str]]:
    """The drawing (28, 28) of each file that can be read, and what is wrong with each of the others."""
    drawings, failed = {}, []
    for file in files:
        try:
            drawings[file] = read_ink(file, invert)
        except RunError as error:  # the others are still worth having
            failed.append(str(error))
    return drawings, failed


def plot_predictions(rows: list[dict], images: np.ndarray, nearest: np.ndarray, path: Path) -> None:
    """Each query beside its nearest support image, with the predicted class and its probability.

    Args:
        rows: "file", "predicted", "probability" and "nearest" (a class) of each query.
        images, nearest: (n, 28, 28) uint8, the queries and their nearest support images.
    """
    columns = min(len(rows), 5)
    canvas, axes = plots.figure(-(-len(rows) // columns), 2 * columns, (1.05, 1.95))
    for axis in axes.flat:
        axis.axis("off")
    for row, left, right, image, near in zip(rows, axes.flat[::2], axes.flat[1::2], images, nearest):
        left.axis("on"), right.axis("on")
        plots.show(left, image / 255, f"{row['predicted'][-14:]}\n{100 * row['probability']:.1f} %")
        left.set_title(row["file"].name[-16:], fontsize=8)
        plots.show(right, near / 255, row["nearest"][-14:])
        right.set_title("nearest", fontsize=8, color="grey")
    title = "Queries, the predicted class with its probability, and the nearest support image"
    canvas.suptitle(title, fontsize=10)
    plots.save(canvas, path)


def main(options: Options) -> list[dict]:
    support, queries = collect(options)
    picture = options.output.with_name(f"{options.output.stem}_picture.png")
    files = [file for inside in support.values() for file in inside]
    clash = {path.resolve() for path in (options.output, picture)} & {f.resolve() for f in queries + files}
    if clash:
        raise UsageError(f"--output would overwrite the image {clash.pop()}: give another name")
    at_least(1, options, "pictured")
    runtime = start(options)
    model, _ = load_model(options.checkpoint, runtime)
    support_images = np.stack([read_ink(file, options.invert) for file in files])  # (m, 28, 28)
    drawings, failed = read_queries(queries, options.invert)
    if not drawings:
        raise RunError("; ".join(failed))
    query_images = np.stack(list(drawings.values()))  # (n, 28, 28)

    support_embeddings, query_embeddings = (
        embed(model, torch.from_numpy(images).to(runtime.device)).cpu()
        for images in (support_images, query_images)
    )
    shots = [len(inside) for inside in support.values()]
    prototypes = torch.stack([shot.mean(0) for shot in support_embeddings.split(shots)])  # (way, dim), eq. 1
    probabilities = (-squared_distances(query_embeddings, prototypes)).softmax(-1)  # (n, way), eq. 2
    nearest = squared_distances(query_embeddings, support_embeddings).argmin(-1).numpy()  # (n,)

    names = list(support)
    rows = [
        {
            "file": file,
            "predicted": names[int(p.argmax())],
            "probability": float(p.max()),
            "nearest": files[near].parent.name,
            "all": {f"p({name})": round(float(x), 6) for name, x in zip(names, p)},
        }
        for file, p, near in zip(drawings, probabilities, nearest)
    ]
    table = [{"file": str(row["file"]), "predicted": row["predicted"]} | row["all"] for row in rows]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with open(options.output, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        out = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        out.writeheader()
        out.writerows(table)
    shown = slice(options.pictured)
    plot_predictions(rows[shown], query_images[shown], support_images[nearest[shown]], picture)
    for row in rows:
        print(f"{row['file']}: {row['predicted']} ({100 * row['probability']:.1f} %)")
    print(f"{len(rows)} images, {len(names)} classes: {options.output} and {picture}")
    if failed:
        raise RunError("; ".join(failed))
    return table


if __name__ == "__main__":
    command(main, Options, __doc__)
