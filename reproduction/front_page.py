"""The four rows of the front page, one per paper: a verdict, the paper's number, ours, and its control."""

from typing import NamedTuple

from common.statistics import show_value
from reproduction import verdict
from reproduction.layout import Control, Headline, Layout
from reproduction.layouts import LAYOUTS
from reproduction.markdown import anchor, table
from reproduction.runs import Experiment, Runs, over_seeds
from reproduction.tables import MISSING, control_row, find, number


class HeadlineRow(NamedTuple):
    """A paper's row, in words.

    experiment: None where the run is missing.
    controls: the control, the difference to it, and what else stands beside.
    """

    layout: Layout
    experiment: Experiment | None
    verdict: str
    paper: str
    ours: str
    controls: list[str]

    @property
    def headline(self) -> Headline:
        return self.layout.headline

    @property
    def seeds(self) -> int:
        """How many seeds the number is the mean of."""
        return len(self.experiment.runs) if self.experiment else 0


def headline_rows(questions: Runs) -> list[HeadlineRow]:
    """Returns the row of every paper."""
    rows = []
    for question, layout in LAYOUTS.items():
        experiments = {each.name: each for each in over_seeds(questions.get(question, []))}
        rows.append(headline_row(layout, experiments))
    return rows


def headline_row(layout: Layout, experiments: dict[str, Experiment]) -> HeadlineRow:
    """Returns the row of one paper, whose experiments are given by name."""
    headline = layout.headline
    experiment = experiments.get(headline.run)
    rows = experiment.rows if experiment else []
    ours = find(rows, headline.row)
    difference = find(rows, headline.difference) if headline.difference else None
    word = verdict.verdict(
        ours=ours,
        control=control_row(headline.control, experiment, experiments),
        better=headline.better,
        full_size=experiment is not None and experiment.mark == "full size",
        paper=headline.paper,
        difference=difference,
    )

    # What stands beside it.
    controls = [control_text(headline.control, experiment, experiments)]
    if difference:
        controls.append(f"difference, pair by pair, {difference_text(difference)}")
    controls += [control_text(each, experiment, experiments) for each in headline.beside]

    return HeadlineRow(
        layout=layout,
        experiment=experiment,
        verdict=word,
        paper="–" if headline.paper is None else f"{headline.paper:.2f}",
        ours=number(ours, unit=False, seeds=False) if ours else MISSING,
        controls=controls,
    )


def difference_text(row: dict) -> str:
    """Returns a difference with its sign and interval."""
    sign = "+" if row["value"] > 0 else ""
    return sign + show_value(row | {"unit": ""}, 2)


def control_text(control: Control, own: Experiment | None, experiments: dict[str, Experiment]) -> str:
    """Returns a control and its number, in words."""
    row = control_row(control, own, experiments)
    return f"{control.name} {number(row, unit=False, seeds=False) if row else MISSING}"


def front_table(questions: Runs) -> str:
    """Returns the first table of the README, and the rule of its verdicts.

    It has two columns, so that a phone shows it whole.
    """
    lines = []
    for row in headline_rows(questions):
        title = f"[{row.layout.paper.TITLE}]({row.layout.question}/README.md)"
        ours = row.ours
        if row.experiment:
            place = anchor(row.layout.question, row.experiment.name)
            seeds = f"{row.seeds} seeds" if row.seeds > 1 else "1 seed"
            ours = f"[{ours}](docs/REPORT.md#{place}) ({seeds}, {row.experiment.mark})"
        measured = [row.headline.measure, f"ours {ours}; paper {row.paper}", "; ".join(row.controls)]
        lines.append((f"{title}<br>**{row.verdict}**", "<br>".join(measured)))
    rule = "; ".join(f"**{word}**: {meaning}" for word, meaning in verdict.MEANINGS.items())
    return f"{table(('paper', 'measured'), lines)}\n\n{rule}."
