"""Tests a checkpoint on many few-shot settings at once, or on the Omniglot challenge.

python q2_protonet/evaluate.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --way 5 20 --shot 1 5
python q2_protonet/evaluate.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --within_alphabet
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q2_protonet.options import QUESTION, WHOLE_OMNIGLOT, DataOptions, describe, warn_of_start
from q2_protonet.options import EvaluateOptions as Options
from q2_protonet.options import resolve_evaluation as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from itertools import product

from torch import nn

from common.device import Runtime, start
from common.errors import UsageError
from common.evaluations import add_evaluation, have_changed, results_to_extend, trained_folder
from common.statistics import print_rows
from q2_protonet.challenge import LakeRun, lake_row, read_runs, within_alphabet_row
from q2_protonet.few_shot import FewShot
from q2_protonet.measures import accuracy_rows, add_to_names, beside_paper, embed
from q2_protonet.omniglot_dataset import Characters, load
from q2_protonet.omniglot_files import find_omniglot
from q2_protonet.paper import CHALLENGE, UNTRAINED
from q2_protonet.protonet import ShiftAveraged, untrained_network


def choose_data(trained: dict, options: Options) -> DataOptions:
    """Returns the data that a network was trained on, with what the command line changes.

    Args:
        trained: the options of its training.

    Raises:
        UsageError: its folder has moved, or there is one too many; or episodes within the evaluation
            alphabets, which it has seen.
    """
    data = DataOptions(
        dataset=options.dataset or trained["dataset"],
        split=options.split or trained["split"],
        no_rotations=trained["no_rotations"],
    )
    if options.folder and data.dataset != "folder":
        raise UsageError(f"--folder needs --dataset folder, not {data.dataset}")
    if data.dataset == "folder":
        data.folder = trained_folder(trained, options.folder)
        data.skip_small = trained["skip_small"]
    if options.challenge:
        if trained["dataset"] == "omniglot" and trained["split"] in WHOLE_OMNIGLOT:
            raise UsageError(
                f"the checkpoint was trained on split {trained['split']}, which has characters of the "
                "evaluation alphabets: within an alphabet only a network trained with --split background "
                "can be tested"
            )
        data.no_rotations = True
    return data


def load_part(data: DataOptions, few_shot: FewShot, options: Options, runtime: Runtime) -> Characters | None:
    """Loads the part to test on; None where only Lake's runs are asked for.

    Raises:
        UsageError: as `check_unseen` and `check_division`.
    """
    if options.lake_runs and not options.within_alphabet:
        return None
    trained = few_shot.options
    with runtime.one_first(options.data_root, data.dataset):
        check_unseen(data, trained, options)
        parts = load(options.data_root, data, trained["seed"])
    if data.dataset == "folder" and not options.folder and data.no_rotations == trained["no_rotations"]:
        check_division(few_shot, parts["train"], data)
    return parts[options.part].to(runtime.device)


def check_division(few_shot: FewShot, train: Characters, data: DataOptions) -> None:
    """Checks that a folder of drawings is still the one that was divided into parts at training.

    Raises:
        UsageError: its training part has changed.
    """
    if have_changed(few_shot.facts, "train", train.facts()["sha256"]):
        raise UsageError(
            f"the drawings in {data.folder} have changed since the training. Divided anew, they may have "
            f"classes that were trained on in every part; --folder {data.folder} tests on them nevertheless"
        )


def check_unseen(data: DataOptions, trained: dict, options: Options) -> None:
    """Checks that no class of the part was trained on, unless it is --part train.

    Raises:
        UsageError: one was: by another split of Omniglot, or with --trainval.
    """
    if options.part == "train":
        return
    if options.part == "validation" and trained["trainval"]:
        raise UsageError(
            "the network was trained on the validation classes too (--trainval): take --part test"
        )
    if trained["dataset"] != "omniglot" or data.dataset != "omniglot" or data.split == trained["split"]:
        return
    learned, tested = (
        find_omniglot(options.data_root, split, trained["seed"]).parts
        for split in (trained["split"], data.split)
    )
    seen = {*learned["train"], *(learned["validation"] if trained["trainval"] else ())}
    there = tested[options.part]
    if shared := len(seen.intersection(there)):
        raise UsageError(
            f"the network was trained on {shared} of the {len(there)} characters of the {options.part} part "
            f"of split {data.split}: take its own, --split {trained['split']}"
        )


def measure_challenge(
    network: nn.Module,
    part: Characters | None,
    runs: list[LakeRun],
    shifts: int,
    options: Options,
    runtime: Runtime,
) -> list[dict]:
    """Returns the rows of the Omniglot challenge: Lake's runs, sampled episodes, or both."""
    rows = []
    if runs:
        rows.append(lake_row(network, runs, runtime.device, shifts))
    if part is not None:
        rows.append(within_alphabet_row(network, part, options.episodes, options.seed))
    return rows


def measure_settings(
    network: nn.Module,
    untrained: nn.Module,
    part: Characters,
    cited: bool,
    limit: float | None,
    options: Options,
) -> list[dict]:
    """Returns the rows of every --way with every --shot, and with --untrained those of the control.

    Args:
        cited: beside the paper's and the first report's numbers.
        limit: of --unknown.
    """
    numbers = (part, list(product(options.way, options.shot)), options.query, options.episodes, options.seed)
    rows = accuracy_rows(embed(network, part.images), *numbers, limit)
    if cited:
        rows = beside_paper(rows)
    if options.untrained:
        control = accuracy_rows(embed(untrained, part.images), *numbers)
        rows += add_to_names(control, UNTRAINED)
    return rows


def main(options: Options) -> list[dict]:
    options = resolve(options)
    results = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)

    # The network, and the control: with the random weights of its seed.
    few_shot = FewShot.load(options.checkpoint, runtime)
    trained = few_shot.options
    untrained = untrained_network(few_shot.architecture, trained["seed"]).to(runtime.device)
    limit = few_shot.require_unknown() if options.unknown else None

    # Data.
    data = choose_data(trained, options)
    where = f"{options.part} part of {describe(data)}"
    print(f"{options.checkpoint}: epoch {few_shot.epoch}, {where}")
    part = load_part(data, few_shot, options, runtime)
    if text := warn_of_start(data.dataset, trained.get("start_from")):
        print(text, file=sys.stderr)
    runs = read_runs(options.lake_runs) if options.lake_runs else []
    cited = data.dataset == "omniglot" and data.split in WHOLE_OMNIGLOT and options.part == "test"

    # Measure.
    rows = []
    for shifts in options.shifts:
        tested = ShiftAveraged(few_shot.network, shifts) if shifts else few_shot.network
        control = ShiftAveraged(untrained, shifts) if shifts else untrained
        if options.challenge:
            own = measure_challenge(tested, part, runs, shifts, options, runtime)
        else:
            own = measure_settings(tested, control, part, cited, limit, options)
        note = "" if options.part == "test" else f", {options.part} part"
        rows += add_to_names(own, note + (f", shifts {shifts}" if shifts else ""))

    # Show, and keep beside the run.
    print_rows(rows)
    if options.challenge:
        others = ", ".join(f"{name} {value} %" for name, value in CHALLENGE.items())
        print(f"Lake et al. 2019, on the 20 runs, trained on all 30 background alphabets: {others}")
    key = f"evaluate.py, {options.checkpoint.name}, {where}, seed {options.seed}"
    add_evaluation(results, key, rows)
    return rows


if __name__ == "__main__":
    cli.run(main, options)
