"""Classifies your own images with a trained network and a few examples of each class.

python q2_protonet/predict.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --support DIR --query DIR

The support folder holds one folder per class with one or more images; queries are image files, folders of
them, or folders of one folder per class, which give the accuracy and a confusion matrix as well. Images may
have any size and format, dark ink on light or light on dark.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q2_protonet.few_shot_files import UNKNOWN, find_queries, find_support
from q2_protonet.options import PredictOptions as Options
from q2_protonet.options import resolve_prediction as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from functools import partial

import numpy as np
import torch
from torch import Tensor

from common import plots
from common.device import start
from common.errors import RunError
from common.image_reader import read_each
from common.rows import write_rows
from common.statistics import print_rows, share_row
from q2_protonet.drawings import read_ink
from q2_protonet.few_shot import Answers, FewShot
from q2_protonet.figures import plot_predictions

PICTURED = 20  # at most this many queries in the picture


def list_predictions(files: list[Path], names: list[str], answers: Answers, unknown: bool) -> list[dict]:
    """Returns a row for each query: "file", "predicted" (a class, or UNKNOWN) and "note" (how sure that is).

    Args:
        names: of the classes.
        unknown: queries that are farther than the limit are UNKNOWN.
    """
    rows = []
    for i, file in enumerate(files):
        predicted = names[answers.predicted[i]]
        note = f"{100 * float(answers.probabilities[i].max()):.1f} %"
        if unknown and answers.farness[i] > 1:
            predicted = UNKNOWN
            note = f"{float(answers.farness[i]):.2f} x the limit"
        rows.append({"file": file, "predicted": predicted, "note": note})
    return rows


def make_table(
    rows: list[dict], truth: list[str], names: list[str], answers: Answers, unknown: bool
) -> list[dict]:
    """Returns the table to write: file, class where it is known, predicted, distance and probabilities."""
    table = []
    for i, row in enumerate(rows):
        line = {"file": str(row["file"])}
        if any(truth):
            line["class"] = truth[i]
        line["predicted"] = row["predicted"]
        if unknown:
            line["distance"] = f"{float(answers.farness[i]):.4g}"
        for name, probability in zip(names, answers.probabilities[i].tolist()):
            line[f"p({name})"] = round(probability, 6)
        table.append(line)
    return table


def measure(predicted: Tensor, labels: Tensor, unknown: int) -> list[dict]:
    """Returns the accuracy on queries of known classes as rows of results, and both errors of --unknown.

    Args:
        predicted, labels: (n,) int64, `unknown` for a query of none of the support's classes.
    """
    rows = [share_row("accuracy", int((predicted == labels).sum()), len(labels))]
    rejected = predicted == unknown
    other = labels == unknown
    if rejected.any() and not other.all():
        own = rejected[~other]
        rows.append(share_row("of the support's classes, called unknown", int(own.sum()), len(own)))
    if other.any():
        rows.append(share_row("of other classes, accepted", int((~rejected[other]).sum()), int(other.sum())))
    return rows


def report_accuracy(
    rows: list[dict], truth: list[str], names: list[str], network: str, options: Options
) -> None:
    """Shows the accuracy on the queries whose class is known, and draws which classes are confused."""
    labels = [*names, UNKNOWN]
    known = [(row["predicted"], name) for row, name in zip(rows, truth) if name]
    predicted = torch.tensor([labels.index(name) for name, _ in known])
    true = torch.tensor([labels.index(name) for _, name in known])
    shown = labels if options.unknown else names
    plots.confusion(predicted, true, shown, options.confusion, network)
    print_rows(measure(predicted, true, len(names)))
    print(f"which classes are confused: {options.confusion}")


def main(options: Options) -> list[dict]:
    options = resolve(options)
    support_files = find_support(options.support, options.skip_small)
    names = list(support_files)
    queries = find_queries(options.query, names, options.unknown)
    runtime = start(options)

    # The network.
    few_shot = FewShot.load(options.checkpoint, runtime)
    if options.unknown:
        few_shot.require_unknown()

    # Drawings; a query that cannot be read is named at the end.
    read = partial(read_ink, invert=options.invert)
    examples = {name: np.stack([read(file) for file in files]) for name, files in support_files.items()}
    drawings, failed = read_each(read, queries)
    query_images = np.stack(list(drawings.values()))  # (n, 28, 28)

    # Classify.
    support = few_shot.learn({name: torch.from_numpy(images) for name, images in examples.items()})
    answers = few_shot.classify(torch.from_numpy(query_images), support)
    truth = [queries[file] for file in drawings]
    rows = list_predictions(list(drawings), names, answers, options.unknown)

    # Table and picture.
    table = make_table(rows, truth, names, answers, options.unknown)
    write_rows(options.output, table)
    for row, nearest in zip(rows, answers.nearest):
        row["nearest"] = names[support.labels[nearest]]
    shown = slice(PICTURED)
    nearest_images = np.concatenate(list(examples.values()))[answers.nearest[shown].numpy()]
    plot_predictions(rows[shown], query_images[shown], nearest_images, few_shot.name, options.picture)
    for row in rows:
        print(f"{row['file']}: {row['predicted']} ({row['note']})")
    print(f"{len(rows)} images, {len(names)} classes: {options.output} and {options.picture}")
    if any(truth):
        report_accuracy(rows, truth, names, few_shot.name, options)
    if failed:
        raise RunError("; ".join(failed))
    return table


if __name__ == "__main__":
    cli.run(main, options)
