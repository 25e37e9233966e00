"""Tests a checkpoint on many few-shot settings at once, or on the Omniglot challenge.

python q2_protonet/evaluate.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --way 5 20 --shot 1 5
python q2_protonet/evaluate.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --within_alphabet
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch

from common.cli import at_least, command
from common.images import trained_folder
from common.results import add_evaluation, print_rows, results_to_extend
from common.runtime import ScriptOptions, UsageError, start
from q2_protonet.measures import accuracy_rows, lake_row, load_model, unknown_distance, within_alphabet_row
from q2_protonet.omniglot_dataset import SIZE
from q2_protonet.paper import CHALLENGE, QUESTION, UNTRAINED, WHOLE_OMNIGLOT
from q2_protonet.protonet import ProtoNet, ShiftAveraged
from q2_protonet.splits import DataOptions, describe, load


@dataclass
class Options(ScriptOptions):
    """Test a checkpoint of a prototypical network."""

    # the name of a network in pretrained/, or a checkpoint: logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Path = Path("protonet-1shot")
    way: tuple[int, ...] = (5, 20)  # classes per episode, one setting for each
    shot: tuple[int, ...] = (1, 5)  # support examples per class, one setting for each
    query: int = 15  # query examples per class
    episodes: int = 1000  # episodes per setting
    part: Literal["test", "validation", "train"] = "test"  # which part of the split
    # instead of --way and --shot: 20 characters of one alphabet, support by one person and queries by another
    within_alphabet: bool = False
    # instead of --way and --shot: the 20 fixed runs of the Omniglot challenge, the author's all_runs.zip
    # unpacked
    lake_runs: Path | None = None
    untrained: bool = False  # also the network as it was before training, the control
    # also how often predict.py --unknown is wrong, in episodes with one class more than --way
    unknown: bool = False
    # average each embedding over all shifts of its image by up to so many pixels, for each of these numbers;
    # not in the paper
    shifts: tuple[int, ...] = (0,)
    data_root: Path = Path("data")  # folder of the data sets
    # default: what the checkpoint was trained on
    dataset: Literal["", "omniglot", "synthetic", "folder"] = ""
    # default: what the checkpoint was trained on
    split: Literal["", "vinyals", "random", "background", "small", "small1"] = ""
    folder: Path | None = None  # where the pictures of --dataset folder are now, if they were moved


def check(options: Options) -> Options:
    """Ranges and combinations, before anything is loaded."""
    if min(*options.way, *options.shot) < 1:
        raise UsageError(f"--way and --shot must be 1 or more, not {min(*options.way, *options.shot)}")
    at_least(1, options, "query", "episodes")
    if not 0 <= min(options.shifts) <= max(options.shifts) < SIZE:
        raise UsageError(f"--shifts must be 0 to {SIZE - 1}, not {' '.join(map(str, options.shifts))}")
    if options.unknown and (options.within_alphabet or options.lake_runs or any(options.shifts)):
        raise UsageError("--unknown goes with --way and --shot, as predict.py classifies: without --shifts")
    return options


def data_options(trained: dict, options: Options) -> DataOptions:
    """The data a checkpoint was trained on, with what the command line changes.

    Raises:
        UsageError: its folder has moved; or episodes within the evaluation alphabets, which it has seen.
    """
    dataset, split = options.dataset or trained["dataset"], options.split or trained["split"]
    data = DataOptions(dataset, split, options.folder, trained["no_rotations"])
    if dataset == "folder":
        data.folder = trained_folder(trained, options.folder)
        data.skip_small = trained.get("skip_small", 0)
    if not (options.within_alphabet or options.lake_runs):
        return data
    if trained["dataset"] == "omniglot" and trained["split"] in WHOLE_OMNIGLOT:
        seen = f"split {trained['split']}, which has characters of the evaluation alphabets"
        needed = "within an alphabet only a network trained with --split background can be tested"
        raise UsageError(f"the checkpoint was trained on {seen}: {needed}")
    return replace(data, no_rotations=True)


def main(options: Options) -> list[dict]:
    options = check(options)
    results = results_to_extend(options.checkpoint, QUESTION)
    runtime = start(options)
    model, state = load_model(options.checkpoint, runtime)
    trained = state["options"]
    torch.manual_seed(trained["seed"])  # as train.py begins
    untrained = ProtoNet(**state["architecture"]).to(runtime.device)
    data = data_options(trained, options)
    where = f"{options.part} part of {describe(data)}"
    print(f"{options.checkpoint}: epoch {state['epoch']}, {where}")
    if options.within_alphabet or not options.lake_runs:
        parts = load(options.data_root, data, trained["seed"])
        part = parts[options.part].to(runtime.device)
    limit = None
    if options.unknown:
        limit = unknown_distance(model, state, options.data_root, runtime.device)
    settings = [(way, shot) for way in options.way for shot in options.shot]
    beside_paper = data.dataset == "omniglot" and data.split in WHOLE_OMNIGLOT and options.part == "test"

    rows = []
    for shifts in options.shifts:
        tested, control = (ShiftAveraged(each, shifts) if shifts else each for each in (model, untrained))
        own = [lake_row(tested, options.lake_runs, runtime.device)] if options.lake_runs else []
        if options.within_alphabet:
            own.append(within_alphabet_row(tested, part, options.episodes, options.seed))
        elif not options.lake_runs:
            numbers = part, settings, options.query, options.episodes, options.seed
            own += accuracy_rows(tested, *numbers, beside_paper=beside_paper, limit=limit)
            own += accuracy_rows(control, *numbers, UNTRAINED) if options.untrained else []
        note = "" if options.part == "test" else f", {options.part} part"
        note += f", shifts {shifts}" if shifts else ""
        rows += [row | {"name": row["name"] + note} for row in own]
    print_rows(rows)
    if options.within_alphabet or options.lake_runs:
        others = ", ".join(f"{name} {value} %" for name, value in CHALLENGE.items())
        print(f"Lake et al. 2019, on 20 such runs, trained on all 30 background alphabets: {others}")

    key = f"evaluate.py, {options.checkpoint.name}, {where}, seed {options.seed}"
    before = json.loads(results.read_text()).get("evaluations", {}).get(key, []) if results else []
    add_evaluation(results, key, list({row["name"]: row for row in [*before, *rows]}.values()))
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
