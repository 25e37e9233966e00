"""The results as Markdown: the tables of the READMEs, docs/REPORT.md and the benchmarks.

What the READMEs show is data of each question's paper.py:

FRONT, rows of the front table: (measure, the paper's number, the first report's, row of results.json, its
floor or control as (name, row) or in words, runs), where a run may be (run, its control's run) and the first
that is finished counts.

TABLES of the folder's README: `columns`, head -> row of results.json; `references`, known numbers by column;
`controls` and `variants` (ways of measuring one run), name -> what their rows add to the names of the rows.

Names of rows may hold *, which stands for anything.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from common.results import show_name, show_value
from common.runtime import RunError
from reproduction.results import MARKS, PAPERS, over_seeds

DASH = "–"


def number(row: dict, unit: bool = True) -> str:
    """A result: mean ± standard deviation of several seeds, or one value and its 95% interval."""
    digits = 2 if abs(row["value"]) >= 2 or row["value"] == 0 else 3
    digits = None if isinstance(row["value"], int) else digits
    shown = show_value(row | {"unit": row["unit"].removesuffix(" accuracy") if unit else ""}, digits)
    return shown + (f" ({row['seeds']} seeds)" if row.get("seeds", 1) > 1 else "")


def compared(runs: list[dict]) -> bool:
    """Whether any row stands beside a number of the paper or the first report."""
    return any("paper" in row or "report" in row for run in runs for row in run["rows"])


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[str(cell).replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def anchor(question: str, name: str) -> str:
    """Where docs/REPORT.md has a run's command: the anchor of its heading "<question>/<name>"."""
    return f"{question}{re.sub(r'[^a-z0-9_-]', '', name.lower())}"


def link(question: str, name: str, tables: str | None) -> str:
    """A run's name, linked to its command in the file `tables`, if given."""
    return name if tables is None else f"[{name}]({tables}#{anchor(question, name)})"


def find(experiment: dict | None, pattern: str) -> dict | None:
    """The experiment's row whose name fits the pattern, in which * stands for anything."""
    rows = experiment["rows"] if experiment else []
    return next((row for row in rows if fnmatchcase(row["name"], pattern)), None)


def in_words(questions: dict[str, list[dict]], figures: Path) -> list[str]:
    """One plain line per question whose runs hold all the numbers it needs."""
    lines = []
    for question, runs in questions.items():
        text, cells = PAPERS[question].IN_WORDS
        found = []
        for name, pattern in cells:
            fitting = [(run, find(run, pattern)) for run in runs if fnmatchcase(run["name"], name)]
            found += [(run, row) for run, row in fitting if row][:1]
        if len(found) == len(cells):
            words = text.format(*(row["value"] for _, row in found))
            lines.append(f"{question[:2]} {words}; pictures in {figures / question / found[0][0]['name']}")
    return lines


def front(questions: dict[str, list[dict]]) -> list[dict]:
    """One entry per row of the front table; a run that is not there is called missing.

    A finished run without such a row was not measured in this way: nothing is shown.
    """
    made = []
    for question, paper in PAPERS.items():
        runs = {experiment["name"]: experiment for experiment in over_seeds(questions.get(question, []))}
        for measure, claimed, reported, pattern, beside, candidates in paper.FRONT:
            pairs = [(each, each) if isinstance(each, str) else each for each in candidates]
            there = [pair for pair in pairs if pair[0] in runs] or pairs[-1:]
            wanted = (pattern, beside[1]) if isinstance(beside, tuple) else (pattern,)
            found = [[bool(find(runs.get(name), row)) for name, row in zip(pair, wanted)] for pair in there]
            # The first that has the row, and its control too.
            run, control = there[found.index(max(found))]
            row = find(runs.get(run), pattern)
            if run in runs and not row:
                continue
            if isinstance(beside, tuple):
                floor = find(runs.get(control), beside[1])
                beside = f"{beside[0]} {floor['value']:.2f}" if floor else f"{beside[0]} missing"
            entry = {"question": question, "paper": paper, "run": run, "measure": measure, "beside": beside}
            entry |= {"claimed": claimed, "reported": reported, "ours": "missing"}
            entry |= {key: runs.get(run, {}).get(key, "") for key in ("mark", "less")}
            if row:
                entry["ours"] = number(row | {"seeds": 1}, unit=False)
            made.append(entry | {"seeds": row.get("seeds", 1) if row else 0})
    return made


def front_table(questions: dict[str, list[dict]]) -> str:
    """The first table of the README, one measure per row, and below it in which respect rows are reduced."""
    lines, less, shown = [], {}, ""
    for entry in front(questions):
        question, title, mark = entry["question"], entry["paper"].TITLE, DASH
        if entry["mark"]:
            seeds = f",\u00a0{entry['seeds']}\u00a0seeds" if entry["seeds"] > 1 else ""
            mark = f"[{entry['mark']}](docs/REPORT.md#{anchor(question, entry['run'])}){seeds}"
        if entry["less"]:
            less.setdefault(title, {})[entry["less"]] = None
        known = (entry["claimed"] or DASH, entry["reported"] or DASH)
        name = "" if question == shown else f"[{title}]({question}/README.md)"
        ours = "**" + entry["ours"].replace(" ", "\u00a0") + "**"  # on one line
        lines.append((name, entry["measure"], *known, ours, entry["beside"], mark))
        shown = question
    head = ("", "measure", "paper", "first report", "ours", "floor or control", "size")
    reduced = "\n".join(f"- {title}: {'; '.join(each)}" for title, each in less.items())
    return table(head, lines) + (f"\n\nReduced means here:\n\n{reduced}" if reduced else "")


