import json
import re
import shlex

import pytest

from q1_dcgan import paper as q1
from q3_pix2pix import paper as q3
from reproduction import report, tables
from reproduction.presets import PRESETS, with_seeds
from reproduction.results import PAPERS, missing_runs, over_seeds, read_runs
from tests.conftest import ROOT

REPORT = ROOT / "docs" / "REPORT.md"


@pytest.fixture
def official(monkeypatch):
    """What the official page is made of."""
    monkeypatch.chdir(ROOT)
    options = report.Options()
    return options, *report.collect(options)


def make_run(root, name="20w1s", question="q2_protonet", value=90.0, rows=(), **options):
    """A finished run's folder, with two rows if none are given."""
    folder = root / question / name
    folder.mkdir(parents=True)
    first = {"name": "20-way 1-shot", "value": value, "interval": 0.25, "unit": "% accuracy", "paper": 96.0}
    rows = rows or [first, {"name": "other", "value": 3, "unit": "of 8"}]
    results = {"question": question, "title": "A title", "rows": rows, "epochs": 2, "minutes": 1}
    results |= {"device": "CPU", "precision": "fp32"}
    (folder / "results.json").write_text(json.dumps(results))
    usual = {"dataset": "omniglot", "split": "vinyals", "epochs": 100, "classes_per_it_tr": 60, "seed": 0}
    command = f"python {question}/train.py --run_name {name} --resume"
    leg = {"command": command, "commit": "0123456789+changes", "versions": {"torch": "9.9"}}
    config = {"options": usual | {"run_name": name} | options, "legs": [leg]}
    (folder / "config.json").write_text(json.dumps(config))


def test_the_committed_report_is_what_the_committed_logs_give(official):
    assert tables.report_markdown(*official[1:]) == REPORT.read_text(), "python report.py makes it anew"


def test_the_tables_in_the_readmes_are_the_logs(official):
    _, questions, _, benchmarks = official
    made = {"README.md": tables.front_table(questions)}
    made["benchmarks/RESULTS.md"] = tables.benchmarks_table(benchmarks)
    for question, runs in questions.items():
        made[f"{question}/README.md"] = tables.question_tables(question, runs, "../docs/REPORT.md")
    assert set(questions) == set(PAPERS)
    for file, text in made.items():
        assert text in (ROOT / file).read_text(), "python report.py --write_readmes makes it anew"
    for text in (*made.values(), REPORT.read_text()):
        assert "Frechet" not in text  # as results.json spells it


def test_a_measure_has_its_column_and_front_row_once_a_run_has_it(tmp_path):
    options = {"dataset": "mnist", "epochs": 15}
    rows = [{"name": "Frechet distance", "value": 2.98, "unit": "to the test set"}]
    make_run(tmp_path, "mnist-conditional", "q1_dcgan", rows=rows, **options)
    runs = read_runs(tmp_path)
    shown = tables.question_tables("q1_dcgan", runs["q1_dcgan"], "R.md"), tables.front_table(runs)
    assert not any("1-NN" in text for text in shown) and "| paper |" not in shown[0]

    nearest = {"value": 2.75, "interval": [2.45, 3.09], "unit": "%", "paper": 2.98}
    rows += [nearest | {"name": q1.NEIGHBOUR}]
    real = {"name": q1.NEIGHBOUR + q1.REAL, "value": 3.19, "unit": "%"}
    make_run(tmp_path / "more", "mnist-conditional", "q1_dcgan", rows=[*rows, real], **options)
    runs = read_runs(tmp_path / "more")
    text = tables.question_tables("q1_dcgan", runs["q1_dcgan"], "R.md")
    head = "| run | Fréchet distance | 1-NN error of 50,000 samples, % |"
    assert text.startswith(head) and "| paper |  | 2.98 |" in text and "pictures |  | 3.19 |" in text
    assert "mnist-conditional) | 2.98 | 2.75 (2.45 to 3.09) |" in text
    line = "1-NN error of 50,000 samples, % | 2.98 | – | **2.75 (2.45 to 3.09)** | real digits 3.19 |"
    assert line in tables.front_table(runs).replace("\u00a0", " ")


