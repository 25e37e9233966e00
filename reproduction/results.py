"""Reads the log folders: which runs are finished, at what scale, with which numbers; which are missing."""

import importlib
import json
import re
import shlex
import sys
from dataclasses import asdict
from functools import cache
from math import isclose
from pathlib import Path
from statistics import mean, stdev

from common.options import plain
from common.provenance import short
from q1_dcgan import paper as q1
from q2_protonet import paper as q2
from q3_pix2pix import paper as q3
from q4_darts import paper as q4
from reproduction.presets import PRESETS, Row

PAPERS = {paper.QUESTION: paper for paper in (q1, q2, q3, q4)}
MARKS = {
    "full size": "the settings of the paper or the first report, on the data set they used",
    "reduced": "fewer epochs, pictures, channels or pixels, or a smaller data set than the paper's, "
    "whose number is then a landmark",
    "own data": "a folder of pictures that is not one of the known data sets",
    "synthetic": "pictures drawn by the program itself: such a row shows that the pipeline runs and says "
    "nothing about the paper",
}
# Options that do not make a run another experiment: runs that differ in these alone are seeds of one.
NOT_SETTINGS = "seed run_name resume overwrite debug device compile no_cuda_graphs deterministic".split()
NOT_SETTINGS += ["data_root", "log_root", "figure_root"]


def scale(question: str, script: str, options: dict) -> tuple[str, str]:
    """How a run compares with the full size: one of MARKS, and in which respect it is less."""
    if options["dataset"] in ("synthetic", "folder"):
        return ("synthetic", "") if options["dataset"] == "synthetic" else ("own data", "")
    paper = PAPERS[question]
    data = options.get("split") if options["dataset"] == "omniglot" else options["dataset"]
    less = [paper.STAND_INS[data]] if data in paper.STAND_INS else []
    for option, full, what in paper.FULL_SIZE.get(script, ()):
        if option == "epochs" and options.get("trainval"):  # as many as were best on validation
            continue
        if 0 < options.get(option, full) < full:  # older runs lack the options that came later
            less.append(f"{options[option]:,} of {full:,} {what}")
    return ("reduced", ", ".join(less)) if less else ("full size", "")


def all_rows(results: dict) -> list[dict]:
    """The rows of results.json and what its evaluations add to them.

    An evaluation measured something else and is left out if, in a row of the same name, it counted something
    else (validation classes, say), or has another value where the counts are not known. Half a percent is
    what another machine or number of threads may change.
    """
    rows = {row["name"]: row for row in results["rows"]}

    def agree(one: dict, other: dict) -> bool:
        # the numbers in them: older rows used other words
        counts = [re.findall(r"\d+", str(row.get("count", ""))) for row in (one, other)]
        if all(counts):
            return counts[0] == counts[1]
        return isclose(one["value"], other["value"], rel_tol=0.005)

    for evaluation in results.get("evaluations", {}).values():
        found = evaluation["rows"] if isinstance(evaluation, dict) else evaluation
        found = {row["name"]: row for row in found}
        shared = rows.keys() & found.keys()
        if all(agree(rows[name], found[name]) for name in shared):
            rows |= {name: row for name, row in found.items() if name not in rows}
    return list(rows.values())


@cache
def defaults(script: str) -> dict:
    """What the options of a script are if nobody names them, as config.json holds them."""
    question, file = script.removesuffix(".py").split("/")
    return plain(asdict(importlib.import_module(f"{question}.{file}").Options()))


