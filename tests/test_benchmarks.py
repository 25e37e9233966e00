"""The races: plain versions that compute what ours do, and the frame that times them."""

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import SGD

from benchmarks import plain_darts, plain_dcgan, plain_pix2pix, plain_protonet, race
from benchmarks.options import RACES, DartsOptions, Pix2pixOptions, RaceOptions, resolve
from benchmarks.plain_supernet import PlainSupernet, copy_weights, pairs
from common.device import Runtime
from common.errors import UsageError
from common.machine import LIMITS, has_fast_bf16
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.train import train_step as dcgan_step
from q2_protonet.protonet import ProtoNet
from q2_protonet.train import train_step as protonet_step
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q3_pix2pix.train import train_step as pix2pix_step
from q4_darts.model_search import Supernet
from q4_darts.train_search import train_step as darts_step
from tests.conftest import SLOW_SECONDS

CPU = torch.device("cpu")
RUNTIME = Runtime(CPU)


def sgd(network: nn.Module) -> SGD:
    """An optimiser whose step is the gradient: Adam's first one is its sign, of rounding where that is 0."""
    return SGD(network.parameters(), 0.1)


def assert_same_step(before: nn.Module, ours: nn.Module, theirs: nn.Module) -> None:
    """Checks that two networks moved alike, each weight within 1/1000 of the network's largest move."""
    moves = [a.detach() - b.detach() for a, b in zip(ours.parameters(), before.parameters())]
    largest = max(move.abs().max().item() for move in moves)
    assert largest > 0
    for mine, other in zip(ours.parameters(), theirs.parameters()):
        assert (mine - other).abs().max() < 1e-3 * largest


# The mathematics --------------------------------------------------------------------------------------------


def test_plain_protonet_takes_the_step_of_ours():
    torch.manual_seed(0)
    model = ProtoNet(8)
    before = copy.deepcopy(model)
    plain = plain_protonet.plain_network(copy.deepcopy(model))
    images = torch.rand(3 * (2 + 4), 1, 28, 28)
    loss, accuracy = protonet_step(model, sgd(model), images, 3, 2, False, RUNTIME)
    plain_loss, plain_accuracy = plain_protonet.plain_step(plain, sgd(plain), images, 3, 2)
    assert plain_loss == pytest.approx(loss.item(), rel=1e-4)
    assert plain_accuracy == pytest.approx(accuracy.item())
    assert_same_step(before, model, plain)


def both_steps(networks, train_step, plain_step, batch, **more):
    """Takes a step of ours and of the plain version from the same weights; returns what they measured."""
    before = copy.deepcopy(networks)
    plain = copy.deepcopy(networks)
    for network in plain:
        network.to(memory_format=torch.contiguous_format)
    optimizers = [sgd(network) for network in networks]
    measured = train_step(networks, optimizers, *batch, **more, runtime=RUNTIME)
    plain_measured = plain_step(plain, [sgd(network) for network in plain], *batch)
    for start, mine, other in zip(before, networks, plain):
        assert_same_step(start, mine, other)
    return [value.item() for value in measured], list(plain_measured)


@pytest.mark.parametrize("size", [28, 64])
def test_plain_dcgan_takes_the_step_of_ours(size):
    torch.manual_seed(0)
    networks = (Generator(16, 0, size, 8), Discriminator(0, size, base_channels=8))
    batch = (torch.rand(8, 1, size, size) * 2 - 1, torch.randn(8, 16))
    unconditional = {"labels": None, "requested": None, "penalty": 0}
    ours, plain = both_steps(networks, dcgan_step, plain_dcgan.plain_step, batch, **unconditional)
    assert plain == pytest.approx(ours, rel=1e-3)


def test_plain_pix2pix_takes_the_step_of_ours():
    torch.manual_seed(0)
    networks = (UNet(32, 8), PatchGAN(8))
    for module in networks[0].modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # its masks depend on the memory format
    photo, real = torch.rand(2, 2, 3, 32, 32) * 2 - 1
    step = plain_pix2pix.plain_step
    ours, plain = both_steps(networks, pix2pix_step, step, (photo, real), gan_weight=1.0, penalty=0)
    assert plain == pytest.approx(ours, rel=1e-3)


def test_plain_darts_takes_the_step_of_ours(monkeypatch):
    # Rounding flips ReLUs and max-pools at ties: smooth ones here.
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: F.silu(x))
    monkeypatch.setattr(F, "max_pool2d", lambda x, *where, **_: 2 * F.avg_pool2d(x, *where[:3]))
    torch.manual_seed(0)
    fast = Supernet(4, 3)
    plain = PlainSupernet(4, 3)
    fast.run_dense(fast.best_dense())
    copy_weights(fast, plain)
    before = copy.deepcopy(plain)
    batch, batch_a = [(torch.randn(8, 3, 16, 16), torch.randint(0, 10, (8,))) for _ in range(2)]

    optimizers = (SGD(fast.weights(), 0.1), SGD(fast.architecture(), 1.0))
    loss, _, alpha_loss = darts_step(fast, optimizers, batch, batch_a, "first", RUNTIME)
    weights = [weight for name, weight in plain.named_parameters() if name != "alphas"]
    optimizers = (SGD(weights, 0.1), SGD([plain.alphas], 1.0))
    losses = plain_darts.plain_step(plain, optimizers, batch, batch_a, torch.contiguous_format, RUNTIME)

    assert losses == pytest.approx((loss.item(), alpha_loss.item()), rel=1e-4)
    moved = copy.deepcopy(plain)
    for (get, _), (_, twin) in zip(pairs(fast, plain), pairs(fast, moved)):
        twin.data.copy_(get(lambda parameter: parameter.detach()))
    assert_same_step(before, moved, plain)


