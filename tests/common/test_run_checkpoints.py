"""What a run saves and restores: all states to the bit, tables and TensorBoard cut back to them."""

from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from common import checkpoint
from common.errors import RunError, Stopped
from common.rows import Table, read_table
from tests.common.made_up_training import STEPS, Learner, enter, train


def saved_run(options, learner):
    """A run of two epochs whose table has one row more than its checkpoint; returns its last.pt."""
    with enter(options, learner=learner) as training:
        for epoch in training.epochs(1):
            for _ in training.steps(1, ("x",)):
                training.record(torch.ones(()))
            training.write_epoch({"epoch": epoch, "x": 1.0})
        training.write_epoch({"epoch": 2, "x": 0.5})
    return training.folder / "checkpoints" / "last.pt"


def test_states_come_back_bit_for_bit(options):
    first = Learner(width=2)
    first.network(torch.ones(1, 2)).sum().backward()
    first.optimizer.step()
    torch.rand(3, generator=first.draws)
    saved_run(options, first)
    second = Learner(width=2, seed=1)
    with enter(replace(options, resume=True), learner=second):
        pass
    assert torch.equal(first.network.weight, second.network.weight)
    assert str(first.optimizer.state_dict()) == str(second.optimizer.state_dict())
    assert torch.equal(torch.rand(5, generator=first.draws), torch.rand(5, generator=second.draws))


def test_the_table_is_cut_back_to_the_checkpoint(options):
    last = saved_run(options, Learner())
    with enter(replace(options, resume=True)) as training:
        training.write_epoch({"epoch": 2, "x": 0.75})
    assert read_table(last.parents[1] / "metrics.csv") == {"epoch": [1, 2], "x": [1, 0.75]}


def test_the_table_is_cut_back_each_time(options):
    last = saved_run(options, Learner())
    for _ in range(2):
        with enter(replace(options, resume=True)) as training:
            training.write_epoch({"epoch": 2, "x": 0.75})
    assert (last.parents[1] / "metrics.csv").read_text() == "epoch,x\n1,1\n2,0.75\n"


def test_a_table_changed_by_hand_is_noticed(tmp_path):
    (tmp_path / "m.csv").write_text("a\n")
    with pytest.raises(RunError, match="was changed"):
        Table(tmp_path / "m.csv", keep_bytes=10)


def curve(folder, name, tag):
    """The steps of a curve as TensorBoard shows it."""
    board = EventAccumulator(str(folder / "tensorboard" / name))
    board.Reload()
    return [event.step for event in board.Scalars(f"{name}/{tag}")]


def test_tensorboard_shows_each_step_once_after_a_kill(options):
    with pytest.raises(KeyboardInterrupt):
        with enter(options, best=0.0) as training:
            for epoch in training.epochs(3):
                for _ in training.steps(STEPS, ("x", "twice")):
                    training.record(torch.ones(()), None)
                training.write_epoch({"epoch": epoch, "x": 1.0, "best": 1.0})
                if epoch == 2:
                    raise KeyboardInterrupt  # before the epoch's checkpoint
    folder, _ = train(replace(options, resume=True))
    assert curve(folder, "metrics", "x") == [1, 2, 3]
    assert curve(folder, "steps", "x") == [2, 4, 5, 7, 9, 10, 12, 14, 15]


def test_tensorboard_shows_each_step_once_after_a_stop(options):
    with pytest.raises(Stopped):
        train(options, stop_at=(2, 2))
    folder, _ = train(replace(options, resume=True))
    assert curve(folder, "steps", "x") == [2, 4, 5, 7, 9, 10, 12, 14, 15]


def test_weights_that_are_not_finite_are_never_saved(options):
    learner = Learner()
    with enter(options, learner=learner) as training:
        training.save_network("best", learner.network, 1)
        learner.network.weight.data.fill_(float("nan"))
        with pytest.raises(RunError, match="not finite at epoch 2"):
            training.save_network("best", learner.network, 2)
    with pytest.raises(RunError, match="not finite"):
        saved_run(replace(options, run_name="b"), learner)
    assert not training.run.last.exists()


