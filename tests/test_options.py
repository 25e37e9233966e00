"""What every script demands of its options, and how it refuses others: in words, before torch is loaded."""

import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from common import cli
from common.errors import UsageError
from common.provenance import ROOT
from q1_dcgan import options as q1
from q2_protonet import options as q2
from q3_pix2pix import options as q3
from q4_darts import options as q4
from tests.conftest import ENVIRONMENT


class Training(NamedTuple):
    """The options of a training script and what checks them."""

    options: type
    resolve: object
    folder: str = "folder"  # the option for pictures of one's own


TRAININGS = {
    "q1": Training(q1.TrainOptions, q1.resolve),
    "q2": Training(q2.TrainOptions, q2.resolve),
    "q3": Training(q3.TrainOptions, q3.resolve, "pairs"),
    "q4": Training(q4.TrainOptions, q4.resolve_training),
    "q4, search": Training(q4.SearchOptions, q4.resolve_search),
}
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("q?_*", "reproduction", ".")
    for path in ROOT.glob(f"{folder}/*.py")
    if "cli.read(" in path.read_text()
)
each_training = pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
each_script = pytest.mark.parametrize("name", SCRIPTS)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    """No run of this project is in the way, and a test that works after all leaves nothing."""
    monkeypatch.chdir(tmp_path)


def refusal(training, **given):
    """What is said of these options."""
    with pytest.raises(UsageError) as error:
        training.resolve(training.options(**given))
    return str(error.value)


# Options ----------------------------------------------------------------------------------------------------

BAD = {int: (-7,), float: (-7.0, float("nan"), float("inf"))}
NUMBERS = [
    (name, field.name, bad)
    for name, training in TRAININGS.items()
    for field in dataclasses.fields(training.options)
    for bad in BAD.get(type(field.default), ())
]


