"""reproduce.py: what a preset runs, in which order, and what is said of it."""

import contextlib
import inspect
import json
import re
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest

from common import cli
from common.errors import RunError, UsageError
from reproduction import ending, jobs, runner
from reproduction.commands import Row, with_seeds
from reproduction.options import ReproduceOptions, resolve
from reproduction.presets import PRESETS
from tests.conftest import ENVIRONMENT, ROOT
from tests.test_report import FIRST, make_run

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
sys.path.insert(0, {project!r})
from reproduction import log_reader
FIRST = {first!r}
{make_run}
make_run(root / "logs", name, value=2.5, dataset="synthetic")
with open(root / "ran", "a") as file:
    print(name, begun, time.time(), file=file)
"""

# Stands in for an evaluation: adds what it measured to the results of a finished run.
EVALUATE = """
import json, pathlib, sys
KEY = "evaluate.py, best.pt, test part of synthetic, seed 0"
results = pathlib.Path(sys.argv[sys.argv.index("--checkpoint") + 1]).parent.parent / "results.json"
results.write_text(json.dumps(json.loads(results.read_text()) | {"evaluations": {KEY: []}}))
"""


def job(minutes=None, state="new", folder=ROOT, **more):
    return jobs.Job(Row("q", "n", "train", minutes=minutes), folder, [], state, **more)


ENDS = {0: "done", 130: "stopped", -15: "stopped", -2: "stopped", 1: "failed", -9: "failed"}


@pytest.mark.parametrize("status, state", ENDS.items())
def test_a_command_that_was_stopped_while_it_started_has_not_failed(status, state):
    """A cluster's warning reaches every process, also one that is still importing and dies of it."""
    ended = job(state="running")
    jobs.finish(ended, status)
    assert ended.state == state


