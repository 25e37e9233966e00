"""Logs to one self-contained HTML page and tables, every number with the command that made it. Trains nothing.

python report.py                     # every finished run under logs/ but the quick and smoke ones
python report.py --runs q2_protonet/20w1s q2_protonet/5w1s
"""

import base64
import io
import json
import re
import shlex
import statistics
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import common  # noqa: F401  # isort: skip

import jinja2
from PIL import Image

from common import plots
from common.cli import parse, quiet_pipe
from common.provenance import short
from papers import MARKS, PAPERS, STAND_INS
from presets import PRESETS, Row, more_seeds

ROOT = Path(__file__).resolve().parent
DASH = "–"
# Options that do not make a run another experiment: runs that differ in these alone are seeds of one.
NOT_SETTINGS = (
    "seed run_name resume overwrite debug device compile deterministic data_root log_root figure_root".split()
)


@dataclass
class Options:
    """A page and tables from the log files."""

    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures and of the page
    page: str = ""  # writes <figure_root>/<page>.html and <page>.md (default: report and REPORT.md; of a choice: report-choice)
    runs: tuple[
        str, ...
    ] = ()  # only these runs, as <question>/<run name> (default: all but quick-... and smoke...)
    redraw: bool = (
        False  # draw every run's curves.png from its metrics.csv again, not only where it is missing
    )
    write_readmes: bool = False  # also put the tables into README.md and <question>/README.md


def number(row: dict) -> str:
    """A result with its unit: the mean ± standard deviation of several seeds, or one run's value ± its 95% interval where it has one."""
    spread, seeds, unit = row.get("interval"), row.get("seeds", 1), row["unit"].removesuffix(" accuracy")
    if isinstance(row["value"], int):
        return f"{row['value']} {unit}"
    digits = 2 if abs(row["value"]) >= 2 or row["value"] == 0 else 3
    shown = f"{row['value']:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")
    return f"{shown} {unit}" + (f" ({seeds} seeds)" if seeds > 1 else "")


def scale(question: str, script: str, options: dict) -> tuple[str, str]:
    """How a run compares with the full size: one of MARKS, and in which respect it is less."""
    if options["dataset"] in ("synthetic", "folder"):
        return ("synthetic", "") if options["dataset"] == "synthetic" else ("own data", "")
    data = options.get("split") if options["dataset"] == "omniglot" else options["dataset"]
    less = [STAND_INS[question, data]] if (question, data) in STAND_INS else []
    for option, full, what in PAPERS[question].full_size.get(script, ()):
        if 0 < options[option] < full:
            less.append(f"{options[option]:,} of {full:,} {what}")
    return ("reduced", ", ".join(less)) if less else ("full size", "")


def read_runs(log_root: Path, chosen: tuple[str, ...] = ()) -> dict[str, list[dict]]:
    """The finished runs of each question: results.json and what config.json says of how they were made, in the presets' order."""
    questions: dict[str, list[dict]] = {}
    for file in sorted(log_root.glob("*/*/results.json")):
        question, name = file.parts[-3:-1]
        if question not in PAPERS or (
            f"{question}/{name}" not in chosen if chosen else name.startswith(("quick-", "smoke"))
        ):
            continue
        if not (file.parent / "config.json").exists():
            print(f"warning: {file.parent} has no config.json and is left out", file=sys.stderr)
            continue
        run, config = (
            json.loads((file.parent / part).read_text()) for part in ("results.json", "config.json")
        )
        legs, options = config["legs"], config["options"]
        words = [word for word in shlex.split(legs[-1]["command"]) if word not in ("--resume", "--overwrite")]
        mark, less = scale(question, words[1], options)
        if (processes := legs[-1].get("processes", 1)) > 1:
            words = ["torchrun", "--nproc_per_node", str(processes), *words[1:]]
        settings = {key: value for key, value in options.items() if key not in NOT_SETTINGS}
        run |= {
            "name": name,
            "folder": file.parent,
            "command": shlex.join(words),
            "seed": options["seed"],
            "mark": mark,
            "less": less,
        }
        run |= {"commit": short(legs[0]["commit"]), "legs": len(legs)}
        run |= {"versions": ", ".join(f"{name} {version}" for name, version in legs[-1]["versions"].items())}
        run |= {
            "experiment": re.sub(
                r"-seed\d+", "", f"{name} {processes} {json.dumps(settings, sort_keys=True)}"
            )
        }
        questions.setdefault(question, []).append(run)
    places = [(row.question, re.sub(r"-seed\d+$", "", row.name)) for rows in PRESETS.values() for row in rows]

    def place(run: dict) -> tuple[int, str]:
        key = run["question"], re.sub(r"-seed\d+$", "", run["name"])
        return places.index(key) if key in places else len(places), run["name"]

    return {question: sorted(questions[question], key=place) for question in PAPERS if question in questions}