def test_a_network_is_saved_and_loaded_by_name(options):
    learner = Learner()
    with enter(options, learner=learner) as training:
        training.save_network("best", learner.network, 1)
        other = Learner(seed=1)
        training.load_network("best", other.network, 1)
    assert torch.equal(other.network.weight, learner.network.weight)


def test_after_a_kill_the_best_network_is_that_of_the_best_epoch(options):
    first = Learner(seed=1)
    lost = Learner(seed=2)  # saved by a leg that was killed before last.pt knew of it
    with enter(options) as training:
        training.save_network("best", first.network, 1)
        training.save_network("best", lost.network, 2)
        found = Learner()
        training.load_network("best", found.network, 1)
        assert torch.equal(found.network.weight, first.network.weight)
        training.load_network("best", found.network, 2)
        assert torch.equal(found.network.weight, lost.network.weight)
        with pytest.raises(RunError, match="best.pt is missing or not of epoch 3"):
            training.load_network("best", found.network, 3)
        (training.folder / "checkpoints/best.pt").unlink()  # as a kill in the middle of saving leaves it
        training.load_network("best", found.network, 1)
        assert torch.equal(found.network.weight, first.network.weight)


def test_a_run_that_moves_to_another_device_continues_with_a_warning(options, monkeypatch):
    with pytest.raises(Stopped):
        train(options, stop_at=(2, 2))
    config = options.log_root / "q/a/config.json"
    config.write_text(config.read_text().replace('"CPU, ', '"NVIDIA H100, '))  # as if it had begun on a GPU
    load_last = checkpoint.load_last

    def of_a_gpu(*arguments):
        state, warning = load_last(*arguments)
        return state | {"draws": state["draws"][:16]}, warning  # CUDA's generators have a shorter state

    monkeypatch.setattr(checkpoint, "load_last", of_a_gpu)
    learner = Learner(seed=5)
    with enter(replace(options, resume=True), learner=learner) as training:
        assert training.position.step == 3
    assert "warning: the run moves from NVIDIA H100" in (config.parent / "train.log").read_text()
    again = torch.Generator().manual_seed(5 + 2 * 10**6 + 3)
    assert torch.equal(torch.rand(3, generator=learner.draws), torch.rand(3, generator=again))


class Optimizer:
    """In place of a network."""

    def __init__(self):
        self.network = torch.optim.Adam(nn.Linear(1, 1).parameters())
        self.architecture = {"width": 1}


class TwoGenerators(Learner):
    def __init__(self):
        super().__init__()
        self.moves = torch.Generator()


class Wide(Learner):
    """States the architecture of another network."""

    def __init__(self):
        super().__init__(width=3)
        self.architecture = {"width": 1}


INFINITE = {"weight": torch.tensor([[1.0]]), "bias": torch.tensor([torch.inf])}
REFUSED = {
    "another shape": (Wide, {}, "does not fit .* size mismatch for weight"),
    "another kind": (Optimizer, {}, "does not fit"),
    "a part more": (TwoGenerators, {}, "lacks moves"),
    "weights that are not finite": (Learner, {"network": INFINITE}, "holds weights that are not finite"),
}


@pytest.mark.parametrize("make, change, said", REFUSED.values(), ids=REFUSED)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(options, make, change, said):
    last = saved_run(options, Learner())
    torch.save(torch.load(last, weights_only=True) | change, last)
    with pytest.raises(RunError, match=f"{last} .*{said}"):
        with enter(replace(options, resume=True), learner=make()):
            pass


def test_a_best_network_that_is_not_finite_is_refused(options):
    with enter(options) as training:
        best = training.folder / "checkpoints" / "best.pt"
        checkpoint.save(best, "q", {"width": 1}, epoch=1, model=INFINITE)
        with pytest.raises(RunError, match="best.pt holds weights that are not finite"):
            training.load_network("best", nn.Linear(1, 1), 1)