def test_the_front_page_shows_a_better_run_once_its_control_is_there(tmp_path, monkeypatch):
    runs = tuple((name, f"{name}-l1") for name in ("aerial-128-100", "aerial-128"))
    monkeypatch.setattr(q3, "FRONT", tuple((*row[:-1], runs) for row in q3.FRONT))
    rows = [{"name": f"pixel accuracy{q3.TRAIN_MODE}", "value": 70.0, "unit": "%"}]
    names = "aerial-128", "aerial-128-l1", "aerial-128-100", "aerial-128-100-l1"
    shown = []
    for name in names:
        make_run(tmp_path, name, "q3_pix2pix", rows=rows, dataset="aerial_maps")
        shown += [entry["run"] for entry in tables.front(read_runs(tmp_path)) if "pixel" in entry["measure"]]
    assert shown == ["aerial-128", "aerial-128", "aerial-128", "aerial-128-100"]


def test_the_readmes_tables_have_one_row_per_run_and_no_column_of_dashes(official):
    for question, runs in official[1].items():
        text = tables.question_tables(question, runs, "../docs/REPORT.md")
        for experiment in over_seeds(runs):
            ways = 0
            for layout in PAPERS[question].TABLES:
                for way in layout.get("variants", {"": ""}).values():
                    names = [pattern + way for pattern in layout["columns"].values()]
                    ways += any(tables.find(experiment, name) for name in names)
            assert text.count(f"\n| [{experiment['name']}](") == ways > 0, experiment["name"]
        assert tables.DASH not in text
        for one in re.findall(r"(?:^\|.*\n?)+", text, re.M):
            rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in one.splitlines()[2:]]
            assert all(any(column) for column in zip(*rows))
            names = [row[0] for row in rows]
            assert len(names) == len(set(names))
    assert "<br>" not in (ROOT / "README.md").read_text()


def test_every_number_of_the_page_leads_to_its_command(official):
    """One click from a run's name; the command is that of its config.json."""
    page = report.html(*official)
    for question, runs in official[1].items():
        for run in runs:
            place = f"{question}/{run['name']}"
            assert f'href="#{place}"' in page
            entry = page.partition(f'id="{place}"')[2].partition('<div class="run"')[0]
            assert run["command"].replace("'", "&#39;") in entry
            assert run["commit"] in entry and str(run["minutes"]) in entry
            config = json.loads((ROOT / "logs" / place / "config.json").read_text())
            made_by = config["legs"][-1]["command"].split()
            made_by = [word for word in made_by if word not in ("--resume", "--overwrite")]
            assert run["command"].split() == made_by


def test_the_page_links_to_the_pictures_or_holds_them(official, tmp_path):
    options, *collected = official
    linked = re.findall(r'<img [^>]*src="([^"]+)"', report.html(*official))
    assert len(linked) > 30 and all((ROOT / "figures" / source).exists() for source in linked)
    make_run(tmp_path)
    folder = tmp_path / "figures" / "q2_protonet" / "20w1s"
    folder.mkdir(parents=True)
    (folder / "curves.png").write_bytes((ROOT / "figures/q2_protonet/20w1s/curves.png").read_bytes())
    options = report.Options(tmp_path, tmp_path / "figures", self_contained=True)
    page = report.html(options, read_runs(tmp_path), {}, [])
    assert re.findall(r'<img [^>]*src="([^,"]+)', page) == ["data:image/webp;base64"]


def test_an_anchor_of_the_tables_is_a_heading_of_the_tables(official):
    text = REPORT.read_text()
    headings = re.findall(r"^#+ (.*)$", text.lower(), re.M)
    headings = {re.sub(r"[^a-z0-9_ -]", "", line).replace(" ", "-") for line in headings}
    for readme in (ROOT / "README.md", *(ROOT / question / "README.md" for question in PAPERS)):
        text += readme.read_text()
    links = re.findall(r"\]\((?:(?:\.\./)?docs/REPORT\.md)?#([^)]+)\)", text)
    assert len(links) > 20 and set(links) <= headings


def test_the_scale_of_a_run_is_said(tmp_path):
    make_run(tmp_path, "a")
    make_run(tmp_path, "b", epochs=40, split="small")
    make_run(tmp_path, "c", dataset="synthetic", epochs=2)
    make_run(tmp_path, "d", dataset="folder")
    runs = {run["name"]: (run["mark"], run["less"]) for run in read_runs(tmp_path)["q2_protonet"]}
    made = {"a": ("full size", ""), "b": ("reduced", "8 of 50 alphabets, 40 of 100 epochs")}
    assert runs == made | {"c": ("synthetic", ""), "d": ("own data", "")}