def over_seeds(runs: list[dict]) -> list[dict]:
    """One entry an experiment: `name`, `runs`, and `rows` as they are, or their mean and standard deviation over the seeds."""
    experiments: dict[str, list[dict]] = {}
    for run in runs:
        experiments.setdefault(run["experiment"], []).append(run)
    made = []
    for same in experiments.values():
        same.sort(key=lambda run: (len(run["name"]), run["name"]))
        rows = same[0]["rows"]
        if len(same) > 1:
            values = [{row["name"]: row["value"] for row in run["rows"]} for run in same]
            rows = [row for row in rows if all(row["name"] in run for run in values)]
            rows = [(row, [float(run[row["name"]]) for run in values]) for row in rows]
            rows = [
                row | {"value": statistics.mean(v), "interval": statistics.stdev(v), "seeds": len(v)}
                for row, v in rows
            ]
        made.append(
            {
                "name": same[0]["name"],
                "runs": same,
                "rows": rows,
                "mark": same[0]["mark"],
                "less": same[0]["less"],
            }
        )
    return made


def missing_runs(options: Options, wanted: list[tuple[str, Row]]) -> dict[str, list[dict]]:
    """The (preset, row) that are not finished, with the command that makes or finishes each."""
    missing: dict[str, list[dict]] = {}
    for preset, row in wanted:
        if (now := row.state(options.log_root)) != "done":
            begun = now == "cut"
            command = shlex.join(row.words(options.log_root, options.figure_root) + ["--resume"] * begun)
            missing.setdefault(row.question, []).append(
                {"name": row.label, "preset": preset, "begun": begun, "command": command}
            )
    return missing


def read_benchmarks(log_root: Path) -> list[dict]:
    """What the benchmarks saved, each a race of versions in one run."""
    return [json.loads(file.read_text()) for file in sorted(log_root.glob("benchmarks/*.json"))]


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |" for line in lines
    )


def anchor(question: str, name: str) -> str:
    """Where REPORT.md has a run's command: the anchor of its heading "<question>/<name>"."""
    return f"#{question}{re.sub(r'[^a-z0-9_-]', '', name.lower())}"


def results_table(
    question: str, runs: list[dict], names: tuple[str, ...] = ("",), tables: str | None = None
) -> str:
    """The rows whose names begin with one of `names`; each run's name leads to its command in the file `tables`, if given."""
    head = ("run", "measure", "paper", "first report", "ours", "size")
    rows = []
    for experiment in over_seeds(runs):
        name = experiment["name"]
        link = name if tables is None else f"[{name}]({tables}{anchor(question, name)})"
        for row in experiment["rows"]:
            if row["name"].startswith(names):
                rows.append(
                    (
                        link,
                        row["name"],
                        row.get("paper") or DASH,
                        row.get("report") or DASH,
                        number(row),
                        experiment["mark"],
                    )
                )
    return table(head, rows)


def runs_table(runs: list[dict]) -> str:
    """How each run was made."""
    head = ("run", "size", "seed", "epochs", "device", "precision", "minutes", "commit")
    keys = ("seed", "epochs", "device", "precision", "minutes", "commit")
    return table(
        head, [(run["name"], run["less"] or run["mark"], *(run[key] for key in keys)) for run in runs]
    )


def front(questions: dict[str, list[dict]]) -> list[dict]:
    """The few numbers of each question that the first table shows; a run that is not there is missing, not left out."""
    made = []
    for question, paper in PAPERS.items():
        experiments = {
            experiment["name"]: experiment for experiment in over_seeds(questions.get(question, []))
        }
        lines = []
        for run, name in paper.front:
            found = (
                [row for row in experiments[run]["rows"] if row["name"] == name] if run in experiments else []
            )
            ours = number(found[0]) if found else "missing"
            row = found[0] if found else {}
            lines.append(
                {
                    "run": run,
                    "name": name,
                    "ours": ours,
                    "paper": row.get("paper"),
                    "report": row.get("report"),
                }
            )
        sizes = {
            f"{e['mark']}: {e['less']}" if e["less"] else e["mark"]
            for run, e in experiments.items()
            if run in dict(paper.front)
        }
        made.append({"question": question, "paper": paper, "lines": lines, "size": "; ".join(sorted(sizes))})
    return made