# The frame --------------------------------------------------------------------------------------------------


def test_versions_take_turns_and_the_first_steps_are_not_timed():
    order = []

    def steps(name):
        while True:
            order.append(name)
            yield

    medians = race.take_turns({"a": steps("a"), "b": steps("b")}, 2, CPU)
    assert order == ["a", "b"] * (race.WARM_UP + 2)
    assert set(medians) == {"a", "b"}


RACE = """
import sys, torch
from benchmarks.options import RaceOptions
from benchmarks.race import run
from benchmarks.versions import Setup
from common.device import Runtime
def good():
    while True:
        yield torch.ones(2) + 1
def bad():
    yield 1 / 0
options = RaceOptions(steps=1, alone=sys.argv[2] if len(sys.argv) > 2 else "")
run("two", Setup("two sizes", {"plain": good(), "ours": bad()}), options, Runtime(torch.device("cpu")))
"""


def test_a_version_that_fails_is_named_and_left_out(script, tmp_path):
    (tmp_path / "script.py").write_text(RACE)
    done = script(tmp_path / "script.py")
    assert "ours: FAILED and left out: ZeroDivisionError" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["version", "plain"]


@pytest.fixture
def unlimited(monkeypatch):
    """This CPU with all of its instructions."""
    for limit in LIMITS:
        monkeypatch.delenv(limit, raising=False)


def test_a_record_says_where_and_how_it_was_measured(tmp_path, monkeypatch, unlimited):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks/race.py", "dcgan", "--steps", "1", "--save"])
    rows = {"plain fp32": {"ms": 2.0, "times_faster": 1.0, "memory": 3.0}}
    race.save("dcgan", "28x28", rows, RUNTIME)
    record = json.loads((tmp_path / "logs/benchmarks/dcgan-cpu.json").read_text())
    assert record["rows"] == rows
    assert record["cpu"] == race.cpu_name()
    assert record["device"] == RUNTIME.device_name
    assert record["command"].endswith("race.py dcgan --steps 1")


def test_bf16_is_left_out_with_a_word_on_a_cpu_without_it(monkeypatch, capsys):
    versions = {"plain fp32": iter(()), "plain bf16, channels_last": iter(()), "ours bf16": iter(())}
    monkeypatch.setattr(race, "has_fast_bf16", lambda: True)
    assert race.worth_racing(versions, CPU) == versions
    monkeypatch.setattr(race, "has_fast_bf16", lambda: False)
    assert race.worth_racing(versions, torch.device("cuda")) == versions
    assert capsys.readouterr().err == ""
    assert list(race.worth_racing(versions, CPU)) == ["plain fp32"]
    assert "no instructions for bf16: plain bf16, channels_last; ours bf16" in capsys.readouterr().err


def test_a_race_under_a_limit_has_a_record_of_its_own(monkeypatch, unlimited):
    assert race.device_kind(RUNTIME) == "cpu"
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert race.device_kind(RUNTIME) == "cpu-avx2"


REFUSED = {
    "steps": (RaceOptions(steps=0), "--steps"),
    "image size": (Pix2pixOptions(image_size=48), "--image_size must be a power of two"),
    "channels": (DartsOptions(init_channels=6, partial_channels=True), "--init_channels"),
}


@pytest.mark.parametrize("options, said", REFUSED.values(), ids=REFUSED)
def test_options_that_no_race_can_have_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        resolve(options)


def test_a_race_that_there_is_not_is_refused_with_those_that_there_are(script):
    done = script("benchmarks/race.py", "nothing", status=2)
    assert all(name in done.stdout + done.stderr for name in RACES)


SMALL = {
    "protonet": ("--way 5 --shot 1 --query 1", "5-way 1-shot, 1 queries"),
    "dcgan": ("--batch_size 8", "28x28, batch 8"),
    "pix2pix": ("--image_size 32 --base_channels 8", "32 pixels, batch 1"),
    "darts": ("--batch_size 4 --init_channels 4 --layers 3 --second", "4 channels, 3 cells, batch 4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_whole_race_runs(name, script):
    flags, sizes = SMALL[name]
    words = ("benchmarks/race.py", name, *flags.split(), "--steps", "1", "--device", "cpu")
    done = script(*words, timeout=SLOW_SECONDS)  # a process for each version
    assert "FAILED" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{sizes}, CPU")
    versions = [line[:32].strip() for line in lines[2:]]
    assert versions[0] == "plain fp32"
    assert "ours fp32" in versions
    assert ("ours bf16" in versions) == has_fast_bf16()  # left out on a CPU without it
