"""Measures a generator on every validation pair, beside controls that know less, and draws triplets.

python q3_pix2pix/evaluate.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt
python q3_pix2pix/evaluate.py --checkpoint CHECKPOINT --part test     # once, when everything is chosen

L1 is in grey levels (0 to 255). The generator is run in three ways: with each picture's own statistics and
dropout, as in the paper; with its own statistics alone; and in eval mode, with the running statistics.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q3_pix2pix.options import QUESTION, DataOptions, check_data
from q3_pix2pix.options import EvaluateOptions as Options
from q3_pix2pix.options import resolve_evaluation as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import numpy as np
from torch import Tensor

from common.device import Runtime, start
from common.errors import UsageError
from common.evaluations import add_evaluation, results_to_extend, trained_folder
from common.statistics import print_rows
from q3_pix2pix import measures
from q3_pix2pix.figures import plot_triplets
from q3_pix2pix.legend import Legend, find_colors
from q3_pix2pix.mapper import Mapper, translate
from q3_pix2pix.maps_dataset import Pairs, load
from q3_pix2pix.measures import PARTS
from q3_pix2pix.paper import INFERENCE, L1_ONLY


def main(options: Options) -> list[dict]:
    options = resolve(options)
    extended = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)

    # The generator, its control, and the pairs.
    mapper = Mapper.load(options.checkpoint, runtime)
    control = None
    if options.l1_checkpoint:
        control = Mapper.load(options.l1_checkpoint, runtime)
        check_control(control, mapper)
    parts = load_parts(mapper, options, runtime)
    train = parts["train"]
    pairs = parts[options.part]
    colors = find_colors(train, mapper.options["dataset"])

    # Measures.
    made = {how: translate(mapper.generator, pairs.photos, how) for how in INFERENCE}
    candidates = {INFERENCE[how]: outputs for how, outputs in made.items()}
    if control:
        candidates[L1_ONLY] = translate(control.generator, pairs.photos)
    rows = measures.rows(candidates, train, pairs, colors, L1_ONLY if control else "", options.part)
    print_rows(rows)

    # Figures, results.
    draw_triplets(mapper.name, pairs, made["paper"], colors and colors.legend, options)
    add_evaluation(extended, options.checkpoint.name + options.suffix, rows)
    return rows


def check_control(control: Mapper, mapper: Mapper) -> None:
    """Checks that --l1_checkpoint holds the same network, trained by L1 alone on the same data set.

    Raises:
        UsageError: it does not.
    """
    if control.architecture != mapper.architecture:
        raise UsageError(
            f"--l1_checkpoint holds the network {control.architecture}, not {mapper.architecture}"
        )
    dataset = mapper.options["dataset"]
    if control.options["gan_weight"] or control.options["dataset"] != dataset:
        raise UsageError(f"--l1_checkpoint must come from a run with --gan_weight 0 on {dataset}")


def load_parts(mapper: Mapper, options: Options, runtime: Runtime) -> dict[str, Pairs]:
    """Loads the pairs that a generator was trained on, with the part that is measured.

    Raises:
        UsageError: they are no longer where they were.
        RunError: as `maps_dataset.load`.
    """
    trained = mapper.options
    data = DataOptions(
        dataset=trained["dataset"],
        pairs=trained_folder(trained, options.pairs, "--pairs"),
        resize=trained["resize"],
        direction=trained["direction"],
    )
    check_data(data, options.data_root)
    seed = trained["seed"]
    with runtime.one_first(options.data_root, data.dataset):
        return load(
            options.data_root, data, mapper.size, seed, test=options.part == "test", device=runtime.device
        )


def draw_triplets(name: str, pairs: Pairs, outputs: Tensor, legend: Legend | None, options: Options) -> None:
    """Draws the triplets of --choose, and those with the highest L1.

    Args:
        name: of the run.
        outputs: the maps of all pairs, (n, 3, size, size) uint8.
    """
    errors = measures.measure(outputs / 255, pairs.maps / 255)["l1"]
    ranked = errors.argsort().tolist()
    count = min(options.triplets, len(ranked))
    of_all = f"{count} of {len(ranked)} {PARTS[options.part]}"
    folder = options.figure_root / QUESTION / name

    path = folder / f"triplets{options.suffix}.png"
    title = f"{name}: the {options.choose} {of_all}"
    plot_triplets(path, title, choose(ranked, options)[:count], pairs, outputs, legend)

    path = folder / f"worst{options.suffix}.png"
    title = f"{name}: the {of_all} with the highest L1"
    plot_triplets(path, title, ranked[::-1][:count], pairs, outputs, legend)
    print(f"figures in {folder}")


def choose(ranked: list[int], options: Options) -> list[int]:
    """Returns the pairs in the order of --choose.

    Args:
        ranked: all of them, the best one first.
    """
    if options.choose == "best":
        return ranked
    if options.choose == "random":
        return np.random.default_rng(options.seed).permutation(len(ranked)).tolist()
    return list(range(len(ranked)))


if __name__ == "__main__":
    cli.run(main, options)
