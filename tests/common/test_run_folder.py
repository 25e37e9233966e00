"""A run's folder: never mixed into, taken by one process, continued with the same options and data only."""

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from common import checkpoint, device, resumed_precision
from common.device import Runtime
from common.errors import RunError, Stopped, UsageError
from common.provenance import ROOT, resume_command, script_here
from common.rows import read_table
from common.run_folder import RunFolder
from tests.common.made_up_training import CPU, Learner, OptionsOfASchedule, enter, train
from tests.conftest import ENVIRONMENT


def config_of(options):
    return options.log_root / "q" / options.run_name / "config.json"


def legs_of(options):
    return json.loads(config_of(options).read_text())["legs"]


@pytest.mark.parametrize("asked", ["caf\u00e9", "cafe\u0301"])
def test_a_run_is_found_in_either_unicode_form_of_its_name(options, asked):
    began = RunFolder("q", replace(options, run_name="caf\u00e9"))
    assert RunFolder("q", replace(options, run_name=asked)).path == began.path


# What a run writes ------------------------------------------------------------------------------------------


def test_config_holds_what_was_asked_and_where_it_ran(options):
    train(options)
    assert json.loads(config_of(options).read_text())["options"]["rate"] == 0.1
    [leg] = legs_of(options)
    assert leg["versions"]["torch"] == torch.__version__
    assert leg["processes"] == 1


def test_results_hold_the_question_and_what_came_out(options):
    folder, _ = train(options)
    results = json.loads((folder / "results.json").read_text())
    assert results["question"] == "q"
    assert results["title"] == "t"
    assert results["precision"] == "fp32"


def test_floats_in_tables_keep_six_digits(options):
    with enter(options) as training:
        training.write_epoch({"epoch": 1, "train_loss": 0.123456789})
    assert read_table(training.folder / "metrics.csv") == {"epoch": [1], "train_loss": [0.123457]}


def test_a_table_to_which_nothing_was_written_is_not_kept(options):
    with enter(options) as training:
        training.write_epoch({"epoch": 1, "train_loss": 0.5})
    assert not (training.folder / "steps.csv").exists()


def test_facts_that_are_found_later_are_added(options):
    with enter(options, facts={"data": {"sha256": "a"}}) as training:
        training.note(limit=3)
    config = json.loads(config_of(options).read_text())
    assert config["limit"] == 3
    assert config["data"] == {"sha256": "a"}


# Never mixed into -------------------------------------------------------------------------------------------


def test_a_run_that_exists_is_refused(options):
    train(options)
    with pytest.raises(UsageError, match="--resume continues it, --overwrite starts it again"):
        train(options)


def test_the_refusal_comes_before_the_work(options):
    train(options)
    with pytest.raises(UsageError, match="--resume continues it"):
        RunFolder("q", options).check()


def test_overwrite_leaves_nothing_of_the_run_before(options):
    folder, _ = train(options)
    with enter(replace(options, overwrite=True)) as training:
        assert training.position.epoch == 1
    assert not (folder / "results.json").exists()
    assert not (folder / "checkpoints").exists()
    assert not (folder / "metrics.csv").exists()
    assert len(legs_of(options)) == 1


FOREIGN = {
    "no config": None,
    "without legs": '{"options": {"smoke": true}, "legs": []}',
    "another question's": '{"question": "other"}',
    "no object": "[]",
    "no JSON": "{",
}


