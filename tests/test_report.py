"""The tables and the page, from made-up logs and from the committed ones."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from common.errors import UsageError
from reproduction import log_reader, report, tables
from reproduction.commands import with_seeds
from reproduction.front_page import front_table, headline_rows
from reproduction.layout import Control, Measure
from reproduction.layouts import LAYOUTS
from reproduction.log_reader import missing_runs, read_runs
from reproduction.markdown import code, escaped, table
from reproduction.options import ReportOptions, resolve_report
from reproduction.page import html
from reproduction.presets import PRESETS
from reproduction.report_text import report_text
from reproduction.results import all_rows
from reproduction.runs import over_seeds
from reproduction.wording import unified
from tests.conftest import ENVIRONMENT, ROOT

REPORT = ROOT / "docs" / "REPORT.md"
FIRST = {"name": "20-way 1-shot", "value": 90.0, "interval": 0.25, "unit": "% accuracy", "paper": 96.0}


@pytest.fixture
def official(monkeypatch):
    """What the official report is made of."""
    monkeypatch.chdir(ROOT)
    return report.collect(ReportOptions())


def make_run(root, name="20w1s", question="q2_protonet", value=90.0, rows=(), script="train", **options):
    """Makes a finished run's folder, with two rows if none are given; options in place of the defaults."""
    folder = root / question / name
    folder.mkdir(parents=True)
    rows = list(rows) or [FIRST | {"value": value}, {"name": "other", "value": 3, "unit": "of 8"}]
    results = {"question": question, "title": "A title", "rows": rows, "epochs": 2, "minutes": 1}
    results |= {"device": "CPU", "precision": "fp32"}
    (folder / "results.json").write_text(json.dumps(results))
    command = f"python {question}/{script}.py --run_name {name} --resume"
    leg = {"command": command, "commit": "0123456789+changes", "versions": {"torch": "9.9"}, "processes": 1}
    usual = log_reader.defaults(question, script)
    config = {"question": question, "options": usual | {"run_name": name} | options, "legs": [leg]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


# The committed tables ---------------------------------------------------------------------------------------


def test_the_committed_report_is_what_the_committed_logs_give(official):
    assert report_text(*official) == REPORT.read_text(), "python report.py makes it anew"


def test_the_front_table_in_the_readme_is_the_logs(official):
    made = front_table(official.questions)
    assert made in (ROOT / "README.md").read_text(), "python report.py --write_readmes makes it anew"


@pytest.mark.parametrize("question", LAYOUTS)
def test_the_tables_in_a_questions_readme_are_the_logs(official, question):
    made = tables.question_tables(question, official.questions[question], "../docs/REPORT.md")
    assert made in (ROOT / question / "README.md").read_text(), "python report.py --write_readmes"


def test_the_committed_benchmarks_are_the_logs(official):
    assert tables.benchmarks_table(official.benchmarks) in (ROOT / "benchmarks/RESULTS.md").read_text()


def test_every_run_of_the_readmes_has_one_line_per_way_of_measuring(official):
    for question, runs in official.questions.items():
        text = tables.question_tables(question, runs, "../docs/REPORT.md")
        for experiment in over_seeds(runs):
            ways = 0
            for layout in LAYOUTS[question].tables:
                for suffix in layout.variants.values():
                    names = [pattern + suffix for pattern in layout.columns.values()]
                    ways += any(tables.find(experiment.rows, name) for name in names)
            assert text.count(f"\n| [{experiment.name}](") == ways, experiment.name


def test_no_column_of_the_readmes_is_empty(official):
    for question, runs in official.questions.items():
        text = tables.question_tables(question, runs, "../docs/REPORT.md").partition("<details>")[0]
        for one in re.findall(r"(?:^\|.*\n?)+", text, re.M):
            rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in one.splitlines()[2:]]
            assert all(any(column) for column in zip(*rows)), one


def test_an_anchor_of_the_tables_is_a_heading_of_the_report():
    text = REPORT.read_text()
    headings = re.findall(r"^#+ (.*)$", text.lower(), re.M)
    headings = {re.sub(r"[^a-z0-9_ -]", "", line).replace(" ", "-") for line in headings}
    for readme in (ROOT / "README.md", *(ROOT / question / "README.md" for question in LAYOUTS)):
        text += readme.read_text()
    links = re.findall(r"\]\((?:(?:\.\./)?docs/REPORT\.md)?#([^)]+)\)", text)
    links = {link for link in links if re.match(r"q\d_", link)}
    assert len(links) > 20
    assert links <= headings


