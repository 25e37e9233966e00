"""A run goes on with the options, data, processes and precision it began with, also after a power cut."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from common import checkpoint, device, resumed_precision
from common.device import Runtime
from common.errors import RunError, Stopped, UsageError
from common.run_folder import RunFolder
from tests.common.made_up_training import Learner, OptionsOfASchedule, config_of, enter, legs_of, train


def test_resuming_a_run_that_is_not_there_names_those_that_are(options):
    train(replace(options, run_name="there"))
    with pytest.raises(UsageError, match="no run .*a; the runs there are there"):
        train(replace(options, resume=True))
    assert not config_of(options).parent.exists()


def test_each_start_is_a_leg(options):
    train(options)
    train(replace(options, resume=True))
    assert len(legs_of(options)) == 2


def test_another_option_is_refused(options):
    train(options)
    with pytest.raises(UsageError, match="--rate was 0.1, now 0.2"):
        train(replace(options, resume=True, rate=0.2))


def test_more_epochs_are_refused_where_the_schedule_spans_them(options):
    roots = {"log_root": options.log_root, "figure_root": options.figure_root, "run_name": "a"}
    train(OptionsOfASchedule(**roots))
    with pytest.raises(UsageError, match="--epochs was 3, now 4 .the learning rate's schedule spans them"):
        train(OptionsOfASchedule(**roots, epochs=4, resume=True))


def test_data_are_known_by_their_content(options, tmp_path):
    first = replace(options, folder=tmp_path / "here")
    moved = replace(first, folder=tmp_path / "there", resume=True)
    with enter(first, facts={"data": {"sha256": "a"}}):
        pass
    with enter(moved, facts={"data": {"sha256": "a"}}):
        pass
    with pytest.raises(UsageError, match="its data changed"):
        with enter(moved, facts={"data": {"sha256": "b"}}):
            pass


def test_a_fact_that_changed_says_which_file_to_bring_along(options):
    """As the judge of DCGAN's samples does, which another machine trains anew, and otherwise."""
    began = {"judge": {"sha256": "a", "file": "cache/judge.pt"}}
    with enter(options, facts=began):
        pass
    with enter(replace(options, resume=True), facts=began):
        pass
    said = "its judge changed .bring cache/judge.pt along from the data_root where it began"
    with (
        pytest.raises(UsageError, match=said),
        enter(replace(options, resume=True), facts={"judge": {"sha256": "b", "file": "cache/judge.pt"}}),
    ):
        pass


def test_a_fact_of_which_an_older_version_recorded_less_is_the_same(options):
    with enter(options, facts={"judge": {"sha256": "a"}}):
        pass
    with enter(replace(options, resume=True), facts={"judge": {"sha256": "a", "file": "cache/judge.pt"}}):
        pass


def test_another_number_of_processes_is_refused(options):
    train(options)
    config = config_of(options)
    config.write_text(config.read_text().replace('"processes": 1', '"processes": 2'))
    with pytest.raises(UsageError, match="it ran on 2 processes, now 1"):
        train(replace(options, resume=True))