@pytest.mark.parametrize("config", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_of_somebody_else_is_left_alone(options, config):
    folder = config_of(options).parent
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("dear")
    if config:
        (folder / "config.json").write_text(config)
    with pytest.raises(UsageError, match="no run of this project"):
        train(replace(options, overwrite=True))
    assert (folder / "thesis.txt").read_text() == "dear"


def test_overwrite_leaves_what_a_link_in_the_folder_points_to(options, tmp_path):
    folder, _ = train(options)
    (folder / "checkpoints").rename(tmp_path / "large_disk")
    (folder / "checkpoints").symlink_to(tmp_path / "large_disk")
    train(replace(options, overwrite=True))
    assert (tmp_path / "large_disk" / "last.pt").exists()
    assert not (folder / "checkpoints").is_symlink()


def test_overwrite_empties_a_linked_folder_of_figures(options, tmp_path):
    train(options)
    figures = options.figure_root / "q" / "a"
    figures.rmdir()
    (tmp_path / "public").mkdir()
    figures.symlink_to(tmp_path / "public")
    (figures / "old.png").write_bytes(b"")
    train(replace(options, overwrite=True))
    assert figures.is_symlink()
    assert list(figures.iterdir()) == []


def test_a_smoke_run_does_not_replace_another_run(options):
    folder, _ = train(options)
    with pytest.raises(UsageError, match="exists"):
        train(replace(options, smoke=True))
    assert (folder / "results.json").exists()


def test_a_smoke_run_replaces_a_smoke_run(options):
    train(replace(options, smoke=True))
    train(replace(options, smoke=True))
    assert len(legs_of(options)) == 1


def test_a_kill_while_the_config_is_written_leaves_a_usable_name(options):
    folder = config_of(options).parent
    folder.mkdir(parents=True)
    (folder / "config.json.partial").write_text("{")
    assert train(options)[0] == folder


def test_one_writer_at_a_time(options):
    with enter(options):
        with pytest.raises(RunError, match="another process"):
            train(replace(options, overwrite=True))


def test_a_refused_command_gives_the_folder_free(options):
    train(options)
    with pytest.raises(UsageError):
        train(replace(options, resume=True, rate=0.2))
    train(replace(options, resume=True))


# Overwriting keeps the run until nothing can refuse the new one ---------------------------------------------


def test_a_network_to_start_from_that_is_missing_leaves_the_run(options, tmp_path):
    folder, _ = train(options)
    with pytest.raises(RunError, match="no checkpoint at"):
        train(replace(options, overwrite=True, start_from=tmp_path / "missing.pt"))
    assert (folder / "results.json").exists()


def test_a_network_to_start_from_of_another_shape_leaves_the_run(options):
    folder, _ = train(options)
    last = folder / "checkpoints" / "last.pt"
    checkpoint.save(last, "q", {"width": 1}, model=nn.Linear(1, 1).state_dict())
    before = config_of(options).read_text()
    with pytest.raises(UsageError, match="holds the network"):
        with enter(replace(options, overwrite=True, start_from=last), learner=Learner(3)):
            pass
    assert (folder / "results.json").exists()
    assert config_of(options).read_text() == before


def test_a_run_can_start_from_the_run_it_overwrites(options):
    folder, _ = train(options)
    last = folder / "checkpoints" / "last.pt"
    old = nn.Linear(1, 1)
    checkpoint.save(last, "q", {"width": 1}, model=old.state_dict())
    learner = Learner(1)
    with enter(replace(options, overwrite=True, start_from=last), learner=learner):
        pass
    assert torch.equal(learner.network.weight, old.weight)
    assert not last.exists()


@pytest.mark.parametrize("name, error", [("other.pt", UsageError), ("missing.pt", RunError)])
def test_a_start_that_is_refused_leaves_the_name_free(options, tmp_path, name, error):
    checkpoint.save(tmp_path / "other.pt", "q", {}, model=nn.Linear(2, 1).state_dict())
    with pytest.raises(error):
        with enter(replace(options, start_from=tmp_path / name), learner=Learner(3)):
            pass
    with pytest.raises(UsageError, match="there is no run"):
        train(replace(options, resume=True))
    train(options)


def test_a_resumed_run_remembers_what_it_started_from(options, tmp_path):
    for name in "ab":
        checkpoint.save(tmp_path / f"{name}.pt", "q", {})
    given = replace(options, start_from=tmp_path / "a.pt")
    with enter(given, learner=Learner(1)):
        pass
    with pytest.raises(UsageError, match="--start_from was .*a.pt', now None"):  # nothing is trained yet
        train(replace(options, resume=True))
    with pytest.raises(UsageError, match="--start_from was .*a.pt', now .*b.pt"):
        train(replace(options, start_from=tmp_path / "b.pt", resume=True))


def test_what_a_run_started_from_need_not_be_said_again(options, tmp_path):
    checkpoint.save(tmp_path / "a.pt", "q", {})
    options = replace(options, start_from=tmp_path / "a.pt")
    with pytest.raises(Stopped):
        train(options, stop_at=(1, 2))
    (tmp_path / "a.pt").unlink()
    train(replace(options, start_from=None, resume=True))
    config = json.loads(config_of(options).read_text())
    assert config["options"]["start_from"] == str(tmp_path / "a.pt")


# Resuming ---------------------------------------------------------------------------------------------------


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


def test_another_number_of_processes_is_refused(options):
    train(options)
    config = config_of(options)
    config.write_text(config.read_text().replace('"processes": 1', '"processes": 2'))
    with pytest.raises(UsageError, match="it ran on 2 processes, now 1"):
        train(replace(options, resume=True))


def test_a_cpu_stays_a_cpu_however_many_threads_it_has(options, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert CPU.device_name == "CPU, 1 thread"
    train(options)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert CPU.device_name == "CPU, 2 threads"
    folder, _ = train(replace(options, resume=True))
    assert "warning" not in (folder / "train.log").read_text()


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


def test_another_precision_is_refused_when_it_is_asked_for(options):
    train(replace(options, precision="fp32"))
    with pytest.raises(UsageError, match="--precision was 'fp32', now 'bf16'"):
        train(replace(options, precision="bf16", resume=True))


@pytest.mark.parametrize("where", [".", "q2_protonet", "elsewhere with spaces"])
def test_the_command_to_go_on_with_works_where_it_is_printed(tmp_path, monkeypatch, where):
    folder = tmp_path / where if "spaces" in where else ROOT / where
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    script = os.path.relpath(ROOT / "q2_protonet" / "train.py")
    monkeypatch.setattr(sys, "argv", [script, "--run_name", "a b", "--overwrite"])
    launcher, path, *words = shlex.split(resume_command(1))
    assert launcher == "python"
    assert words == ["--run_name", "a b", "--resume"]
    assert Path(path).samefile(ROOT / "q2_protonet" / "train.py")
    assert Path(script_here("q4_darts/train.py")).samefile(ROOT / "q4_darts" / "train.py")


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


# Where its number comes from --------------------------------------------------------------------------------

COMMIT = "from common.provenance import commit; print(commit())"


def test_the_commit_is_ours_whatever_git_dir_says(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    environment = ENVIRONMENT | {"GIT_DIR": str(tmp_path / ".git")}
    how = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
    words = [sys.executable, "-c", COMMIT]
    assert (
        subprocess.run(words, env=environment, **how).stdout
        == subprocess.run(words, env=ENVIRONMENT, **how).stdout
    )


def test_the_commit_of_a_repository_around_the_project_is_not_ours(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-qm", "a", "--allow-empty"], check=True)
    inside = tmp_path / "four_papers" / "common"
    inside.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        (inside / name).write_bytes((ROOT / "common" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", COMMIT], cwd=inside.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "unknown\n"