# The front page ---------------------------------------------------------------------------------------------


def test_each_paper_has_one_row_whether_it_was_run_or_not(tmp_path):
    rows = headline_rows(read_runs(tmp_path))
    assert [row.layout.question for row in rows] == list(LAYOUTS)
    assert {row.verdict for row in rows} == {"not shown yet"}
    assert {row.ours for row in rows} == {"missing"}


def test_a_headline_is_judged_by_its_own_control(tmp_path):
    headline = LAYOUTS["q2_protonet"].headline
    rows = [{"name": headline.row, "value": 97.0, "interval": 0.2, "unit": "%"}]
    rows.append({"name": headline.control.row, "value": 40.0, "interval": 0.2, "unit": "%"})
    make_run(tmp_path, headline.run, rows=rows)
    row = headline_rows(read_runs(tmp_path))[1]
    assert (row.verdict, row.ours) == ("reproduced", "97.00 ± 0.20")
    assert row.controls[0] == "untrained network, without shifts 40.00 ± 0.20"


def test_the_paired_difference_stands_beside_its_number(official):
    (row,) = [row for row in headline_rows(official.questions) if row.headline.difference]
    assert any(re.match(r"difference, pair by pair, [+-]\d+\.\d\d ± ", text) for text in row.controls)


def test_a_measure_shows_the_first_of_its_runs_that_has_it(tmp_path, monkeypatch):
    measure = Measure("a measure", "20-way 1-shot", Control("chance 5"), ("better", "worse"))
    layout = LAYOUTS["q2_protonet"]._replace(measures=(measure,))
    monkeypatch.setitem(LAYOUTS, "q2_protonet", layout)

    def shown():
        lines = tables.measure_lines(read_runs(tmp_path))
        return [line.experiment and line.experiment.name for line in lines if line.measure is measure]

    assert shown() == [None]
    make_run(tmp_path, "worse", value=1.0)
    assert shown() == ["worse"]
    make_run(tmp_path, "better", rows=[{"name": "something else", "value": 2.0, "unit": "%"}])
    assert shown() == ["worse"]


def test_a_measure_that_finished_runs_lack_is_not_called_missing(tmp_path):
    make_run(tmp_path, "mnist", "q1_dcgan", rows=[{"name": "label accuracy", "value": 2.0, "unit": "%"}])
    lines = tables.measure_lines(read_runs(tmp_path))
    assert "Fréchet distance" not in [line.measure.name for line in lines]


def test_a_control_is_the_mean_of_its_runs_and_missing_until_all_are_there(tmp_path):
    headline = LAYOUTS["q4_darts"].headline
    values = (68.4, 70.0, 72.0, 74.0)

    def row_of(value):
        return [{"name": "test, epoch 7", "value": value, "unit": "%"}]

    def shown():
        return headline_rows(read_runs(tmp_path))[3].controls

    for name, value in zip((headline.run, *headline.control.runs), values):
        make_run(tmp_path, name, "q4_darts", rows=row_of(value), genotype=name)
        if value < values[-1]:
            assert shown() == [f"{headline.control.name} missing"]
    assert shown() == [f"{headline.control.name} 72.00 ± 2.00"]


# Tables -----------------------------------------------------------------------------------------------------


def test_a_result_is_shown_with_its_interval():
    row = {"value": 100.0, "interval": [88.65, 100.0], "unit": "%"}  # as Wilson's, which is not symmetric
    assert tables.number(row) == "100.00 (88.65 to 100.00) %"


def test_a_small_result_has_three_digits():
    assert tables.number({"value": 0.8962, "interval": None, "unit": "nats"}, unit=False) == "0.896"


SMALL = {
    "0.0016 ± 0.0003": {"value": 0.00158, "interval": 0.00031},
    "0.000013 ± 0.000006": {"value": 1.33e-05, "interval": 5.8e-06},
    "0.000010": {"value": 1e-05},
    "-0.0050": {"value": -0.005},
    "0.010": {"value": 0.01},
    "0": {"value": 0.0},
    "0.0000 ± 0.0042": {"value": 0.0, "interval": 0.0042},
    "0.00 (0.00 to 0.38)": {"value": 0.0, "interval": [0.0, 0.38]},
}