def front_table(questions: dict[str, list[dict]]) -> str:
    """The first table of the README, a question a row."""
    rows = []
    for entry in front(questions):
        question, paper = entry["question"], entry["paper"]
        picture = f'<img src="figures/{question}/{paper.thumbnail}" height="110" alt="{paper.title}">'
        names = [
            (
                line["run"]
                if line["ours"] == "missing"
                else f"[{line['run']}](REPORT.md{anchor(question, line['run'])})"
            )
            + f": {line['name']}"
            for line in entry["lines"]
        ]
        rows.append(
            (
                f"[{picture}]({question}/README.md)",
                f"**[{paper.title}]({question}/README.md)**<br>"
                + "<br>".join(names)
                + f"<br><sub>{entry['size']}</sub>",
                *(
                    "<br>" + "<br>".join(str(line[key] or DASH) for line in entry["lines"])
                    for key in ("paper", "report", "ours")
                ),
            )
        )
    return table(("", "what", "paper", "first report", "ours"), rows)


def benchmarks_table(benchmarks: list[dict]) -> str:
    """Every version of every benchmark beside the plain one of the same run."""
    rows = []
    for race in benchmarks:
        for name, row in race["rows"].items():
            cells = (
                f"{row['times_faster']:.2f}",
                f"{row['ms']:,.1f}",
                f"{row['memory']:,.0f}",
                f"{row['operations']:,}",
            )
            cells += f"{row['gflop']:,.1f}", f"{row['gigabytes']:.2f}"
            rows.append((race["name"], race["what"], name, *cells, race["device"]))
    head = (
        "benchmark",
        "setting",
        "version",
        "times faster than plain",
        "ms a step",
        "peak MiB",
        "operations",
        "GFLOP",
        "GB moved",
        "device",
    )
    return table(head, rows)


def report_markdown(
    questions: dict[str, list[dict]], missing: dict[str, list[dict]], benchmarks: list[dict]
) -> str:
    """The page's tables as Markdown."""
    parts = [
        "# Report: every number and the command that made it",
        "Written by `python report.py` from the log files alone.",
    ]
    parts += ["\n".join(f"- **{mark}**: {meaning}" for mark, meaning in MARKS.items())]
    for question, paper in PAPERS.items():
        runs = questions.get(question, [])
        if not runs and question not in missing:
            continue
        parts += [f"## {question}: {paper.title}", f"*{paper.citation}*", f"**The paper.** {paper.claim}"]
        parts += [f"**The first report.** {paper.first_report}"]
        if runs:
            parts += ["### Results", results_table(question, runs, tables=""), "### Runs", runs_table(runs)]
        for run in runs:
            size = f"{run['mark']}{': ' if run['less'] else ''}{run['less']}"
            parts += [
                f"#### {question}/{run['name']}",
                f"{run['title']}. {size}.",
                f"```sh\n{run['command']}\n```",
            ]
            parts += [
                f"Commit {run['commit']}, {run['legs']} leg{'s' * (run['legs'] > 1)}; {run['versions']}."
            ]
        if question in missing:
            parts += [
                "### Missing",
                table(("run", "preset", "command"), [missing_row(run) for run in missing[question]]),
            ]
    if benchmarks:
        parts += [
            "## Benchmarks",
            benchmarks_table(benchmarks),
            "\n\n".join(f"```sh\n{race['command']}\n```" for race in benchmarks),
        ]
    return "\n\n".join(parts) + "\n"


def missing_row(run: dict) -> tuple[str, str, str]:
    return run["name"] + " (begun)" * run["begun"], run["preset"], f"`{run['command']}`"


def embedded(file: Path, width: int = 0) -> dict:
    """A picture as a data URI (WebP) and its size; with `width` a small one, of an animation the last frame."""
    with Image.open(file) as image:
        frames = getattr(image, "n_frames", 1)
        animated = frames > 1 and not width
        out = io.BytesIO()
        if animated:
            image.save(out, "WEBP", save_all=True, quality=60, method=4)
        else:
            image.seek(frames - 1)
            still = image.convert("RGB")
            if width:
                still.thumbnail((width, width))
            still.save(out, "WEBP", quality=82, method=4)
        size = (image.width, image.height) if animated else still.size
    return {
        "uri": f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}",
        "width": size[0],
        "height": size[1],
    }


