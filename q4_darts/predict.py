"""Classifies your own pictures with a trained network.

python q4_darts/predict.py --input PICTURE_OR_FOLDER --checkpoint logs/q4_darts/RUN/checkpoints/last.pt
python q4_darts/predict.py --input my_pictures/test --checkpoint darts-cifar10

A folder holds pictures, or a folder of pictures per class; when those are the network's classes, the accuracy
and a confusion matrix are made as well.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q4_darts.options import PredictOptions as Options
from q4_darts.options import resolve_prediction as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from functools import partial

import numpy as np
import torch

from common import plots
from common.device import start
from common.errors import RunError
from common.folder_listing import one_form
from common.image_files import find_inputs
from common.image_reader import read_each
from common.rows import write_rows
from common.statistics import print_rows
from q4_darts.figures import MOST_SHOWN, plot_predictions
from q4_darts.measures import accuracy_row
from q4_darts.namer import Namer


def main(options: Options) -> list[dict]:
    options = resolve(options)
    found = find_inputs(options.input, by_class=True)
    runtime = start(options)

    # Network and pictures.
    namer = Namer.load(options.checkpoint, runtime)
    pictures, failed = read_each(partial(namer.read, depth=namer.depth_of(found)), found)
    files = list(pictures)
    images = torch.from_numpy(np.stack(list(pictures.values())))  # (n, h, w, 3)

    # The likeliest classes of each picture.
    probabilities = namer.logits(images).cpu().softmax(1)  # (n, classes)
    predicted = probabilities.argmax(1)
    rows = namer.rank(files, probabilities, options.top_k)

    # Table, figure and screen.
    write_rows(options.output, rows)
    plots.save(plot_predictions(images.numpy(), rows, namer.title), options.figure)
    for row in rows[:MOST_SHOWN]:
        print(f"{row['file']}: {row['class_1']} ({float(row['probability_1']):.1%})")
    print(f"{options.output}: {len(files)} picture{'s' if len(files) > 1 else ''}; {options.figure}")

    # The accuracy, where the folders say what the pictures show.
    folders = [one_form(file.parent.name) for file in files]
    if set(folders) <= set(namer.classes):
        labels = torch.tensor([namer.classes.index(folder) for folder in folders])
        plots.confusion(predicted, labels, namer.classes, options.confusion, namer.title)
        print_rows([accuracy_row("pictures in the folder of their class", predicted, labels)])
        print(options.confusion)
    if failed:
        raise RunError("; ".join(failed))
    return rows


if __name__ == "__main__":
    cli.run(main, options)