@pytest.mark.parametrize("shown", SMALL)
def test_a_result_near_0_has_two_significant_digits(shown):
    assert tables.number(SMALL[shown] | {"unit": "nats"}, unit=False) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.8862, "0.89"), (0.0042, "0.0042"), (90, "90.00"), (0.0, "0")]
)
def test_a_control_near_0_has_two_significant_digits(value, shown):
    assert tables.control_number({"value": value}) == shown


def test_a_count_has_no_digits():
    assert tables.number({"value": 3, "unit": "of 8"}) == "3 of 8"


def test_cells_are_shown_as_they_are():
    name = r"a|b*c_<d>`e"
    assert table(["x"], [[escaped(name)]]).splitlines()[-1] == r"| a\|b\*c\_\<d\>\`e |"
    assert code("a | b") == r"`a \| b`"


def test_a_row_with_a_strange_name_stays_one_row(tmp_path):
    make_run(tmp_path, rows=[{"name": "class a|b\nc", "value": 1.5, "unit": "%"}])
    text = tables.results_table("q2_protonet", read_runs(tmp_path)["q2_protonet"])
    assert text.splitlines()[2:] == [r"| 20w1s | class a\|b c | 1.500 % | full size |"]


WORDINGS = {
    "CPU, 1 threads": "CPU, 1 thread",
    "CPU, 11 threads": "CPU, 11 threads",
    "1000 episodes, 15 queries a class, 356 classes": "1,000 episodes, 15 queries per class, 356 classes",
    "10000 samples, epoch 15": "10,000 samples, epoch 15",
    "50,000 samples known": "50,000 samples known",
}


@pytest.mark.parametrize("text, shown", [*WORDINGS.items(), (10000, "10,000")])
def test_wordings_of_different_days_are_shown_as_one(text, shown):
    assert unified(text) == shown


def test_a_column_is_there_once_a_run_has_it(tmp_path):
    rows = [{"name": "Frechet distance", "value": 2.98, "unit": "to the test set"}]
    make_run(tmp_path, "mnist-conditional", "q1_dcgan", rows=rows)
    text = tables.question_tables("q1_dcgan", read_runs(tmp_path)["q1_dcgan"], "R.md")
    assert text.startswith("| run | Fréchet distance |")
    assert "1-NN" not in text


def test_known_numbers_and_controls_stand_above_the_runs(tmp_path):
    name = "nearest-neighbour error among 50,000"
    rows = [{"name": name, "value": 2.75, "interval": [2.45, 3.09], "unit": "%"}]
    rows.append({"name": f"{name} of real training pictures (floor)", "value": 3.19, "unit": "%"})
    make_run(tmp_path, "mnist-conditional", "q1_dcgan", rows=rows)
    text = tables.question_tables("q1_dcgan", read_runs(tmp_path)["q1_dcgan"], "R.md")
    cells = [line.split("|")[1:3] for line in text.replace("\u00a0", " ").splitlines()[2:6]]
    assert [[cell.strip() for cell in line] for line in cells] == [
        ["paper", "2.98"],
        ["paper, real digits", "3.1"],
        ["real training pictures", "3.19"],
        ["[mnist-conditional](R.md#q1_dcganmnist-conditional)", "2.75 (2.45 to 3.09)"],
    ]


def test_ablations_are_folded_below_the_main_table(tmp_path):
    for name in ("omniglot-20w1s", "omniglot-20w1s-wide"):
        make_run(tmp_path, name, hidden_channels=[len(name)] * 4)
    text = tables.question_tables("q2_protonet", read_runs(tmp_path)["q2_protonet"], "R.md")
    above, _, below = text.partition("<details>")
    assert "[omniglot-20w1s](" in above
    assert "omniglot-20w1s-wide" not in above
    assert "[omniglot-20w1s-wide](" in below


