"""Which calls are recorded and which replayed, with a stand-in for CUDA; the numbers: tests/test_gpu.py."""

import contextlib
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn

from common.device import Runtime
from common.options import TrainingOptions
from common.replay import Replayed, capturable, replays


class Graph:
    """Records the function that a step calls, and calls it again at every replay."""

    recording = None

    def __enter__(self):
        Graph.recording = self

    def __exit__(self, *_):
        Graph.recording = None

    def replay(self):
        self.work()


@pytest.fixture
def cuda(monkeypatch):
    for name in ("current_stream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: mock.MagicMock())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: graph)


@pytest.fixture
def doubling():
    """A step that doubles x and adds 1 with `more`; `calls` says how each call was made."""

    def step(x, absent, more=False):
        out = torch.empty_like(x)

        def work():
            out.copy_(2 * x + more)

        step.calls.append("recorded" if Graph.recording else "as it is")
        if Graph.recording:
            Graph.recording.work = work
        else:
            work()
        return out, absent

    step.calls = []
    return step


def test_the_third_call_is_recorded_and_every_call_is_right(cuda, doubling):
    replayed_step = Replayed(doubling, [], active=True)
    outs = [replayed_step(torch.tensor([float(i)]), None) for i in range(6)]
    assert [(float(out), absent) for out, absent in outs] == [(2.0 * i, None) for i in range(6)]
    assert doubling.calls == ["as it is", "as it is", "recorded"]


def test_other_sizes_and_values_have_recordings_of_their_own(cuda, doubling):
    replayed_step = Replayed(doubling, [], active=True)
    for i in range(8):
        x = torch.full((1 + i % 2,), float(i))
        out, _ = replayed_step(x, None, more=i % 2 == 1)
        assert out.tolist() == (2 * x + i % 2).tolist()
    assert doubling.calls == 4 * ["as it is"] + 2 * ["recorded"]


def test_another_learning_rate_is_recorded_anew(cuda, doubling):
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), 0.1)
    replayed_step = Replayed(doubling, [optimizer], active=True)
    for rate in (0.1, 0.2):
        optimizer.param_groups[0]["lr"] = rate
        for _ in range(4):
            replayed_step(torch.ones(1), None)
    assert doubling.calls == 2 * ["as it is"] + 2 * ["recorded"]


def test_a_recording_without_memory_says_so(cuda, monkeypatch, doubling):
    def leave(*_):
        Graph.recording = None
        raise RuntimeError("the recording was invalidated")

    monkeypatch.setattr(Graph, "__exit__", leave)
    replayed_step = Replayed(doubling, [], active=True)
    for _ in range(2):
        replayed_step(torch.ones(1), None)
    monkeypatch.setattr(torch, "empty_like", mock.Mock(side_effect=torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        replayed_step(torch.ones(1), None)


def test_adam_may_be_recorded_and_its_checkpoint_does_not_say_so():
    adam = torch.optim.Adam(nn.Linear(1, 1).parameters())
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters())
    before = [str(adam.state_dict()), str(sgd.state_dict())]
    with capturable([adam, sgd]):
        assert adam.param_groups[0]["capturable"]
    assert [str(adam.state_dict()), str(sgd.state_dict())] == before


@pytest.mark.parametrize(
    "device, world, change, expected",
    [
        ("cuda", 1, {}, True),
        ("cuda", 1, {"compile": True}, False),
        ("cuda", 1, {"no_cuda_graphs": True}, False),
        ("cuda", 2, {}, False),
        ("cpu", 1, {}, False),
    ],
)
def test_one_gpu_replays_unless_told_otherwise(device, world, change, expected):
    runtime = Runtime(SimpleNamespace(type=device), world=world)
    assert replays(TrainingOptions(**change), runtime) == expected


def test_elsewhere_the_step_is_called_as_it_is(doubling):
    replayed_step = Replayed(doubling, [], active=False)
    assert [float(replayed_step(torch.ones(1), None)[0]) for _ in range(4)] == [2.0] * 4
    assert doubling.calls == 4 * ["as it is"]
