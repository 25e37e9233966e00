"""The report page and the tables, made from the log files alone."""

import base64
import io
import json
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import jinja2
from PIL import Image

from common import plots
from common.cli import default_shown
from common.results import show_name
from reproduction import tables
from reproduction.presets import PRESETS, Row
from reproduction.results import MARKS, PAPERS, missing_runs, over_seeds, read_runs


@dataclass
class Options:
    """A page and tables from the log files."""

    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures and of the page
    # name of <figure_root>/<page>.html and <page>.md (empty: report, with docs/REPORT.md; for a choice of
    # runs: report-choice)
    page: str = ""
    # only these runs, as <question>/<run name>
    runs: Annotated[tuple[str, ...], default_shown("all but quick-... and smoke...")] = ()
    redraw: bool = False  # draw every run's curves.png from its metrics.csv again, even where it exists
    write_readmes: bool = False  # also put the tables into README.md and <question>/README.md
    # put the pictures into the page, so that it can be sent around; else it links to the files beside it
    self_contained: bool = False


def picture(options: Options, path: str) -> dict | None:
    """Where the page finds a picture under figure_root, and its size; None if there is none."""
    if not (options.figure_root / path).exists():
        return None
    with Image.open(options.figure_root / path) as image:
        size = {"width": image.width, "height": image.height}
        if not options.self_contained:
            return {"src": quote(path)} | size
        out = io.BytesIO()
        if getattr(image, "n_frames", 1) > 1:
            image.save(out, "WEBP", save_all=True, quality=60, method=4)
        else:
            image.convert("RGB").save(out, "WEBP", quality=82, method=4)
    return {"src": f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"} | size


def pictures(options: Options, question: str, runs: list[dict]) -> list[dict]:
    """The pictures of a question by kind, each of every run that has it; of several seeds the first one's."""
    kinds = []
    for file, caption in PAPERS[question].PICTURES.items():
        shown = []
        for run in (experiment["runs"][0] for experiment in over_seeds(runs)):
            if found := picture(options, f"{question}/{run['name']}/{file}"):
                shown.append(found | {"run": run["name"], "alt": f"{caption}: {run['title']}"})
        if shown:
            kinds.append({"caption": caption, "pictures": shown})
    return kinds


def html(options: Options, questions: dict, missing: dict, benchmarks: list[dict]) -> str:
    """The whole page in one string."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sections = []
    for question, paper in PAPERS.items():
        runs = questions.get(question, [])
        if runs or question in missing:
            section = {"id": question, "paper": paper, "runs": runs, "missing": missing.get(question, [])}
            section |= {"experiments": over_seeds(runs), "kinds": pictures(options, question, runs)}
            sections.append(section | {"compared": tables.compared(runs)})
    thumbnails = {q: picture(options, f"{q}/{PAPERS[q].THUMBNAIL}") for q in questions}
    template = environment.from_string(Path(__file__).with_name("page.html.jinja").read_text())
    front = [] if options.page else tables.front(questions)
    data = {"sections": sections, "front": front, "thumbnails": thumbnails, "benchmarks": benchmarks}
    shown = {"number": tables.number, "name": show_name, "marks": MARKS}
    return template.render(**data, **shown, today=date.today().isoformat())


def collect(options: Options, wanted: list[tuple[str, Row]] | None = None) -> tuple[dict, dict, list[dict]]:
    """What the page is made of besides pictures: the runs, the missing runs, the benchmarks.

    Args:
        wanted: (preset, row) to list as missing if not done (default: all but quick and further seeds).
    """
    if wanted is None:
        shown = {name: rows for name, rows in PRESETS.items() if name != "quick"}
        wanted = [(name, row) for name, rows in shown.items() for row in rows if not row.repeats]
    missing = missing_runs(options.log_root, options.figure_root, wanted)
    benchmarks = [json.loads(file.read_text()) for file in sorted(options.log_root.glob("benchmarks/*.json"))]
    return read_runs(options.log_root, options.runs), missing, benchmarks


def main(options: Options, wanted: list[tuple[str, Row]] | None = None) -> Path | None:
    """Writes the page and the tables; where the page is, or None if no run is finished."""
    questions, missing, benchmarks = collect(options, wanted)
    if not questions:
        named = f" called {', '.join(options.runs)}" if options.runs else ""
        message = f"no finished runs (results.json){named} under {options.log_root}"
        print(f"{message}: python reproduce.py makes them", file=sys.stderr)
        return None
    for question, runs in questions.items():
        print(f"\n{question}\n\n{tables.results_table(question, runs)}\n")
        for run in runs:
            curves = options.figure_root / question / run["name"] / "curves.png"
            if (run["folder"] / "metrics.csv").exists() and (options.redraw or not curves.exists()):
                panels = getattr(PAPERS[question], "CURVES", None)
                best = None if panels else run.get("best_epoch")
                plots.curves(run["folder"] / "metrics.csv", curves, run["title"], best, panels)
    usual_roots = (options.log_root, options.figure_root) == (Options.log_root, Options.figure_root)
    official = usual_roots and not options.page and not options.runs
    page = options.figure_root / f"{options.page or ('report' if official else 'report-choice')}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html(options, questions, missing, benchmarks))
    text = Path("docs/REPORT.md") if official else page.with_suffix(".md")
    text.parent.mkdir(exist_ok=True)
    text.write_text(tables.report_markdown(questions, missing, benchmarks))
    if official and benchmarks:
        tables.write_between_marks(Path("benchmarks/RESULTS.md"), tables.benchmarks_table(benchmarks))
    if options.write_readmes:
        tables.write_between_marks(Path("README.md"), tables.front_table(questions))
        for question, runs in questions.items():
            readme = Path(question, "README.md")
            tables.write_between_marks(readme, tables.question_tables(question, runs, "../docs/REPORT.md"))
    return page
