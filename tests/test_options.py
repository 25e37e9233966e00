"""What every training script demands of its options, and how it refuses others."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest
import torch

from common.cli import one_line_errors, parse
from common.provenance import ROOT
from common.runtime import RunError, UsageError
from q1_dcgan import train as q1
from q2_protonet import train as q2
from q3_pix2pix import train as q3
from q4_darts import train as q4
from q4_darts import train_search as q4_search

MODULES = {"q1": q1, "q2": q2, "q3": q3, "q4": q4, "q4_search": q4_search}
FOLDERS = ("q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts", "reproduction")
SCRIPTS = ["reproduce", "report", "demo"] + [
    f"{folder}.{file.stem}"
    for folder in FOLDERS
    for file in sorted((ROOT / folder).glob("*.py"))
    if "command(main" in file.read_text()
]
BAD = {int: (-7,), float: (-7.0, float("nan"), float("inf"))}
NUMBERS = [
    (name, field.name, bad)
    for name, module in MODULES.items()
    for field in dataclasses.fields(module.Options)
    for bad in BAD.get(type(field.default), ())
]


def refuse(module, options):
    """What start() and check() say before anything is loaded."""
    with pytest.raises(UsageError) as error:
        module.check(options).check()
    return str(error.value)


@pytest.mark.parametrize(("name", "field", "bad"), NUMBERS)
def test_a_number_out_of_its_range_is_refused_with_flag_value_and_range(name, field, bad):
    said = refuse(MODULES[name], MODULES[name].Options(**{field: bad}))
    assert f"--{field}" in said and str(bad) in said
    assert re.search("must (be|lie)|more than|leaves none", said), said


each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


@each_module
@pytest.mark.parametrize("run_name", ["../other", "a/b", "..", ".hidden"])
def test_a_run_name_cannot_leave_its_folder(module, run_name):
    assert "--run_name must be the name of a folder" in refuse(module, module.Options(run_name=run_name))


@each_module
@pytest.mark.parametrize("own", [{"dataset": "folder"}, {"folder": Path("mine")}], ids=str)
def test_smoke_takes_no_data_of_ones_own(module, own):
    own = {"pairs" if module is q3 and name == "folder" else name: value for name, value in own.items()}
    assert refuse(module, module.Options(smoke=True, **own)).startswith("--smoke draws its own small data")


@each_module
def test_resume_and_overwrite_exclude_each_other(module):
    assert "--overwrite" in refuse(module, module.Options(resume=True, overwrite=True))


def told_by_help(module, capfd):
    """What --help says: the whole text, and the words about each flag."""
    with pytest.raises(SystemExit):
        parse(module.Options, module.__doc__, ["--help"])
    text = capfd.readouterr().out
    entries = re.findall(r"│ --(\w+) (.*?)(?=│ --|╰)", text, re.S)
    return text, {flag: re.sub(r"[│\s]+", " ", words) for flag, words in entries}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_help_has_a_comment_and_a_default_for_every_flag(name, capfd):
    if name == "demo":
        pytest.importorskip("gradio")
    module = importlib.import_module(name)
    _, entries = told_by_help(module, capfd)
    assert len(entries) == len(dataclasses.fields(module.Options))
    for flag, words in entries.items():
        comment, _, default = words.partition("(default: ")
        assert default and len(comment.split()) > 1, f"--{flag}: {words}"


@each_module
def test_the_help_has_groups_from_the_paper_to_the_plumbing(module, capfd):
    text, _ = told_by_help(module, capfd)
    groups = [text.index(f"─ {title} options ─") for title in ("main", "data", "run", "script")]
    assert sorted(groups) == groups


OUTPUTS = {
    "q1_dcgan.sample": ["noext", "folder.png"],
    "q2_protonet.predict": ["folder"],
    "q3_pix2pix.predict": ["map.psd", "map.hdf"],
    "q4_darts.predict": ["noext", "folder.csv"],
    "q4_darts.visualize": ["noext"],
}


@pytest.mark.parametrize(("name", "output"), [(name, file) for name in OUTPUTS for file in OUTPUTS[name]])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch, name, output):
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "start", lambda _: pytest.fail("worked already"), raising=False)
    for picture in ("support/a/1.png", "support/b/1.png"):
        (tmp_path / picture).parent.mkdir(parents=True)
        (tmp_path / picture).write_bytes(b"")
    if output.startswith("folder"):
        (tmp_path / output).mkdir()
    given = {"output": tmp_path / output, "input": (tmp_path / picture,), "query": (tmp_path / picture,)}
    given |= {"support": tmp_path / "support"}
    fields = {field.name for field in dataclasses.fields(module.Options)}
    with pytest.raises(UsageError, match="--output"):
        module.main(module.Options(**{key: value for key, value in given.items() if key in fields}))


def test_what_the_help_groups_is_read_into_one_dataclass():
    words = "--epochs 3 --dataset synthetic --run_name r --seed 4 --compile"
    options = parse(q3.Options, "d", words.split())
    assert options == q3.Options(epochs=3, dataset="synthetic", run_name="r", seed=4, compile=True)


@pytest.fixture
def tiny(tmp_path):
    """Options of a training of ProtoNet that takes a second."""
    sizes = {"iterations": 2, "classes_per_it_tr": 3, "validation_episodes": 1, "test_episodes": 2}
    roots = {"log_root": tmp_path, "figure_root": tmp_path, "device": "cpu", "hidden_channels": 2}
    return q2.Options(dataset="synthetic", run_name="r", epochs=1, **sizes, **roots)


@pytest.mark.parametrize("kept", [False, True])
def test_out_of_memory_names_the_flags_that_help_and_what_is_kept(monkeypatch, tiny, capsys, kept):
    """At the first step, or at the first of the second epoch."""
    calls = 0

    def loss(*values):
        nonlocal calls
        calls += 1
        if calls == (3 if kept else 1):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*values)

    real = q2.prototypical_loss
    monkeypatch.setattr(q2, "prototypical_loss", loss)
    with pytest.raises(SystemExit) as end, one_line_errors(False):
        q2.main(dataclasses.replace(tiny, epochs=2))
    said = capsys.readouterr().err
    assert end.value.code == 1 and said.startswith("error: the GPU is out of memory")
    assert "--classes_per_it_tr" in said
    last = tiny.log_root / "q2_protonet/r/checkpoints/last.pt"
    assert ("--resume continues" in said) == kept == last.exists()


def test_deterministic_turns_it_on_and_says_which_operation_cannot(tiny, capsys):
    try:
        q2.main(dataclasses.replace(tiny, deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    what = "median CUDA with indices output does not have"
    with pytest.raises(SystemExit), one_line_errors(False):
        raise RuntimeError(f"{what} a deterministic implementation, but you set ...")
    said = capsys.readouterr().err
    assert said.startswith(f"error: --deterministic: {what}") and "without the flag it runs" in said


def test_errors_are_documented_where_they_are_raised():
    assert "UsageError" in inspect.getdoc(q2.load) and "RunError" in inspect.getdoc(q3.load)
    assert issubclass(RunError, Exception) and not issubclass(RunError, UsageError)
