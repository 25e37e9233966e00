"""The loop on a made-up training: exact resume at any step, rows, columns not measured, early ends."""

from dataclasses import dataclass, replace

import pytest
import torch

from common.loop import Loop, split_batch
from common.results import read_table
from common.run import Run, RunOptions
from common.runtime import RunError, Runtime, Stopped, UsageError

CPU = Runtime(torch.device("cpu"), "fp32")
STEPS = 5


@dataclass
class Options(RunOptions):
    epochs: int = 3


@pytest.fixture
def options(tmp_path):
    return Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", run_name="a")


def train(options, stop_at=None, bad_at=None, end_after=None):
    """Draws one number per step, records it and, from epoch 2 on, its double; returns folder and draws."""
    draws, seen = torch.Generator().manual_seed(0), []
    with Run("q", options, CPU, {}) as run:
        loop = Loop(run, {"draws": draws}, STEPS, ("x", "twice"), 2, best=0.0)
        for epoch in loop.epochs(options.epochs):
            [order] = loop.shuffle(7, STEPS)
            for step in loop.steps():
                x = torch.rand((), generator=draws)
                seen.append((epoch, step, order[step].item(), x.item()))
                run.stop_signal.requested = (epoch, step) == stop_at
                x = x / 0 if (epoch, step) == bad_at else x
                loop.record(x, 2 * x if epoch > 1 else None)
            loop.at.best = max(loop.at.best, loop.means()["x"])
            loop.at.ended = epoch == end_after
            run.write_epoch({"epoch": epoch, "x": loop.means()["x"], "best": loop.at.best})
        run.finish({"title": "t", "rows": []})
    return run.folder, seen


def test_rows_are_means_of_log_every_steps(options):
    folder, seen = train(options)
    x = [value for *_, value in seen]
    steps = read_table(folder / "steps.csv")
    assert steps["step"] == [2, 4, 5, 7, 9, 10, 12, 14, 15]
    assert steps["x"][:3] == pytest.approx([(x[0] + x[1]) / 2, (x[2] + x[3]) / 2, x[4]], rel=1e-5)
    twice = steps["twice"]
    assert twice[3] == pytest.approx(x[5] + x[6], rel=1e-5) and twice[0] != twice[0]
    assert read_table(folder / "metrics.csv")["x"][1] == pytest.approx(sum(x[5:10]) / 5, rel=1e-5)
    for epoch in (1, 2, 3):
        assert sorted(place for e, _, place, _ in seen if e == epoch) == list(range(STEPS))


@pytest.mark.parametrize("stop_at", [(1, 0), (1, 1), (2, 2), (2, 4), (3, 4)])
def test_a_stop_at_any_step_resumes_exactly(options, stop_at):
    whole, seen = train(replace(options, run_name="whole"))
    with pytest.raises(Stopped, match=rf"epoch {stop_at[0]}, step {stop_at[1] + 1}"):
        train(options, stop_at)
    folder, rest = train(replace(options, resume=True))
    assert rest == seen[(stop_at[0] - 1) * STEPS + stop_at[1] + 1 :]
    for table in ("metrics.csv", "steps.csv"):
        assert (folder / table).read_bytes() == (whole / table).read_bytes()


def test_fewer_epochs_than_were_begun_are_refused(options):
    with pytest.raises(Stopped):
        train(options, (2, 1))
    before = (options.log_root / "q/a/config.json").read_bytes()
    with pytest.raises(UsageError, match="epoch 2 has begun, after the last of --epochs 1"):
        train(replace(options, resume=True, epochs=1))
    assert (options.log_root / "q/a/config.json").read_bytes() == before
    assert train(replace(options, resume=True, epochs=2))[1][0][:2] == (2, 2)


def test_an_early_end_stays_ended_and_more_epochs_continue(options):
    _, seen = train(options, end_after=2)
    assert seen[-1][0] == 2
    assert train(replace(options, resume=True))[1] == []
    _, seen = train(replace(options, run_name="b"))
    more = train(replace(options, run_name="b", resume=True, epochs=4))[1]
    assert [epoch for epoch, *_ in more] == [4] * STEPS


def test_a_figure_that_is_not_finite_ends_the_run_with_its_step(options):
    with pytest.raises(RunError, match="not finite at epoch 2, step 3; the last good checkpoint"):
        train(options, bad_at=(2, 2))


def test_a_batch_larger_than_the_data_is_refused():
    assert split_batch(10, 4, CPU) == (2, 4, slice(0, 4))
    assert split_batch(17, 4, Runtime(CPU.device, "fp32", rank=1, world=2)) == (2, 8, slice(4, 8))
    with pytest.raises(UsageError, match="--batch_size: 12 .* 10"):
        split_batch(10, 12, CPU)


def test_resuming_a_run_that_is_not_there_names_those_that_are(options):
    train(replace(options, run_name="there"))
    with pytest.raises(UsageError, match="no run .*a; the runs there are there"):
        train(replace(options, resume=True))
    assert not (options.log_root / "q" / "a").exists()