def test_seeds_of_one_experiment_are_one_row_with_mean_and_deviation(tmp_path):
    for seed, value in enumerate((90.0, 92.0, 91.0)):
        make_run(tmp_path, "20w1s" + (f"-seed{seed}" if seed else ""), value=value, seed=seed)
    make_run(tmp_path, "other", value=50.0, epochs=3)
    make_run(tmp_path, "the-same-by-another-name")
    runs = read_runs(tmp_path)["q2_protonet"]
    first, second, third = over_seeds(runs)  # the reduced one last
    assert [run["name"] for run in second["runs"]] == ["the-same-by-another-name"]
    assert [run["name"] for run in first["runs"]] == ["20w1s", "20w1s-seed1", "20w1s-seed2"]
    assert tables.number(first["rows"][0]) == "91.00 ± 1.00 % (3 seeds)"
    assert tables.number(third["rows"][0]) == "50.00 ± 0.25 %"
    table = tables.results_table("q2_protonet", runs)
    assert "| 20w1s | 20-way 1-shot | 96.0 | – | 91.00 ± 1.00 % (3 seeds) | full size |" in table
    assert "other |" in table


def test_a_run_of_an_earlier_version_is_a_seed_of_one_with_options_it_lacked(tmp_path):
    make_run(tmp_path, "20w1s", value=90.0)
    make_run(tmp_path, "20w1s-seed1", value=92.0, seed=1, residual_convs=0, every_support=False)
    make_run(tmp_path, "20w1s-seed2", value=99.0, seed=2, residual_convs=1)
    first, second = over_seeds(read_runs(tmp_path)["q2_protonet"])
    assert len(first["runs"]) == 2 and first["rows"][0]["value"] == 91.0
    assert [run["name"] for run in second["runs"]] == ["20w1s-seed2"]


def test_epochs_chosen_on_validation_do_not_make_a_run_reduced(tmp_path):
    make_run(tmp_path, "a", epochs=86, trainval="20w1s")
    assert [run["mark"] for run in read_runs(tmp_path)["q2_protonet"]] == ["full size"]


def test_a_result_is_shown_with_its_interval():
    row = {"value": 100.0, "interval": [88.65, 100.0], "unit": "%"}  # as Wilson's, which is not symmetric
    assert tables.number(row) == "100.00 (88.65 to 100.00) %"
    assert tables.number({"value": 0.8962, "interval": None, "unit": "nats"}, unit=False) == "0.896"
    assert tables.number({"value": 3, "unit": "of 8"}) == "3 of 8"


def test_an_evaluation_adds_its_rows_unless_it_measured_something_else(tmp_path):
    make_run(tmp_path, "run", value=90.0)
    file = tmp_path / "q2_protonet" / "run" / "results.json"

    def rows(value, more):
        first = {"name": "20-way 1-shot", "value": value, "unit": "%"}
        return [first, {"name": more, "value": 95.0, "unit": "%"}]

    evaluations = {"same": rows(90.0, "5-way 1-shot"), "other data": {"rows": rows(70.0, "5-way 5-shot")}}
    evaluations["elsewhere"] = rows(90.01, "20-way 5-shot")  # the same network, rounded in another way
    results = json.loads(file.read_text())
    results["rows"][0]["count"] = "1000 episodes"
    evaluations["other draws"] = rows(80.0, "of the same number")
    evaluations["other draws"][0]["count"] = "1000 of them, worded otherwise"
    evaluations["other classes"] = rows(90.0, "on validation")
    evaluations["other classes"][0]["count"] = "100 episodes"
    file.write_text(json.dumps(results | {"evaluations": evaluations}))
    (run,) = read_runs(tmp_path)["q2_protonet"]
    names = ["20-way 1-shot", "other", "5-way 1-shot", "20-way 5-shot", "of the same number"]
    assert [row["name"] for row in run["rows"]] == names and run["rows"][0]["value"] == 90.0


def test_a_choice_of_runs_leaves_the_committed_report_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "logs")
    assert report.main(report.Options(runs=("q2_protonet/20w1s",))).name == "report-choice.html"
    text = tmp_path / "docs" / "REPORT.md"
    assert not text.exists() and (tmp_path / "figures" / "report-choice.md").exists()
    assert report.main(report.Options()).name == "report.html" and text.exists()


