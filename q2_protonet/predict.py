"""Classifies your own images with a trained network and a few examples of each class.

python q2_protonet/predict.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --support DIR --query DIR

The support folder holds one folder per class with one or more images; queries are image files, folders of
them, or folders of one folder per class, which give the accuracy and a confusion matrix as well. Images may
have any size and format, dark ink on light or light on dark.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from torch import Tensor

from common import plots
from common.cli import at_least, command
from common.images import list_folders, list_images, make_each, skip_small
from common.results import print_rows, share_row, write_rows
from common.runtime import RunError, ScriptOptions, UsageError, start
from q2_protonet.measures import embed, load_model, unknown_distance
from q2_protonet.omniglot_dataset import read_ink
from q2_protonet.prototypical_loss import squared_distances

UNKNOWN = "unknown"  # what --unknown calls a query of another class
PICTURED = 20  # at most this many queries in the picture


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
    skip_small: int = 0  # leave out the classes of --support with fewer images than this, and name them
    # call a query unknown that is farther from every prototype than 95 % of the validation drawings are from
    # their own
    unknown: bool = False
    data_root: Path = Path("data")  # folder of the data sets, for --unknown with a checkpoint that lacks it


def collect(options: Options) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """The support files of each class, and the query files with their classes, "" where that is not known.

    Raises:
        UsageError: a path that is not there, fewer than two classes, a class or the query without images.
    """
    if options.support is None or not options.query:
        raise UsageError("--support FOLDER and --query IMAGES_OR_FOLDERS are both needed")
    if not options.support.is_dir():
        raise UsageError(f"--support {options.support} is not a folder")
    support = {folder.name: list_images(folder) for folder in list_folders(options.support)}
    support = skip_small(support, options.skip_small)
    empty = [name for name, files in support.items() if not files]
    if empty:
        raise UsageError(f"no images in these classes of --support {options.support}: {', '.join(empty)}")
    if len(support) < 2:
        raise UsageError(f"--support {options.support} must hold two or more folders, one per class")
    if options.unknown and UNKNOWN in support:
        raise UsageError(f"--unknown: rename the class {UNKNOWN!r} of --support {options.support}")
    queries: dict[Path, str] = {}
    for path in options.query:
        if not path.exists():
            raise UsageError(f"--query {path} does not exist")
        for folder in list_folders(path):
            if folder.name in support or options.unknown:
                label = folder.name if folder.name in support else UNKNOWN
                queries |= dict.fromkeys(list_images(folder), label)
            else:
                print(f"left out: {folder}, no class of --support {options.support}", file=sys.stderr)
        queries |= dict.fromkeys(list_images(path) if path.is_dir() else [path], "")
    if not queries:
        raise UsageError("no images (.png, .jpg, ...) in --query")
    return support, queries


def measure(predicted: Tensor, labels: Tensor, unknown: int) -> list[dict]:
    """The accuracy on queries of known classes as rows of results, and both errors of --unknown.

    Args:
        predicted, labels: (n,) int64, `unknown` for a query of none of the support's classes.
    """
    rows = [share_row("accuracy", int((predicted == labels).sum()), len(labels))]
    rejected, other = predicted == unknown, labels == unknown
    if rejected.any() and not other.all():
        own = rejected[~other]
        rows.append(share_row("of the support's classes, called unknown", int(own.sum()), len(own)))
    if other.any():
        rows.append(share_row("of other classes, accepted", int((~rejected[other]).sum()), int(other.sum())))
    return rows


def plot_predictions(rows: list[dict], images: np.ndarray, nearest: np.ndarray, path: Path) -> None:
    """Each query beside its nearest support image, with the predicted class and its probability.

    Args:
        rows: "file", "predicted", "note" (its probability) and "nearest" (a class) of each query.
        images, nearest: (n, 28, 28) uint8, the queries and their nearest support images.
    """
    columns = min(len(rows), 5)
    canvas, axes = plots.figure(-(-len(rows) // columns), 2 * columns, (1.05, 1.95))
    for axis in axes.flat:
        axis.axis("off")
    for row, left, right, image, near in zip(rows, axes.flat[::2], axes.flat[1::2], images, nearest):
        left.axis("on"), right.axis("on")
        plots.show(left, image / 255, f"{row['predicted'][-14:]}\n{row['note']}")
        left.set_title(row["file"].name[-16:], fontsize=8)
        plots.show(right, near / 255, row["nearest"][-14:])
        right.set_title("nearest", fontsize=8, color="grey")
    title = "Queries, the predicted class with its probability, and the nearest support image"
    plots.write_title(canvas, title)
    plots.save(canvas, path)


def main(options: Options) -> list[dict]:
    support, queries = collect(options)
    if options.output.is_dir():
        raise UsageError(f"--output must be a file, and {options.output} is a folder")
    picture = options.output.with_name(f"{options.output.stem}_picture.png")
    confusion = options.output.with_name(f"{options.output.stem}_confusion.png")
    files = [file for inside in support.values() for file in inside]
    written = {path.resolve() for path in (options.output, picture, confusion)}
    clash = written & {file.resolve() for file in [*queries, *files]}
    if clash:
        raise UsageError(f"--output would overwrite the image {clash.pop()}: give another name")
    at_least(0, options, "skip_small")
    runtime = start(options)
    model, state = load_model(options.checkpoint, runtime)
    read = partial(read_ink, invert=options.invert)
    support_images = np.stack([read(file) for file in files])  # (m, 28, 28)
    drawings, failed = make_each(read, queries)
    query_images = np.stack(list(drawings.values()))  # (n, 28, 28)

    support_embeddings, query_embeddings = (
        embed(model, torch.from_numpy(images).to(runtime.device)).cpu()
        for images in (support_images, query_images)
    )
    shots = [len(inside) for inside in support.values()]
    prototypes = torch.stack([shot.mean(0) for shot in support_embeddings.split(shots)])  # (way, dim), eq. 1
    distances = squared_distances(query_embeddings, prototypes)  # (n, way)
    probabilities, predicted = (-distances).softmax(-1), distances.argmin(-1)  # (n, way), eq. 2; (n,)
    nearest = squared_distances(query_embeddings, support_embeddings).argmin(-1).numpy()  # (n,)

    names, truth = [*support, UNKNOWN], [queries[file] for file in drawings]
    notes = [f"{100 * p:.1f} %" for p in probabilities.amax(-1).tolist()]
    if options.unknown:
        limit = unknown_distance(model, state, options.data_root, runtime.device)
        far = (distances / limit / (1 + 1 / torch.tensor(shots))).amin(-1)  # (n,), above 1: unknown
        predicted[far > 1] = len(support)
        notes = [note if x <= 1 else f"{x:.2f} x the limit" for note, x in zip(notes, far.tolist())]
    rows, table = [], []
    for i, (file, p) in enumerate(zip(drawings, probabilities.tolist())):
        row = {"file": file, "predicted": names[predicted[i]], "note": notes[i]}
        rows.append(row | {"nearest": files[nearest[i]].parent.name})
        line = {"file": str(file)} | ({"class": truth[i]} if any(truth) else {})
        line |= {"predicted": row["predicted"]} | ({"distance": f"{far[i]:.4g}"} if options.unknown else {})
        table.append(line | {f"p({name})": round(x, 6) for name, x in zip(support, p)})
    write_rows(options.output, table)
    shown = slice(PICTURED)
    plot_predictions(rows[shown], query_images[shown], support_images[nearest[shown]], picture)
    for row in rows:
        print(f"{row['file']}: {row['predicted']} ({row['note']})")
    print(f"{len(rows)} images, {len(support)} classes: {options.output} and {picture}")
    if any(truth):
        known = torch.tensor([bool(name) for name in truth])
        labels = torch.tensor([names.index(name) for name in truth if name])
        shown = names if options.unknown else list(support)
        plots.confusion(predicted[known], labels, shown, confusion)
        print_rows(measure(predicted[known], labels, len(support)))
        print(f"which classes are confused: {confusion}")
    if failed:
        raise RunError("; ".join(failed))
    return table


if __name__ == "__main__":
    command(main, Options, __doc__)
