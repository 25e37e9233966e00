"""A command of a preset: how it is typed, what must be finished first, and what became of it."""

import shlex
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from common.errors import RunError
from common.json_files import read_json
from reproduction.results import DAMAGE, evaluated

# The checkpoint that an evaluation measures: ProtoNet's best by validation, the others' last.
MEASURED = {"q1_dcgan": "last", "q2_protonet": "best", "q3_pix2pix": "last", "q4_darts": "last"}
# The key in results.json of such an evaluation, on the part and with the seed that nobody has to name.
KEYS = {
    "q1_dcgan": "last.pt, 10000 samples, seed 0",
    "q2_protonet": "evaluate.py, best.pt, test part of *, seed 0",
    "q3_pix2pix": "last.pt",
    "q4_darts": "last.pt",
}
# The questions whose evaluation draws figures.
DRAWN = {"q1_dcgan", "q3_pix2pix", "q4_darts"}


class Row(NamedTuple):
    """One command of a preset.

    question: "q1_dcgan".
    name: of the run.
    script: "train", "train_search" or "evaluate".
    flags: as they are typed; may name {log_root}, and {after}, the first of `after`.
    seed: 0 is not typed.
    after: runs of the question that must be finished first.
    minutes: measured on two CPU cores, or on one beside another run; None: never.
    repeats: the row that this one repeats with another seed.
    wanted: rows of results.json that the flags of an evaluation ask for; * stands for anything.
    """

    question: str
    name: str
    script: str
    flags: str = ""
    seed: int = 0
    after: tuple[str, ...] = ()
    minutes: float | None = None
    repeats: str = ""
    wanted: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The script's path from the project's root."""
        return f"{self.question}/{self.script}.py"

    @property
    def evaluates(self) -> bool:
        """Whether it measures the finished run of its name instead of training it."""
        return self.script == "evaluate"

    @property
    def label(self) -> str:
        """Its name, told apart from that of the run it evaluates."""
        return f"{self.name}, evaluation" if self.evaluates else self.name

    def words(
        self,
        log_root: Path | str = "logs",
        figure_root: Path | str = "figures",
        data_root: Path | str = "data",
    ) -> list[str]:
        """Returns the command as it is typed; a root is named only where it is not the default."""
        first = self.after[0] if self.after else ""
        flags = [word.format(log_root=log_root, after=first) for word in shlex.split(self.flags)]
        words = ["python", self.file, *flags]
        if self.evaluates:
            kept = MEASURED[self.question]
            words += ["--checkpoint", f"{log_root}/{self.question}/{self.name}/checkpoints/{kept}.pt"]
        else:
            words += ["--seed", str(self.seed)] if self.seed else []
            words += ["--run_name", self.name]
        roots = {"data": data_root, "log": log_root, "figure": figure_root}
        if self.evaluates:
            del roots["log"]
            if self.question not in DRAWN:
                del roots["figure"]
        for kind, root in roots.items():
            usual = kind if kind == "data" else f"{kind}s"
            if str(root) != usual:
                words += [f"--{kind}_root", str(root)]
        return words

    def needs(self, other: "Row") -> bool:
        """Returns whether `other` must be done first."""
        if other.evaluates or other.question != self.question:
            return False
        return other.name in self.after or (self.evaluates and other.name == self.name)

    def state(self, log_root: Path) -> str:
        """Returns "done", "cut" (it can be resumed), "empty" (nothing to resume) or "new".

        An evaluation is done when the results of its run hold all that it would add, and new otherwise.
        """
        folder = log_root / self.question / self.name
        results = folder / "results.json"
        if self.evaluates:
            return "done" if results.exists() and self.is_measured(results) else "new"
        if results.exists():
            return "done"
        if any((folder / "checkpoints").glob("last.pt*")):
            return "cut"
        return "empty" if (folder / "config.json").exists() else "new"

    def is_measured(self, file: Path) -> bool:
        """Returns whether a results.json holds this evaluation: not one on another part, or without its rows.

        A damaged file holds none: the command itself then names it.
        """
        try:
            evaluations = evaluated(read_json(file))
            names = {key: [row["name"] for row in rows] for key, rows in evaluations.items()}
        except (RunError, *DAMAGE):
            return False
        of_this_kind = [found for key, found in names.items() if fnmatchcase(key, KEYS[self.question])]
        return any(all(any_fits(found, pattern) for pattern in self.wanted) for found in of_this_kind)


def any_fits(names: Iterable[str], pattern: str) -> bool:
    """Returns whether one of the names fits the pattern, in which * stands for anything."""
    return any(fnmatchcase(name, pattern) for name in names)


def train(question: str, name: str, flags: str = "", minutes: float | None = None, seed: int = 0) -> Row:
    """Returns a training."""
    return Row(question, name, "train", flags, seed, minutes=minutes)


class Measures(NamedTuple):
    """Flags of an evaluation, and the rows of results.json that they ask for; * stands for anything."""

    flags: str = ""
    rows: tuple[str, ...] = ()


USUAL = Measures()


def evaluate(
    run: Row, measures: Measures = USUAL, minutes: float | None = None, after: tuple[str, ...] = ()
) -> Row:
    """Returns the evaluation of a finished run; `after` is another run measured beside it."""
    evaluation = run._replace(script="evaluate", flags=measures.flags, wanted=measures.rows)
    return evaluation._replace(after=after, minutes=minutes)


def on_train_and_validation(run: Row) -> Row:
    """Returns the same training on train + validation for the best number of epochs of `run`, as Snell."""
    flags = f"{run.flags} --trainval {{after}}"
    return run._replace(name=f"{run.name}-trainval", flags=flags, after=(run.name,), minutes=None)


def with_seeds(rows: list[Row], seeds: tuple[int, ...]) -> list[Row]:
    """Returns every row with every seed: <name> at its own seed, and <name>-seed<n> at any other.

    Rows that repeat another with a seed of their own are replaced by the seeds given here.
    """
    if not seeds:
        return rows
    rows = [row for row in rows if not row.repeats]
    own_seeds = {row.name: row.seed for row in rows if not row.evaluates}
    made = []
    for seed in seeds:
        names = {name: name if seed == own else f"{name}-seed{seed}" for name, own in own_seeds.items()}
        for row in rows:
            repeats = "" if names[row.name] == row.name else row.name
            after = tuple(names[name] for name in row.after)
            made.append(row._replace(name=names[row.name], seed=seed, after=after, repeats=repeats))
    return made