def test_missing_and_unfinished_runs_are_named_with_their_command(tmp_path):
    make_run(tmp_path, "20w1s")
    begun = tmp_path / "q4_darts" / "small-search" / "checkpoints"
    begun.mkdir(parents=True)
    (begun / "last.pt").touch()
    figures = tmp_path / "figures"
    missing = missing_runs(tmp_path, figures, [("small", row) for row in PRESETS["small"]])
    names = {(question, run["name"]) for question, runs in missing.items() for run in runs}
    assert names == {(row.question, row.label) for row in PRESETS["small"]} - {("q2_protonet", "20w1s")}
    entry = {run["name"]: run for runs in missing.values() for run in runs}
    roots = f"--log_root {tmp_path} --figure_root {figures}"
    search, conditional = entry["small-search"], entry["small-conditional"]
    assert search["begun"] and search["command"].endswith(f"--run_name small-search {roots} --resume")
    assert conditional["command"].endswith(f"--run_name small-conditional {roots}")
    page = report.html(report.Options(tmp_path, figures), read_runs(tmp_path), missing, [])
    assert conditional["command"] in page and "missing" in page and "DARTS on CIFAR-10" in page


def test_quick_and_smoke_runs_are_shown_only_when_named(tmp_path):
    for name in ("quick-5w1s", "smoke", "mine"):
        make_run(tmp_path, name)
    assert [run["name"] for run in read_runs(tmp_path)["q2_protonet"]] == ["mine"]
    assert [run["name"] for run in read_runs(tmp_path, ("q2_protonet/smoke",))["q2_protonet"]] == ["smoke"]


def test_a_preset_ends_with_one_line_per_question_that_has_all_its_numbers(tmp_path):
    made = {"20-way 5-shot": 93.6, "20-way 5-shot, untrained network": 58.7}
    rows = [{"name": name, "value": value, "unit": "% accuracy"} for name, value in made.items()]
    questions = {"q2_protonet": [{"name": "quick-20w5s", "rows": rows}], "q1_dcgan": []}
    (line,) = tables.in_words(questions, tmp_path)
    assert line.startswith("q2 ProtoNet: 94 % of") and "untrained network 59 %" in line
    assert line.endswith(f"pictures in {tmp_path / 'q2_protonet' / 'quick-20w5s'}")
    assert not tables.in_words({"q2_protonet": [{"name": "quick-20w5s", "rows": rows[:1]}]}, tmp_path)


def test_a_damaged_run_is_named_and_left_out(tmp_path, capsys):
    for name in ("good", "bad", "bare"):
        make_run(tmp_path, name)
    (tmp_path / "q2_protonet" / "bad" / "results.json").write_text("{")
    (tmp_path / "q2_protonet" / "bare" / "config.json").unlink()
    assert [run["name"] for run in read_runs(tmp_path)["q2_protonet"]] == ["good"]
    said = capsys.readouterr().err
    assert "bad is damaged and is left out" in said and "bare has no config.json and is left out" in said


def test_the_presets_are_what_the_committed_runs_were_made_with():
    """Each row's flags are those in the run's config.json, whatever their order.

    Most runs asked for bf16, which is what `auto`, their row's precision today, means on their CPU and GPUs.
    """
    made = ("small", "evidence", "precision")
    rows = [row for name in made for row in PRESETS[name] if not row.evaluates]
    own = [row for row in rows if not row.repeats]
    checked = set()
    for row in rows + with_seeds(own, (1, 2)):
        file = ROOT / "logs" / row.question / row.name / "config.json"
        if file.exists():  # the evidence grows row by row
            asked = shlex.split(json.loads(file.read_text())["legs"][-1]["command"])
            words = sorted(word for word in asked if word not in ("--resume", "--overwrite"))
            if "precision" not in row.options and "--precision" in words:
                assert "bf16" in words
                words = [word for word in words if word not in ("--precision", "bf16")]
            assert sorted(row.words()) == words, f"{row.question}/{row.name}"
            checked.add((row.question, row.name))
    assert len(checked) >= 15


def test_readmes_name_only_files_that_exist_and_have_the_four_headings():
    readmes = [file for pattern in ("*.md", "*/*.md", "tests/*/*.md") for file in ROOT.glob(pattern)]
    for file in readmes:
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)|src=\"([^\"]+)\"", file.read_text()):
            target = "".join(link)
            if not target.startswith("http"):
                assert (file.parent / target).exists(), f"{file}: {target}"
    wanted = ["Run", "Results", "What the numbers mean", "Departures from the paper"]
    for question in PAPERS:
        assert re.findall(r"^## (.*)$", (ROOT / question / "README.md").read_text(), re.M) == wanted


def test_animations_are_small_enough_to_commit():
    sizes = {file: file.stat().st_size for file in ROOT.glob("figures/q*/*/*.gif")}
    assert sizes and max(sizes.values()) <= 500_000, sizes


def test_report_without_runs_says_what_to_do(tmp_path, capsys):
    assert report.main(report.Options(tmp_path)) is None
    assert "python reproduce.py" in capsys.readouterr().err
