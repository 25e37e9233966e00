"""The tables of the READMEs and of docs/REPORT.md, made from the runs; reproduction/layouts says what of."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from math import floor, log10
from pathlib import Path
from typing import NamedTuple

from common.statistics import show_name, show_value
from reproduction.layout import Control, Layout, Measure, Table
from reproduction.layouts import LAYOUTS
from reproduction.markdown import anchor, escaped, folded, link, table, unbroken
from reproduction.runs import Experiment, Run, Runs, average_rows, over_seeds

DASH = "–"
MISSING = "missing"


# One number -------------------------------------------------------------------------------------------------


def number(row: dict, unit: bool = True, seeds: bool = True) -> str:
    """Returns a result: mean ± standard deviation of several seeds, or one value and its 95% interval."""
    shown_unit = row["unit"].removesuffix(" accuracy") if unit else ""
    text = show_value(row | {"unit": shown_unit}, decimals(row))
    if seeds and row.get("seeds", 1) > 1:
        text += f" ({row['seeds']} seeds)"
    return text


def decimals(row: dict) -> int | None:
    """Returns how many decimals show a result; None: as it is, which is a count.

    Below 0.01 they show two significant digits: of the interval where the result is 0.
    """
    value = row["value"]
    interval = row.get("interval")
    if isinstance(value, int):
        return None
    if value == 0 and not isinstance(interval, list):
        value = interval or 0.0
    if value == 0:
        return 2 if interval else 0
    if abs(value) < 0.01:
        return 1 - floor(log10(abs(value)))
    return 2 if abs(value) >= 2 else 3


def find(rows: list[dict], pattern: str) -> dict | None:
    """Returns the first row whose name fits the pattern, in which * stands for anything."""
    return next((row for row in rows if fnmatchcase(row["name"], pattern)), None)


def compared(runs: list[Run]) -> bool:
    """Returns whether any row stands beside a number of the paper or the first report."""
    return any("paper" in row or "report" in row for run in runs for row in run.rows)


def in_words(questions: Runs, figures: Path) -> list[str]:
    """Returns one plain line per question whose runs hold all the numbers it needs."""
    lines = []
    for question, runs in questions.items():
        words = LAYOUTS[question].words
        found = []
        for name, pattern in words.numbers:
            fitting = [(run, find(run.rows, pattern)) for run in runs if fnmatchcase(run.name, name)]
            found += [(run, row) for run, row in fitting if row][:1]
        if found and len(found) == len(words.numbers):
            text = words.text.format(*(row["value"] for _, row in found))
            place = figures / question / found[0][0].name
            lines.append(f"{question[:2]} {text}; pictures in {place}")
    return lines


# The measures of all papers ---------------------------------------------------------------------------------


class MeasureLine(NamedTuple):
    """A measure with what was found of it in the runs.

    experiment: the first of the measure's runs that has it; None: none is finished.
    row: its row.
    control: what stands beside it, in words.
    """

    layout: Layout
    measure: Measure
    experiment: Experiment | None
    row: dict | None
    control: str


def measure_lines(questions: Runs) -> list[MeasureLine]:
    """Returns one line per measure; it is left out where its runs are finished and were not measured so."""
    lines = []
    for question, layout in LAYOUTS.items():
        experiments = {each.name: each for each in over_seeds(questions.get(question, []))}
        for measure in layout.measures:
            finished = [experiments[name] for name in measure.runs if name in experiments]
            experiment = next((each for each in finished if find(each.rows, measure.row)), None)
            if finished and not experiment:
                continue
            row = find(experiment.rows, measure.row) if experiment else None
            control = measure.control.name
            if measure.control.row:
                beside = control_row(measure.control, experiment, experiments)
                control += f" {control_number(beside)}" if beside else f" {MISSING}"
            lines.append(MeasureLine(layout, measure, experiment, row, control))
    return lines


def control_row(control: Control, own: Experiment | None, experiments: dict[str, Experiment]) -> dict | None:
    """Returns a control's row, of several runs their mean and standard deviation; None where one is missing.

    Args:
        own: the experiment that the control stands beside.
        experiments: all of the question, by name.
    """
    if control.value is not None:
        return {"value": control.value, "unit": ""}
    found = [experiments.get(name) for name in control.runs] if control.runs else [own]
    finished = [each.rows for each in found if each]
    if len(finished) < len(found):
        return None
    return find(average_rows(finished), control.row)


def control_number(row: dict) -> str:
    """Returns a control's number without its interval, with two decimals unless it is small."""
    value = float(row["value"])
    places = decimals({"value": value}) if abs(value) < 0.01 else 2
    return f"{value:.{places}f}"


def measures_table(questions: Runs) -> str:
    """Returns the first table of docs/REPORT.md, a measure per row, and how rows are reduced."""
    lines = []
    less: dict[str, dict[str, None]] = {}
    shown = ""
    for line in measure_lines(questions):
        title = line.layout.paper.TITLE
        name = "" if title == shown else f"[{title}](../{line.layout.question}/README.md)"
        shown = title
        mark = DASH
        if line.experiment:
            mark = f"[{line.experiment.mark}](#{anchor(line.layout.question, line.experiment.name)})"
            if len(line.experiment.runs) > 1:
                mark += unbroken(f", {len(line.experiment.runs)} seeds")
            if line.experiment.less:
                less.setdefault(title, {})[", ".join(line.experiment.less)] = None
        ours = number(line.row, unit=False, seeds=False) if line.row else MISSING
        known = [line.measure.paper or DASH, line.measure.report or DASH]
        lines.append((name, line.measure.name, *known, f"**{unbroken(ours)}**", line.control, mark))
    head = ("", "measure", "paper", "first report", "ours", "floor or control", "size")
    text = table(head, lines)
    if less:
        text += "\n\nReduced means here:\n"
        for title, each in less.items():
            text += f"\n- {title}: {'; '.join(each)}"
    return text


