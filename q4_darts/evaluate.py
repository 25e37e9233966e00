"""Tests a checkpoint of train.py, or the supernet of train_search.py, on the test pictures.

python q4_darts/evaluate.py --checkpoint logs/q4_darts/RUN/checkpoints/last.pt
python q4_darts/evaluate.py --checkpoint last.pt --folder my_pictures    # trained on a folder that has moved
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import plots
from common.cli import command
from common.images import trained_folder
from common.results import add_evaluation, check_classes, print_rows, results_to_extend, run_name
from common.runtime import ScriptOptions, start
from q4_darts import measures
from q4_darts.cifar10_dataset import DataOptions, load
from q4_darts.model import Network
from q4_darts.paper import QUESTION


@dataclass
class Options(ScriptOptions):
    """Test a derived network, or a supernet."""

    # the name of a network in pretrained/, or a checkpoint: logs/q4_darts/RUN/checkpoints/last.pt
    checkpoint: Path = Path("darts-cifar10")
    data_root: Path = Path("data")  # folder of the data sets
    folder: Path | None = None  # where the pictures of --dataset folder are now, if they were moved
    figure_root: Path = Path("figures")  # folder of the pictures


def main(options: Options) -> dict:
    runtime = start(options)
    model, state = measures.load_network(options.checkpoint, runtime)
    results = results_to_extend(options.checkpoint, QUESTION)
    trained = state["options"]
    folder = trained_folder(trained, options.folder)
    data = DataOptions(trained["dataset"], folder, measures.picture_size(state))
    test = load(options.data_root, data, trained["seed"])["test"].to(runtime.device)
    check_classes(state, test.names)

    predicted = measures.predict(model, test.images, runtime).argmax(1)
    right = predicted == test.labels
    row = measures.accuracy_row(f"test, epoch {state['epoch']}", predicted, test.labels)
    by_class = {name: right[test.labels == c].double().mean().item() for c, name in enumerate(test.names)}
    result = {"rows": [row], "by_class": by_class, "parameters": measures.count_parameters(model)}
    size = f"{result['parameters']:,} parameters"
    if isinstance(model, Network):  # the supernet's count would depend on how it is computed
        result["multiply_adds"] = measures.multiply_adds(model, data.image_size, runtime.device)
        size += f", {result['multiply_adds'] / 1e6:.1f} million multiply-adds per picture"
    figure = options.figure_root / QUESTION / run_name(options.checkpoint) / "confusion.png"
    plots.confusion(predicted, test.labels, test.names, figure)
    print(f"{len(test):,} test pictures of {trained['dataset']}")
    print_rows([row])
    print("by class: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in by_class.items()))
    print(f"{size}; confusion in {figure}")
    add_evaluation(results, options.checkpoint.name, result)
    return result


if __name__ == "__main__":
    command(main, Options, __doc__)
