"""A network of a checkpoint: found by name, built from what the checkpoint says, trained on."""

from pathlib import Path

import pytest
import torch
from torch import nn

from common import checkpoint, trained_network
from common.averaging import Average
from common.errors import RunError, UsageError


def linear(width):
    return nn.Linear(width, 1)


def save(path, architecture, **state):
    checkpoint.save(path, "q", architecture, **{"options": {"rate": 0.1}, "facts": {}, "epoch": 3} | state)


# Loading ----------------------------------------------------------------------------------------------------


def test_a_network_is_built_from_the_checkpoint_alone(tmp_path):
    path = tmp_path / "runs" / "a" / "checkpoints" / "best.pt"
    old = linear(2)
    save(path, {"width": 2}, model=old.state_dict(), facts={"classes": ["x"]})
    loaded = trained_network.load(path, "q", linear, "cpu")
    assert torch.equal(loaded.network.weight, old.weight)
    assert not loaded.network.training
    assert loaded.facts == {"classes": ["x"]}
    assert loaded.options == {"rate": 0.1}
    assert (loaded.epoch, loaded.name) == (3, "a")


def test_the_averaged_weights_are_taken_where_there_are_some(tmp_path):
    generator = linear(2)
    average = Average(generator, 0.9)
    average.module.weight.data.fill_(7)
    states = {"generator": generator.state_dict(), "average": average.state_dict()}
    parts = ("average", "generator")
    save(tmp_path / "last.pt", {"width": 2}, **states)
    assert trained_network.load(tmp_path / "last.pt", "q", linear, "cpu", parts).network.weight[0, 0] == 7
    save(tmp_path / "last.pt", {"width": 2}, generator=generator.state_dict())
    loaded = trained_network.load(tmp_path / "last.pt", "q", linear, "cpu", parts)
    assert torch.equal(loaded.network.weight, generator.weight)


def test_an_architecture_of_another_network_is_refused(tmp_path):
    save(tmp_path / "best.pt", {"depth": 2}, model={})
    with pytest.raises(RunError, match="best.pt holds the architecture .*no network can be built"):
        trained_network.load(tmp_path / "best.pt", "q", linear, "cpu")


def test_a_checkpoint_names_its_options_and_facts(tmp_path):
    save(tmp_path / "best.pt", {"width": 2}, model=linear(2).state_dict(), facts=None)
    with pytest.raises(RunError, match="it has no facts"):
        trained_network.load(tmp_path / "best.pt", "q", linear, "cpu")


@pytest.mark.parametrize("part", ["options", "facts"])
def test_an_entry_that_a_checkpoint_lacks_is_named(tmp_path, part):
    save(tmp_path / "best.pt", {"width": 2}, model=linear(2).state_dict())
    loaded = trained_network.load(tmp_path / "best.pt", "q", linear, "cpu")
    with pytest.raises(RunError, match="best.pt is no checkpoint .*: it does not record 'scale'"):
        getattr(loaded, part)["scale"]
    assert getattr(loaded, part).get("legend") is None


@pytest.mark.parametrize("dataset", ["../../x", "/etc", "a/b", "a\0"])
def test_a_data_set_of_a_checkpoint_is_no_path(tmp_path, dataset):
    """Its name becomes that of a lock's file and of a folder."""
    save(tmp_path / "a.pt", {"width": 2}, model=linear(2).state_dict(), options={"dataset": dataset})
    with pytest.raises(RunError, match="a.pt is no checkpoint of this project: its data set is called"):
        trained_network.load(tmp_path / "a.pt", "q", linear, "cpu")


def test_a_class_of_a_checkpoint_cannot_write_over_the_screen(tmp_path):
    facts = {"classes": ["cat", "\x1b[2Jdog"]}
    save(tmp_path / "a.pt", {"width": 2}, model=linear(2).state_dict(), facts=facts)
    with pytest.raises(RunError, match="a.pt names classes with escape sequences"):
        trained_network.load(tmp_path / "a.pt", "q", linear, "cpu")


