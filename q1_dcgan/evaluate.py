"""Measures a generator with the pinned classifier: Frechet distance, classes, labels, memorisation.

python q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt
python q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --nearest_neighbour 50000
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q1_dcgan.options import QUESTION, DataOptions, check_data
from q1_dcgan.options import EvaluateOptions as Options
from q1_dcgan.options import resolve_evaluation as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import numpy as np

from common.device import Runtime, start
from common.errors import UsageError
from common.evaluations import add_evaluation, check_classes, results_to_extend, trained_folder
from common.statistics import print_rows
from q1_dcgan import figures, measures
from q1_dcgan.measures import Reference
from q1_dcgan.mnist_dataset import load
from q1_dcgan.painter import Painter
from q1_dcgan.paper import PAPER


def main(options: Options) -> dict:
    options = resolve(options)
    extended = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)

    # The generator.
    painter = Painter.load(options.checkpoint, runtime)
    if options.nearest_neighbour and not painter.classes:
        raise UsageError("--nearest_neighbour needs a conditional generator: it draws pictures with labels")

    # The pictures it was trained on, and their judge.
    reference = load_reference(painter, options, runtime)

    # Measures.
    images, labels = measures.sample(painter.generator, options.samples, options.seed, runtime.device)
    measured = reference.measure(images, labels)
    floor = reference.floor(options.samples, options.seed)
    rows = measures.as_rows(measured, floor, options.samples, f"epoch {painter.epoch}")
    if options.nearest_neighbour:
        rows += neighbour_rows(painter, reference, options)
    print_rows(rows)
    names = reference.parts["train"].names
    if labels is not None:
        shares = []
        for c, name in enumerate(names):
            if (share := measured.get(f"label_accuracy_{c}")) is not None:  # few samples lack classes
                shares.append(f"{name} {100 * share:.1f} %")
        print(f"label accuracy by class: {', '.join(shares)}")

    # Figures.
    folder = options.figure_root / QUESTION / painter.name
    known = reference.parts["train"]
    distances = figures.plot_neighbours(images[:10], known, painter.title, folder / "nearest.png")
    if names:
        figures.plot_histogram(images, reference.classifier, names, painter.title, folder / "classes.png")
    print(f"nearest training picture of ten samples: {np.mean(distances):.1f} grey levels away on average")
    print(f"figures in {folder}")

    result = {"classifier": reference.facts, "figures": measured, "rows": rows}
    result["nearest_training_rms"] = distances
    key = f"{options.checkpoint.name}, {options.samples} samples, seed {options.seed}"
    add_evaluation(extended, key, **result)
    return result


def load_reference(painter: Painter, options: Options, runtime: Runtime) -> Reference:
    """Loads the data set that a generator was trained on, and its judge.

    Raises:
        UsageError: the pictures are no longer where they were.
        RunError: they have other classes than the generator.
    """
    trained = painter.options
    data = DataOptions(
        dataset=trained["dataset"],
        folder=trained_folder(trained, options.folder),
        channels=painter.generator.channels,
        synthetic_pictures=trained["synthetic_pictures"],
        invert=trained["invert"],
    )
    check_data(data)
    with runtime.one_first(options.data_root, data.dataset):  # two side by side download and train once
        parts = load(options.data_root, data, trained["seed"], runtime.device)
        if painter.classes:
            check_classes(painter.classes, parts["train"].names)
        return Reference.make(parts, data.dataset, painter.image_size, options.data_root, runtime)


def neighbour_rows(painter: Painter, reference: Reference, options: Options) -> list[dict]:
    """Measures the nearest-neighbour error, on MNIST with the paper's numbers beside it."""
    count = options.nearest_neighbour
    epoch = f"epoch {painter.epoch}"
    rows = measures.nearest_neighbour_rows(painter.generator, reference.parts, count, options.seed, epoch)
    if painter.options["dataset"] == "mnist":
        rows[0]["paper"] = PAPER.get(f"{count:,} samples")
        rows[1]["paper"] = PAPER.get(f"{count:,} real digits")
    return rows


if __name__ == "__main__":
    cli.run(main, options)
