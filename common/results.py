"""Tables and results of a run as files, and the intervals beside their numbers."""

import csv
import json
import os
from pathlib import Path

from torch import Tensor

from common.runtime import RunError


class Table:
    """A CSV file that grows row by row and can be cut back to its size at a checkpoint."""

    def __init__(self, path: Path, keep_bytes: int = 0):
        if keep_bytes and (not path.exists() or path.stat().st_size < keep_bytes):
            short = "it is shorter than its checkpoint says"
            raise RunError(f"{path} was changed: {short}; start again with --overwrite")
        self.file = open(path, "a", newline="")
        self.file.truncate(keep_bytes)
        with open(path, newline="") as start:  # a resumed table keeps its columns
            self.columns = next(csv.reader(start), None)

    def write(self, row: dict[str, float | int | str]) -> None:
        """Adds a row; the first one decides the columns. Floats keep six digits."""
        out = csv.writer(self.file, lineterminator="\n")
        if self.columns is None:
            self.columns = list(row)
            out.writerow(self.columns)
        assert list(row) == self.columns, f"columns changed from {self.columns} to {list(row)}"
        out.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in row.values())

    def sync(self) -> int:
        """Brings every row to the disk and returns the size in bytes, which goes into the checkpoint."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size


def read_table(path: Path) -> dict[str, list[float]]:
    """A CSV of numbers by column; an empty cell is NaN."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else [])}


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows of the same keys as a CSV; file names that are not UTF-8 keep their bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def write_json(path: Path, value: dict) -> None:
    """Writes JSON atomically: a reader sees the old file or the new one, never half of it."""
    temporary = path.with_suffix(".json.partial")
    temporary.write_text(json.dumps(value, indent=2, default=str) + "\n")
    os.replace(temporary, path)


# Rows of results.json ------------------------------------------------------------------------------------


def mean_row(name: str, values: Tensor, unit: str, digits: int = 3, **more: object) -> dict:
    """The mean of values (n,) and its 95% interval, 1.96 sd / sqrt(n).

    There is no interval for n = 1, nor where it rounds to 0: equal values say nothing about the next one.
    """
    row = {"name": name, "value": round(float(values.double().mean()), digits)}
    reach = 1.96 * float(values.double().std(correction=int(len(values) > 1))) / len(values) ** 0.5
    if interval := round(reach, digits):
        row["interval"] = interval
    return row | {"unit": unit} | more


def share_row(name: str, right: int, count: int, digits: int = 2, **more: object) -> dict:
    """A share of `count` in % with Wilson's 95% interval [low, high], which never claims certainty.

    Wilson 1927; see Brown, Cai and DasGupta 2001 on why not +- 1.96 sqrt(p (1 - p) / n).
    """
    z2, share = 1.96**2 / count, right / count
    middle, reach = share + z2 / 2, (z2 * share * (1 - share) + z2**2 / 4) ** 0.5
    low, high = ((middle - reach) / (1 + z2), (middle + reach) / (1 + z2))
    interval = [round(100 * low, digits), round(100 * high, digits)]
    row = {"name": name, "value": round(100 * share, digits), "interval": interval, "unit": "%"}
    return row | {"count": count} | more


def show_value(row: dict, digits: int | None = None) -> str:
    """A row's number with its interval and unit: "98.48 ± 0.07 %" or "100.00 (88.65 to 100.00) %"."""
    number = (lambda value: f"{value:,}") if digits is None else (lambda value: f"{value:,.{digits}f}")
    text, interval = number(row["value"]), row.get("interval")
    if isinstance(interval, list):
        text += f" ({number(interval[0])} to {number(interval[1])})"
    elif interval is not None:
        text += f" ± {number(interval)}"
    return f"{text} {row['unit']}".rstrip()


def show_name(row: dict) -> str:
    """A row's name as people read it: results.json keeps to ASCII."""
    return row["name"].replace("Frechet", "Fréchet")


def print_rows(rows: list[dict]) -> None:
    """Shows rows of results.json, beside the paper's and the first report's numbers if there are any."""
    width = max((len(row["name"]) for row in rows), default=0) + 2
    for row in rows:
        beside = [f"{key} {row[key]}" for key in ("paper", "report") if row.get(key)]
        print(f"{show_name(row):{width}}{show_value(row):28}{', '.join(beside)}".rstrip())


def results_to_extend(checkpoint: Path, question: str) -> Path | None:
    """results.json of the run a checkpoint lies in, or None where it lies elsewhere; call it before the work.

    Raises:
        RunError: the file there is damaged, or belongs to something other than a run of `question`.
    """
    path = checkpoint.absolute().parent.parent / "results.json"
    if checkpoint.absolute().parent.name != "checkpoints" or not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        written_by = content["question"]
        content.get("evaluations", {}).items()
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        advice = "move it or the checkpoint away first"
        raise RunError(f"{path} is not a run's results, or damaged: {advice}") from error
    if written_by != question:
        owner = f"a run of {written_by}, not of {question}"
        raise RunError(f"{path} belongs to {owner}: move the checkpoint elsewhere")
    return path


def check_classes(state: dict, there: list[str]) -> None:
    """Raises RunError unless a data set has the classes, in their order, of a checkpoint with these contents.

    Earlier checkpoints hold no names: of them only the number counts.
    """
    known = state.get("facts", {}).get("classes") or there
    if state["architecture"]["classes"] != len(there):
        count = state["architecture"]["classes"]
        raise RunError(f"the network has {count} classes, and the pictures have {len(there)}")
    if differing := [pair for pair in zip(known, there) if pair[0] != pair[1]]:
        own, other = differing[0]
        raise RunError(f"the pictures have other classes than the network: {other} instead of {own}")


def run_name(checkpoint: Path) -> str:
    """What a checkpoint's figures go under: its run, else the folder it lies in, or a name in pretrained/."""
    if not checkpoint.is_file():
        return checkpoint.name
    folder = checkpoint.absolute().parent
    return folder.parent.name if folder.name == "checkpoints" else folder.name


def add_evaluation(path: Path | None, key: str, evaluation: object) -> None:
    """Adds an evaluation to a run's results.json under its key; one of the same key is replaced."""
    if path is None:
        return
    results = json.loads(path.read_text())
    results.setdefault("evaluations", {})[key] = evaluation
    write_json(path, results)
    print(f"added to {path}")
