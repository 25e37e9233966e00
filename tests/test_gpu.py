"""What only a CUDA GPU can show: `python -m pytest tests/test_gpu.py` on a machine that has one."""

import copy
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from common.device import Runtime
from q1_dcgan.dcgan import Discriminator, Generator
from q2_protonet.protonet import ProtoNet
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q4_darts.genotypes import NAMED
from q4_darts.measures import predict
from q4_darts.model import Network
from q4_darts.model_search import Supernet
from q4_darts.train_search import train_step
from tests.conftest import ENVIRONMENT, ROOT

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
COMMANDS = {
    "q1_dcgan": "q1_dcgan/train.py --conditional --average_weights 0.9 --gradient_penalty 1",
    "q2_protonet": "q2_protonet/train.py --augment --every_support --average_weights 0.9",
    "q3_pix2pix": "q3_pix2pix/train.py",
    "q4_darts": "q4_darts/train.py --genotype DARTS_V2",
    "q4_darts, search": "q4_darts/train_search.py",
    "q4_darts, search of second order": "q4_darts/train_search.py --order second",
    "q4_darts, search on half of the channels": "q4_darts/train_search.py --partial_channels 2",
}
NETWORKS = {  # and the shapes of what they take
    "generator": (lambda: Generator(16, base_channels=8), (4, 16)),
    "discriminator": (lambda: Discriminator(base_channels=8), (4, 1, 28, 28)),
    "ProtoNet": (lambda: ProtoNet(16, residual_convs=1), (4, 1, 28, 28)),
    "U-Net": (lambda: UNet(64, 8), (2, 3, 64, 64)),
    "PatchGAN": (lambda: PatchGAN(8), (2, 3, 64, 64), (2, 3, 64, 64)),
    "DARTS_V1": (lambda: Network(NAMED["DARTS_V1"], 8, 6, auxiliary=True), (4, 3, 32, 32)),
    "PC_DARTS": (lambda: Network(NAMED["PC_DARTS"], 8, 6, auxiliary=True), (4, 3, 32, 32)),
    "supernet": (lambda: Supernet(4, 3), (4, 3, 32, 32)),
    "supernet on a quarter of the channels": (lambda: Supernet(16, 3, partial=4), (4, 3, 32, 32)),
}


def tensors(value: object, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors in a checkpoint by name."""
    if isinstance(value, torch.Tensor):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    return {key: tensor for part, each in items for key, tensor in tensors(each, f"{name}.{part}").items()}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_deterministic_run_that_is_stopped_and_resumed_ends_as_one_in_one_piece(
    name, script, roots, tmp_path
):
    words = [*COMMANDS[name].split(), "--smoke", "--deterministic", "--device", DEVICE, *roots]
    folder = tmp_path / "logs" / name.partition(",")[0]
    script(*words, "--run_name", "whole")
    run, steps = [sys.executable, *words, "--run_name", "cut"], folder / "cut" / "steps.csv"
    with subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (steps.exists() and steps.stat().st_size):
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 130
    script(*words, "--run_name", "cut", "--resume")
    last = [folder / run / "checkpoints" / "last.pt" for run in ("whole", "cut")]
    whole, cut = (tensors(torch.load(path, "cpu", weights_only=True)) for path in last)
    assert len(whole) > 10 and whole.keys() == cut.keys()
    assert [key for key in whole if not torch.equal(whole[key], cut[key])] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_replayed_and_launched_steps_agree(name, script, roots, tmp_path):
    words = [*COMMANDS[name].split(), "--smoke", "--deterministic", "--device", DEVICE, *roots]
    script(*words, "--run_name", "replayed")
    script(*words, "--run_name", "launched", "--no_cuda_graphs")
    folder = tmp_path / "logs" / name.partition(",")[0]
    last = [folder / run / "checkpoints" / "last.pt" for run in ("replayed", "launched")]
    replayed, launched = (tensors(torch.load(path, "cpu", weights_only=True)) for path in last)
    assert len(replayed) > 10 and replayed.keys() == launched.keys()
    assert [key for key in replayed if not torch.equal(replayed[key], launched[key])] == []
    steps = [(folder / run / "steps.csv").read_bytes() for run in ("replayed", "launched")]
    assert steps[0] == steps[1]


def gradients(model: nn.Module, inputs: list[torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    """Of the sum of the outputs' squares, on a device, by name."""
    model = copy.deepcopy(model).to(device)
    inputs = [x.detach().to(device).requires_grad_() for x in inputs]
    out = model(*inputs)
    sum(part.square().sum() for part in (out if isinstance(out, tuple) else (out,))).backward()
    named = dict(model.named_parameters(), input=inputs[0])
    return {name: parameter.grad.cpu() for name, parameter in named.items() if parameter.grad is not None}


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_on_the_gpu_are_those_on_the_cpu(name):
    """torch's padded average pool in channels_last gives others (pytorch/pytorch#188344)."""
    torch.manual_seed(0)
    make, *shapes = NETWORKS[name]
    inputs = [torch.randn(shape).double() for shape in shapes]
    model = make().double()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0
    here, there = (gradients(model, inputs, device) for device in ("cpu", DEVICE))
    assert here.keys() == there.keys()
    norm = sum(each.norm() for each in here.values())
    errors = {key: float((here[key] - there[key]).norm() / (here[key].norm() + 1e-6 * norm)) for key in here}
    assert {key: error for key, error in errors.items() if error > 1e-6} == {}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_of_pc_darts_at_full_size(precision):
    """In bf16, on an H100, such searches ended with "illegal memory access" before `with_room`."""
    runtime = Runtime(torch.device(DEVICE), precision=precision)
    torch.manual_seed(0)
    model = Supernet(16, 8, partial=4).to(DEVICE)
    sgd = torch.optim.SGD(model.weights(), 0.1, 0.9, weight_decay=3e-4, fused=True)
    adam = torch.optim.Adam(model.architecture(), 6e-4, (0.5, 0.999), weight_decay=1e-3, fused=True)
    for step in range(140):
        images = torch.randn(2, 256, 32, 32, 3, device=DEVICE).permute(0, 1, 4, 2, 3)  # as augment gives them
        batch, batch_a = zip(images, torch.randint(10, (2, 256), device=DEVICE))
        batch_a = batch_a if step >= 100 else None  # after the warm-up
        loss, *_ = train_step(model, (sgd, adam), batch, batch_a, "first", runtime)
    assert loss.isfinite()
    logits = predict(model, torch.randint(256, (5000, 32, 32, 3), device=DEVICE, dtype=torch.uint8))
    assert logits.isfinite().all()


def test_pc_darts_stays_inside_its_memory():
    """cuDNN 9.19 reads past filters whose number is no multiple of eight, such as the 12 of three edges."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        pytest.skip("no compute-sanitizer on the PATH: it comes with CUDA's toolkit")
    code = f"""
import torch
from q4_darts.model_search import Supernet
model = Supernet(16, 3, partial=4).to("{DEVICE}")
with torch.autocast("{DEVICE}", torch.bfloat16):
    out = model(torch.randn(64, 3, 32, 32, device="{DEVICE}"))
out.float().square().sum().backward()
torch.cuda.synchronize()
"""
    words = [tool, "--tool", "memcheck", "--padding", "4096", sys.executable, "-c", code]
    alone = ENVIRONMENT | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}  # every tensor an allocation of its own
    done = subprocess.run(words, cwd=ROOT, env=alone, capture_output=True, text=True)
    assert "ERROR SUMMARY: 0 errors" in done.stdout, done.stdout[-2000:]
