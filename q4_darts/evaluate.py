"""Tests a checkpoint of train.py, or the supernet of train_search.py, on the test pictures.

python q4_darts/evaluate.py --checkpoint logs/q4_darts/RUN/checkpoints/last.pt
python q4_darts/evaluate.py --checkpoint last.pt --folder my_pictures    # trained on a folder that has moved
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q4_darts.options import QUESTION, DataOptions
from q4_darts.options import EvaluateOptions as Options
from q4_darts.options import resolve_evaluation as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from common import plots
from common.device import start
from common.evaluations import add_evaluation, check_classes, results_to_extend, trained_folder
from common.statistics import print_rows
from q4_darts import measures
from q4_darts.cifar10_dataset import count_shared, load, warn_of_shared
from q4_darts.model import Network
from q4_darts.namer import Namer


def main(options: Options) -> dict:
    options = resolve(options)
    results = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)

    # Network, and the pictures of its data set.
    namer = Namer.load(options.checkpoint, runtime)
    trained = namer.options
    dataset = trained["dataset"]
    data = DataOptions(dataset, trained_folder(trained, options.folder), namer.image_size)
    with runtime.one_first(options.data_root, dataset):
        parts = load(options.data_root, data, trained["seed"])
    test = parts["test"].to(runtime.device)
    check_classes(namer.classes, test.names)
    shared = count_shared(parts["train"][: trained["train_pictures"] or None], test)

    # Test.
    predicted = namer.logits(test.images).argmax(1)
    row = measures.accuracy_row(f"test, epoch {namer.epoch}", predicted, test.labels)
    by_class = measures.shares_by_class(predicted, test.labels, test.names)
    result = {"rows": [row], "by_class": by_class, "parameters": measures.count_parameters(namer.network)}
    size = f"{result['parameters']:,} parameters"
    if isinstance(namer.network, Network):  # the supernet's count would depend on how it is computed
        result["multiply_adds"] = measures.multiply_adds(namer.network, namer.image_size, runtime.device)
        size += f", {result['multiply_adds'] / 1e6:.1f} million multiply-adds per picture"

    # Figure, screen and results.json.
    figure = options.figure_root / QUESTION / namer.name / "confusion.png"
    plots.confusion(predicted, test.labels, test.names, figure, namer.title)
    if shared:
        print(warn_of_shared(shared, len(test)), file=sys.stderr)
    print(f"{len(test):,} test pictures of {dataset}")
    print_rows([row])
    print("by class: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in by_class.items()))
    print(f"{size}; confusion in {figure}")
    add_evaluation(results, options.checkpoint.name, **result)
    return result


if __name__ == "__main__":
    cli.run(main, options)
