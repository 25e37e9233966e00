"""Finished runs, grouped over seeds, and the commands that are missing."""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from reproduction.wording import unified

MARKS = {
    "full size": "the settings of the paper or the first report, on the data set they used",
    "reduced": "fewer epochs, pictures, channels or pixels, or a smaller data set than the paper's, "
    "whose number is then a landmark",
    "own data": "a folder of pictures that is not one of the known data sets",
    "synthetic": "pictures drawn by the program itself: such a row shows that the pipeline runs and says "
    "nothing about the paper",
}


@dataclass
class Run:
    """A finished run.

    folder: logs/<question>/<name>.
    results: results.json.
    rows: of its results, with what its evaluations add.
    mark: one of MARKS.
    less: in which respects it is less than full size, such as "7 of 600 epochs".
    command: its last leg's, as typed.
    legs: how often it was started or resumed.
    experiment: the same for runs that differ in their seeds alone.
    place: in the order of the presets.
    """

    question: str
    name: str
    folder: Path
    results: dict
    rows: list[dict]
    mark: str
    less: list[str]
    command: str
    seed: int
    legs: int
    commit: str
    versions: str
    experiment: str
    place: int = 0

    @property
    def title(self) -> str:
        return self.results["title"]

    @property
    def device(self) -> str:
        return unified(self.results["device"])

    @property
    def size(self) -> str:
        """Its mark, and in which respects it is less."""
        return f"{self.mark}: {', '.join(self.less)}" if self.less else self.mark


@dataclass
class Experiment:
    """Runs that differ in their seeds alone.

    name, mark, less: of its first run.
    rows: those that all runs have: mean and standard deviation over the seeds, where there are several.
    """

    runs: list[Run]
    rows: list[dict] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.runs[0].name

    @property
    def mark(self) -> str:
        return self.runs[0].mark

    @property
    def less(self) -> list[str]:
        return self.runs[0].less


class Missing(NamedTuple):
    """A command of a preset that is not finished; begun: it goes on from its last checkpoint."""

    name: str
    preset: str
    begun: bool
    command: str


Runs = dict[str, list[Run]]  # by question


def over_seeds(runs: list[Run]) -> list[Experiment]:
    """Groups runs that differ in their seeds alone."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.experiment, []).append(run)
    experiments = []
    for same in groups.values():
        same.sort(key=lambda run: (len(run.name), run.name))
        experiments.append(Experiment(same, average_rows([run.rows for run in same])))
    return experiments


def average_rows(of_runs: list[list[dict]]) -> list[dict]:
    """Returns the rows that all runs have, each with its mean and standard deviation over them.

    Those of a single run stay as they are.
    """
    if len(of_runs) == 1:
        return of_runs[0]
    values = [{row["name"]: float(row["value"]) for row in rows} for rows in of_runs]
    averaged = []
    for row in of_runs[0]:
        if all(row["name"] in of_run for of_run in values):
            found = [of_run[row["name"]] for of_run in values]
            interval = stdev(found) or None  # of equal values it says nothing
            averaged.append(row | {"value": mean(found), "interval": interval, "seeds": len(found)})
    return averaged