def test_seeds_have_a_column_of_their_own(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, f"omniglot-5w1s-seed{seed}", seed=seed)
    make_run(tmp_path, "omniglot-5w5s", num_support_tr=3)
    text = tables.question_tables("q2_protonet", read_runs(tmp_path)["q2_protonet"], "R.md")
    assert text.splitlines()[0] == "| run | 20-way 1-shot, % | seeds |"


def test_the_names_of_rows_are_known_without_torch():
    """Tables take them from each paper.py, and their scripts do too, so that both change together."""
    code = "import sys, reproduction.layouts, reproduction.presets; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=ENVIRONMENT, check=True)


# Runs -------------------------------------------------------------------------------------------------------


SCALES = {
    "full": ({}, "full size", []),
    "small": ({"epochs": 40, "split": "small"}, "reduced", ["8 of 50 alphabets", "40 of 100 epochs"]),
    "drawn": ({"dataset": "synthetic", "epochs": 2}, "synthetic", []),
    "own": ({"dataset": "folder"}, "own data", []),
    # epochs that were chosen on validation
    "trainval": ({"epochs": 86, "trainval": "20w1s"}, "full size", []),
}


@pytest.mark.parametrize("name", SCALES)
def test_the_scale_of_a_run_is_said(tmp_path, name):
    options, mark, less = SCALES[name]
    make_run(tmp_path, name, **options)
    (run,) = read_runs(tmp_path)["q2_protonet"]
    assert (run.mark, run.less) == (mark, less)


def test_seeds_may_differ_in_how_their_precision_was_asked_for(tmp_path):
    make_run(tmp_path, precision="auto")
    make_run(tmp_path, "20w1s-seed1", precision="fp32", seed=1)
    (experiment,) = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert len(experiment.runs) == 2


def test_seeds_on_train_and_validation_have_each_the_best_epochs_of_their_own_run(tmp_path):
    make_run(tmp_path, "20w1s-trainval", trainval="20w1s", epochs=75)
    make_run(tmp_path, "20w1s-trainval-seed1", trainval="20w1s-seed1", epochs=98, seed=1)
    (experiment,) = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert len(experiment.runs) == 2


def test_seeds_of_one_experiment_are_one_row_with_mean_and_deviation(tmp_path):
    for seed, value in enumerate((90.0, 92.0, 91.0)):
        make_run(tmp_path, "20w1s" + (f"-seed{seed}" if seed else ""), value=value, seed=seed)
    (experiment,) = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert [run.name for run in experiment.runs] == ["20w1s", "20w1s-seed1", "20w1s-seed2"]
    assert tables.number(experiment.rows[0]) == "91.00 ± 1.00 % (3 seeds)"


@pytest.mark.parametrize("other", [{"name": "another-name"}, {"name": "20w1s-seed1", "iterations": 7}])
def test_another_name_or_setting_is_another_experiment(tmp_path, other):
    make_run(tmp_path, "20w1s")
    make_run(tmp_path, seed=1, **other)
    assert len(over_seeds(read_runs(tmp_path)["q2_protonet"])) == 2


def test_an_option_that_is_newer_than_a_run_is_at_its_default(tmp_path):
    make_run(tmp_path, "20w1s", value=90.0)
    folder = make_run(tmp_path, "20w1s-seed1", value=92.0, seed=1)
    config = json.loads((folder / "config.json").read_text())
    del config["options"]["residual_convs"]
    (folder / "config.json").write_text(json.dumps(config))
    (experiment,) = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert experiment.rows[0]["value"] == 91.0


def test_equal_values_of_several_seeds_have_no_interval(tmp_path):
    for seed in (0, 1):
        make_run(tmp_path, f"20w1s-seed{seed}", seed=seed)
    (experiment,) = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert tables.number(experiment.rows[0]) == "90.00 % (2 seeds)"


