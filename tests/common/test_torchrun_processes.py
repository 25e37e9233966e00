"""Two processes: means, crashes, waiting; and what is left over of such a start."""

import os
import socket
import subprocess
import sys

import pytest

from common import torchrun
from common.errors import UsageError
from tests.conftest import ENVIRONMENT, ROOT

TORCHRUN = "-m torch.distributed.run --standalone --nproc_per_node 2 --no-python".split()
TRAINS = "from common.options import TrainingOptions as Options"  # which alone joins the processes

AVERAGE = f"""
import torch
from common.device import start
{TRAINS}
runtime = start(Options(device="cpu"))
model = torch.nn.Linear(3, 2)
for parameter in model.parameters():
    parameter.grad = torch.full_like(parameter, 1.0 + 2 * runtime.rank)
runtime.average_gradients(model)
assert all((parameter.grad == 2).all() for parameter in model.parameters())
assert runtime.on_any_rank(runtime.rank == 1)
assert not runtime.on_any_rank(False)
assert runtime.mean(torch.tensor([float(runtime.rank)])) == 0.5
assert runtime.from_rank_0(0.1 + runtime.rank) == 0.1
torch.distributed.destroy_process_group()
"""


def test_two_processes_average_their_gradients(script):
    script(*TORCHRUN, sys.executable, "-c", AVERAGE)


CRASH = f"""
import os
import torch
from common import cli
from common.device import start
from common.stop_signal import StopSignal
{TRAINS}

def main(options):
    runtime = start(options)
    with StopSignal():
        runtime.mean(torch.ones(1))
        if runtime.rank == 1:
            os.abort()
        runtime.mean(torch.ones(1))

cli.run(main, Options(device="cpu"))
"""


def test_a_crash_says_where_and_by_which_signal():
    words = [sys.executable, *TORCHRUN, sys.executable, "-c", CRASH]
    done = subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Fatal Python error: Aborted" in done.stderr
    assert 'File "<string>", line 14 in main' in done.stderr
    assert "error: another process of this run has ended: torchrun names it" in done.stderr
    assert "Signal 6 (SIGABRT)" in done.stderr


# What another program left over -----------------------------------------------------------------------------


@pytest.fixture
def leave(monkeypatch):
    """Leaves these variables, and none other of torchrun's."""

    def set_only(**variables):
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_only


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": ""}, {"WORLD_SIZE": "1", "RANK": "0"}, {"RANK": "3"}]
)
def test_without_several_processes_there_is_one(leave, variables):
    leave(**variables)
    assert torchrun.read_environment() == (0, 1)


LEFT_OVER = [
    ({"WORLD_SIZE": "2"}, "the environment has WORLD_SIZE=2 and no RANK, MASTER_ADDR, MASTER_PORT: unset W"),
    ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a"}, "has WORLD_SIZE=2 and no MASTER_PORT"),
    ({"WORLD_SIZE": "many"}, "WORLD_SIZE=many in the environment is no number of processes: unset W"),
]


@pytest.mark.parametrize("variables, said", LEFT_OVER)
def test_a_part_of_the_variables_is_refused_by_name(leave, variables, said):
    leave(**variables)
    with pytest.raises(UsageError, match=said):
        torchrun.read_environment()


WAITS = f"""
from common import torchrun
from common.device import start
{TRAINS}
torchrun.SAID_AFTER = 0.5
start(Options(device="cpu"))
"""


def test_a_process_that_waits_for_others_says_so_and_why():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    where = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = [sys.executable, "-c", WAITS]
    with subprocess.Popen(
        words, cwd=ROOT, env=ENVIRONMENT | where, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stderr.readline()
        process.kill()
    assert f"waiting for 2 processes to meet at 127.0.0.1:{port}" in said
    assert "since the environment has WORLD_SIZE=2" in said


def test_a_script_that_does_not_train_joins_no_processes(script):
    code = "from common.device import start; from common.options import ScriptOptions as O; "
    code += "print(start(O(device='cpu')).world)"
    environment = os.environ | ENVIRONMENT | {"WORLD_SIZE": "2", "RANK": "1"}
    assert script("-c", code, env=environment).stdout == "1\n"
