import json
import re
import shlex
from importlib.metadata import version

import pytest

import report
from papers import PAPERS
from presets import PRESETS, with_seeds
from tests.conftest import ROOT


@pytest.fixture
def official(monkeypatch):
    """What the committed page is made of."""
    monkeypatch.chdir(ROOT)
    options = report.Options()
    return options, *report.collect(options)


def make_run(root, name="20w1s", question="q2_protonet", value=90.0, **options):
    """A finished run's folder with two rows."""
    folder = root / question / name
    folder.mkdir(parents=True)
    rows = [
        {
            "name": "20-way 1-shot",
            "value": value,
            "interval": 0.25,
            "unit": "% accuracy",
            "count": "9 episodes",
            "paper": 96.0,
        }
    ]
    rows += [{"name": "other", "value": 3, "unit": "of 8"}]
    results = {
        "question": question,
        "title": "A title",
        "rows": rows,
        "epochs": 2,
        "minutes": 1,
        "device": "CPU",
        "precision": "fp32",
    }
    (folder / "results.json").write_text(json.dumps(results))
    options = {
        "dataset": "omniglot",
        "split": "vinyals",
        "epochs": 100,
        "classes_per_it_tr": 60,
        "seed": 0,
        "run_name": name,
    } | options
    command = f"python q2_protonet/train.py --run_name {name} --resume"
    leg = {"command": command, "commit": "0123456789+changes", "versions": {"torch": "9.9"}}
    (folder / "config.json").write_text(json.dumps({"options": options, "legs": [leg]}))


def test_the_committed_page_and_tables_are_what_the_committed_logs_give(official):
    """Bit for bit except the date; pictures too where Pillow is the pinned one."""

    def comparable(page):
        page = re.sub(r'<span id="date">[^<]*', "", page)
        pinned = f"pillow=={version('pillow')} " in (ROOT / "constraints.txt").read_text()
        return page if pinned else re.sub(r"data:image[^\"]*", "", page)

    again = "python report.py makes it anew"
    assert comparable(report.html(*official)) == comparable((ROOT / "figures" / "report.html").read_text()), (
        again
    )
    assert report.report_markdown(*official[1:]) == (ROOT / "REPORT.md").read_text(), again


def test_the_tables_in_the_readmes_are_the_logs(official):
    _, questions, _, benchmarks = official
    again = "python report.py --write_readmes makes it anew"
    assert report.front_table(questions) in (ROOT / "README.md").read_text(), again
    assert report.benchmarks_table(benchmarks) in (ROOT / "benchmarks" / "RESULTS.md").read_text(), again
    assert set(questions) == set(PAPERS)
    for question, runs in questions.items():
        readme = (ROOT / question / "README.md").read_text()
        assert report.results_table(question, runs, PAPERS[question].main, "../REPORT.md") in readme, again
        assert report.runs_table(runs) in readme, again


def test_every_number_of_the_page_leads_to_its_command(official):
    """One click from a run's name; the command is that of its config.json."""
    page = report.html(*official)
    for question, runs in official[1].items():
        for run in runs:
            place = f"{question}/{run['name']}"
            assert f'href="#{place}"' in page
            entry = page.partition(f'id="{place}"')[2].partition('<div class="run"')[0]
            assert (
                run["command"].replace("'", "&#39;") in entry
                and run["commit"] in entry
                and str(run["minutes"]) in entry
            )
            config = json.loads((ROOT / "logs" / place / "config.json").read_text())
            assert run["command"].split() == [
                word for word in config["legs"][-1]["command"].split() if word != "--resume"
            ]


def test_an_anchor_of_the_tables_is_a_heading_of_the_tables(official):
    text = (ROOT / "REPORT.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9_ -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", text, re.M)
    }
    links = re.findall(r"\]\((?:\.\./)?(?:REPORT\.md)?#([^)]+)\)", text + (ROOT / "README.md").read_text())
    assert len(links) > 20 and set(links) <= headings


def test_the_scale_of_a_run_is_said(tmp_path):
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", epochs=40, split="small")
    make_run(tmp_path, "c", dataset="synthetic", epochs=2)
    make_run(tmp_path, "d", dataset="folder")
    runs = {run["name"]: (run["mark"], run["less"]) for run in report.read_runs(tmp_path)["q2_protonet"]}
    assert runs == {
        "a": ("full size", ""),
        "b": ("reduced", "8 of 50 alphabets, 40 of 100 epochs"),
        "c": ("synthetic", ""),
        "d": ("own data", ""),
    }