SAME = {"name": "20-way 1-shot", "value": 90.0, "unit": "%"}
EVALUATIONS = {
    "the same": ([SAME], True),
    "as an object": ({"rows": [SAME]}, True),
    "rounded in another way": ([SAME | {"value": 90.01}], True),
    "other data": ([SAME | {"value": 70.0}], False),
    "other draws, as many": ([SAME | {"value": 80.0, "count": "1000 episodes, 5 queries a class"}], True),
    "another count": ([SAME | {"count": "100 episodes, 5 queries per class"}], False),
}


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_an_evaluation_adds_its_rows_unless_it_measured_something_else(kind):
    evaluation, is_added = EVALUATIONS[kind]
    more = {"name": "5-way 1-shot", "value": 95.0, "unit": "%"}
    rows = evaluation["rows"] if isinstance(evaluation, dict) else evaluation
    own = SAME | {"count": "1000 episodes, 5 queries per class"} if "count" in rows[0] else SAME
    evaluation = {"rows": [*rows, more]} if isinstance(evaluation, dict) else [*rows, more]
    results = {"rows": [own], "evaluations": {"last.pt": evaluation}}
    assert all_rows(results) == ([own, more] if is_added else [own])


def test_an_evaluation_is_compared_with_the_one_before_it():
    """Of another split, whose classes are not the run's, though the run itself has no row of that name."""
    first = {"name": "5-way 1-shot", "value": 95.0, "unit": "%", "count": "1,000 episodes, 9 classes"}
    other = [first | {"count": "1,000 episodes, 4 classes"}, {"name": "new", "value": 1.0, "unit": "%"}]
    results = {"rows": [SAME], "evaluations": {"best.pt": [first], "best.pt, split small": other}}
    assert all_rows(results) == [SAME, first]


def damage_results(folder):
    (folder / "results.json").write_text("{")
    return "results.json is damaged"


def damage_metrics(folder):
    (folder / "metrics.csv").write_text("epoch,loss\n1,0.5\noops\n")
    return "metrics.csv, line 3, is damaged"


def remove_config(folder):
    (folder / "config.json").unlink()
    return "config.json cannot be read"


def forget_options(folder):
    (folder / "config.json").write_text('{"legs": []}')
    return "bad is damaged: KeyError"


def forget_title(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["title"]
    (folder / "results.json").write_text(json.dumps(results))
    return "bad is damaged: KeyError: 'title'"


def forget_a_unit(folder):
    results = json.loads((folder / "results.json").read_text())
    del results["rows"][0]["unit"]
    (folder / "results.json").write_text(json.dumps(results))
    return "bad is damaged: KeyError: 'unit'"


DAMAGES = [damage_results, damage_metrics, remove_config, forget_options, forget_title, forget_a_unit]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_named_and_left_out(tmp_path, capsys, damage):
    make_run(tmp_path, "good")
    words = damage(make_run(tmp_path, "bad"))
    assert [run.name for run in read_runs(tmp_path)["q2_protonet"]] == ["good"]
    said = capsys.readouterr().err
    assert words in said
    assert f"the run {tmp_path / 'q2_protonet' / 'bad'} is left out" in said


BROKEN = {"": "is damaged (0 bytes", "[]": "holds no JSON object", "{}": "is damaged: KeyError"}


@pytest.mark.parametrize("text", BROKEN)
def test_a_damaged_benchmark_is_named_and_left_out(tmp_path, capsys, text):
    folder = tmp_path / "logs" / "benchmarks"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "logs" / "benchmarks" / "dcgan-cpu.json", folder)
    (folder / "bad.json").write_text(text)
    make_run(tmp_path / "logs")
    options = ReportOptions(tmp_path / "logs", tmp_path / "figures")
    assert [race["name"] for race in report.collect(options).benchmarks] == ["dcgan"]
    said = capsys.readouterr().err
    assert f"{folder / 'bad.json'} is damaged" in said
    assert BROKEN[text] in said
    assert "the benchmark is left out" in said


def test_a_damaged_run_with_an_evaluation_stops_no_report(tmp_path, capsys):
    make_run(tmp_path / "logs")
    row = next(row for row in PRESETS["evidence"] if row.evaluates)
    (make_run(tmp_path / "logs", row.name) / "results.json").write_text("{")
    page = report.main(ReportOptions(tmp_path / "logs", tmp_path / "figures"))
    assert "20w1s" in page.read_text()
    assert "results.json is damaged" in capsys.readouterr().err


def test_quick_and_smoke_runs_are_shown_only_when_named(tmp_path):
    for name in ("quick-5w1s", "smoke", "mine"):
        make_run(tmp_path, name)
    assert [run.name for run in read_runs(tmp_path)["q2_protonet"]] == ["mine"]
    assert [run.name for run in read_runs(tmp_path, ("q2_protonet/smoke",))["q2_protonet"]] == ["smoke"]


