"""The report page and the tables, made from the log files alone."""

import sys
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from common.json_files import write_text
from reproduction import tables
from reproduction.commands import Row
from reproduction.front_page import front_table
from reproduction.log_reader import missing_runs, read_benchmarks, read_runs
from reproduction.markdown import write_between_marks
from reproduction.options import ReportOptions as Options
from reproduction.options import resolve_report as resolve
from reproduction.page import html
from reproduction.presets import PRESETS
from reproduction.report_text import report_text
from reproduction.runs import Missing, Run, Runs


class Collected(NamedTuple):
    """Holds what the page and the tables are made of, besides pictures."""

    questions: Runs
    missing: dict[str, list[Missing]]
    benchmarks: list[dict]


def main(options: Options) -> Path | None:
    """Writes the page and the tables; returns where the page is, or None if no run is finished."""
    options = resolve(options)
    page = write(options)
    if page is None:
        named = f" called {', '.join(options.runs)}" if options.runs else ""
        message = f"no finished runs (results.json){named} under {options.log_root}"
        print(f"{message}: python reproduce.py makes them", file=sys.stderr)
    return page


def write(options: Options, wanted: list[tuple[str, Row]] | None = None) -> Path | None:
    """Writes the page and the tables of what is finished; returns where the page is, or None for nothing.

    Args:
        wanted: (preset, row) to list as missing if not done (default: all but quick and further seeds, and
            none beside a choice of runs).
    """
    collected = collect(options, wanted)
    if not collected.questions:
        return None

    # Curves, and the results on the screen.
    for question, runs in collected.questions.items():
        print(f"\n{question}\n\n{tables.results_table(question, runs)}\n")
        for run in runs:
            redraw_curves(run, options)

    # The page.
    page = options.figure_root / f"{options.page or ('report' if options.official else 'report-choice')}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page, html(options, *collected))

    # The tables.
    text = Path("docs/REPORT.md") if options.official else page.with_suffix(".md")
    text.parent.mkdir(exist_ok=True)
    write_text(text, report_text(*collected, whole=options.whole))
    if options.official and collected.benchmarks:
        write_between_marks(Path("benchmarks/RESULTS.md"), tables.benchmarks_table(collected.benchmarks))
    if options.write_readmes:
        write_readmes(collected.questions)
    return page


def collect(options: Options, wanted: list[tuple[str, Row]] | None = None) -> Collected:
    """Reads the finished runs, finds the missing ones, and reads the benchmarks; a choice has runs alone."""
    if wanted is None:
        wanted = []
        for preset, rows in PRESETS.items():
            if preset != "quick" and options.whole:
                wanted += [(preset, row) for row in rows if not row.repeats]
    missing = missing_runs(options.log_root, options.figure_root, wanted)
    benchmarks = read_benchmarks(options.log_root) if options.whole else []
    return Collected(read_runs(options.log_root, options.runs), missing, benchmarks)


def redraw_curves(run: Run, options: Options) -> None:
    """Draws a run's curves.png from its metrics.csv where it is missing, or --redraw asks for it."""
    curves = options.figure_root / run.question / run.name / "curves.png"
    metrics = run.folder / "metrics.csv"
    if not metrics.exists() or (curves.exists() and not options.redraw):
        return
    figures = import_module(f"{run.question}.figures")
    figures.redraw_curves(run.folder, curves.parent)


def write_readmes(questions: Runs) -> None:
    """Puts the tables into README.md and the questions' READMEs."""
    write_between_marks(Path("README.md"), front_table(questions))
    for question, runs in questions.items():
        text = tables.question_tables(question, runs, "../docs/REPORT.md")
        write_between_marks(Path(question, "README.md"), text)
