"""docs/REPORT.md: every number, and the command that made it."""

from reproduction.layouts import LAYOUTS
from reproduction.markdown import code, escaped, table
from reproduction.runs import MARKS, Missing, Run, Runs
from reproduction.tables import benchmarks_table, measures_table, results_table


def report_text(
    questions: Runs, missing: dict[str, list[Missing]], benchmarks: list[dict], whole: bool = True
) -> str:
    """Returns the whole report in Markdown; of a choice of runs without the table of all measures."""
    parts = ["# Report: every number and the command that made it"]
    parts.append("Written by `python report.py` from the log files alone.")
    parts.append(
        "± or (from to) is a 95% interval, or ± the standard deviation over the seeds named. The size leads "
        "to the run's command and commit. The first report is the student report this project grew from; "
        "–: it gives no such number."
    )
    if whole:
        parts.append(measures_table(questions))
    parts.append("\n".join(f"- **{mark}**: {meaning}" for mark, meaning in MARKS.items()))
    for question in LAYOUTS:
        parts += question_text(question, questions.get(question, []), missing.get(question, []))
    if benchmarks:
        commands = "\n\n".join(f"```sh\n{race['command']}\n```" for race in benchmarks)
        parts += ["## Benchmarks", benchmarks_table(benchmarks), commands]
    return "\n\n".join(parts) + "\n"


def question_text(question: str, runs: list[Run], missing: list[Missing]) -> list[str]:
    """Returns the paragraphs about a question; none without runs that are there or wanted."""
    if not runs and not missing:
        return []
    paper = LAYOUTS[question].paper
    parts = [
        f"## {question}: {paper.TITLE}",
        f"*{paper.CITATION}*",
        f"**The paper.** {paper.CLAIM}",
        f"**The first report.** {paper.FIRST_REPORT}",
    ]
    if runs:
        parts += ["### Results", results_table(question, runs, report="")]
        parts += ["### Runs", runs_table(runs)]
    for run in runs:
        parts += run_text(run)
    if missing:
        rows = []
        for each in missing:
            begun = " (begun)" if each.begun else ""
            rows.append((escaped(each.name) + begun, each.preset, code(each.command)))
        parts += ["### Not run here", table(("run", "preset", "command"), rows)]
    return parts


def runs_table(runs: list[Run]) -> str:
    """Returns how each run was made, one per row."""
    rows = []
    for run in runs:
        results = run.results
        made = (run.seed, results["epochs"], run.device, results["precision"], results["minutes"], run.commit)
        rows.append((escaped(run.name), ", ".join(run.less) or run.mark, *made))
    return table(("run", "size", "seed", "epochs", "device", "precision", "minutes", "commit"), rows)


def run_text(run: Run) -> list[str]:
    """Returns the paragraphs about one run."""
    legs = f"{run.legs} legs" if run.legs > 1 else "1 leg"
    return [
        f"#### {run.question}/{run.name}",
        f"{escaped(run.title)}. {run.size}.",
        f"```sh\n{run.command}\n```",
        f"Commit {run.commit}, {legs}; {run.versions}.",
    ]