@pytest.fixture
def rows(monkeypatch, tmp_path):
    """Makes a preset of these names of runs, or (name, the run it needs); its options."""

    def make(*names, seconds=0.0):
        script = tmp_path / "train.py"
        source = inspect.getsource(make_run)
        filled = {"root": str(tmp_path), "project": str(ROOT), "first": FIRST, "make_run": source}
        script.write_text(SCRIPT.format(seconds=seconds, **filled))
        monkeypatch.setattr(Row, "file", property(lambda row: str(tmp_path / f"{row.script}.py")))
        made = []
        for name in names:
            name, *after = [name] if isinstance(name, str) else name
            made.append(Row("q2_protonet", name, "train", after=tuple(after)))
        monkeypatch.setitem(PRESETS, "quick", made)
        return ReproduceOptions(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", device="cpu")

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
    assert "Not run here: 2 of preset quick" in page
    capfd.readouterr()
    assert runner.main(options) == 1  # a second call does only what is missing
    assert "[4/4] q2_protonet good: done" in capfd.readouterr().out
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


@pytest.mark.parametrize("side_by_side", [1, 2])
def test_a_crash_is_told_in_words(rows, capfd, side_by_side):
    options = rows("crash", "good")
    options.jobs = side_by_side
    assert runner.main(options) == 1
    err = capfd.readouterr().err
    assert "q2_protonet crash: FAILED (was ended by SIGABRT, a crash inside torch" in err
    assert "double free or corruption (!prev)" in err  # its own words
    assert re.search(r'File ".*train.py", line \d+ in <module>', err)  # where it was
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
        return [each.row.name for each in jobs.plan(options)]

    assert planned("c") == ["a", "c"]
    assert planned("b", "a") == ["a", "b"]
    assert planned("c*") == ["a", "b", "c", "cc"]


def test_a_name_that_no_run_of_the_preset_has_is_refused(rows):
    options = rows("a", "b")
    options.runs = ("a", "d")
    with pytest.raises(UsageError, match="--runs d: preset quick has only a, b$"):
        resolve(options)


def test_a_name_that_only_another_question_has_is_refused():
    options = ReproduceOptions("evidence", only=("q1_dcgan",), runs=("omniglot-*",))
    with pytest.raises(UsageError, match=r"--runs omniglot-\*: preset evidence, q1_dcgan, has only mnist, "):
        resolve(options)


def test_only_some_questions_are_planned():
    options = ReproduceOptions("small", only=("q1_dcgan", "q3_pix2pix"))
    assert [each.row.name for each in jobs.plan(options)] == ["small-conditional", "small-aerial"]


def test_where_every_command_fails_no_page_is_named(rows, capfd):
    options = rows("bad")
    assert runner.main(options) == 1
    out, err = capfd.readouterr()
    assert re.search(r"^\d+\.\d minutes\.$", out, re.M)
    assert "Page" not in out
    assert "FAILED (exit status 3" in err
    assert "python reproduce.py makes them" not in err


def test_a_name_with_a_seed_is_one_of_the_runs_with_that_seed(rows):
    options = rows("a")
    options.runs = ("a-seed3",)
    options.seeds = (3,)
    assert [each.row.name for each in jobs.plan(resolve(options))] == ["a-seed3"]


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


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
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


# Rows and their commands ------------------------------------------------------------------------------------


def test_seeds_name_their_runs_and_what_a_search_of_the_same_seed_found():
    found = Row("q", "found", "train", "--genotype {log_root}/{after}/g.json", after=("search",))
    rows = [Row("q", "search", "train"), found, Row("q", "search-long", "train", "--x", seed=2)]
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
    "quick": "q4_darts/train.py --precision fp32 --dataset synthetic --layers 3 --epochs 4 "
    "--init_channels 4 --batch_size 32 --learning_rate 0.03 --cutout 0 --drop_path 0 --auxiliary 0 "
    "--genotype L/q4_darts/quick-search-seed1/genotype.json --seed 1 "
    "--run_name quick-found-seed1 --data_root D --log_root L --figure_root F",
    "full": "q3_pix2pix/evaluate.py --l1_checkpoint L/q3_pix2pix/full-aerial-l1/checkpoints/last.pt "
    "--checkpoint L/q3_pix2pix/full-aerial/checkpoints/last.pt --data_root D --figure_root F",
    "paper": "q2_protonet/train.py --epochs 200 --num_support_tr 1 --num_support_val 1 "
    "--classes_per_it_val 20 --trainval paper-20w1s --run_name paper-20w1s-trainval --data_root D "
    "--log_root L --figure_root F",
    "evidence": "q2_protonet/evaluate.py --way 5 20 --shot 1 5 --shifts 0 1 "
    "--checkpoint L/q2_protonet/omniglot-20w5s/checkpoints/best.pt --data_root D",
}


@pytest.mark.parametrize("preset", COMMANDS)
def test_a_row_is_typed_as_a_command(preset):
    rows = with_seeds(PRESETS[preset], (0, 1, 2))
    assert f"python {COMMANDS[preset]}" in [" ".join(row.words("L", "F", "D")) for row in rows]


def test_a_log_root_with_a_blank_stays_one_word():
    rows = {row.name: row for row in PRESETS["quick"]}
    words = rows["quick-found"].words(log_root="my logs")
    assert words[words.index("--genotype") + 1] == "my logs/q4_darts/quick-search/genotype.json"
    assert words[words.index("--log_root") + 1] == "my logs"


def test_the_estimate_knows_only_what_was_measured():
    assert jobs.estimate([], False) == "Everything is done already."
    assert "2 commands to run, about 40 minutes" in jobs.estimate([job(30), job(10)], False)
    assert "for 1 of them no time was ever measured" in jobs.estimate([job(30), job()], True)
    done = job(2, "done")
    done.minutes = 4.0
    assert jobs.left([done, job(3)], 1) == "; 6 minutes left"
    assert jobs.left([done, job(3)], 2) == "; 6 minutes left"  # the last one runs alone
    assert jobs.left([done, job(3), job(3)], 2) == "; 6 minutes left"
    assert jobs.left([done, job(0.1)], 2) == "; less than a minute left"