def question_tables(question: str, runs: list[dict], tables: str) -> str:
    """The tables of a question's README: one row per run, one column per measure that any run has."""
    made, experiments = [], over_seeds(runs)
    for layout in PAPERS[question].TABLES:
        columns = layout["columns"]

        def cells(experiment: dict, suffix: str, columns: dict = columns) -> list[str]:
            rows = [find(experiment, pattern + suffix) for pattern in columns.values()]
            return [number(row, unit=False) if row else "" for row in rows]

        known = layout.get("references", {}).items()
        known = [(name, *(values.get(column, "") for column in columns), "") for name, values in known]
        for name, suffix in layout.get("controls", {}).items():  # once: of the first run that has each
            found = [cells(experiment, suffix) for experiment in experiments]
            known.append((name, *(next(filter(None, each), "") for each in zip(*found)), ""))
        lines = []
        for experiment in experiments:
            for variant, suffix in layout.get("variants", {"": ""}).items():
                if any(line := cells(experiment, suffix)):
                    name = link(question, experiment["name"], tables) + variant
                    lines.append((name, *line, experiment["less"] or experiment["mark"]))
        if not lines:  # no run of these measures yet
            continue
        kept = [place for place, column in enumerate(zip(*lines)) if any(column)]
        sizes = {line[-1] for line in lines}
        if len(sizes) == 1:
            kept.pop()
        rows = [[row[place] for place in kept] for row in (*known, *lines)]
        head = [("run", *columns, "size")[place] for place in kept]
        made.append(table(head, [row for row in rows if any(row[1:])]))
        if len(sizes) == 1:
            made.append(f"Size of these runs: {''.join(sizes)}.")
    return "\n\n".join(made)


def results_table(question: str, runs: list[dict], tables: str | None = None) -> str:
    """One row per measure; the papers' columns only where there is something in them."""
    beside = {"paper": "paper", "report": "first report"} if compared(runs) else {}
    rows = []
    for experiment in over_seeds(runs):
        name = link(question, experiment["name"], tables)
        for row in experiment["rows"]:
            known = [row.get(key) or DASH for key in beside]
            rows.append((name, show_name(row), *known, number(row), experiment["mark"]))
    return table(("run", "measure", *beside.values(), "ours", "size"), rows)


def benchmarks_table(benchmarks: list[dict]) -> str:
    """Every version of every benchmark beside the plain one of the same run."""
    numbers = "{times_faster:.2f} {ms:,.1f} {memory:,.0f} {operations:,} {gflop:,.1f} {gigabytes:.2f}"
    head = "benchmark, setting, version, times faster than plain, ms per step, peak MiB, operations, GFLOP, "
    rows = [
        (race["name"], race["what"], name, *numbers.format(**row).split(), race["device"])
        for race in benchmarks
        for name, row in race["rows"].items()
    ]
    return table(f"{head}GB moved, device".split(", "), rows)


def report_markdown(questions: dict[str, list], missing: dict[str, list], benchmarks: list[dict]) -> str:
    """docs/REPORT.md: every number, and the command that made it."""
    parts = ["# Report: every number and the command that made it"]
    parts += ["Written by `python report.py` from the log files alone."]
    parts += ["\n".join(f"- **{mark}**: {meaning}" for mark, meaning in MARKS.items())]
    for question, paper in PAPERS.items():
        runs = questions.get(question, [])
        if not runs and question not in missing:
            continue
        parts += [f"## {question}: {paper.TITLE}", f"*{paper.CITATION}*", f"**The paper.** {paper.CLAIM}"]
        parts += [f"**The first report.** {paper.FIRST_REPORT}"]
        if runs:
            keys = ("seed", "epochs", "device", "precision", "minutes", "commit")
            rows = [(run["name"], run["less"] or run["mark"], *(run[key] for key in keys)) for run in runs]
            parts += ["### Results", results_table(question, runs, tables="")]
            parts += ["### Runs", table(("run", "size", *keys), rows)]
        for run in runs:
            size = f"{run['mark']}: {run['less']}" if run["less"] else run["mark"]
            legs = f"{run['legs']} legs" if run["legs"] > 1 else "1 leg"
            parts += [f"#### {question}/{run['name']}", f"{run['title']}. {size}."]
            parts += [f"```sh\n{run['command']}\n```", f"Commit {run['commit']}, {legs}; {run['versions']}."]
        if question in missing:
            rows = [(run["name"], run["begun"], run["preset"], run["command"]) for run in missing[question]]
            rows = [(f"{run}{' (begun)' if begun else ''}", p, f"`{line}`") for run, begun, p, line in rows]
            parts += ["### Missing", table(("run", "preset", "command"), rows)]
    if benchmarks:
        commands = "\n\n".join(f"```sh\n{race['command']}\n```" for race in benchmarks)
        parts += ["## Benchmarks", benchmarks_table(benchmarks), commands]
    return "\n\n".join(parts) + "\n"


def write_between_marks(file: Path, text: str) -> None:
    """Replaces what stands between the marks <!-- results --> and <!-- /results -->."""
    before, _, rest = file.read_text().partition("<!-- results -->")
    _, mark, after = rest.partition("<!-- /results -->")
    if not mark:
        raise RunError(f"{file} has no marks <!-- results --> and <!-- /results -->")
    file.write_text(f"{before}<!-- results -->\n{text}\n<!-- /results -->{after}")