def test_a_checkpoint_that_is_not_there_names_what_is():
    with pytest.raises(RunError, match="no checkpoint at nowhere.pt; networks that come .* protonet-"):
        trained_network.read("nowhere.pt", "q2_protonet")


@pytest.mark.parametrize(
    "path, name", [("a/checkpoints/last.pt", "a"), ("a/last.pt", "a"), ("protonet-1shot", "protonet-1shot")]
)
def test_figures_go_under_the_run_or_the_network(tmp_path, path, name):
    file = tmp_path / path
    if file.suffix:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
    assert trained_network.run_name(file if file.suffix else Path(path)) == name


# Training on ------------------------------------------------------------------------------------------------

ANEW = ["generator head.bias, (5,)", "generator head.weight, (5, 4)"]


def networks(classes=3, width=4):
    body = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    generator = nn.ModuleDict({"body": body, "head": nn.Linear(width, classes)})
    return {"generator": generator, "judge": nn.Linear(2, 1)}


@pytest.fixture
def old(tmp_path):
    """Networks, saved in last.pt, the first one in best.pt too."""
    made = networks()
    save(tmp_path / "last.pt", {"width": 4}, **{name: each.state_dict() for name, each in made.items()})
    save(tmp_path / "best.pt", {"width": 4}, model=made["generator"].state_dict())
    return made


def start_from(path, *arguments):
    return trained_network.start_from(path, checkpoint.load(path, "q"), *arguments)


def test_all_networks_start_from_those_of_last(old, tmp_path):
    new = networks()
    path = tmp_path / "last.pt"
    assert start_from(path, {}, new) == [f"starts from generator, judge of {path}"]
    for name, network in new.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, old[name].state_dict()[key])


def test_what_is_remade_or_lacking_starts_anew_and_is_named(old, tmp_path):
    new = networks(classes=5)
    head = new["generator"]["head"].weight.clone()
    path = tmp_path / "best.pt"
    said = start_from(path, {}, new, ("head.",))
    anew = [*ANEW, "the judge, which it lacks"]
    assert said == [f"starts from generator of {path}", *(f"starts anew: {what}" for what in anew)]
    assert torch.equal(new["generator"]["head"].weight, head)
    assert torch.equal(new["generator"]["body"][0].weight, old["generator"]["body"][0].weight)


def test_a_part_more_is_one_line(old, tmp_path):
    new = networks(classes=5)
    new["generator"]["extra"] = nn.Linear(2, 1)
    said = start_from(tmp_path / "last.pt", {}, new, ("head.", "extra."))
    assert said[1:] == [f"starts anew: {what}" for what in ("generator extra, which it lacks", *ANEW)]


@pytest.mark.parametrize("more, remade", [({"classes": 5}, ()), ({"width": 6}, ("head.",))])
def test_another_shape_is_refused_with_both_architectures(old, tmp_path, more, remade):
    said = "holds the network {'width': 4}, and this run trains {'width': 6}"
    with pytest.raises(UsageError, match=said):
        start_from(tmp_path / "last.pt", {"width": 6}, networks(**more), remade)


def test_a_genotype_does_not_fill_the_message(old, tmp_path):
    architecture = {"width": 6, "genotype": {"normal": [1]}}
    with pytest.raises(UsageError, match=r"trains {'width': 6, 'genotype': '\.\.\.'}: they differ"):
        start_from(tmp_path / "last.pt", architecture, networks(width=6))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    save(
        tmp_path / "best.pt",
        {"width": 1},
        model={"weight": torch.ones(1, 1), "bias": torch.full((1,), torch.inf)},
    )
    with pytest.raises(RunError, match="best.pt holds weights that are not finite"):
        start_from(tmp_path / "best.pt", {}, {"model": linear(1)})
