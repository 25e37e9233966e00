"""Measures a generator with the pinned classifier: Frechet distance, classes, labels, memorisation.

python q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt
python q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --nearest_neighbour 50000
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np

from common.cli import at_least, command
from common.images import trained_folder
from common.results import add_evaluation, check_classes, print_rows, results_to_extend, run_name
from common.runtime import ScriptOptions, UsageError, start
from q1_dcgan import figures, measures
from q1_dcgan.classifier import LEAST_ACCURACY, judge, trained_classifier
from q1_dcgan.mnist_dataset import DataOptions, load
from q1_dcgan.paper import PAPER, QUESTION


@dataclass
class Options(ScriptOptions):
    """Measure the samples of a generator."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    samples: int = 10000  # samples to draw; the classes in turn when the generator is conditional
    # conditional generators: samples that a nearest-neighbour classifier of the test set is given, 50000 in
    # the paper; 0 leaves this measure out
    nearest_neighbour: int = 0
    folder: Path | None = None  # where its pictures are now, if it was trained on --dataset folder
    data_root: Path = Path("data")  # folder of the data sets
    figure_root: Path = Path("figures")  # folder of the pictures


def main(options: Options) -> dict:
    at_least(200, options, "samples")
    at_least(0, options, "nearest_neighbour")
    runtime = start(options)
    generator, state = measures.load_generator(options.checkpoint, runtime)
    if options.nearest_neighbour and not generator.classes:
        raise UsageError("--nearest_neighbour needs a conditional generator: it draws pictures with labels")
    extended = results_to_extend(options.checkpoint, QUESTION)
    trained = state["options"]
    folder = trained_folder(trained, options.folder)
    data = DataOptions(trained["dataset"], folder, generator.channels, trained["synthetic_pictures"])
    data.invert = trained.get("invert", False)  # older checkpoints lack it
    parts = load(options.data_root, data, trained["seed"])
    if generator.classes:
        check_classes(state, parts["train"].names)
    parts = {name: part.to(runtime.device) for name, part in parts.items()}
    least = LEAST_ACCURACY if data.dataset == "mnist" else 0
    classifier, facts = trained_classifier(parts, options.data_root, runtime, least)
    image_size = state["architecture"]["image_size"]
    seen = {name: measures.as_sampled(part, image_size) for name, part in parts.items()}
    test_features = judge(classifier, seen["test"].images)[0]
    images, labels = measures.sample(generator, options.samples, options.seed, runtime.device)
    measured = measures.measure(classifier, test_features, images, labels)
    floor = measures.floor(classifier, seen["train"], test_features, options.samples, options.seed)
    which = f"epoch {state['epoch']}"
    rows = measures.as_rows(measured, floor, options.samples, which)
    if count := options.nearest_neighbour:
        found = measures.nearest_neighbour_rows(generator, seen, count, options.seed, which)
        if data.dataset == "mnist":
            found[0]["paper"] = PAPER.get(f"{count:,} samples")
            found[1]["paper"] = PAPER.get(f"{count:,} real digits")
        rows += found

    target, names = options.figure_root / QUESTION / run_name(options.checkpoint), parts["train"].names
    distances = figures.plot_neighbours(images[:10], seen["train"], target / "nearest.png")
    if classifier.classes > 1:
        figures.plot_histogram(images, classifier, names, target / "classes.png")
    print_rows(rows)
    if labels is not None:
        shares = [f"{name} {100 * measured[f'label_accuracy_{c}']:.1f} %" for c, name in enumerate(names)]
        print(f"label accuracy by class: {', '.join(shares)}")
    print(f"nearest training picture of ten samples: {np.mean(distances):.1f} grey levels away on average")
    print(f"figures in {target}")
    result = {"classifier": facts, "figures": measured, "rows": rows, "nearest_training_rms": distances}
    key = f"{options.checkpoint.name}, {options.samples} samples, seed {options.seed}"
    add_evaluation(extended, key, result)
    return result


if __name__ == "__main__":
    command(main, Options, __doc__)
