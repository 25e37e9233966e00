"""The page of the report: one HTML file beside the pictures, or with them inside."""

import base64
import io
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import jinja2
from PIL import Image

from common.statistics import show_name
from reproduction import tables, verdict
from reproduction.front_page import headline_rows
from reproduction.layout import Layout
from reproduction.layouts import LAYOUTS
from reproduction.options import ReportOptions as Options
from reproduction.runs import MARKS, Experiment, Missing, Run, Runs, over_seeds
from reproduction.wording import unified

TEMPLATE = Path(__file__).with_name("page.html.jinja")


class Picture(NamedTuple):
    """A picture as the page shows it."""

    source: str
    width: int
    height: int
    caption: str
    alt: str


class Section(NamedTuple):
    """Holds what the page says of a question.

    best: the experiment that is shown open.
    others: seeds, variants and ablations, which are folded.
    pictures: of the first run of each experiment, by its name.
    not_run: how many commands of each preset, in words.
    """

    layout: Layout
    best: Experiment | None
    others: list[Experiment]
    pictures: dict[str, list[Picture]]
    missing: list[Missing]
    not_run: str
    compared: bool

    @property
    def id(self) -> str:
        return self.layout.question

    @property
    def folded_runs(self) -> list[Run]:
        """The runs that are not shown open: the best experiment's other seeds, and the other experiments'."""
        own = self.best.runs[1:] if self.best else []
        return own + [run for experiment in self.others for run in experiment.runs]


def html(options: Options, questions: Runs, missing: dict[str, list[Missing]], benchmarks: list[dict]) -> str:
    """Returns the whole page in one string."""
    sections = []
    for question, layout in LAYOUTS.items():
        runs = questions.get(question, [])
        if runs or question in missing:
            sections.append(section(options, layout, runs, missing.get(question, [])))
    thumbnails = {each.layout.question: thumbnail(options, each.layout) for each in sections}
    data: dict[str, Any] = {
        "sections": sections,
        "front": headline_rows(questions) if options.whole else [],
        "measures": tables.measure_lines(questions) if options.whole else [],
        "thumbnails": thumbnails,
        "benchmarks": benchmarks,
        "today": date.today().isoformat(),
    }
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text())
    words = {"number": tables.number, "name": show_name, "unified": unified}
    return template.render(**data, **words, marks=MARKS, verdicts=verdict.MEANINGS)


def section(options: Options, layout: Layout, runs: list[Run], missing: list[Missing]) -> Section:
    """Returns what the page says of a question; open is the experiment of its headline, else the first."""
    experiments = over_seeds(runs)
    best = next((each for each in experiments if each.name == layout.headline.run), None)
    if best is None and experiments:
        best = experiments[0]
    presets: dict[str, int] = {}
    for each in missing:
        presets[each.preset] = presets.get(each.preset, 0) + 1
    return Section(
        layout=layout,
        best=best,
        others=[each for each in experiments if each is not best],
        pictures={each.name: run_pictures(options, layout, each.runs[0]) for each in experiments},
        missing=missing,
        not_run=", ".join(f"{count} of preset {preset}" for preset, count in presets.items()),
        compared=tables.compared(runs),
    )


def run_pictures(options: Options, layout: Layout, run: Run) -> list[Picture]:
    """Returns the pictures that a run has, in the layout's order."""
    found = []
    for file, caption in layout.pictures.items():
        path = f"{layout.question}/{run.name}/{file}"
        if (options.figure_root / path).exists():
            found.append(picture(options, path, caption, f"{caption}: {run.title}"))
    return found


def thumbnail(options: Options, layout: Layout) -> Picture | None:
    """Returns the picture beside a paper's row, if it is there."""
    path = f"{layout.question}/{layout.thumbnail}"
    if not (options.figure_root / path).exists():
        return None
    return picture(options, path, "", layout.paper.TITLE)


def picture(options: Options, path: str, caption: str, alt: str) -> Picture:
    """Returns a picture under figure_root: a link to it, or, for --self_contained, the picture itself."""
    with Image.open(options.figure_root / path) as image:
        source = as_data(image) if options.self_contained else quote(path)
        return Picture(source, image.width, image.height, caption, alt)


def as_data(image: Image.Image) -> str:
    """Returns an image as a data URL, in WebP."""
    out = io.BytesIO()
    if getattr(image, "n_frames", 1) > 1:
        image.save(out, "WEBP", save_all=True, quality=60, method=4)
    else:
        image.convert("RGB").save(out, "WEBP", quality=82, method=4)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
