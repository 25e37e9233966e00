import json
import signal
import subprocess
import sys
import time

import pytest
import tyro

import presets
import reproduce
from presets import PRESETS, Row
from q1_dcgan import evaluate as q1_evaluate
from q1_dcgan import train as q1
from q2_protonet import train as q2
from q3_pix2pix import evaluate as q3_evaluate
from q3_pix2pix import train as q3
from q4_darts import evaluate as q4_evaluate
from q4_darts import train as q4
from q4_darts import train_search as q4_search
from tests.conftest import ENVIRONMENT, ROOT

# Stands in for a training script: notes that it ran, and when, and leaves what a finished run leaves.
SCRIPT = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job would ignore
root = pathlib.Path({root!r})
name = sys.argv[sys.argv.index("--run_name") + 1]
begun = time.time()
if name == "bad":
    raise SystemExit(3)
time.sleep({seconds})
folder = root / "logs" / "q2_protonet" / name
folder.mkdir(parents=True)
row = {{"name": "20-way 1-shot", "value": 2.5, "interval": 0.25, "unit": "% accuracy", "paper": 96.0}}
made = {{"question": "q2_protonet", "title": "t", "rows": [row], "device": "d", "precision": "p", "minutes": 1, "epochs": 1}}
options = {{"seed": 0, "dataset": "synthetic", "name": name}}
leg = {{"command": "python q2_protonet/train.py", "commit": "c", "versions": {{}}}}
(folder / "config.json").write_text(json.dumps({{"legs": [leg], "options": options}}))
(folder / "results.json").write_text(json.dumps(made))
with open(root / "ran", "a") as file:
    print(name, begun, time.time(), file=file)
"""

# Stands in for an evaluation: adds what it measured to the results of a finished run.
EVALUATE = """
import json, pathlib, sys
results = pathlib.Path(sys.argv[sys.argv.index("--checkpoint") + 1]).parent.parent / "results.json"
results.write_text(json.dumps(json.loads(results.read_text()) | {"evaluations": {"last.pt": []}}))
"""


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Makes a preset of these (name, flags); its options."""

    def make(*names, seconds=0.0):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(root=str(tmp_path), seconds=seconds))
        monkeypatch.setitem(
            PRESETS, "quick", [Row("q2_protonet", name, str(script), flags) for name, flags in names]
        )
        return reproduce.Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", device="cpu")

    return make


def test_a_failing_run_is_named_and_only_stops_what_needs_it(rows, capfd, tmp_path):
    options = rows(
        ("bad", ""), ("after", "--genotype logs/bad/genotype.json"), ("bad-not", "--x not-bad"), ("good", "")
    )
    assert reproduce.main(options) == 1
    out, err = capfd.readouterr()
    assert "q2_protonet bad: FAILED (exit status 3" in err and "NOT RUN: q2_protonet after" in err
    assert [line.split()[0] for line in (tmp_path / "ran").read_text().splitlines()] == ["bad-not", "good"]
    assert "| good | 20-way 1-shot | 96.0 | – | 2.50 ± 0.25 % | synthetic |" in out
    page = (options.figure_root / "report-quick.html").read_text()
    assert (
        "2.50 ± 0.25" in page
        and "//" not in page.replace("data:image", "").split("<script>")[0].split("base64")[0]
    )
    assert ">after <" in page  # as missing
    capfd.readouterr()
    assert reproduce.main(options) == 1  # a second call does only what is missing
    assert "[4/4] q2_protonet good: done" in capfd.readouterr().out
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


def test_what_was_cut_is_resumed(rows, capsys):
    options = rows(("run", ""))
    options.dry_run = True
    run = options.log_root / "q2_protonet" / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    reproduce.main(options)
    assert "--overwrite" in capsys.readouterr().out
    (run / "checkpoints" / "last.pt").touch()
    reproduce.main(options)
    assert "--resume" in capsys.readouterr().out
    (run / "results.json").touch()
    reproduce.main(options)
    assert "[1/1] q2_protonet run: done" in capsys.readouterr().out