def pictures(question: str, runs: list[dict], figure_root: Path) -> list[dict]:
    """The pictures of a question, kind after kind, each of every run that has it; of several seeds those of the first."""
    kinds = []
    for file, caption in PAPERS[question].pictures.items():
        found = [
            (run, figure_root / question / run["name"] / file)
            for run in (same["runs"][0] for same in over_seeds(runs))
        ]
        shown = [
            embedded(path) | {"run": run["name"], "alt": f"{caption}: {run['title']}"}
            for run, path in found
            if path.exists()
        ]
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
            section = {
                "id": question,
                "paper": paper,
                "runs": runs,
                "experiments": over_seeds(runs),
                "missing": missing.get(question, []),
            }
            section |= {
                "compared": any("paper" in row or "report" in row for run in runs for row in run["rows"])
            }
            sections.append(section | {"kinds": pictures(question, runs, options.figure_root)})
    thumbnails = {q: options.figure_root / q / paper.thumbnail for q, paper in PAPERS.items()}
    thumbnails = {
        q: embedded(file, 240) for q, file in thumbnails.items() if file.exists() and q in questions
    }
    values = {
        "front": [] if options.page else front(questions),
        "thumbnails": thumbnails,
        "marks": MARKS,
        "benchmarks": benchmarks,
    }
    template = environment.from_string((ROOT / "report.html.jinja").read_text())
    return template.render(sections=sections, number=number, today=date.today().isoformat(), **values)


def write_readme(file: Path, text: str) -> None:
    """Replaces what stands between the marks <!-- results --> and <!-- /results -->."""
    before, _, rest = file.read_text().partition("<!-- results -->")
    _, mark, after = rest.partition("<!-- /results -->")
    if not mark:
        raise SystemExit(f"error: {file} has no marks <!-- results --> and <!-- /results -->")
    file.write_text(f"{before}<!-- results -->\n{text}\n<!-- /results -->{after}")


def collect(options: Options, wanted: list[tuple[str, Row]] | None = None) -> tuple[dict, dict, list[dict]]:
    """All that the page is made of besides pictures: the runs, the missing runs, the benchmarks.

    Args:
        wanted: (preset, row) that are named as missing where they are not done (default: one seed of every preset's but quick's).
    """
    if wanted is None:
        wanted = [
            (name, row)
            for name, rows in PRESETS.items()
            if name != "quick"
            for row in rows
            if not more_seeds(row.name)
        ]
    return (
        read_runs(options.log_root, options.runs),
        missing_runs(options, wanted),
        read_benchmarks(options.log_root),
    )


def main(options: Options, wanted: list[tuple[str, Row]] | None = None) -> Path | None:
    questions, missing, benchmarks = collect(options, wanted)
    if not questions:
        print(
            f"no finished runs (results.json) under {options.log_root}: python reproduce.py makes them",
            file=sys.stderr,
        )
        return None
    for question, runs in questions.items():
        print(f"\n{question}\n\n{results_table(question, runs, PAPERS[question].main)}\n")
        for run in runs:
            curves = options.figure_root / question / run["name"] / "curves.png"
            if (run["folder"] / "metrics.csv").exists() and (options.redraw or not curves.exists()):
                plots.curves(run["folder"] / "metrics.csv", curves, run["title"], run.get("best_epoch"))
    official = (
        not options.page
        and not options.runs
        and (options.log_root, options.figure_root) == (Options.log_root, Options.figure_root)
    )
    page = options.figure_root / f"{options.page or ('report' if official else 'report-choice')}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html(options, questions, missing, benchmarks))
    tables = Path("REPORT.md") if official else page.with_suffix(".md")
    tables.write_text(report_markdown(questions, missing, benchmarks))
    if official and benchmarks:
        write_readme(Path("benchmarks/RESULTS.md"), benchmarks_table(benchmarks))
    if options.write_readmes:
        write_readme(Path("README.md"), front_table(questions))
        for question, runs in questions.items():
            text = (
                results_table(question, runs, PAPERS[question].main, "../REPORT.md")
                + "\n\n"
                + runs_table(runs)
            )
            write_readme(Path(question, "README.md"), text)
    return page


if __name__ == "__main__":
    with quiet_pipe():
        made = main(parse(Options, __doc__))
        print(f"page: {made}") if made else sys.exit(1)
