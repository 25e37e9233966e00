import inspect
import json
import re
import signal
import subprocess
import sys
import time
from importlib import import_module
from types import SimpleNamespace

import pytest
import tyro

from common.runtime import UsageError
from reproduction import ending, runner
from reproduction.presets import PRESETS, Row, with_seeds
from tests.conftest import ENVIRONMENT, ROOT
from tests.test_report import make_run

# Stands in for a training script: notes that it ran, and when, and leaves what a finished run leaves.
SCRIPT = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job would ignore
root = pathlib.Path({root!r})
name = sys.argv[sys.argv.index("--run_name") + 1]
begun = time.time()
if name == "bad":
    raise SystemExit(3)
if name == "crash":
    import faulthandler, os
    faulthandler.enable()
    print("double free or corruption (!prev)", file=sys.stderr, flush=True)
    os.abort()
time.sleep({seconds})
{make_run}
make_run(root / "logs", name, value=2.5, dataset="synthetic")
with open(root / "ran", "a") as file:
    print(name, begun, time.time(), file=file)
"""

# Stands in for an evaluation: adds what it measured to the results of a finished run.
EVALUATE = """
import json, pathlib, sys
results = pathlib.Path(sys.argv[sys.argv.index("--checkpoint") + 1]).parent.parent / "results.json"
results.write_text(json.dumps(json.loads(results.read_text()) | {"evaluations": {"last.pt": []}}))
"""


def job(minutes=None, state="new", folder=ROOT, **more):
    return runner.Job(Row("q", "n", "s", minutes=minutes), folder, [], state, **more)


ENDS = {0: "done", 130: "stopped", -15: "stopped", -2: "stopped", 1: "failed", -9: "failed"}


@pytest.mark.parametrize("status, state", ENDS.items())
def test_a_command_that_was_stopped_while_it_started_has_not_failed(status, state):
    """A cluster's warning reaches every process, also one that is still importing and dies of it."""
    ended = job(state="running", process=SimpleNamespace(returncode=status))
    runner.finish(ended)
    assert ended.state == state


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Makes a preset of these names of runs, or (name, the run it needs); its options."""

    def make(*names, seconds=0.0):
        script, source = tmp_path / "script.py", inspect.getsource(make_run)
        script.write_text(SCRIPT.format(root=str(tmp_path), make_run=source, seconds=seconds))
        made = [(name, ()) if isinstance(name, str) else (name[0], name[1:]) for name in names]
        made = [Row("q2_protonet", name, str(script), after=after) for name, after in made]
        monkeypatch.setitem(PRESETS, "quick", made)
        return runner.Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", device="cpu")

    return make


def test_a_failing_run_is_named_and_only_stops_what_needs_it(rows, capfd, tmp_path):
    options = rows("bad", ("after", "bad"), "bad-not", "good")
    assert runner.main(options) == 1
    out, err = capfd.readouterr()
    assert "q2_protonet bad: FAILED (exit status 3" in err and "NOT RUN: q2_protonet after" in err
    assert [line.split()[0] for line in (tmp_path / "ran").read_text().splitlines()] == ["bad-not", "good"]
    assert "| good | 20-way 1-shot | 96.0 | – | 2.50 ± 0.25 % | synthetic |" in out
    page = (options.figure_root / "report-quick.html").read_text()
    assert "2.50 ± 0.25" in page and "//" not in page  # nothing comes from elsewhere
    assert ">after <" in page  # as missing
    capfd.readouterr()
    assert runner.main(options) == 1  # a second call does only what is missing
    assert "[4/4] q2_protonet good: done" in capfd.readouterr().out
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_crash_is_told_in_words(rows, capfd, jobs):
    options = rows("crash", "good")
    options.jobs = jobs
    assert runner.main(options) == 1
    err = capfd.readouterr().err
    assert "q2_protonet crash: FAILED (was ended by SIGABRT, a crash inside torch" in err
    assert "double free or corruption (!prev)" in err  # its own words
    assert re.search(r'File ".*script.py", line \d+ in <module>', err)  # where it was
    assert "report it to https://github.com/pytorch/pytorch/issues" in err


WORDS = {-signal.SIGKILL: "SIGKILL, as the system does when memory runs out", -signal.SIGHUP: "SIGHUP"}
WORDS |= {-signal.SIGSEGV: "SIGSEGV, a crash inside torch or one of its libraries", -40: "signal 40"}


@pytest.mark.parametrize("status, words", WORDS.items())
def test_a_signal_has_its_name(status, words):
    assert ending.in_words(status) == f"was ended by {words}"


def test_the_last_lines_of_a_failure_are_shown():
    assert ending.last_lines("\n".join(map(str, range(30))) + "\n\n") == [str(n) for n in range(22, 30)]


def test_named_runs_bring_what_they_need_with_them(rows):
    options = rows("a", "b", ("c", "a"), ("cc", "b"))

    def planned(*runs):
        options.runs = runs
        return [each.row.name for each in runner.plan(options, gpu=False)]

    assert planned("c") == ["a", "c"] and planned("b", "a") == ["a", "b"]
    assert planned("c*") == ["a", "b", "c", "cc"]
    with pytest.raises(UsageError, match="--runs d: preset quick has only a, b, c, cc"):
        planned("c", "d")


def test_what_was_cut_is_resumed(rows, capsys):
    options = rows("run")
    options.dry_run = True
    run = options.log_root / "q2_protonet" / "run"
    (run / "checkpoints").mkdir(parents=True)
    shown = {"config.json": "--overwrite", "checkpoints/last.pt": "--resume"}
    for file, expected in (shown | {"results.json": "[1/1] q2_protonet run: done"}).items():
        (run / file).touch()
        runner.main(options)
        assert expected in capsys.readouterr().out


def test_jobs_run_side_by_side_and_what_depends_waits(rows, tmp_path):
    options = rows("a", "b", ("c", "a"), seconds=0.7)
    options.jobs = 2
    assert runner.main(options) == 0
    lines = [line.split() for line in (tmp_path / "ran").read_text().splitlines()]
    times = {name: (float(begun), float(ended)) for name, begun, ended in lines}
    assert times["b"][0] < times["a"][1] and times["a"][0] < times["b"][1]
    assert times["c"][0] > times["a"][1]
    assert (options.log_root / "q2_protonet" / "a.out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_run_once_and_the_same_command_goes_on(script, roots, tmp_path, number):
    words = ["reproduce.py", "--only", "q3_pix2pix", *roots]
    ready = {"cwd": ROOT, "env": ENVIRONMENT, "stdout": -1, "stderr": -1, "text": True}
    # A background job would ignore SIGINT, and a test that stopped a run in this process SIGTERM.
    ready["preexec_fn"] = lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM)]
    with subprocess.Popen([sys.executable, *words], **ready) as process:
        log = tmp_path / "logs" / "q3_pix2pix" / "quick-gan" / "train.log"
        while not log.exists() or "epoch 1," not in log.read_text():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate()
    assert process.returncode == 130 and "Stopped. The same command goes on from here." in err
    assert "quick-gan: stopped" in out and "quick-l1" not in out
    first, second = script(*words, "--dry_run").stdout.splitlines()[:2]
    assert "--resume" in first and "--resume" not in second


def test_seeds_name_their_runs_and_what_a_search_of_the_same_seed_found():
    found = Row("q", "found", "s", {"genotype": "{log_root}/{after}/g.json"}, after=("search",))
    rows = [Row("q", "search", "s"), found, Row("q", "search-long", "s", {"x": True}, seed=2)]
    made = {row.name: " ".join(row.words()[2:-2]) for row in with_seeds(rows, (0, 2))}
    assert made == {
        "search": "",
        "found": "--genotype logs/search/g.json",
        "search-long-seed0": "--x",
        "search-seed2": "--seed 2",
        "found-seed2": "--genotype logs/search-seed2/g.json --seed 2",
        "search-long": "--x --seed 2",
    }


COMMANDS = {
    "quick": "q4_darts/train.py --precision fp32 --dataset synthetic --layers 3 --learning_rate 0.1 "
    "--epochs 4 --init_channels 4 --batch_size 32 --cutout 0 --drop_path 0 --auxiliary 0 "
    "--genotype L/q4_darts/quick-search-seed1/genotype.json --seed 1 "
    "--run_name quick-found-seed1 --data_root D --log_root L --figure_root F",
    "full": "q3_pix2pix/evaluate.py --l1_checkpoint L/q3_pix2pix/full-aerial-l1/checkpoints/last.pt "
    "--checkpoint L/q3_pix2pix/full-aerial/checkpoints/last.pt --data_root D --figure_root F",
    "paper": "q2_protonet/train.py --num_support_tr 1 --num_support_val 1 --classes_per_it_val 20 "
    "--trainval paper-20w1s --run_name paper-20w1s-trainval --data_root D --log_root L --figure_root F",
    "evidence": "q2_protonet/evaluate.py --way 5 20 --shot 1 5 --shifts 0 1 "
    "--checkpoint L/q2_protonet/omniglot-20w5s/checkpoints/best.pt --data_root D --figure_root F",
    "precision": "q1_dcgan/train.py --epochs 3 --precision tf32 --seed 2 --run_name precision-tf32-seed2 "
    "--data_root D --log_root L --figure_root F",
}


@pytest.mark.parametrize("preset", COMMANDS)
def test_a_row_is_typed_as_a_command(preset):
    rows = with_seeds(PRESETS[preset], (0, 1, 2))
    assert f"python {COMMANDS[preset]}" in [" ".join(row.words("L", "F", "D")) for row in rows]


def test_the_estimate_knows_only_what_was_measured():
    assert runner.estimate([], False) == "Everything is done already."
    assert "2 commands to run, about 40 minutes" in runner.estimate([job(30), job(10)], False)
    assert "for 1 of them no time was ever measured" in runner.estimate([job(30), job()], True)
    done = job(2, "done")
    done.minutes = 4.0
    assert runner.left([done, job(3)]) == "; about 6.0 minutes left"


def test_progress_is_read_from_the_run_folder(tmp_path):
    running = job(folder=tmp_path, began=time.perf_counter())
    assert running.progress() == "starting"
    (tmp_path / "config.json").write_text(json.dumps({"options": {"epochs": 9}}))
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    assert running.progress() == "epoch 2/9"  # of an earlier leg: no pace yet
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n3\n")
    assert running.progress() == "epoch 3/9, 0 minutes left"


def test_every_command_of_every_preset_is_understood():
    """Each row's flags are read by its own script's options, and pass its checks where they need no file."""
    how = {"use_underscores": True, "config": (tyro.conf.FlagCreatePairsOff,)}
    for rows in PRESETS.values():
        for row in with_seeds(rows, (0, 1)):
            module = import_module(row.script.removesuffix(".py").replace("/", "."))
            options = tyro.cli(module.Options, args=row.words()[2:], **how)
            assert row.script.startswith(row.question)
            assert row.evaluates or options.run_name == row.name
            if not row.evaluates and not row.after:
                module.check(options)


def test_an_evaluation_waits_for_its_run_and_is_done_once(rows, monkeypatch, tmp_path, capfd):
    options, script = rows("run", "other"), tmp_path / "evaluate.py"
    script.write_text(EVALUATE)
    monkeypatch.setitem(PRESETS, "quick", [Row("q2_protonet", "run", str(script)), *PRESETS["quick"]])
    assert runner.main(options) == 0
    files = [options.log_root / "q2_protonet" / name / "results.json" for name in ("run", "other")]
    results, other = (json.loads(file.read_text()) for file in files)
    assert results["evaluations"] == {"last.pt": []} and results["rows"] and "evaluations" not in other
    capfd.readouterr()
    assert runner.main(options) == 0
    assert "[1/3] q2_protonet run, evaluation: done" in capfd.readouterr().out


def test_a_time_limit_stops_what_runs_and_the_same_command_goes_on(rows, capsys, tmp_path):
    options = rows("a", "b", seconds=60)
    options.minutes = 0.01
    assert runner.main(options) == 130
    assert "the same command goes on" in capsys.readouterr().err.lower()
    assert not (tmp_path / "ran").exists()
    assert runner.main(rows("a", "b")) == 0
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


def test_seeds_of_rows_that_are_seeds_already_and_of_evaluations():
    rows = [Row("q", "a", "train.py"), Row("q", "a", "evaluate.py")]
    rows += [Row("q", "a-seed1", "train.py", seed=1, repeats="a")]
    made = [" ".join(row.words()[1:]) for row in with_seeds(rows, (0, 3))]
    assert made[:2] == ["train.py --run_name a", "evaluate.py --checkpoint logs/q/a/checkpoints/last.pt"]
    assert made[2] == "train.py --seed 3 --run_name a-seed3"
    assert made[3:] == ["evaluate.py --checkpoint logs/q/a-seed3/checkpoints/last.pt"]
    assert rows[1].needs(rows[0]) and not rows[1].needs(rows[2]) and not rows[0].needs(rows[1])
    l1 = {"l1_checkpoint": "{log_root}/q/{after}/checkpoints/last.pt"}
    beside = Row("q", "b", "evaluate.py", l1, after=("a",))
    assert beside.needs(rows[0]) and beside.needs(Row("q", "b", "train.py")) and not beside.needs(rows[1])
    words = " ".join(beside.words(log_root="l", figure_root="f", data_root="d")[2:])
    both = "--l1_checkpoint l/q/a/checkpoints/last.pt --checkpoint l/q/b/checkpoints/last.pt"
    assert words == f"{both} --data_root d --figure_root f"
    assert (rows[0].label, rows[1].label) == ("a", "a, evaluation")
    words = "python evaluate.py --checkpoint l/q/a/checkpoints/last.pt"
    assert " ".join(rows[1].words(log_root="l")) == words


def test_a_negative_number_is_refused(script):
    assert "must be 0 or more" in script("reproduce.py", "--jobs", "-1", status=2).stderr