def read_run(folder: Path) -> dict:
    """results.json of one run, and what config.json says about how it was made."""
    run, config = (json.loads((folder / part).read_text()) for part in ("results.json", "config.json"))
    question, name = folder.parts[-2:]
    legs, options = config["legs"], config["options"]
    words = [word for word in shlex.split(legs[-1]["command"]) if word not in ("--resume", "--overwrite")]
    mark, less = scale(question, words[1], options)
    if (processes := legs[-1].get("processes", 1)) > 1:
        words = ["torchrun", "--nproc_per_node", str(processes), *words[1:]]
    # Options that are at their default say nothing: older runs lack those that came later.
    usual = defaults(words[1]) if words[1] in PAPERS[question].FULL_SIZE else {}
    settings = {key: value for key, value in options.items() if key not in NOT_SETTINGS}
    settings = {key: value for key, value in settings.items() if value != usual.get(key, ...)}
    experiment = re.sub(r"-seed\d+", "", f"{name} {processes} {json.dumps(settings, sort_keys=True)}")
    versions = ", ".join(f"{package} {version}" for package, version in legs[-1]["versions"].items())
    run |= {"name": name, "folder": folder, "experiment": experiment, "mark": mark, "less": less}
    run |= {"rows": all_rows(run), "command": shlex.join(words), "seed": options["seed"], "legs": len(legs)}
    return run | {"commit": short(legs[0]["commit"]), "versions": versions}


def read_runs(log_root: Path, chosen: tuple[str, ...] = ()) -> dict[str, list[dict]]:
    """The finished runs of each question (the chosen ones), full size first, in the presets' order."""
    questions: dict[str, list[dict]] = {question: [] for question in PAPERS}
    for file in sorted(log_root.glob("*/*/results.json")):
        question, name = file.parts[-3:-1]
        shown = f"{question}/{name}" in chosen if chosen else not name.startswith(("quick-", "smoke"))
        if question not in PAPERS or not shown:
            continue
        try:
            questions[question].append(read_run(file.parent))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            reason = "has no config.json" if isinstance(error, FileNotFoundError) else "is damaged"
            print(f"warning: {file.parent} {reason} and is left out", file=sys.stderr)
    rows = [row for rows in PRESETS.values() for row in rows if not row.evaluates and not row.repeats]
    places = {f"{row.question}/{row.name}": place for place, row in reversed(list(enumerate(rows)))}
    for question, runs in questions.items():
        for run in runs:
            run["place"] = places.get(f"{question}/{run['name'].partition('-seed')[0]}", len(rows))
        runs.sort(key=lambda run: (bool(run["less"]), run["place"], run["name"]))
    return {question: runs for question, runs in questions.items() if runs}


def over_seeds(runs: list[dict]) -> list[dict]:
    """One entry per experiment: its `name`, `runs` and `rows`, mean and standard deviation over seeds."""
    experiments: dict[str, list[dict]] = {}
    for run in runs:
        experiments.setdefault(run["experiment"], []).append(run)
    made = []
    for same in experiments.values():
        same.sort(key=lambda run: (len(run["name"]), run["name"]))
        rows = same[0]["rows"]
        if len(same) > 1:
            values = [{row["name"]: float(row["value"]) for row in run["rows"]} for run in same]
            rows = [row for row in rows if all(row["name"] in run for run in values)]
            found = [(row, [run[row["name"]] for run in values]) for row in rows]
            rows = [r | {"value": mean(v), "interval": stdev(v), "seeds": len(v)} for r, v in found]
        first = {key: same[0][key] for key in ("name", "mark", "less")}
        made.append(first | {"runs": same, "rows": rows})
    return made


def missing_runs(log_root: Path, figure_root: Path, wanted: list[tuple[str, Row]]) -> dict[str, list[dict]]:
    """The rows that are not finished, with the command that makes or finishes each; no command twice."""
    missing: dict[str, dict[str, dict]] = {}
    for preset, row in wanted:
        if (now := row.state(log_root)) != "done":
            begun = now == "cut"
            command = shlex.join(row.words(log_root, figure_root) + ["--resume"] * begun)
            entry = {"name": row.label, "preset": preset, "begun": begun, "command": command}
            missing.setdefault(row.question, {}).setdefault(command, entry)
    return {question: list(entries.values()) for question, entries in missing.items()}
