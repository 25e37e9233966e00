"""Logs to tables and one self-contained HTML page. Trains nothing; redraws the curves of every run from its metrics.csv.

python report.py                     # every finished run under logs/
python report.py --runs q2_protonet/20w1s q2_protonet/5w1s
"""

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2
import tyro

from common import plots

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Four papers, reproduced</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left } img { max-width: 100%; margin: .5rem 0 }
code { font-size: 85%; overflow-wrap: anywhere }
h2 { margin-top: 3rem } .facts { color: #555 }
</style>
<h1>Four papers, reproduced</h1>
{% for question, runs in questions.items() %}<h2>{{ question }}</h2>
<table><tr><th>run</th><th>what</th><th>ours</th><th>unit</th><th>paper</th><th>report</th></tr>
{% for run in runs %}{% for row in run.rows %}
<tr><td>{{ run.name if loop.first else "" }}</td><td>{{ row.name }}</td><td>{{ number(row) }}</td><td>{{ row.unit }}</td>
<td>{{ row.paper or "" }}</td><td>{{ row.report or "" }}</td></tr>{% endfor %}{% endfor %}</table>
{% for run in runs %}<h3>{{ run.name }}: {{ run.title }}</h3>
<p class="facts"><code>{{ run.command }}</code><br>{{ run.device }}, {{ run.precision }}, {{ run.minutes }} minutes, seed {{ run.seed }}</p>
{% for file, data in run.pictures %}<img alt="{{ file }}" src="data:image/{{ file.rsplit('.')[-1] }};base64,{{ data }}">
{% endfor %}{% endfor %}{% endfor %}</html>
"""


# What the first page shows of each question: rows whose names begin so. All rows are in the question's own README.
HEADLINES = {
    "q1_dcgan": ("Frechet distance", "rarest class", "label accuracy"),
    "q2_protonet": tuple(f"{way}-way {shot}-shot" for way in (5, 20) for shot in (1, 5)),
    "q3_pix2pix": ("L1, ", "pixel accuracy, "),
    "q4_darts": ("supernet", "test, "),
}


@dataclass
class Options:
    """Tables and a page from the log files."""

    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures, and of the page report.html
    runs: tuple[str, ...] = ()  # only these runs, as <question>/<run name>
    write_readmes: bool = False  # also put the tables of all but quick and smoke runs into README.md and <question>/README.md


def number(row: dict) -> str:
    """A result with its 95% interval where it has one."""
    if isinstance(row["value"], int):
        return str(row["value"])
    digits = 2 if abs(row["value"]) >= 2 or row["value"] == 0 else 3
    return f"{row['value']:.{digits}f}" + (f" ± {row['interval']:.{digits}f}" if row.get("interval") is not None else "")


def read_runs(log_root: Path, chosen: tuple[str, ...] = ()) -> dict[str, list[dict]]:
    """The finished runs of each question: results.json and what config.json says of how they were made."""
    questions: dict[str, list[dict]] = {}
    for file in sorted(log_root.glob("*/*/results.json")):
        run = json.loads(file.read_text()) | {"name": file.parent.name, "folder": file.parent}
        if chosen and f"{run['question']}/{run['name']}" not in chosen:
            continue
        config = json.loads((file.parent / "config.json").read_text())
        run |= {"command": config["legs"][0]["command"], "seed": config["options"]["seed"]}
        questions.setdefault(run["question"], []).append(run)
    return questions


def markdown(runs: list[dict], names: tuple[str, ...] = ("",)) -> str:
    """The table of one question as the READMEs show it: the rows whose names begin with one of `names`."""
    lines = ["| run | what | paper | report | ours |", "| --- | --- | --- | --- | --- |"]
    for run in runs:
        for row in run["rows"]:
            if not row["name"].startswith(names):
                continue
            cells = (
                run["name"],
                row["name"],
                row.get("paper") or "",
                row.get("report") or "",
                f"{number(row)} {row['unit'].removesuffix(' accuracy')}",
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def official(runs: list[dict]) -> list[dict]:
    """Without the quick and smoke runs."""
    return [run for run in runs if not run["name"].startswith(("quick-", "smoke"))]


def write_readme(file: Path, text: str) -> None:
    """Replaces what stands between the marks <!-- results --> and <!-- /results -->."""
    before, _, rest = file.read_text().partition("<!-- results -->")
    _, mark, after = rest.partition("<!-- /results -->")
    if not mark:
        raise SystemExit(f"error: {file} has no marks <!-- results --> and <!-- /results -->")
    file.write_text(f"{before}<!-- results -->\n{text}\n<!-- /results -->{after}")


def main(options: Options) -> Path | None:
    questions = read_runs(options.log_root, options.runs)
    if not questions:
        print(f"no finished runs (results.json) under {options.log_root}: python reproduce.py makes them", file=sys.stderr)
        return None
    for question, runs in questions.items():
        print(f"\n{question}\n\n{markdown(runs)}\n")
        for run in runs:
            folder = options.figure_root / question / run["name"]
            if (run["folder"] / "metrics.csv").exists():
                plots.curves(run["folder"] / "metrics.csv", folder / "curves.png", run["title"], run.get("best_epoch"))
            files = sorted(file for file in folder.glob("*") if file.suffix in {".png", ".gif"})
            run["pictures"] = [(file.name, base64.b64encode(file.read_bytes()).decode()) for file in files]
    if options.write_readmes:
        first_page = []
        for question, runs in questions.items():
            if official(runs):
                write_readme(Path(question, "README.md"), markdown(official(runs)))
                first_page.append(f"**[{question}]({question}/README.md)**\n\n{markdown(official(runs), HEADLINES[question])}")
        write_readme(Path("README.md"), "\n\n".join(first_page))
    page = options.figure_root / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    page.write_text(template.render(questions=questions, number=number))
    return page


if __name__ == "__main__":
    made = main(tyro.cli(Options, description=__doc__, use_underscores=True, config=(tyro.conf.FlagCreatePairsOff,)))
    print(f"page: {made}") if made else sys.exit(1)
