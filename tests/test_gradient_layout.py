"""Gradients and the optimisers' states lie in memory as their weights do.

torch's fused optimisers read all of them as one row of numbers on a CPU: with a weight in channels_last and
its gradient in another layout, they compute wrong values without a word.
"""

import subprocess
import sys

import pytest

from tests.conftest import ENVIRONMENT, ROOT

WATCHED = """
import runpy
import sys

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

count = 0


def places(tensor):
    return [stride for stride, size in zip(tensor.stride(), tensor.shape) if size > 1]


def check(optimizer, arguments, named):
    global count
    for group in optimizer.param_groups:
        for weight in group["params"]:
            if weight.grad is None:
                continue
            state = optimizer.state.get(weight, {}).values()
            beside = [each for each in state if torch.is_tensor(each) and each.shape == weight.shape]
            for other in (weight.grad, *beside):
                assert places(other) == places(weight), (weight.shape, other.stride(), weight.stride())
                count += 1


register_optimizer_step_pre_hook(check)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
print("checked", count)
"""

TRAININGS = (
    "q1_dcgan/train.py --gradient_penalty 1",
    "q2_protonet/train.py",
    "q3_pix2pix/train.py --gradient_penalty 1",
    "q4_darts/train_search.py",
    "q4_darts/train_search.py --order second",
    "q4_darts/train.py --genotype DARTS_V2",
)


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAININGS)
def test_gradients_lie_as_their_weights_do(command, tmp_path):
    roots = ["--log_root", tmp_path / "logs", "--figure_root", tmp_path / "figures", "--data_root", tmp_path]
    words = [sys.executable, "-c", WATCHED, *command.split(), "--smoke", "--device", "cpu", *roots]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 100
