"""What only a CUDA GPU can show: `python -m pytest tests/test_gpu.py` on a machine that has one."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from common.runtime import Runtime
from q4_darts.measures import predict
from q4_darts.model_search import Supernet
from q4_darts.train_search import search_step
from tests.conftest import ENVIRONMENT, ROOT

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
COMMANDS = {
    "q1_dcgan": "q1_dcgan/train.py --conditional --average_weights 0.9 --gradient_penalty 1",
    "q2_protonet": "q2_protonet/train.py --epochs 6 --augment --every_support --average_weights 0.9",
    "q3_pix2pix": "q3_pix2pix/train.py",
    "q4_darts": "q4_darts/train.py --genotype DARTS_V2",
    "q4_darts, search": "q4_darts/train_search.py",
    "q4_darts, search of second order": "q4_darts/train_search.py --order second",
    "q4_darts, search on half of the channels": "q4_darts/train_search.py --partial_channels 2",
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
    run = [sys.executable, *words, "--run_name", "cut"]
    with subprocess.Popen(run, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (folder / "cut" / "checkpoints" / "last.pt").exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 130
    script(*words, "--run_name", "cut", "--resume")
    last = [folder / run / "checkpoints" / "last.pt" for run in ("whole", "cut")]
    whole, cut = (tensors(torch.load(path, "cpu", weights_only=True)) for path in last)
    assert len(whole) > 10 and whole.keys() == cut.keys()
    assert [key for key in whole if not torch.equal(whole[key], cut[key])] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_epoch_of_pc_darts_at_full_size(precision):
    """In bf16, on an H100 with torch 2.11, such searches ended with "illegal memory access" in warm-up."""
    runtime = Runtime(torch.device(DEVICE), precision)
    torch.manual_seed(0)
    model = Supernet(16, 8, partial=4).to(DEVICE)
    sgd = torch.optim.SGD(model.weights(), 0.1, 0.9, weight_decay=3e-4, fused=True)
    adam = torch.optim.Adam(model.architecture(), 6e-4, (0.5, 0.999), weight_decay=1e-3, fused=True)
    for step in range(140):
        images = torch.randn(2, 256, 32, 32, 3, device=DEVICE).permute(0, 1, 4, 2, 3)  # as augment gives them
        batch, batch_a = zip(images, torch.randint(10, (2, 256), device=DEVICE))
        batch_a = batch_a if step >= 100 else None  # after the warm-up
        loss, *_ = search_step(model, sgd, adam, batch, batch_a, runtime)
    assert loss.isfinite()
    logits = predict(model, torch.randint(256, (5000, 32, 32, 3), device=DEVICE, dtype=torch.uint8), runtime)
    assert logits.isfinite().all()
