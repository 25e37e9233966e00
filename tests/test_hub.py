"""Networks by torch.hub: each checkout's own code, beside whatever packages a user has."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import hubconf
from common import pretrained
from tests.conftest import ENVIRONMENT, ROOT

ENTRIES = ("dcgan", "protonet", "pix2pix", "darts")
PACKAGES = ("common", "q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts")


def load(entry: str, checkout: Path = ROOT, **options: object) -> nn.Module:
    """Loads a network of a checkout on this disk."""
    return torch.hub.load(str(checkout), entry, source="local", **options)


@pytest.fixture
def checkout(tmp_path) -> Path:
    """Another checkout, whose ProtoNet has a mark."""
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(ROOT / "hubconf.py", folder)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "q2_protonet/protonet.py"
    line = "class ProtoNet(nn.Module):\n"
    file.write_text(file.read_text().replace(line, f"{line}    mark = 2\n"))
    return folder


def python(program: str, folder: Path, *more: str) -> str:
    """Runs a program in a folder, where warnings are errors, and returns what it printed.

    Its arguments are this checkout and `more`.
    """
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-W", "error", "-c", program, str(ROOT), *more]
    how = {"cwd": folder, "env": environment | {"PYTHONDONTWRITEBYTECODE": "1"}}
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, **how)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What comes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_builds_a_network_to_train(entry):
    network = load(entry)
    assert network.training
    assert sum(p.numel() for p in network.parameters()) > 100_000


def test_further_arguments_go_to_the_class():
    assert load("protonet", hidden_channels=8).blocks[-1].conv.out_channels == 8


def test_a_genotype_may_be_given_by_name():
    network = load("darts", genotype="DARTS_V1", channels=4, layers=3, classes=10, auxiliary=False)
    assert network.genotype.normal[0] == ("sep_conv_3x3", 1)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_trained_network_has_its_own_sizes(entry):
    with pytest.raises(TypeError, match="it takes no layers"):
        load(entry, pretrained=True, layers=3)


TRAINED = {
    "dcgan": ("dcgan-conditional", (torch.zeros(2, 256), torch.tensor([3, 4])), (2, 1, 28, 28)),
    "protonet": ("protonet-1shot", (torch.zeros(2, 1, 28, 28),), (2, 256)),
    "pix2pix": ("pix2pix-aerial", (torch.zeros(1, 3, 256, 256),), (1, 3, 256, 256)),
    "darts": ("darts-cifar10", (torch.zeros(2, 3, 32, 32),), (2, 10)),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_trained_network_answers_in_eval_mode(entry):
    name, inputs, shape = TRAINED[entry]
    if name not in pretrained.names():
        pytest.skip(f"pretrained/{name}.safetensors is not here")
    network = load(entry, pretrained=True)
    assert not network.training
    with torch.inference_mode():
        answer = network(*inputs)
    answer = answer[0] if isinstance(answer, tuple) else answer
    assert answer.shape == shape


def test_torch_hub_lists_the_networks_and_nothing_else():
    """By torch's rule, which takes all that can be called and has no underscore for an entry."""
    entries = {name for name, value in vars(hubconf).items() if callable(value) and name[0] != "_"}
    assert entries == set(ENTRIES)


# Beside others ----------------------------------------------------------------------------------------------


def test_two_checkouts_have_each_its_own_code(checkout):
    here = load("protonet")
    there = load("protonet", checkout)
    assert not hasattr(here, "mark")
    assert there.mark == 2
    assert not hasattr(load("protonet"), "mark")


def test_a_checkout_that_was_updated_is_loaded_anew(checkout):
    load("protonet", checkout)
    file = checkout / "q2_protonet/protonet.py"
    file.write_text(file.read_text().replace("mark = 2", "mark = 3"))
    assert load("protonet", checkout).mark == 3


LATE_IMPORTS = """
def late():
    import q2_protonet.options
    from common import rows
    return rows, q2_protonet, q2_protonet.options
"""


def test_an_import_inside_a_function_finds_the_same_checkout_later(checkout):
    file = checkout / "q2_protonet/protonet.py"
    file.write_text(file.read_text() + LATE_IMPORTS)
    network = load("protonet", checkout)
    for module in sys.modules[type(network).__module__].late():
        assert Path(module.__file__).is_relative_to(checkout)


NAMES_BEFORE_AND_AFTER = """
import sys, torch
path = list(sys.path)
for entry in ("dcgan", "protonet", "pix2pix", "darts"):
    torch.hub.load(sys.argv[1], entry, source="local")
for entry in sys.argv[2:]:
    torch.hub.load(sys.argv[1], entry, source="local", pretrained=True)
assert sys.path == path
names = {name.partition(".")[0] for name in sys.modules}
print(*sorted(names & {"common", "hubconf", "q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts"}))
print(*sorted(names & {"torchmetrics", "matplotlib", "torchvision"}))
"""


def test_no_name_of_the_project_and_no_slow_library_is_left_behind(tmp_path):
    """Warnings are errors there."""
    there = [entry for entry, (name, *_) in TRAINED.items() if name in pretrained.names()]
    ours, slow = python(NAMES_BEFORE_AND_AFTER, tmp_path, *there).splitlines()
    assert ours == ""
    assert slow == ""


@pytest.mark.parametrize("first", [True, False], ids=["their own first", "their own afterwards"])
def test_a_users_own_package_called_common_stays_theirs(first, tmp_path):
    (tmp_path / "common").mkdir()
    (tmp_path / "common/__init__.py").write_text("mine = 1")
    program = ["import sys, torch", 'torch.hub.load(sys.argv[1], "protonet", source="local")']
    program.insert(0 if first else 2, "import common")
    assert python("\n".join([*program, "print(common.mine)"]), tmp_path) == "1\n"


# As any other network ---------------------------------------------------------------------------------------


def test_a_network_can_be_copied():
    network = load("protonet")
    assert type(copy.deepcopy(network)) is type(network)


def test_a_whole_network_is_read_again_where_the_checkout_was_loaded(tmp_path):
    path = tmp_path / "network.pt"
    network = load("protonet")
    torch.save(network, path)
    program = "import sys, torch; torch.hub.load(sys.argv[1], 'protonet', source='local'); "
    program += f"print(type(torch.load({os.fspath(path)!r}, weights_only=False)).__name__)"
    assert python(program, tmp_path) == "ProtoNet\n"


def test_no_bytecode_of_the_renamed_files_is_written(checkout):
    load("protonet", checkout)
    assert not list(checkout.glob("q*/__pycache__"))
