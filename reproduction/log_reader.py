"""Reads the log folders: which runs are finished, at what scale, with which numbers; which are missing."""

import importlib
import json
import re
import shlex
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path

from common.errors import RunError
from common.json_files import plain, read_json
from common.provenance import short
from common.rows import read_table
from reproduction.commands import Row
from reproduction.layouts import LAYOUTS
from reproduction.presets import PRESETS
from reproduction.results import DAMAGE, all_rows, require
from reproduction.runs import Missing, Run, Runs

# Options that do not make a run another experiment: runs that differ in these alone are seeds of one.
NOT_SETTINGS = {
    "seed",
    "run_name",
    "resume",
    "overwrite",
    "debug",
    "device",
    "compile",
    "no_cuda_graphs",
    "deterministic",
    "data_root",
    "log_root",
    "figure_root",
}


# One run ----------------------------------------------------------------------------------------------------


@cache
def defaults(question: str, script: str) -> dict:
    """Returns the options of "train" or "train_search" that nobody names, as config.json holds them."""
    options = importlib.import_module(f"{question}.options")
    name = "SearchOptions" if script == "train_search" else "TrainOptions"
    return plain(asdict(getattr(options, name)()))


def scale(question: str, script: str, options: dict) -> tuple[str, list[str]]:
    """Returns how a run compares with the full size: one of MARKS, and in which respects it is less."""
    if options["dataset"] == "synthetic":
        return "synthetic", []
    if options["dataset"] == "folder":
        return "own data", []
    layout = LAYOUTS[question]
    data = options["split"] if options["dataset"] == "omniglot" else options["dataset"]
    less = [layout.stand_ins[data]] if data in layout.stand_ins else []
    for size in layout.full_size[f"{question}/{script}.py"]:
        value = options[size.option]
        if size.option == "epochs" and options.get("trainval"):  # as many as were best on validation
            continue
        if 0 < value < size.full:
            less.append(f"{value:,} of {size.full:,} {size.unit}")
    return "reduced" if less else "full size", less


def typed_command(leg: dict) -> list[str]:
    """Returns a leg's command as it begins the run."""
    words = [word for word in shlex.split(leg["command"]) if word not in ("--resume", "--overwrite")]
    if leg["processes"] > 1:
        return ["torchrun", "--nproc_per_node", str(leg["processes"]), *words[1:]]
    return words


def read_run(folder: Path) -> Run:
    """Reads results.json and config.json of a run, and checks its metrics.csv.

    Raises:
        RunError: a file is damaged or missing.
    """
    results = read_json(folder / "results.json")
    config = read_json(folder / "config.json")
    if (folder / "metrics.csv").exists():
        read_table(folder / "metrics.csv")
    try:
        return make_run(folder, results, config)
    except DAMAGE as error:
        raise RunError(f"{folder} is damaged: {type(error).__name__}: {error}") from error


def make_run(folder: Path, results: dict, config: dict) -> Run:
    """Returns the run of these two files."""
    question, name = folder.parts[-2:]
    options = config["options"]
    leg = config["legs"][-1]
    script = Path(shlex.split(leg["command"])[1]).stem
    mark, less = scale(question, script, options)
    rows = all_rows(results)
    require(results, "title", "device", "precision", "epochs", "minutes")
    for row in rows:
        require(row, "name", "value", "unit")

    # Options at their default say nothing: they may be newer than the run.
    usual = defaults(question, script)
    settings = {key: value for key, value in options.items() if key not in NOT_SETTINGS}
    settings["precision"] = results["precision"]  # what auto meant there
    if options.get("trainval"):
        del settings["epochs"]  # they follow from another run
    unusual = {key: value for key, value in settings.items() if value != usual.get(key, ...)}
    experiment = f"{name} {leg['processes']} {json.dumps(unusual, sort_keys=True)}"

    return Run(
        question=question,
        name=name,
        folder=folder,
        results=results,
        rows=rows,
        mark=mark,
        less=less,
        command=shlex.join(typed_command(leg)),
        seed=options["seed"],
        legs=len(config["legs"]),
        commit=short(config["legs"][0]["commit"]),
        versions=", ".join(f"{package} {version}" for package, version in leg["versions"].items()),
        experiment=re.sub(r"-seed\d+", "", experiment),
    )


# All runs ---------------------------------------------------------------------------------------------------


def read_runs(log_root: Path, chosen: tuple[str, ...] = ()) -> Runs:
    """Reads the finished runs of each question (the chosen ones), full size first, in the presets' order.

    A run with a damaged file is named and left out.
    """
    places = preset_places()
    questions: Runs = {question: [] for question in LAYOUTS}
    for file in sorted(log_root.glob("*/*/results.json")):
        question, name = file.parts[-3:-1]
        shown = f"{question}/{name}" in chosen if chosen else not name.startswith(("quick-", "smoke"))
        if question not in LAYOUTS or not shown:
            continue
        try:
            run = read_run(file.parent)
        except RunError as error:
            print(f"warning: {error}; the run {file.parent} is left out", file=sys.stderr)
            continue
        run.place = places.get(f"{question}/{name.partition('-seed')[0]}", len(places))
        questions[question].append(run)
    for runs in questions.values():
        runs.sort(key=lambda run: (bool(run.less), run.place, run.name))
    return {question: runs for question, runs in questions.items() if runs}


def read_benchmarks(log_root: Path) -> list[dict]:
    """Reads the saved benchmarks; a damaged file is named and left out."""
    races = []
    for file in sorted(log_root.glob("benchmarks/*.json")):
        try:
            races.append(read_benchmark(file))
        except RunError as error:
            print(f"warning: {error}; the benchmark is left out", file=sys.stderr)
    return races


def read_benchmark(file: Path) -> dict:
    """Reads what benchmarks/race.py --save wrote.

    Raises:
        RunError: the file is damaged.
    """
    race = read_json(file)
    try:
        require(race, "name", "what", "device", "cpu", "versions", "commit", "rows", "command")
        for row in race["rows"].values():
            require(row, "times_faster", "ms", "memory")
    except DAMAGE as error:
        raise RunError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    return race


def preset_places() -> dict[str, int]:
    """Returns <question>/<name> of each training in a preset -> its place among all."""
    places: dict[str, int] = {}
    for rows in PRESETS.values():
        for row in rows:
            if not row.evaluates and not row.repeats:
                places.setdefault(f"{row.question}/{row.name}", len(places))
    return places


def missing_runs(
    log_root: Path, figure_root: Path, wanted: list[tuple[str, Row]]
) -> dict[str, list[Missing]]:
    """Returns the (preset, row) that are not finished, by question; no command twice."""
    missing: dict[str, dict[str, Missing]] = {}
    for preset, row in wanted:
        state = row.state(log_root)
        if state == "done":
            continue
        begun = state == "cut"
        words = row.words(log_root, figure_root)
        command = shlex.join([*words, "--resume"] if begun else words)
        missing.setdefault(row.question, {}).setdefault(command, Missing(row.label, preset, begun, command))
    return {question: list(of_question.values()) for question, of_question in missing.items()}
