"""Checkpoint files: written whole or not at all, damage noticed, no one else's taken."""

import errno

import pytest
import torch

from common import checkpoint
from common.errors import RunError


def save(path, value=1.0, **more):
    checkpoint.save(path, "q", {"width": 3}, weight=torch.full((1000,), value), **more)


def test_round_trip_keeps_tensors_and_plain_values(tmp_path):
    position = {"epoch": 3, "names": ["a", "b"], "score": 0.5}
    save(tmp_path / "last.pt", position=position)
    state = checkpoint.load(tmp_path / "last.pt", "q", {"width": 3})
    assert torch.equal(state["weight"], torch.ones(1000))
    assert state["position"] == position
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.fixture(params=[0.0, 0.3, 0.99])
def cut_short(tmp_path, request):
    """A checkpoint of which this share is left; the one before it is whole."""
    path = tmp_path / "last.pt"
    save(path, 1.0)
    save(path, 2.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * request.param)])
    return path


def test_one_cut_short_is_refused(cut_short):
    with pytest.raises(checkpoint.Damaged, match="cut short"):
        checkpoint.load(cut_short, "q")


def test_one_cut_short_yields_to_the_one_before(cut_short):
    state, warning = checkpoint.load_last(cut_short, "q", {"width": 3})
    assert state["weight"][0] == 1
    assert "checkpoint before it" in warning


def test_two_damaged_ones_leave_a_new_start(cut_short):
    checkpoint.previous(cut_short).write_bytes(b"")
    with pytest.raises(checkpoint.Damaged, match="start again with --overwrite"):
        checkpoint.load_last(cut_short, "q", {"width": 3})


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path):
    assert checkpoint.load_last(tmp_path / "last.pt", "q", {}) == (None, "")


def test_a_changed_byte_inside_a_tensor_is_noticed(tmp_path):
    path = tmp_path / "last.pt"
    save(path)
    data = bytearray(path.read_bytes())
    at = data.find(torch.ones(8).numpy().tobytes())
    assert at > 0
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(checkpoint.Damaged):
        checkpoint.load(path, "q")


def test_another_question_or_network_is_refused_by_name(tmp_path):
    save(tmp_path / "last.pt")
    with pytest.raises(RunError, match="is a checkpoint of q, not of q9"):
        checkpoint.load(tmp_path / "last.pt", "q9")
    with pytest.raises(RunError, match="'width': 4"):
        checkpoint.load(tmp_path / "last.pt", "q", {"width": 4})


def test_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    save(path, 1.0)

    def full(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(path, 2.0)
    monkeypatch.undo()
    assert checkpoint.load(path, "q")["weight"][0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