def test_progress_is_read_from_the_run_folder(tmp_path):
    running = job(folder=tmp_path, began=time.perf_counter())
    assert running.progress() == "starting"
    (tmp_path / "config.json").write_text("[]")  # damaged
    assert running.progress() == "starting"
    (tmp_path / "config.json").write_text(json.dumps({"options": {"epochs": 9}}))
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n")
    assert running.progress() == "epoch 2/9"  # of an earlier leg: no pace yet
    (tmp_path / "metrics.csv").write_text("epoch\n1\n2\n3\n")
    assert running.progress() == "epoch 3/9, less than a minute left"


OPTIONS = {"train": "TrainOptions", "train_search": "SearchOptions", "evaluate": "EvaluateOptions"}


def parse(row):
    """Returns a row's options as its script reads them, with roots that are not the usual ones."""
    options = getattr(import_module(f"{row.question}.options"), OPTIONS[row.script])
    return cli.parse(options, "", row.words("some-logs", "some-figures", "some-data")[2:])


@pytest.mark.parametrize("preset", PRESETS)
def test_every_command_of_a_preset_is_understood(preset):
    for row in with_seeds(PRESETS[preset], (0, 1)):
        options = parse(row)
        assert row.evaluates or options.run_name == row.name


@pytest.mark.parametrize("preset", PRESETS)
def test_no_training_of_a_preset_is_refused(preset):
    """By the checks that need no file: of runs that need another one, or data, they are not made here."""
    for row in PRESETS[preset]:
        if row.evaluates or row.after:
            continue
        module = import_module(f"{row.question}.options")
        names = {"train": "resolve_training", "train_search": "resolve_search"}
        resolve_row = getattr(module, "resolve", None) or getattr(module, names[row.script])
        with contextlib.suppress(RunError):  # no data here
            resolve_row(parse(row))


def test_the_rows_of_a_seed_that_is_a_row_already_are_made_once():
    rows = [Row("q1_dcgan", "a", "train"), Row("q1_dcgan", "a", "evaluate")]
    rows.append(Row("q1_dcgan", "a-seed1", "train", seed=1, repeats="a"))
    made = [" ".join(row.words()[1:]) for row in with_seeds(rows, (0, 3))]
    assert made == [
        "q1_dcgan/train.py --run_name a",
        "q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/a/checkpoints/last.pt",
        "q1_dcgan/train.py --seed 3 --run_name a-seed3",
        "q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/a-seed3/checkpoints/last.pt",
    ]


def test_an_evaluation_needs_its_run_and_the_one_beside_it():
    run = Row("q1_dcgan", "b", "train")
    beside = Row("q1_dcgan", "a", "train")
    evaluation = Row("q1_dcgan", "b", "evaluate", "--l1_checkpoint {log_root}/{after}.pt", after=("a",))
    assert evaluation.needs(run)
    assert evaluation.needs(beside)
    assert not run.needs(evaluation)
    assert not evaluation.needs(Row("q1_dcgan", "c", "train"))


def test_an_evaluation_is_told_apart_from_its_run():
    assert Row("q", "a", "train").label == "a"
    assert Row("q", "a", "evaluate").label == "a, evaluation"


def test_an_evaluation_waits_for_its_run_and_is_done_once(rows, monkeypatch, tmp_path, capfd):
    options = rows("run", "other")
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    monkeypatch.setitem(PRESETS, "quick", [Row("q2_protonet", "run", "evaluate"), *PRESETS["quick"]])
    assert runner.main(options) == 0
    files = [options.log_root / "q2_protonet" / name / "results.json" for name in ("run", "other")]
    results, other = (json.loads(file.read_text()) for file in files)
    assert len(results["evaluations"]) == 1 and results["rows"] and "evaluations" not in other
    capfd.readouterr()
    assert runner.main(options) == 0
    assert "[1/3] q2_protonet run, evaluation: done" in capfd.readouterr().out