@pytest.mark.parametrize(("name", "field", "bad"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_with_flag_value_and_range(name, field, bad):
    said = refusal(TRAININGS[name], **{field: bad})
    assert f"--{field}" in said
    assert str(bad) in said or "needs --dataset folder" in said
    assert re.search("must (be|lie)|more than|leaves none|needs --dataset folder", said), said


@each_training
@pytest.mark.parametrize("run_name", ["../other", "a/b", "..", ".hidden"])
def test_a_run_name_cannot_leave_its_folder(training, run_name):
    assert "--run_name must be the name of a folder" in refusal(training, run_name=run_name)


@each_training
def test_resume_and_overwrite_exclude_each_other(training):
    assert "--overwrite" in refusal(training, resume=True, overwrite=True)


@each_training
def test_resuming_a_run_that_is_not_there_is_refused_at_once(training):
    assert "--resume: there is no run" in refusal(training, resume=True, run_name="nothere")


@each_training
def test_a_folder_of_ones_own_needs_the_data_set_folder_and_the_other_way_round(training):
    flag = f"--{training.folder}"
    assert flag in refusal(training, dataset="folder")
    assert flag in refusal(training, **{training.folder: Path("mine")})
    assert flag in refusal(training, dataset="folder", **{training.folder: Path("missing")})


@each_training
def test_options_that_are_resolved_stay_as_they_are(training):
    once = training.resolve(training.options(smoke=True))
    assert training.resolve(once) == once


@each_training
def test_smoke_leaves_what_is_given_and_says_what_it_sets(training, capsys):
    words = ["--smoke", "--epochs", "7", "--run_name", "mine"]
    options = cli.read(training.options, training.resolve, "", words)
    assert (options.epochs, options.run_name, options.dataset) == (7, "mine", "synthetic")
    said = capsys.readouterr().err
    assert "--smoke sets --dataset synthetic" in said
    assert "--epochs" not in said


@each_training
def test_smoke_leaves_what_is_given_as_the_default_too(training):
    default = training.options().epochs
    options = cli.read(training.options, training.resolve, "", ["--smoke", "--epochs", str(default)])
    assert training.resolve(options).epochs == default


OUTPUTS = {
    "q1, no ending": (q1.SampleOptions, q1.resolve_sampling, "noext"),
    "q1, a folder": (q1.SampleOptions, q1.resolve_sampling, "folder.png"),
    "q2, a folder": (q2.PredictOptions, q2.resolve_prediction, "folder"),
    "q3, .psd": (q3.PredictOptions, q3.resolve_prediction, "map.psd"),
    "q3, .hdf": (q3.PredictOptions, q3.resolve_prediction, "map.hdf"),
    "q4, no ending": (q4.PredictOptions, q4.resolve_prediction, "noext"),
    "q4, a folder": (q4.PredictOptions, q4.resolve_prediction, "folder.csv"),
    "q4's cells, no ending": (q4.VisualizeOptions, q4.resolve_visualization, "noext"),
}


@pytest.mark.parametrize(("options_type", "resolve", "output"), OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused(tmp_path, options_type, resolve, output):
    for picture in ("support/a/1.png", "support/b/1.png"):
        (tmp_path / picture).parent.mkdir(parents=True)
        (tmp_path / picture).write_bytes(b"")
    if output.startswith("folder"):
        (tmp_path / output).mkdir()
    inputs = {"input": (tmp_path / picture,), "query": (tmp_path / picture,), "support": tmp_path / "support"}
    fields = {field.name for field in dataclasses.fields(options_type)}
    given = {name: value for name, value in inputs.items() if name in fields}
    with pytest.raises(UsageError, match="--output"):
        resolve(options_type(output=tmp_path / output, **given))


# Scripts ----------------------------------------------------------------------------------------------------

HEAVY = ("torch", "torchvision", "matplotlib")
ANSWERS = f"""
import runpy, sys
script, *words = sys.argv[1:]
sys.argv = [script, *words]
try:
    runpy.run_path(script, run_name="__main__")
except SystemExit as end:
    print("ended with", end.code, *(name for name in {HEAVY} if name in sys.modules))
"""
REFUSED = {  # what only the scripts' own checks see
    "demo.py": "--device tpu",
    "q1_dcgan/train.py": "--epochs 0",
    "q1_dcgan/evaluate.py": "--checkpoint nowhere.pt",
    "q1_dcgan/sample.py": "--output noext",
    "q1_dcgan/ways_to_sample.py": "--samples 0",
    "q2_protonet/train.py": "--resume --run_name nothere",
    "q2_protonet/evaluate.py": "--lake_runs nowhere",
    "q2_protonet/lake_difference.py": "--lake_runs nowhere",
    "q2_protonet/predict.py": "--support nowhere --query nowhere",
    "q3_pix2pix/train.py": "--dataset folder --pairs nowhere",
    "q3_pix2pix/evaluate.py": "--pairs nowhere",
    "q3_pix2pix/predict.py": "--input nowhere",
    "q4_darts/train.py": "--genotype nowhere",
    "q4_darts/train_search.py": "--seed -1",
    "q4_darts/evaluate.py": "--folder nowhere",
    "q4_darts/predict.py": "--output noext",
    "q4_darts/visualize.py": "--output noext",
    "report.py": "--runs nowhere/nothing",
    "reproduce.py": "--only q2_protonet --runs nothing-*",
    "reproduction/export.py": "--checkpoint nowhere.pt",
    "reproduction/verify.py": "--device tpu",
}


def answer(name, *words):
    """What a script says to these words, and how it ended."""
    command = [sys.executable, "-c", ANSWERS, ROOT / name, *words]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    said = done.stdout.splitlines()
    return "\n".join(said[:-1]), said[-1], done.stderr


@each_script
def test_help_comes_before_torch_is_loaded(name):
    _, ended, _ = answer(name, "--help")
    assert ended == "ended with 0"


@pytest.mark.parametrize(("name", "words"), REFUSED.items())
def test_a_refusal_is_one_line_and_comes_before_torch_is_loaded(name, words):
    _, ended, errors = answer(name, *words.split())
    assert re.fullmatch("ended with [12]", ended)
    assert re.fullmatch(r"error: .+\n", errors)


def test_every_script_has_a_refusal_that_is_tried():
    assert [name for name in SCRIPTS if name not in REFUSED and "aerial" not in name] == []


def options_of(name):
    """The options of a script by its module, and its docstring."""
    module = importlib.import_module(name.removesuffix(".py").replace("/", "."))
    return module.Options, module.__doc__


@pytest.fixture
def told(name, capfd):
    """What a script's help says of each flag."""
    options_type, description = options_of(name)
    with pytest.raises(SystemExit):
        cli.parse(options_type, description, ["--help"])
    entries = re.findall(r"│ --(\w+) (.*?)(?=│ --|╰)", capfd.readouterr().out, re.S)
    return {flag: re.sub(r"[│\s]+", " ", words) for flag, words in entries}


@each_script
def test_the_help_has_a_comment_and_a_default_for_every_flag(name, told):
    assert len(told) == len(dataclasses.fields(options_of(name)[0]))
    for flag, words in told.items():
        found = re.fullmatch(r"(?P<comment>.*) \((default: [^')].*|needed)\) ", words)
        assert found and len(found["comment"].split()) > 1, f"--{flag}: {words}"
        assert not re.search(r"\bNone\b|\{,|default:|\(empty", found["comment"]), f"--{flag}: {words}"


@each_script
def test_no_flag_has_the_comment_of_another(name, told):
    comments = [re.sub(r"^[A-Z]+ |^\{.*?\} |^\[.*?\] |\(default: .*", "", words) for words in told.values()]
    assert sorted(comments) == sorted(set(comments))


@each_script
def test_the_flag_that_the_message_of_an_unknown_error_names_is_there(name):
    options_type, _ = options_of(name)
    assert "--debug" in cli.explain(ZeroDivisionError())
    assert "debug" in [field.name for field in dataclasses.fields(options_type)]


SEEDED = {
    "q1_dcgan/evaluate.py",
    "q1_dcgan/sample.py",
    "q2_protonet/evaluate.py",
    "q2_protonet/lake_difference.py",
    "q3_pix2pix/evaluate.py",
}


@each_script
def test_only_trainings_take_a_precision_and_only_what_draws_at_random_a_seed(name):
    fields = {field.name for field in dataclasses.fields(options_of(name)[0])}
    trains = "train" in Path(name).stem
    assert ("precision" in fields) == trains
    assert ("seed" in fields) == (trains or name in SEEDED)


@each_script
def test_advice_on_memory_names_flags_of_the_script(name):
    options_type, _ = options_of(name)
    advised = re.findall(r"--(\w+)", getattr(options_type, "memory_advice", ""))
    assert set(advised) <= {field.name for field in dataclasses.fields(options_type)} - {"device"}


@each_training
def test_the_help_begins_with_the_papers_options(training, capfd):
    with pytest.raises(SystemExit):
        cli.parse(training.options, "", ["--help"])
    text = capfd.readouterr().out
    places = [text.index(f"--{flag} ") for flag in ("epochs", "dataset", "seed", "run_name")]
    assert places == sorted(places)


NOTEBOOK = "module://matplotlib_inline.backend_inline"


@pytest.mark.parametrize("name", ["q1_dcgan/train.py", "q4_darts/visualize.py", "reproduce.py"])
def test_neither_another_checkout_nor_a_notebooks_backend_disturbs_a_script(script, name, tmp_path):
    """The other's library is on the path, where an editable install puts it; the backend is Jupyter's."""
    for package in ("common", "benchmarks", *(folder.name for folder in ROOT.glob("q?_*"))):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the other checkout')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "MPLBACKEND": NOTEBOOK}
    done = script(ROOT / name, "--help", cwd=tmp_path, env=environment)
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["q1_dcgan/train.py", "q4_darts/visualize.py", "reproduce.py"])
def test_commands_in_the_help_stay_lines_of_their_own(script, name):
    lines = script(ROOT / name, "--help").stdout.splitlines()
    commands = [line for line in lines if re.search(r"(python|torchrun) \w+/?\w+\.py", line)]
    assert commands
    assert all(re.match(r"\s*(python|torchrun) ", line) for line in commands)


def test_without_the_requirements_a_script_names_the_command(script, tmp_path):
    from common import REQUIRED

    shutil.copytree(ROOT / "common", tmp_path / "common")
    (tmp_path / "q").mkdir()
    shutil.copy(ROOT / "q2_protonet/train.py", tmp_path / "q/train.py")
    done = script("-SI", tmp_path / "q/train.py", status=1)
    assert len(done.stderr.splitlines()) == 1
    assert f"has no {', '.join(REQUIRED)}: run `make setup`" in done.stderr


RUN = "--smoke --device cpu --epochs 1 --iterations 1 --classes_per_it_tr 2 --test_episodes 1 "
RUN += "--validation_episodes 1 --hidden_channels 2"


@pytest.mark.slow
def test_a_script_runs_without_assertions_docstrings_and_streams(script, roots, tmp_path):
    words = ["-OO", "q2_protonet/train.py", *RUN.split(), "--data_root", str(tmp_path / "data"), *roots]
    subprocess.run(
        ["bash", "-c", 'exec "$0" "$@" >&- 2>&-', sys.executable, *words],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
    )
    assert (tmp_path / "logs/q2_protonet/smoke/results.json").exists()