# A question's README ----------------------------------------------------------------------------------------


class RunLine(NamedTuple):
    """A line of a question's table.

    cells: of its columns, "" where there is nothing.
    size: in which respects its run is less than full size, or its mark; nothing for known numbers.
    """

    name: str
    cells: list[str]
    seeds: str = ""
    size: Sequence[str] = ()
    folded: bool = False


def question_tables(question: str, runs: list[Run], report: str) -> str:
    """Returns the tables of a question's README: one row per run, one column per measure that any run has.

    Args:
        report: docs/REPORT.md from there.
    """
    experiments = over_seeds(runs)
    parts = []
    for layout in LAYOUTS[question].tables:
        lines = run_lines(question, experiments, layout, report)
        if not lines:  # no run of these measures yet
            continue
        known = known_lines(experiments, layout)
        parts.append(sized_table(layout, [*known, *(line for line in lines if not line.folded)], lines))
        more = [line for line in lines if line.folded]
        if more:
            summary = f"{len(more)} more rows: variants and ablations"
            parts.append(folded(summary, sized_table(layout, more, lines)))
    return "\n\n".join(parts)


def cells(rows: list[dict], layout: Table, suffix: str) -> list[str]:
    """Returns a run's numbers in the columns of a table, of the rows whose names end in `suffix`."""
    found = [find(rows, pattern + suffix) for pattern in layout.columns.values()]
    return [unbroken(number(row, unit=False, seeds=False)) if row else "" for row in found]


def known_lines(experiments: list[Experiment], layout: Table) -> list[RunLine]:
    """Returns the lines above the runs: known numbers, and controls of the first run that has each."""
    lines = []
    for name, numbers in layout.references.items():
        lines.append(RunLine(name, [str(numbers.get(column, "")) for column in layout.columns]))
    for name, suffix in layout.controls.items():
        found = [cells(experiment.rows, layout, suffix) for experiment in experiments]
        lines.append(RunLine(name, [next(filter(None, column), "") for column in zip(*found)]))
    return lines


def run_lines(question: str, experiments: list[Experiment], layout: Table, report: str) -> list[RunLine]:
    """Returns a line for every run and way of measuring it."""
    lines = []
    for experiment in experiments:
        is_folded = any(fnmatchcase(experiment.name, pattern) for pattern in layout.folded)
        for variant, suffix in layout.variants.items():
            numbers = cells(experiment.rows, layout, suffix)
            if any(numbers):
                name = link(question, experiment.name, report) + variant
                size = experiment.less or [experiment.mark]
                lines.append(RunLine(name, numbers, str(len(experiment.runs)), size, is_folded))
    return lines


def sized_table(layout: Table, shown: list[RunLine], runs: list[RunLine]) -> str:
    """Returns `lines_table`, with what all the lines shown have in common of their sizes below it."""
    common = common_size(shown)
    own = []
    for line in shown:
        own.append(line._replace(size=[part for part in line.size if part not in common]))
    text = lines_table(layout, own, runs)
    return f"{text}\n\nSize of these runs: {', '.join(common)}." if common else text


def common_size(lines: list[RunLine]) -> list[str]:
    """Returns the parts of a size that all the runs among the lines have; known numbers have no size."""
    sizes = [line.size for line in lines if line.size]
    return [part for part in sizes[0] if all(part in size for size in sizes)] if sizes else []


def lines_table(layout: Table, shown: list[RunLine], runs: list[RunLine]) -> str:
    """Returns a table of some lines: with the columns that any of the runs has something to say in."""
    filled = [any(line.cells[place] for line in runs) for place in range(len(layout.columns))]
    say_seeds = any(line.seeds != "1" for line in runs)
    say_size = any(line.size for line in shown)
    head = ["run", *(name for name, keep in zip(layout.columns, filled) if keep)]
    head += ["seeds"] * say_seeds + ["size"] * say_size
    rows = []
    for line in shown:
        numbers = [cell for cell, keep in zip(line.cells, filled) if keep]
        if any(numbers):
            rows.append([line.name, *numbers, *[line.seeds] * say_seeds, *[", ".join(line.size)] * say_size])
    return table(head, rows)


# docs/REPORT.md and the benchmarks --------------------------------------------------------------------------


def results_table(question: str, runs: list[Run], report: str | None = None) -> str:
    """Returns one row per result; the papers' columns only where there is something in them."""
    beside = {"paper": "paper", "report": "first report"} if compared(runs) else {}
    rows = []
    for experiment in over_seeds(runs):
        name = link(question, experiment.name, report)
        for row in experiment.rows:
            known = [row.get(key) or DASH for key in beside]
            rows.append((name, escaped(show_name(row)), *known, number(row), experiment.mark))
    return table(("run", "measure", *beside.values(), "ours", "size"), rows)


def benchmarks_table(benchmarks: list[dict]) -> str:
    """Returns every version of every benchmark beside the plain one of the same run."""
    rows = []
    for race in benchmarks:
        for version, row in race["rows"].items():
            measured = [f"{row['times_faster']:.2f}", f"{row['ms']:,.1f}", f"{row['memory']:,.0f}"]
            rows.append((race["name"], race["what"], version, *measured, race["device"], race["cpu"]))
    head = "benchmark, setting, version, times faster than plain, ms per step, peak MiB, device, CPU"
    return table(head.split(", "), rows)