TEST_PART = "evaluate.py, best.pt, test part of omniglot, split vinyals, seed 0"
WHOLE = [
    f"{way}-way {shot}-shot{shifts}" for way in (5, 20) for shot in (1, 5) for shifts in ("", ", shifts 1")
]
KEPT = {
    "the preset's": (TEST_PART, WHOLE, 1692, "done"),
    "another part": (
        TEST_PART.replace("test part", "validation part"),
        [f"{name}, validation part" for name in WHOLE],
        688,
        "new",
    ),
    "another checkpoint": (TEST_PART.replace("best", "last"), WHOLE, 1692, "new"),
    "other draws": (TEST_PART.replace("seed 0", "seed 5"), WHOLE, 1692, "new"),
    "fewer rows": (TEST_PART, [name for name in WHOLE if "shifts" not in name], 1692, "new"),
    "other classes": (TEST_PART.replace("vinyals", "small"), WHOLE, 400, "new"),
}


@pytest.mark.parametrize("kind", KEPT)
def test_an_evaluation_is_done_when_all_its_rows_are_there(tmp_path, kind):
    key, names, classes, state = KEPT[kind]
    (row,) = [row for row in PRESETS["evidence"] if row.label == "omniglot-20w1s, evaluation"]
    rows = [FIRST | {"name": name, "count": f"1000 episodes, {classes} classes"} for name in names]
    folder = make_run(tmp_path, row.name, rows=[FIRST | {"count": "1000 episodes, 1692 classes"}])
    assert row.state(tmp_path) == "new"
    results = json.loads((folder / "results.json").read_text()) | {"evaluations": {key: rows}}
    (folder / "results.json").write_text(json.dumps(results))
    assert row.state(tmp_path) == state


def test_every_evaluation_that_is_committed_is_done():
    """So the rows that a preset waits for are those that the scripts write."""
    checked = 0
    for row in [row for row in PRESETS["evidence"] if row.evaluates]:
        results = ROOT / "logs" / row.question / row.name / "results.json"
        if results.exists() and "evaluations" in json.loads(results.read_text()):
            assert row.state(ROOT / "logs") == "done", row.label
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("text", ["", "[]", '{"evaluations": {"a": 1}}', '{"rows": [], "evaluations": []}'])
def test_a_damaged_results_file_holds_no_evaluation(tmp_path, text):
    row = next(row for row in PRESETS["evidence"] if row.evaluates)
    (make_run(tmp_path, row.name) / "results.json").write_text(text)
    assert row.state(tmp_path) == "new"


def test_a_time_limit_stops_what_runs_and_the_same_command_goes_on(rows, capsys, tmp_path):
    options = rows("a", "b", seconds=60)
    options.minutes = 0.01
    assert runner.main(options) == 130
    assert "the same command goes on" in capsys.readouterr().err.lower()
    assert not (tmp_path / "ran").exists()
    assert runner.main(rows("a", "b")) == 0
    assert len((tmp_path / "ran").read_text().splitlines()) == 2


@pytest.mark.parametrize("flag", ["jobs", "minutes", "seeds"])
def test_a_negative_number_is_refused(flag):
    value = (-1,) if flag == "seeds" else -1
    with pytest.raises(UsageError, match=f"--{flag} must be 0 or more"):
        resolve(ReproduceOptions(**{flag: value}))


def test_a_device_that_is_none_is_refused():
    with pytest.raises(UsageError, match="--device must be auto"):
        resolve(ReproduceOptions(device="gpu"))


@pytest.mark.parametrize(
    "words", ["reproduce.py --help", "report.py --help", "reproduction/verify.py --help"]
)
def test_help_and_refusals_come_without_torch(words):
    """Checked by what is imported, which does not depend on how busy the machine is."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\ntry: runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *words.split()], cwd=ROOT, env=ENVIRONMENT, check=True)
