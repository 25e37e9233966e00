"""A run's folder: what it holds, never mixed into, taken by one process, kept until nothing can refuse."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from common import checkpoint
from common.errors import RunError, Stopped, UsageError
from common.rows import read_table
from common.run_folder import RunFolder
from tests.common.made_up_training import Learner, config_of, enter, legs_of, train

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


def test_a_run_without_checkpoints_is_not_said_to_be_resumed(options):
    """As those that are committed."""
    folder, _ = train(options)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(UsageError, match="it has no checkpoint to continue from, --overwrite"):
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


def test_pictures_of_a_run_in_another_log_root_are_not_mixed_with(options, tmp_path):
    train(options)
    picture = options.figure_root / "q/a/curves.png"
    picture.write_bytes(b"of the first")
    elsewhere = replace(options, log_root=tmp_path / "elsewhere")
    for asked in (elsewhere, replace(elsewhere, overwrite=True)):
        with pytest.raises(UsageError, match="a holds the pictures of the run .*logs/q/a"):
            train(asked)
    assert picture.read_bytes() == b"of the first"
    assert not (tmp_path / "elsewhere/q/a").exists()
    train(replace(elsewhere, figure_root=tmp_path / "other"))
    train(replace(elsewhere, run_name="b"))


def test_a_run_whose_logs_were_deleted_can_be_made_again(options):
    folder, _ = train(options)
    (options.figure_root / "q/a/curves.png").write_bytes(b"of the first")
    shutil.rmtree(folder)
    train(options)


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


@pytest.mark.parametrize("asked", ["caf\u00e9", "cafe\u0301"])
def test_a_run_is_found_in_either_unicode_form_of_its_name(options, asked):
    began = RunFolder("q", replace(options, run_name="caf\u00e9"))
    assert RunFolder("q", replace(options, run_name=asked)).path == began.path
