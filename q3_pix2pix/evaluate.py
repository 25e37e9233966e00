"""Measures a generator on every validation pair, beside controls that know less, and draws triplets.

python q3_pix2pix/evaluate.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt
python q3_pix2pix/evaluate.py --checkpoint CHECKPOINT --part test     # once, when everything is chosen

L1 is in grey levels (0 to 255). The generator is run in three ways: with each picture's own statistics and
dropout, as in the paper; with its own statistics alone; and in eval mode, with the running statistics.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np

from common.cli import at_least, command
from common.images import trained_folder
from common.results import add_evaluation, print_rows, results_to_extend, run_name
from common.runtime import ScriptOptions, UsageError, start
from q3_pix2pix import measures
from q3_pix2pix.figures import plot_triplets
from q3_pix2pix.maps_dataset import DataOptions, load
from q3_pix2pix.measures import INFERENCE, PARTS, load_generator, translate
from q3_pix2pix.paper import QUESTION


@dataclass
class Options(ScriptOptions):
    """Measure a generator on the validation or the test pairs."""

    # the name of a network in pretrained/, or a checkpoint: logs/q3_pix2pix/RUN/checkpoints/last.pt
    checkpoint: Path = Path("pix2pix-aerial")
    l1_checkpoint: Path | None = None  # the same network trained with --gan_weight 0, as a control
    part: Literal["val", "test"] = "val"  # the pairs it is measured on; nothing is ever chosen by test
    triplets: int = 10  # how many triplets of input, ground truth and output to draw
    choose: Literal["first", "random", "best"] = "first"  # which pairs; best by L1 (worst.png has the worst)
    data_root: Path = Path("data")  # folder of the data sets
    pairs: Path | None = None  # where the pairs of a run with --dataset folder are now, if they moved
    figure_root: Path = Path("figures")  # folder of the pictures


def main(options: Options) -> list[dict]:
    at_least(1, options, "triplets")
    results = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    trained, architecture = state["options"], state["architecture"]
    if options.l1_checkpoint:
        control, other = load_generator(options.l1_checkpoint, runtime)
        if other["architecture"] != architecture:
            raise UsageError(f"--l1_checkpoint holds the network {other['architecture']}, not {architecture}")
        if other["options"]["gan_weight"] or other["options"]["dataset"] != trained["dataset"]:
            needed = f"a run with --gan_weight 0 on {trained['dataset']}"
            raise UsageError(f"--l1_checkpoint must come from {needed}")
    folder = trained_folder(trained, options.pairs, "--pairs")
    data = DataOptions(trained["dataset"], folder, trained.get("resize"), trained["direction"])
    with runtime.one_first(options.data_root, trained["dataset"]):
        where = options.data_root, data, architecture["image_size"], trained["seed"]
        parts = load(*where, test=options.part == "test")
    train, pairs = (parts[name].to(runtime.device) for name in ("train", options.part))
    photos, maps = pairs.images.split(3, 1)

    made = {inference: translate(generator, photos, inference) for inference in INFERENCE}
    candidates = {INFERENCE[inference]: outputs for inference, outputs in made.items()}
    beside = ""
    if options.l1_checkpoint:
        beside = "L1-only network, train-mode inference"
        candidates[beside] = translate(control, photos)
    rows = measures.rows(candidates, train, pairs, measures.find_colors(train), beside, options.part)

    ranked = measures.measure(made["paper"], maps.float() / 255)["l1"].argsort().tolist()
    count = min(options.triplets, len(ranked))
    shuffled = np.random.default_rng(options.seed).permutation(len(ranked)).tolist()
    orders = {"first": list(range(len(ranked))), "random": shuffled, "best": ranked}
    name = run_name(options.checkpoint)
    folder = options.figure_root / QUESTION / name
    suffix = "" if options.part == "val" else f"-{options.part}"
    triplets = pairs, made["paper"]
    title = f"{name}: the {options.choose} {count} of {len(ranked)} {PARTS[options.part]}"
    plot_triplets(folder / f"triplets{suffix}.png", title, orders[options.choose][:count], *triplets)
    title = f"{name}: the {count} of {len(ranked)} {PARTS[options.part]} with the highest L1"
    plot_triplets(folder / f"worst{suffix}.png", title, ranked[::-1][:count], *triplets)
    print_rows(rows)
    print(f"figures in {folder}")
    add_evaluation(results, options.checkpoint.name + suffix, rows)
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
