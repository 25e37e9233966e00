"""Networks that come with the project: written, found by name, measured again, loaded by torch.hub."""

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from common import checkpoint, pretrained, trained_network
from common.errors import RunError, UsageError
from common.options import check_checkpoint
from q2_protonet import evaluate, predict
from q2_protonet.options import TrainOptions, resolve
from reproduction import export, verify
from reproduction.options import ExportOptions, VerifyOptions, resolve_export
from tests.conftest import ROOT

TINY = "--dataset synthetic --device cpu --epochs 1 --iterations 5 --classes_per_it_tr 20".split()
TINY += "--hidden_channels 6 8 8 12 --residual_convs 1 --test_episodes 50 --precision fp32".split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The best checkpoint of a tiny ProtoNet trained on synthetic data."""
    from tests.conftest import python

    folder = tmp_path_factory.mktemp("trained")
    roots = ["--log_root", folder / "logs", "--figure_root", folder / "figures"]
    python("q2_protonet/train.py", *TINY, "--run_name", "a", *roots)
    return folder / "logs/q2_protonet/a/checkpoints/best.pt"


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """A folder with this network, exported as "tiny", in fp16."""
    folder = tmp_path_factory.mktemp("pretrained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrained, "FOLDER", folder)
        export.main(ExportOptions(checkpoint=trained, name="tiny", half=True, device="cpu"))
    return folder


@pytest.fixture
def shipped(exported, tmp_path, monkeypatch):
    """A copy of that folder, in place of pretrained/."""
    folder = tmp_path / "pretrained"
    shutil.copytree(exported, folder)
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    return folder


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A folder without networks in place of pretrained/."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    return tmp_path


# Export -----------------------------------------------------------------------------------------------------


def test_an_exported_network_is_found_by_its_question(shipped):
    assert pretrained.names("q2_protonet") == ["tiny"]
    assert pretrained.names("q1_dcgan") == []


def test_an_exported_network_has_the_weights_of_its_checkpoint(shipped, trained):
    state = trained_network.read("tiny", "q2_protonet")[1]
    before = checkpoint.load(trained, "q2_protonet")
    assert state["architecture"] == before["architecture"]
    assert state["model"].keys() == before["model"].keys()
    for name, value in before["model"].items():
        rounded = value.half().float() if value.is_floating_point() else value
        assert torch.equal(state["model"][name], rounded), name


def test_a_card_says_what_the_network_is_and_how_it_was_made(shipped):
    card = (shipped / "tiny.md").read_text()
    assert "fp16" in card
    assert "--hidden_channels 6 8 8 12 --residual_convs 1" in card
    assert pretrained.read(shipped / "tiny.safetensors")["rows"][0]["name"] in card


LEG = {"command": "python q2_protonet/train.py --run_name a --overwrite --resume", "commit": "0123456789"}
STARTED = {1: "`python q2_protonet/train.py", 4: "`torchrun --nproc_per_node 4 q2_protonet/train.py"}


@pytest.mark.parametrize("processes", STARTED)
def test_a_card_has_the_command_that_begins_the_run(tmp_path, trained, processes):
    (tmp_path / "config.json").write_text(json.dumps({"legs": [LEG | {"processes": processes}]}))
    options = ExportOptions(checkpoint=tmp_path / "checkpoints" / "best.pt", name="x")
    card = export.card(options, "q2_protonet", checkpoint.load(trained, "q2_protonet"), [], 1)
    assert f"- Trained by: {STARTED[processes]} --run_name a`, commit 01234567\n" in card


def test_an_exported_network_predicts_by_its_name(shipped, tmp_path):
    examples = ROOT / "docs" / "examples"
    options = predict.Options(
        checkpoint="tiny",
        device="cpu",
        support=examples / "support",
        query=(examples / "query",),
        output=tmp_path / "p.csv",
    )
    assert len(predict.main(options)) == 8


@pytest.mark.parametrize("options", [{}, {"name": "x"}, {"name": "a/b"}])
def test_an_export_without_checkpoint_or_name_is_refused(options, trained):
    checkpoint_too = {"checkpoint": trained} if options.get("name") == "a/b" else {}
    with pytest.raises(UsageError, match="--name"):
        resolve_export(ExportOptions(**options, **checkpoint_too))


def test_an_export_replaces_no_network(shipped, trained):
    with pytest.raises(UsageError, match="--name tiny: there is such a network"):
        resolve_export(ExportOptions(checkpoint=trained, name="tiny"))


@pytest.mark.parametrize("error", [RunError("no data"), KeyboardInterrupt()])
def test_an_export_that_cannot_be_measured_leaves_nothing(empty, trained, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(export, "measure", fail)
    with pytest.raises(type(error)):
        export.main(ExportOptions(checkpoint=trained, name="x", device="cpu"))
    assert list(empty.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_not_exported(empty):
    torch.save([1], empty / "list.pt")
    with pytest.raises(RunError, match="is not a checkpoint of this project"):
        export.main(ExportOptions(checkpoint=empty / "list.pt", name="x", device="cpu"))


# Verify -----------------------------------------------------------------------------------------------------


def test_an_exported_network_is_verified(shipped, capsys):
    verify.main(VerifyOptions(device="cpu"))
    assert "DIFFERS" not in capsys.readouterr().out


def test_a_number_that_is_not_measured_again_differs(shipped, capsys):
    path = shipped / "tiny.safetensors"
    state = pretrained.read(path)
    state["rows"][0]["value"] += 3
    pretrained.write(path, state, state["model"], state["rows"], half=True)
    with pytest.raises(RunError, match=f"1 of {len(state['rows'])} lines are not verified"):
        verify.main(VerifyOptions(device="cpu"))
    assert capsys.readouterr().out.count("DIFFERS") == 1


NUMBERS = {
    (98.0, 98.4): True,
    (98.0, 98.6): False,
    (0.126, 0.1262): True,
    (0.126, 0.130): False,
    (2e-05, 3e-05): True,
    (2e-05, 0.004): False,
    (0.0, 0.0): True,
    (-0.5, 0.5): False,
}


@pytest.mark.parametrize("numbers", NUMBERS)
def test_a_number_is_the_committed_one_to_half_a_percent_of_it(numbers):
    committed, now = ({"name": "measure", "value": value, "unit": ""} for value in numbers)
    line, is_equal = verify.compare("network", committed, now, VerifyOptions().tolerance)
    assert is_equal == NUMBERS[numbers]
    assert ("DIFFERS" in line) != is_equal


@pytest.mark.parametrize("options", [VerifyOptions, ExportOptions])
def test_how_a_shipped_network_is_measured_is_no_option(options):
    """The committed numbers are in fp32 and of seed 0."""
    names = {field.name for field in dataclasses.fields(options)}
    assert not names & {"precision", "seed", "deterministic"}


def refuse_usage():
    raise UsageError("--folder is needed")


def refuse_file():
    raise PermissionError(13, "Permission denied", "x")


@pytest.mark.parametrize(
    "refuse, words", [(refuse_usage, "--folder is needed"), (refuse_file, "Permission denied: x")]
)
def test_a_network_that_cannot_be_measured_is_named(shipped, capsys, monkeypatch, refuse, words):
    monkeypatch.setattr(evaluate, "main", lambda options: refuse())
    with pytest.raises(RunError, match="1 of 1 lines are not verified"):
        verify.main(VerifyOptions(device="cpu"))
    assert f"tiny: not verified: {words}" in capsys.readouterr().out


def test_a_damaged_network_is_named(empty, capsys):
    (empty / "broken.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="1 of 1 lines are not verified"):
        verify.main(VerifyOptions(device="cpu"))
    assert "broken.safetensors is damaged, or not a network" in capsys.readouterr().out


# Files that are no network ----------------------------------------------------------------------------------


def test_a_network_that_is_not_there_is_named_with_those_that_are(empty):
    for question in ("q1_dcgan", "q2_protonet"):
        about = dict.fromkeys(pretrained.DESCRIPTION, {}) | {
            "format": checkpoint.FORMAT,
            "question": question,
            "epoch": 1,
        }
        path = empty / f"a_{question}.safetensors"
        pretrained.write(path, about, {"w": torch.zeros(1)}, [], half=False)
    with pytest.raises(RunError, match="come with the project: a_q2_protonet;"):
        check_checkpoint(predict.Options(checkpoint="nothing"), "q2_protonet")
    with pytest.raises(RunError, match="come with the project: a_q2_protonet;"):
        resolve(TrainOptions(start_from="nothing", dataset="synthetic", log_root=empty, run_name="a"))


BYTES = {
    "empty": b"",
    "text": b"hello",
    "a header longer than the file": (10**12).to_bytes(8, "little") + b"{}",
    "no description": (2).to_bytes(8, "little") + b"{}",
}


@pytest.mark.parametrize("kind", BYTES)
def test_a_file_of_other_bytes_is_damaged(empty, kind):
    (empty / "broken.safetensors").write_bytes(BYTES[kind])
    with pytest.raises(RunError, match="damaged, or not a network"):
        trained_network.read("broken", "q2_protonet")


@pytest.mark.parametrize("about", ["[]", "null", "1", "{}", "[" * 100_000])
def test_a_file_with_another_description_is_damaged(empty, about):
    save_file({"a": torch.zeros(1)}, empty / "broken.safetensors", {"four_papers": about})
    with pytest.raises(RunError, match="damaged, or not a network"):
        trained_network.read("broken", "q2_protonet")
    assert pretrained.names("q2_protonet") == []


def test_a_file_that_is_too_large_is_not_read(empty):
    with open(empty / "large.safetensors", "wb") as file:
        file.truncate(10**12)  # of zeros that take no space
    with pytest.raises(RunError, match="large.safetensors has 1,000,000,000,000 bytes"):
        trained_network.read("large", "q2_protonet")


# What is shipped --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("entry", ["dcgan", "protonet", "pix2pix", "darts"])
def test_torch_hub_refuses_sizes_of_a_trained_network(entry):
    with pytest.raises(TypeError, match="it takes no layers"):
        torch.hub.load(str(ROOT), entry, source="local", pretrained=True, layers=3)


def test_each_network_that_is_shipped_has_measures_and_a_card():
    for path in pretrained.FOLDER.glob("*.safetensors"):
        state = pretrained.read(path)
        assert state["rows"], path
        assert json.dumps(state["architecture"])
        assert path.with_suffix(".md").is_file()


def test_the_networks_are_small_enough_to_commit():
    assert sum(path.stat().st_size for path in pretrained.FOLDER.glob("*.safetensors")) < 40_000_000
