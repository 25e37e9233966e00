"""Networks that come with the project: written, found by name, measured again, loaded by torch.hub."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from common import checkpoint, pretrained
from common.runtime import RunError, UsageError
from q2_protonet import evaluate, predict
from q2_protonet.train import Options
from q4_darts.genotypes import DARTS_V2
from q4_darts.model import Network
from reproduction import export, verify
from tests.conftest import ROOT

TINY = "--dataset synthetic --device cpu --epochs 1 --iterations 5 --classes_per_it_tr 20".split()
TINY += "--hidden_channels 6 8 8 12 --residual_convs 1 --precision fp32".split()  # the same on every CPU
ARCHITECTURE = {"hidden_channels": [6, 8, 8, 12], "residual_convs": 1}


@pytest.fixture
def shipped(script, roots, tmp_path, monkeypatch):
    """A tiny ProtoNet trained on synthetic data and exported as "tiny", in fp16."""
    script("q2_protonet/train.py", *TINY, "--test_episodes", 50, "--run_name", "a", *roots)
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "pretrained")
    best = tmp_path / "logs/q2_protonet/a/checkpoints/best.pt"
    export.main(export.Options(checkpoint=best, name="tiny", half=True, device="cpu"))
    return best


def test_a_network_is_exported_measured_and_found_by_name(shipped, capsys, tmp_path):
    state, trained = checkpoint.load("tiny", "q2_protonet"), checkpoint.load(shipped, "q2_protonet")
    assert pretrained.names() == ["tiny"] == pretrained.names("q2_protonet")
    assert pretrained.names("q1_dcgan") == [] and state["architecture"] == ARCHITECTURE
    assert state["model"].keys() == trained["model"].keys()
    for name, value in trained["model"].items():
        rounded = value.half().float() if value.is_floating_point() else value
        assert torch.equal(state["model"][name], rounded), name
    card = (pretrained.FOLDER / "tiny.md").read_text()
    assert "fp16" in card and state["rows"][0]["name"] in card
    assert "--hidden_channels 6 8 8 12 --residual_convs 1" in card
    examples, output = ROOT / "docs/examples", tmp_path / "p.csv"
    options = {"support": examples / "support", "query": (examples / "query",), "output": output}
    rows = predict.main(predict.Options(checkpoint="tiny", device="cpu", **options))
    assert len(rows) == 8 and output.exists()
    verify.main(verify.Options(device="cpu"))
    assert "DIFFERS" not in capsys.readouterr().out


def test_verify_names_what_is_not_reproduced_and_goes_on(shipped, capsys, monkeypatch):
    """A number that differs, a damaged file, a command that cannot be and a file that cannot be read."""
    path = pretrained.FOLDER / "tiny.safetensors"
    state = pretrained.read(path)
    state["rows"][0]["value"] += 3
    pretrained.write(path, state, state["model"], state["rows"], half=True)
    shutil.copy(path, path.with_name("far.safetensors"))
    shutil.copy(path, path.with_name("moved.safetensors"))
    path.with_name("broken.safetensors").write_bytes(b"")
    refusals = {"far": UsageError("--folder is needed")}
    refusals["moved"] = PermissionError(13, "Permission denied", "x")

    def main(options, measure=evaluate.main):
        if options.checkpoint.name in refusals:
            raise refusals[options.checkpoint.name]
        return measure(options)

    monkeypatch.setattr(evaluate, "main", main)
    count = 3 + len(state["rows"])
    with pytest.raises(RunError, match=f"4 of {count} lines are not verified"):
        verify.main(verify.Options(device="cpu"))
    said = capsys.readouterr().out
    assert said.count("DIFFERS") == 1 and "broken: not verified: " in said
    assert "far: not verified: --folder is needed" in said
    assert "moved: not verified: Permission denied: x" in said


def test_an_older_checkpoint_without_facts_is_exported(tmp_path, monkeypatch):
    """Of a question whose runs never had --trainval, outside of its run's folder."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.chdir(tmp_path)  # the figures go there
    architecture = {"channels": 4, "layers": 3, "classes": 10, "auxiliary": False}
    network = Network(genotype=DARTS_V2, **architecture)
    architecture["genotype"] = json.loads(json.dumps(DARTS_V2._asdict()))
    options = {"dataset": "synthetic", "folder": None, "seed": 0}
    state = {"model": network.state_dict(), "options": options, "epoch": 1}
    checkpoint.save(tmp_path / "last.pt", "q4_darts", architecture, **state)
    path = export.main(export.Options(checkpoint=tmp_path / "last.pt", name="old", device="cpu"))
    card = path.with_suffix(".md").read_text()
    assert "Trained by: `unknown`" in card and "| test, epoch 1 | " in card


