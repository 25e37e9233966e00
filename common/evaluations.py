"""Evaluations of a trained network: added to the results of its run, on the pictures it was trained on."""

import sys
from pathlib import Path

from common.errors import RunError, UsageError
from common.folder_listing import one_form
from common.json_files import read_json, write_json
from common.locks import changing


def results_to_extend(checkpoint: Path, question: str) -> Path | None:
    """Returns results.json of the run a checkpoint lies in, or None where it lies elsewhere.

    Call it before the work.

    Raises:
        RunError: the file there is damaged, or belongs to something other than a run of `question`.
    """
    path = checkpoint.absolute().parent.parent / "results.json"
    if checkpoint.absolute().parent.name != "checkpoints" or not path.exists():
        return None
    advice = "move it or the checkpoint away first"
    content = read_json(path, advice)
    if "question" not in content or not isinstance(content.get("evaluations", {}), dict):
        raise RunError(f"{path} is not a run's results: {advice}")
    if content["question"] != question:
        raise RunError(
            f"{path} belongs to a run of {content['question']}, not of {question}: "
            "move the checkpoint elsewhere"
        )
    return path


def add_evaluation(path: Path | None, key: str, rows: list[dict], **more: object) -> None:
    """Adds an evaluation to a run's results.json under its key.

    An earlier one of the same key keeps those of its rows that this one has not measured.

    Args:
        path: as `results_to_extend` returns it.
        key: what was measured, and on what.
        rows: as print_rows shows them, each with a "name" of its own.
        more: what else is kept; with it the evaluation is a dict that has its rows as "rows".
    """
    if path is None:
        return
    with changing(path):
        if not path.exists():
            print(
                f"{path} is gone, since its run goes on: the evaluation is shown here alone", file=sys.stderr
            )
            return
        results = read_json(path)
        evaluations = results.setdefault("evaluations", {})
        by_name = {row["name"]: row for row in rows_of(evaluations.get(key, [])) + rows}
        merged = list(by_name.values())
        evaluations[key] = {"rows": merged, **more} if more else merged
        write_json(path, results)
    print(f"added to {path}")


def rows_of(evaluation: list[dict] | dict) -> list[dict]:
    """Returns the rows of an evaluation, which is a list of them or has them as "rows"."""
    return evaluation.get("rows", []) if isinstance(evaluation, dict) else evaluation


def trained_folder(trained: dict, now: Path | None, flag: str = "--folder") -> Path | None:
    """Returns where the pictures are that a network was trained on; None where they were not a user's own.

    Args:
        trained: the options of its training, from its checkpoint.
        now: the value of `flag`, for pictures that have moved.

    Raises:
        UsageError: there is no such folder.
    """
    before = trained[flag.removeprefix("--")]
    folder = now or (Path(before) if before else None)
    if folder is not None and not folder.is_dir():
        raise UsageError(
            f"the pictures are no longer in {folder.absolute()}: give their place with {flag} DIR"
        )
    return folder


def have_changed(facts: dict, part: str, sha256: str) -> bool:
    """Returns whether a part of the data differs from the one that a network was trained with.

    Args:
        facts: of its training, whose "data" has the hash of every part; the first runs recorded none.
        sha256: of the part as it is now.
    """
    recorded = facts.get("data", {}).get(part, {})
    return recorded.get("sha256", sha256) != sha256


def check_classes(known: list[str], there: list[str]) -> None:
    """Checks that a data set has the classes, in their order, that a network was trained on.

    Raises:
        RunError: it has not.
    """
    if len(known) != len(there):
        raise RunError(f"the network has {len(known)} classes, and the pictures have {len(there)}")
    for own, other in zip(known, there):
        if one_form(own) != one_form(other):
            raise RunError(f"the pictures have other classes than the network: {other} instead of {own}")
