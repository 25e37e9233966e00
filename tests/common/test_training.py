"""The loop of a made-up training: exact resume at any step, rows, columns not measured, early ends."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from common.batches import split_batch
from common.device import Runtime
from common.errors import RunError, Stopped, UsageError
from common.evaluations import add_evaluation
from common.records import write_log
from common.rows import read_table
from tests.common.made_up_training import CPU, STEPS, Options, enter, train


def test_rows_of_steps_are_means_of_log_every_steps(options):
    folder, seen = train(options)
    x = [value for *_, value in seen]
    steps = read_table(folder / "steps.csv")
    assert steps["step"] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert steps["x"][:3] == pytest.approx([(x[0] + x[1]) / 2, (x[2] + x[3]) / 2, x[4]], rel=1e-5)


def test_a_column_is_empty_where_it_is_not_measured(options):
    folder, seen = train(options)
    x = [value for *_, value in seen]
    twice = read_table(folder / "steps.csv")["twice"]
    assert twice[0] != twice[0]
    assert twice[3] == pytest.approx(x[5] + x[6], rel=1e-5)


def test_rows_of_epochs_are_means_of_all_steps(options):
    folder, seen = train(options)
    second_epoch = [x for epoch, _, _, x in seen if epoch == 2]
    assert read_table(folder / "metrics.csv")["x"][1] == pytest.approx(sum(second_epoch) / STEPS, rel=1e-5)


def test_each_epoch_has_every_item_once_in_an_order_of_its_own(options):
    _, seen = train(options)
    orders = [[place for e, _, place, _ in seen if e == epoch] for epoch in (1, 2, 3)]
    for order in orders:
        assert sorted(order) == list(range(STEPS))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("stop_at", [(1, 0), (1, 1), (2, 2), (2, 4), (3, 4)])
def test_a_stop_at_any_step_resumes_exactly(options, stop_at):
    whole, seen = train(replace(options, run_name="whole"))
    with pytest.raises(Stopped, match=rf"epoch {stop_at[0]}, step {stop_at[1] + 1}"):
        train(options, stop_at)
    folder, rest = train(replace(options, resume=True))
    assert rest == seen[(stop_at[0] - 1) * STEPS + stop_at[1] + 1 :]
    for table in ("metrics.csv", "steps.csv"):
        assert (folder / table).read_bytes() == (whole / table).read_bytes()


def test_a_run_can_be_resumed_twice_in_one_epoch(options):
    _, seen = train(replace(options, run_name="whole"))
    with pytest.raises(Stopped):
        train(options, (2, 1))
    with pytest.raises(Stopped):
        train(replace(options, resume=True), (2, 3))
    assert train(replace(options, resume=True))[1] == seen[STEPS + 4 :]


def test_fewer_epochs_than_were_begun_are_refused(options):
    with pytest.raises(Stopped):
        train(options, (2, 1))
    config = options.log_root / "q/a/config.json"
    before = config.read_bytes()
    with pytest.raises(UsageError, match="epoch 2 has begun, after the last of --epochs 1"):
        train(replace(options, resume=True, epochs=1))
    assert config.read_bytes() == before
    assert train(replace(options, resume=True, epochs=2))[1][0][:2] == (2, 2)


def test_fewer_epochs_than_are_done_are_refused_and_leave_the_results(options):
    folder, _ = train(options)
    names = ("config.json", "metrics.csv", "results.json")
    before = [(folder / name).read_bytes() for name in names]
    with pytest.raises(UsageError, match="3 epochs are done, more than --epochs 1"):
        train(replace(options, resume=True, epochs=1))
    assert [(folder / name).read_bytes() for name in names] == before


def test_an_early_end_stays_ended(options):
    _, seen = train(options, end_after=2)
    assert seen[-1][0] == 2
    assert train(replace(options, resume=True))[1] == []


def test_more_epochs_continue_a_finished_run(options):
    train(options)
    _, more = train(replace(options, resume=True, epochs=4))
    assert [epoch for epoch, *_ in more] == [4] * STEPS


def test_a_finished_run_that_goes_on_is_not_finished(options):
    folder, _ = train(options)
    with enter(replace(options, resume=True, epochs=4), best=0.0) as training:
        assert (folder / "results.json").exists()  # until it goes on
        training.write_epoch({"epoch": 4, "x": 0.5, "best": 0.5})
        assert not (folder / "results.json").exists()


def test_a_finished_run_that_is_finished_again_keeps_its_evaluations(options):
    folder, _ = train(options)
    add_evaluation(folder / "results.json", "last.pt", [{"name": "error", "value": 3}])
    before = (folder / "results.json").read_text()
    train(replace(options, resume=True))
    after = json.loads((folder / "results.json").read_text())
    assert after["evaluations"] == json.loads(before)["evaluations"]


def test_a_run_that_goes_on_says_that_its_evaluations_are_gone(options):
    folder, _ = train(options)
    add_evaluation(folder / "results.json", "last.pt", [{"name": "error", "value": 3}])
    train(replace(options, resume=True, epochs=4))
    assert "evaluations" not in json.loads((folder / "results.json").read_text())
    lines = (folder / "train.log").read_text().splitlines()
    assert len([line for line in lines if "evaluate.py measured before" in line]) == 1


def test_a_stop_after_the_last_step_is_told_that_the_run_is_finishing(options, capsys):
    with enter(options) as training:
        for _ in training.epochs(1):
            for _ in training.steps(1, ("x",)):
                training.record(torch.zeros(()))
        os.kill(os.getpid(), signal.SIGINT)
        training.finish({"title": "t", "rows": []})
    assert "Finishing: all steps are done" in capsys.readouterr().err
    assert (training.folder / "results.json").exists()


def test_a_figure_that_is_not_finite_ends_the_run_with_its_step(options):
    with pytest.raises(RunError, match="not finite at epoch 2, step 3; the last good checkpoint"):
        train(options, bad_at=(2, 2))


def test_a_figure_that_is_not_finite_before_the_first_checkpoint(options):
    with pytest.raises(RunError, match="not finite at epoch 1, step 3; there is no checkpoint yet"):
        train(options, bad_at=(1, 2))


def test_a_batch_is_cut_over_the_processes():
    assert split_batch(10, 4, CPU) == (2, 4, slice(0, 4))
    assert split_batch(17, 4, Runtime(CPU.device, rank=1, world=2)) == (2, 8, slice(4, 8))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(UsageError, match="--batch_size: 12 .* 10"):
        split_batch(10, 12, CPU)


def test_out_of_memory_says_what_helps_and_what_is_kept(options, monkeypatch):
    monkeypatch.setattr(Options, "memory_advice", "a smaller --batch_size")
    with pytest.raises(RunError, match="GPU is out of memory. .*: a smaller --batch_size, or --device cpu$"):
        with enter(options):
            raise torch.OutOfMemoryError("CUDA out of memory")
    train(replace(options, run_name="b", epochs=1))
    with pytest.raises(RunError, match="smaller --batch_size, .*What was trained is kept.*--resume"):
        with enter(replace(options, run_name="b", resume=True)):
            raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_path_that_is_not_utf8_can_be_logged(tmp_path):
    name = os.fsdecode(b"letters\xe9")
    write_log(tmp_path, f"pictures in {name}")
    assert r"pictures in letters\udce9" in (tmp_path / "train.log").read_text()