def test_missing_and_damaged_networks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    with pytest.raises(RunError, match="no checkpoint at nothing; networks that come with the project: none"):
        checkpoint.load("nothing", "q2_protonet")
    path = tmp_path / "broken.safetensors"
    for content in (b"", b"hello", (10**12).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(RunError, match="damaged, or not a network"):
            checkpoint.load("broken", "q2_protonet")
    for about in ("[]", "null", "1", "[" * 100_000):  # what should describe it
        save_file({"a": torch.zeros(1)}, path, {"four_papers": about})
        with pytest.raises(RunError, match="damaged, or not a network"):
            checkpoint.load("broken", "q2_protonet")
    save_file({"a": torch.zeros(1)}, path, {"four_papers": "{}"})
    assert pretrained.names() == ["broken"] and pretrained.names("q2_protonet") == []
    with pytest.raises(RunError, match="1 of 1 lines are not verified"):
        verify.main(verify.Options(device="cpu"))
    assert "broken.safetensors is damaged, or not a network" in capsys.readouterr().out
    with open(path, "wb") as file:
        file.truncate(10**12)  # of zeros that take no space
    with pytest.raises(RunError, match="broken.safetensors has 1,000,000,000,000 bytes"):
        checkpoint.load("broken", "q2_protonet")


def test_the_networks_named_are_those_of_the_question(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    for question in ("q1_dcgan", "q2_protonet"):
        about = {
            "format": checkpoint.FORMAT,
            "question": question,
            "architecture": {},
            "options": {},
            "epoch": 1,
        }
        pretrained.write(tmp_path / f"a_{question}.safetensors", about, {"w": torch.zeros(1)}, [], half=False)
    for asked in (lambda: checkpoint.load("nothing", "q2_protonet"), Options(start_from="nothing").check):
        with pytest.raises(RunError, match="come with the project: a_q2_protonet;"):
            asked()


@pytest.mark.parametrize(
    "words, output, name",
    [
        ("q1_dcgan/sample.py --digit 4", "a.png", "dcgan-conditional"),
        ("q2_protonet/predict.py --support {0}/support --query {0}/query", "a.csv", "protonet-1shot"),
        ("q3_pix2pix/predict.py --input {0}/photos", "a", "pix2pix-aerial"),
        ("q4_darts/predict.py --input {0}/pictures", "a.csv", "darts-cifar10"),
    ],
)
def test_the_default_is_a_network_of_the_project(words, output, name, script, tmp_path):
    """With the network it answers; without, it says which ones are there and what to do."""
    shipped = (pretrained.FOLDER / f"{name}.safetensors").exists()
    words = words.format("docs/examples").split()
    done = script(*words, "--output", tmp_path / output, status=0 if shipped else 1)
    assert shipped or f"no checkpoint at {name}; networks that come with the project" in done.stderr


@pytest.mark.parametrize("entry", ["dcgan", "protonet", "pix2pix", "darts"])
def test_torch_hub_builds_the_network(entry):
    network = torch.hub.load(str(ROOT), entry, source="local")
    assert sum(p.numel() for p in network.parameters()) > 100_000
    with pytest.raises(TypeError, match="it takes no layers"):
        torch.hub.load(str(ROOT), entry, source="local", pretrained=True, layers=3)


def test_what_is_shipped_is_whole_and_described():
    total = 0
    for path in pretrained.FOLDER.glob("*.safetensors"):
        state = pretrained.read(path)
        assert state["rows"] and path.with_suffix(".md").is_file() and json.dumps(state["architecture"])
        total += path.stat().st_size
    assert total < 40_000_000