def test_seeds_of_one_experiment_are_one_row_with_mean_and_deviation(tmp_path):
    for seed, value in enumerate((90.0, 92.0, 91.0)):
        make_run(tmp_path, "20w1s" + (f"-seed{seed}" if seed else ""), value=value, seed=seed)
    make_run(tmp_path, "other", value=50.0, epochs=3)
    runs = report.read_runs(tmp_path)["q2_protonet"]
    first, second = report.over_seeds(runs)
    assert [run["name"] for run in first["runs"]] == ["20w1s", "20w1s-seed1", "20w1s-seed2"]
    assert (
        report.number(first["rows"][0]) == "91.00 ± 1.00 % (3 seeds)"
        and report.number(second["rows"][0]) == "50.00 ± 0.25 %"
    )
    table = report.results_table("q2_protonet", runs, ("20-way",))
    assert (
        "| 20w1s | 20-way 1-shot | 96.0 | – | 91.00 ± 1.00 % (3 seeds) | full size |" in table
        and "other |" in table
    )


def test_equal_settings_under_another_name_are_another_row(tmp_path):
    make_run(tmp_path, "20w1s")
    make_run(tmp_path, "mine")
    make_run(tmp_path, "20w1s-seed1", seed=1)
    assert [e["name"] for e in report.over_seeds(report.read_runs(tmp_path)["q2_protonet"])] == [
        "20w1s",
        "mine",
    ]


def test_a_choice_of_runs_leaves_the_committed_page_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "logs")
    assert report.main(report.Options(runs=("q2_protonet/20w1s",))).name == "report-choice.html"
    assert not (tmp_path / "REPORT.md").exists() and (tmp_path / "figures" / "report-choice.md").exists()
    assert report.main(report.Options()).name == "report.html" and (tmp_path / "REPORT.md").exists()


def test_missing_and_unfinished_runs_are_named_with_their_command(tmp_path):
    make_run(tmp_path, "20w1s")
    begun = tmp_path / "q2_protonet" / "20w5s" / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "last.pt").touch()
    questions = report.read_runs(tmp_path)
    options = report.Options(tmp_path, tmp_path / "figures")
    missing = report.missing_runs(options, [("small", row) for row in PRESETS["small"]])
    names = {(question, run["name"]) for question, runs in missing.items() for run in runs}
    assert names == {(row.question, row.label) for row in PRESETS["small"]} - {("q2_protonet", "20w1s")}
    entry = {run["name"]: run for run in missing["q2_protonet"]}
    roots = f"--log_root {tmp_path} --figure_root {tmp_path}/figures"
    assert entry["20w5s"]["begun"] and entry["20w5s"]["command"].endswith(
        f"--run_name 20w5s {roots} --resume"
    )
    assert entry["5w1s"]["command"].endswith(f"--run_name 5w1s {roots}")
    page = report.html(options, questions, missing, [])
    assert entry["5w1s"]["command"] in page and "missing" in page and "DARTS on CIFAR-10" in page


def test_quick_and_smoke_runs_are_shown_only_when_named(tmp_path):
    for name in ("quick-5w1s", "smoke", "mine"):
        make_run(tmp_path, name)
    assert [run["name"] for run in report.read_runs(tmp_path)["q2_protonet"]] == ["mine"]
    assert [run["name"] for run in report.read_runs(tmp_path, ("q2_protonet/smoke",))["q2_protonet"]] == [
        "smoke"
    ]


def test_the_small_preset_is_what_the_committed_runs_were_made_with():
    """Each row's flags are those in the run's config.json, whatever their order; a run was stopped earlier where it says so."""
    training = [row for row in PRESETS["small"] if not row.evaluates]
    for row in training + with_seeds(training, (1, 2)):
        file = ROOT / "logs" / row.question / row.name / "config.json"
        if row not in training and not file.exists():
            continue  # not every run was made with other seeds
        asked = shlex.split(json.loads(file.read_text())["legs"][-1]["command"])
        assert sorted(row.words()) == sorted(word for word in asked if word != "--resume"), (
            f"{row.question}/{row.name}"
        )


def test_readmes_name_only_files_that_exist():
    for file in [
        ROOT / "README.md",
        ROOT / "REPORT.md",
        *ROOT.glob("*/README.md"),
        *ROOT.glob("tests/*/README.md"),
    ]:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", file.read_text()):
            target = "".join(link)
            if not target.startswith("http"):
                assert (file.parent / target).exists(), f"{file}: {target}"


def test_each_readme_has_the_four_headings():
    wanted = ["Run", "Results", "What the numbers mean", "Departures from the paper"]
    for question in PAPERS:
        assert re.findall(r"^## (.*)$", (ROOT / question / "README.md").read_text(), re.M) == wanted


def test_report_without_runs_says_what_to_do(tmp_path, capsys):
    assert report.main(report.Options(tmp_path)) is None
    assert "python reproduce.py" in capsys.readouterr().err
