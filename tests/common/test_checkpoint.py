import errno

import pytest
import torch
from torch import nn

from common import checkpoint
from common.runtime import RunError, UsageError


def save(path, value=1.0, **more):
    checkpoint.save(path, "q", {"width": 3}, weight=torch.full((1000,), value), **more)


def test_round_trip_keeps_tensors_and_plain_values(tmp_path):
    save(tmp_path / "last.pt", position={"epoch": 3, "names": ["a", "b"], "score": 0.5})
    state = checkpoint.load(tmp_path / "last.pt", "q", {"width": 3})
    assert torch.equal(state["weight"], torch.ones(1000))
    assert state["position"] == {"epoch": 3, "names": ["a", "b"], "score": 0.5}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_cut_short_yields_to_the_one_before(tmp_path, keep):
    path = tmp_path / "last.pt"
    save(path, 1.0)
    save(path, 2.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(checkpoint.Damaged, match="cut short"):
        checkpoint.load(path, "q")
    state, warning = checkpoint.load_last(path, "q", {"width": 3})
    assert state["weight"][0] == 1 and "checkpoint before it" in warning


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


def test_both_damaged_says_what_to_do(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"")
    checkpoint.previous(path).write_bytes(b"PK")
    with pytest.raises(checkpoint.Damaged, match="--overwrite"):
        checkpoint.load_last(path, "q", {"width": 3})
    assert checkpoint.load_last(tmp_path / "none.pt", "q", {}) == (None, "")


def test_other_question_other_architecture_and_no_file(tmp_path):
    save(tmp_path / "last.pt")
    with pytest.raises(RunError, match="a checkpoint of q, not of q9"):
        checkpoint.load(tmp_path / "last.pt", "q9")
    with pytest.raises(RunError, match="'width': 4"):
        checkpoint.load(tmp_path / "last.pt", "q", {"width": 4})
    with pytest.raises(RunError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "other.pt", "q")


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


def test_start_from_loads_what_fits_and_says_what_starts_anew(tmp_path):
    def networks(classes=3, width=4):
        body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
        generator = nn.ModuleDict({"body": body, "head": nn.Linear(width, classes)})
        return {"generator": generator, "judge": nn.Linear(2, 1)}

    path, best, old = tmp_path / "last.pt", tmp_path / "best.pt", networks()
    checkpoint.save(path, "q", {"width": 4}, **{name: network.state_dict() for name, network in old.items()})
    checkpoint.save(best, "q", {"width": 4}, model=old["generator"].state_dict())

    new = networks()
    saved = checkpoint.load(path, "q")
    assert checkpoint.start_from(path, saved, {}, new) == [f"starts from generator, judge of {path}"]
    for name, network in new.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, old[name].state_dict()[key])

    new = networks(classes=5)
    head = new["generator"]["head"].weight.clone()
    said = checkpoint.start_from(best, checkpoint.load(best, "q"), {}, new, ("head.",))
    anew = ["generator head.bias, (5,)", "generator head.weight, (5, 4)", "the judge, which it lacks"]
    assert said == [f"starts from generator of {best}", *(f"starts anew: {what}" for what in anew)]
    assert torch.equal(new["generator"]["head"].weight, head)
    assert torch.equal(new["generator"]["body"][0].weight, old["generator"]["body"][0].weight)

    new["generator"]["extra"] = nn.Linear(2, 1)
    said = checkpoint.start_from(path, saved, {}, new, ("head.", "extra."))
    assert said[1:] == [
        "starts anew: generator extra, which it lacks",
        *(f"starts anew: {w}" for w in anew[:2]),
    ]

    for wrong, remade in ((networks(classes=5), ()), (networks(width=6), ("head.",))):
        both = "holds the network {'width': 4}, and this run trains {'width': 6}"
        with pytest.raises(UsageError, match=both):
            checkpoint.start_from(path, saved, {"width": 6}, wrong, remade)
    with pytest.raises(UsageError, match=r"trains {'width': 6, 'genotype': '\.\.\.'}: they differ"):
        checkpoint.start_from(path, saved, {"width": 6, "genotype": {"normal": [1]}}, networks(width=6))