def test_another_number_of_threads_is_said_to_round_otherwise(options, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    folder, _ = train(options)
    train(replace(options, resume=True))
    assert "warning" not in (folder / "train.log").read_text()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    train(replace(options, resume=True))
    said = "warning: the run moves from CPU, 1 thread to CPU, 2 threads: it continues with other rounding"
    assert said in (folder / "train.log").read_text()


PRECISIONS = [("bf16", "fp32"), ("fp32", "bf16")]


@pytest.mark.parametrize("began, here", PRECISIONS)
@pytest.mark.parametrize("asked", ["auto", "explicitly"])
def test_a_resumed_run_keeps_the_precision_it_began_with(options, capsys, monkeypatch, began, here, asked):
    """`auto` means another precision on the machine where it goes on."""
    for module in (device, resumed_precision):
        monkeypatch.setattr(module, "computes_bf16", lambda _: here == "bf16")
    first = options if asked == "auto" else replace(options, precision=began)
    with pytest.raises(Stopped):
        train(first, stop_at=(1, 2), runtime=Runtime(torch.device("cpu"), precision=began))
    runtime = Runtime(torch.device("cpu"), precision=here)
    train(replace(options, resume=True), runtime=runtime)
    assert runtime.precision == began
    assert [leg["precision"] for leg in legs_of(options)] == [began, began]
    said = capsys.readouterr().out
    assert f"the run began in {began} and goes on in it; --precision auto means {here} here" in said
    assert ("no instructions for bf16" in said) == (began == "bf16")


def test_a_cpu_goes_on_in_fp32_from_tf32(options, capsys, monkeypatch):
    monkeypatch.setattr(device, "computes_bf16", lambda _: True)
    with pytest.raises(Stopped):
        train(options, stop_at=(1, 2), runtime=Runtime(torch.device("cpu"), precision="tf32"))
    runtime = Runtime(torch.device("cpu"), precision="bf16")
    train(replace(options, resume=True), runtime=runtime)
    assert runtime.precision == "fp32"
    assert "began in tf32, which only a CUDA GPU has: it goes on in fp32" in capsys.readouterr().out


def test_a_run_that_went_on_without_its_precision_goes_on_with_it_again(options):
    first = replace(options, precision="fp32")
    train(first)
    train(replace(options, resume=True))
    train(replace(first, resume=True))
    assert json.loads(config_of(options).read_text())["options"]["precision"] == "fp32"


def test_another_precision_is_refused_when_it_is_asked_for(options):
    train(replace(options, precision="fp32"))
    with pytest.raises(UsageError, match="--precision was 'fp32', now 'bf16'"):
        train(replace(options, precision="bf16", resume=True))


# A config.json that a power cut damaged ---------------------------------------------------------------------


@pytest.fixture(params=["", '{"question": "q", "op'])
def damaged(options, request):
    """The options of a run that was stopped, whose config.json is damaged."""
    with pytest.raises(Stopped):
        train(options, stop_at=(2, 2))
    config_of(options).write_text(request.param)
    return options


def test_a_damaged_config_is_made_again_from_the_checkpoint(damaged):
    _, whole = train(replace(damaged, run_name="whole"))
    RunFolder("q", replace(damaged, resume=True)).check()
    folder, rest = train(replace(damaged, resume=True))
    assert rest == whole[8:]
    assert [leg["processes"] for leg in legs_of(damaged)] == [1, 1]
    assert "config.json was damaged: it is made again" in (folder / "train.log").read_text()


def test_other_options_are_refused_also_where_the_config_is_damaged(damaged):
    with pytest.raises(UsageError, match="--rate was 0.1, now 0.2"):
        train(replace(damaged, resume=True, rate=0.2))


def test_a_run_with_a_damaged_config_can_be_overwritten(damaged):
    RunFolder("q", replace(damaged, overwrite=True)).check()
    _, seen = train(replace(damaged, overwrite=True))
    assert len(seen) == 15


def test_a_damaged_config_names_the_ways_on(damaged):
    with pytest.raises(
        RunError, match="config.json is damaged: --resume continues .*, and --overwrite starts"
    ):
        RunFolder("q", damaged).check()


def test_without_a_checkpoint_a_damaged_config_leaves_overwrite(options):
    with enter(options) as training:
        training.write_epoch({"epoch": 1, "x": 1.0})
    config_of(options).write_text("")
    with pytest.raises(RunError, match="config.json is damaged: --overwrite starts it again"):
        RunFolder("q", replace(options, resume=True)).check()
    train(replace(options, overwrite=True))


def test_a_start_that_is_refused_leaves_a_damaged_config(damaged, tmp_path):
    with pytest.raises(RunError, match="no checkpoint at"):
        train(replace(damaged, overwrite=True, start_from=tmp_path / "missing.pt"))
    checkpoint.save(tmp_path / "other.pt", "q", {}, model=nn.Linear(2, 1).state_dict())
    with pytest.raises(UsageError, match="holds the network"):
        with enter(replace(damaged, overwrite=True, start_from=tmp_path / "other.pt"), learner=Learner(3)):
            pass
    train(replace(damaged, resume=True))