def test_missing_runs_are_named_with_their_command(tmp_path):
    make_run(tmp_path, "20w1s")
    figures = tmp_path / "figures"
    missing = missing_runs(tmp_path, figures, [("small", row) for row in PRESETS["small"]])
    names = {(question, run.name) for question, runs in missing.items() for run in runs}
    assert names == {(row.question, row.label) for row in PRESETS["small"]} - {("q2_protonet", "20w1s")}
    (conditional,) = missing["q1_dcgan"]
    assert conditional.command.endswith(
        f"--run_name small-conditional --log_root {tmp_path} --figure_root {figures}"
    )


def test_an_unfinished_run_is_named_with_the_command_that_continues_it(tmp_path):
    begun = tmp_path / "q4_darts" / "small-search" / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "last.pt").touch()
    missing = missing_runs(tmp_path, tmp_path, [("small", row) for row in PRESETS["small"]])
    search = next(run for run in missing["q4_darts"] if run.name == "small-search")
    assert search.begun
    assert search.command.endswith(" --resume")


def test_a_preset_ends_with_one_line_per_question_that_has_all_its_numbers(tmp_path):
    made = {"20-way 5-shot": 93.6, "20-way 5-shot, untrained network": 58.7}
    rows = [{"name": name, "value": value, "unit": "% accuracy"} for name, value in made.items()]
    make_run(tmp_path / "all", "quick-20w5s", rows=rows)
    make_run(tmp_path / "half", "quick-20w5s", rows=rows[:1])
    chosen = ("q2_protonet/quick-20w5s",)
    (line,) = tables.in_words(read_runs(tmp_path / "all", chosen), tmp_path)
    assert line.startswith("q2 ProtoNet: 94 % of unseen characters")
    assert line.endswith(f"pictures in {tmp_path / 'q2_protonet' / 'quick-20w5s'}")
    assert tables.in_words(read_runs(tmp_path / "half", chosen), tmp_path) == []


# The page and the command -----------------------------------------------------------------------------------


def test_every_number_of_the_page_leads_to_its_command(official):
    page = html(ReportOptions(), *official)
    for question, runs in official.questions.items():
        for run in runs:
            place = f"{question}/{run.name}"
            assert f'href="#{place}"' in page
            entry = page.partition(f'id="{place}"')[2].partition("</details>")[0]
            assert run.command.replace("'", "&#39;") in entry
            assert run.commit in entry
            config = json.loads((run.folder / "config.json").read_text())
            typed = config["legs"][-1]["command"].split()
            assert run.command.split() == [word for word in typed if word not in ("--resume", "--overwrite")]


def test_the_page_links_to_pictures_that_are_there(official):
    linked = re.findall(r'<img [^>]*src="([^"]+)"', html(ReportOptions(), *official))
    assert len(linked) > 30
    assert all((ROOT / "figures" / source).exists() for source in linked)


def test_a_self_contained_page_holds_its_pictures(tmp_path):
    make_run(tmp_path)
    folder = tmp_path / "figures" / "q2_protonet" / "20w1s"
    folder.mkdir(parents=True)
    (folder / "curves.png").write_bytes((ROOT / "figures/q2_protonet/20w1s/curves.png").read_bytes())
    options = ReportOptions(tmp_path, tmp_path / "figures", self_contained=True)
    page = html(options, read_runs(tmp_path), {}, [])
    assert re.findall(r'<img [^>]*src="([^,"]+)', page) == ["data:image/webp;base64"]


def test_runs_that_were_never_made_are_one_folded_line_of_the_page(tmp_path):
    missing = missing_runs(tmp_path, tmp_path, [("small", row) for row in PRESETS["small"]])
    page = html(ReportOptions(tmp_path, tmp_path), read_runs(tmp_path), missing, [])
    assert "Not run here: 3 of preset small." in page.partition('id="q4_darts-missing"')[2]
    assert "--run_name small-search" in page


def test_a_choice_of_runs_leaves_the_committed_report_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "logs")
    assert report.main(ReportOptions(runs=("q2_protonet/20w1s",))).name == "report-choice.html"
    assert not (tmp_path / "docs" / "REPORT.md").exists()
    assert (tmp_path / "figures" / "report-choice.md").exists()