def test_jobs_run_side_by_side_and_what_depends_waits(rows, tmp_path):
    options = rows(("a", ""), ("b", ""), ("c", "--genotype logs/a/genotype.json"), seconds=0.7)
    options.jobs = 2
    assert reproduce.main(options) == 0
    lines = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    times = {name: (float(begun), float(ended)) for name, begun, ended in lines}
    assert times["b"][0] < times["a"][1] and times["a"][0] < times["b"][1]
    assert times["c"][0] > times["a"][1]
    assert (options.log_root / "q2_protonet" / "a.out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_run_once_and_the_same_command_goes_on(tmp_path, number):
    words = [
        "reproduce.py",
        "--only",
        "q3_pix2pix",
        "--log_root",
        f"{tmp_path}/logs",
        "--figure_root",
        f"{tmp_path}/figures",
    ]
    ready = {"cwd": ROOT, "env": ENVIRONMENT, "stdout": -1, "stderr": -1, "text": True}
    ready["preexec_fn"] = lambda: signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # which a background job would ignore
    with subprocess.Popen([sys.executable, *words], **ready) as process:
        log = tmp_path / "logs" / "q3_pix2pix" / "quick-gan" / "train.log"
        while not log.exists() or "epoch 1," not in log.read_text():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 130 and "Stopped. The same command goes on from here." in err
    assert "quick-gan: stopped" in out and "quick-l1" not in out
    again = subprocess.run(
        [sys.executable, *words, "--dry_run"], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert "--resume" in again.stdout.splitlines()[0] and "--resume" not in again.stdout.splitlines()[1]


def test_seeds_name_their_runs_and_what_a_search_of_the_same_seed_found():
    rows = [
        Row("q", "search", "s", ""),
        Row("q", "found", "s", "--genotype logs/search/g.json"),
        Row("q", "search-long", "s", "--seed 2 -x"),
    ]
    made = {row.name: row.flags for row in presets.with_seeds(rows, (0, 2))}
    assert made == {
        "search": "",
        "found": "--genotype logs/search/g.json",
        "search-long-seed0": "-x",
        "search-seed2": "--seed 2",
        "found-seed2": "--genotype logs/search-seed2/g.json --seed 2",
        "search-long": "-x --seed 2",
    }


def test_the_estimate_knows_only_what_was_measured():
    def jobs(*minutes):
        return [reproduce.Job(Row("q", "n", "s", "", m), ROOT, [], "new") for m in minutes]

    assert reproduce.estimate([], False) == "Everything is done already."
    assert "2 commands to run, about 40 minutes" in reproduce.estimate(jobs(30, 10), False)
    assert "for 1 of them no time was ever measured" in reproduce.estimate(jobs(30, None), True)
    done, to_do = jobs(2, 3)
    done.state, done.minutes = "done", 4.0
    assert reproduce.left([done, to_do]) == "; about 6.0 minutes left"


def test_progress_is_read_from_the_run_folder(tmp_path):
    job = reproduce.Job(Row("q", "n", "s", ""), tmp_path, [], "running", began=time.perf_counter())
    assert job.progress() == "starting"
    (tmp_path / "config.json").write_text(json.dumps({"options": {"epochs": 9}}))
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    assert job.progress() == "epoch 2/9"  # of an earlier leg: no pace yet
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n3\n")
    assert job.progress() == "epoch 3/9, 0 minutes left"


def test_every_command_of_every_preset_is_understood():
    """Each row's flags are read by its own script's options, and pass its checks where they need no file."""
    modules = {"q1_dcgan/train.py": q1, "q2_protonet/train.py": q2, "q3_pix2pix/train.py": q3}
    modules |= {"q4_darts/train.py": q4, "q4_darts/train_search.py": q4_search}
    evaluations = {
        "q1_dcgan/evaluate.py": q1_evaluate,
        "q3_pix2pix/evaluate.py": q3_evaluate,
        "q4_darts/evaluate.py": q4_evaluate,
    }
    for rows in PRESETS.values():
        for row in presets.with_seeds(rows, (0, 1)):
            module = (modules | evaluations)[row.script]
            options = tyro.cli(
                module.Options,
                args=row.words()[2:],
                use_underscores=True,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
            assert row.script.startswith(row.question)
            assert row.evaluates or options.run_name == row.name
            if not row.evaluates and "/genotype.json" not in row.flags and "--trainval" not in row.flags:
                module.check(options)


def test_an_evaluation_waits_for_its_run_and_is_done_once(rows, monkeypatch, tmp_path, capfd):
    options = rows(("run", ""), ("other", ""))
    script = tmp_path / "evaluate.py"
    script.write_text(EVALUATE)
    monkeypatch.setitem(PRESETS, "quick", [Row("q2_protonet", "run", str(script), ""), *PRESETS["quick"]])
    assert reproduce.main(options) == 0
    results = json.loads((options.log_root / "q2_protonet" / "run" / "results.json").read_text())
    assert results["evaluations"] == {"last.pt": []} and results["rows"]
    assert "evaluations" not in json.loads(
        (options.log_root / "q2_protonet" / "other" / "results.json").read_text()
    )
    capfd.readouterr()
    assert reproduce.main(options) == 0
    assert "[1/3] q2_protonet run, evaluation: done" in capfd.readouterr().out


def test_a_time_limit_stops_what_runs_and_the_same_command_goes_on(rows, capsys, tmp_path):
    options = rows(("a", ""), ("b", ""), seconds=60)
    options.minutes = 0.01
    assert reproduce.main(options) == 130
    assert "the same command goes on" in capsys.readouterr().err.lower()
    assert not (tmp_path / "ran").exists()
    assert reproduce.main(rows(("a", ""), ("b", ""))) == 0
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


def test_seeds_of_rows_that_are_seeds_already_and_of_evaluations():
    rows = [
        Row("q", "a", "train.py", ""),
        Row("q", "a", "evaluate.py", ""),
        Row("q", "a-seed1", "train.py", "--seed 1"),
    ]
    made = [(row.name, row.script, row.flags) for row in presets.with_seeds(rows, (0, 3))]
    assert made == [
        ("a", "train.py", ""),
        ("a", "evaluate.py", ""),
        ("a-seed3", "train.py", "--seed 3"),
        ("a-seed3", "evaluate.py", ""),
    ]
    assert rows[1].needs(rows[0]) and not rows[1].needs(rows[2]) and not rows[0].needs(rows[1])
    beside = Row("q", "b", "evaluate.py", "--l1_checkpoint {log_root}/q/a/checkpoints/last.pt")
    assert beside.needs(rows[0]) and beside.needs(Row("q", "b", "train.py", "")) and not beside.needs(rows[1])
    words = beside.words(log_root="l", figure_root="f", data_root="d")
    assert words[2:] == [
        "--l1_checkpoint",
        "l/q/a/checkpoints/last.pt",
        "--checkpoint",
        "l/q/b/checkpoints/last.pt",
        *words[-4:],
    ]
    assert words[-4:] == ["--data_root", "d", "--figure_root", "f"]
    assert (rows[0].label, rows[1].label) == ("a", "a, evaluation")
    assert rows[1].words(log_root="l") == [
        "python",
        "evaluate.py",
        "--checkpoint",
        "l/q/a/checkpoints/last.pt",
    ]