def test_a_choice_of_runs_says_nothing_of_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "logs" / "benchmarks", tmp_path / "logs" / "benchmarks")
    make_run(tmp_path / "logs")
    page = report.main(ReportOptions(runs=("q2_protonet/20w1s",)))
    for text in (page.read_text(), page.with_suffix(".md").read_text()):
        assert "20w1s" in text
        assert "not shown yet" not in text
        assert "missing" not in text
        assert "Not run here" not in text
        assert "q4_darts" not in text
        assert "benchmarks/race.py" not in text


@pytest.mark.parametrize("name", ["", "mine"])
def test_all_runs_under_another_root_or_name_are_summed_up_too(tmp_path, name):
    make_run(tmp_path / "logs")
    page = report.main(ReportOptions(tmp_path / "logs", tmp_path / "figures", name))
    assert "not shown yet" in page.read_text()
    assert "Not run here" in page.with_suffix(".md").read_text()


def test_all_runs_make_the_report_that_is_committed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "logs")
    assert report.main(ReportOptions()).name == "report.html"
    assert (tmp_path / "docs" / "REPORT.md").exists()


def test_a_run_named_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--runs q2_protonet/nothing: there is no finished run"):
        resolve_report(ReportOptions(tmp_path, runs=("q2_protonet/nothing",)))


def test_report_without_runs_says_what_to_do(tmp_path, capsys):
    assert report.main(ReportOptions(tmp_path)) is None
    assert "python reproduce.py" in capsys.readouterr().err


@pytest.mark.parametrize("question", ["q1_dcgan", "q2_protonet"])
def test_curves_are_drawn_again_from_metrics_csv(tmp_path, question):
    folder = make_run(tmp_path / "logs", "mine", question)
    (folder / "metrics.csv").write_text("epoch,frechet_distance,train_loss\n1,0.5,1\n2,0.4,1\n")
    report.main(ReportOptions(tmp_path / "logs", tmp_path / "figures", redraw=True))
    assert (tmp_path / "figures" / question / "mine" / "curves.png").exists()


# What is committed ------------------------------------------------------------------------------------------


def test_the_presets_are_what_the_committed_runs_were_made_with():
    """Each row's flags are those in the run's config.json, whatever their order.

    Most runs asked for bf16, which is what `auto`, their row's precision today, means on their CPU and GPUs.
    """
    rows = [row for name in ("small", "evidence") for row in PRESETS[name] if not row.evaluates]
    own = [row for row in rows if not row.repeats]
    checked = set()
    for row in rows + with_seeds(own, (1, 2)):
        file = ROOT / "logs" / row.question / row.name / "config.json"
        if not file.exists():  # the evidence grows row by row
            continue
        asked = shlex.split(json.loads(file.read_text())["legs"][-1]["command"])
        words = [word for word in asked if word not in ("--resume", "--overwrite")]
        if "--precision" in words:
            place = words.index("--precision")
            assert words[place + 1] == "bf16"
            del words[place : place + 2]
        if "--seed" in words and words[words.index("--seed") + 1] == "0":  # as it is if nobody names it
            place = words.index("--seed")
            del words[place : place + 2]
        assert sorted(row.words()) == sorted(words), f"{row.question}/{row.name}"
        checked.add((row.question, row.name))
    assert len(checked) >= 15


def test_readmes_name_only_files_that_exist():
    for pattern in ("*.md", "*/*.md", "tests/*/*.md"):
        for file in ROOT.glob(pattern):
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", file.read_text()):
                target = "".join(link)
                assert target.startswith("http") or (file.parent / target).exists(), f"{file}: {target}"


@pytest.mark.parametrize("question", LAYOUTS)
def test_the_questions_readmes_have_the_same_headings(question):
    wanted = ["Run", "Results", "What the numbers mean", "Departures from the paper"]
    headings = re.findall(r"^## (.*)$", (ROOT / question / "README.md").read_text(), re.M)
    assert [each for each in headings if each in wanted] == wanted


def test_animations_are_small_enough_to_commit():
    sizes = {file: file.stat().st_size for file in ROOT.glob("figures/q*/*/*.gif")}
    assert sizes
    assert max(sizes.values()) <= 500_000, sizes
