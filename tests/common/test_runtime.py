import errno
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from common import runtime as runtime_module
from common.cli import at_least, one_line_errors
from common.runtime import (
    RunError,
    Runtime,
    ScriptOptions,
    Stopped,
    StopSignal,
    UsageError,
    choose_device,
    start,
)
from tests.conftest import ENVIRONMENT, ROOT

ERRORS = [
    (UsageError("fewer"), 2, "error: fewer"),
    (RunError("broke"), 1, "error: broke"),
    (Stopped("saved"), 130, "saved"),
    (OSError(errno.ENOSPC, "No space left", "x.pt"), 1, "the disk is full: x.pt"),
    (KeyError("k"), 1, "KeyError"),
    (torch.OutOfMemoryError("CUDA"), 1, "in a search also --partial_channels 4"),
]


@pytest.mark.parametrize("error, status, text", ERRORS)
def test_errors_are_one_line_with_the_right_status(error, status, text, capsys):
    with pytest.raises(SystemExit) as ended:
        with one_line_errors(debug=False):
            raise error
    written = capsys.readouterr().err
    assert ended.value.code == status and text in written and len(written.splitlines()) == 1


PRINTS = "from common.cli import *; from common.runtime import *; "
PRINTS += "command(lambda _: print(flush=True), ScriptOptions, '')"


WORDS = [["reproduce.py", "--dry_run"], ["report.py", "--help"], ["-c", PRINTS], ["-c", PRINTS, "--help"]]


@pytest.mark.parametrize("words", WORDS)
def test_output_that_nobody_reads_ends_quietly(script, words):
    reader, writer = os.pipe()
    os.close(reader)
    pipes = {"capture_output": False, "stdout": writer, "stderr": subprocess.PIPE}
    assert script(*words, status=1, **pipes).stderr == ""
    os.close(writer)


STOPPED = """
import os, signal, sys, time
from common.cli import command
from common.runtime import ScriptOptions, Stopped, StopSignal

def main(options):
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)  # the same stop, by way of the parent
    os.kill(os.getpid(), signal.SIGTERM)  # after the save
    raise Stopped("saved")

command(main, ScriptOptions, "")
"""


def test_a_stop_sent_twice_ends_with_its_status(script):
    assert script("-c", STOPPED, status=130).stderr.endswith("saved\n")


def test_after_a_stop_a_caller_has_its_signals_back():
    """In a notebook or a test, where the process goes on."""
    numbers = signal.SIGINT, signal.SIGTERM
    before = [signal.getsignal(number) for number in numbers]
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
    assert [signal.getsignal(number) for number in numbers] == before


def test_debug_shows_the_traceback():
    with pytest.raises(RunError):
        with one_line_errors(debug=True):
            raise RunError("broke")


def test_ranges():
    with pytest.raises(UsageError, match="--seed must be 1 or more, not 0"):
        at_least(1, ScriptOptions(), "seed")


DEVICES = [("auto", 0, 1, "cpu"), ("auto", 2, 1, "cuda:0"), ("cpu", 2, 1, "cpu"), ("cuda", 2, 1, "cuda:0")]
DEVICES += [("cuda:1", 2, 1, "cuda:1"), ("cuda", 0, 1, "finds no CUDA GPU")]
DEVICES += [("cuda:2", 2, 1, "--device cuda:2 needs more GPUs than the 2")]
DEVICES += [("cuda:1", 2, 2, "torchrun gives each process its GPU")]
DEVICES += [("mps", 0, 1, "finds no Apple GPU"), ("tpu", 0, 1, "--device must be auto, cpu")]


@pytest.mark.parametrize("name, gpus, world, found", DEVICES)
def test_the_device_is_the_one_asked_for_or_refused(monkeypatch, name, gpus, world, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    if " " not in found:
        assert str(choose_device(name, world)) == found
        return
    with pytest.raises(UsageError, match=found):
        ScriptOptions(device=name).check()
        choose_device(name, world)


def test_tf32_needs_a_cuda_gpu():
    with pytest.raises(UsageError, match="tf32 needs a CUDA GPU"):
        start(ScriptOptions(device="cpu", precision="tf32"))


@pytest.mark.parametrize("fast, precision", [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_bf16_on_a_cpu_with_instructions_for_it(monkeypatch, capsys, fast, precision):
    monkeypatch.setattr(runtime_module, "has_fast_bf16", lambda: fast)
    assert start(ScriptOptions(device="cpu")).precision == precision
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("fast, said", [(True, 0), (False, 1)])
def test_bf16_is_done_on_request_with_a_warning_where_it_is_slow(monkeypatch, capsys, fast, said):
    monkeypatch.setattr(runtime_module, "has_fast_bf16", lambda: fast)
    runtime = start(ScriptOptions(device="cpu", precision="bf16"))
    with runtime.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == said
    assert all("7,859 ms instead of 771 in fp32" in line for line in lines)


def test_torch_takes_no_more_threads_than_cores_the_process_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(runtime_module, "usable_cores", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    start(ScriptOptions(device="cpu"))
    taken = torch.get_num_threads()
    torch.set_num_threads(before)
    assert taken == 1


CRASH = """
import os
import torch
from common.cli import command
from common.runtime import ScriptOptions, StopSignal, start

def main(options):
    runtime = start(options)
    with StopSignal():
        runtime.mean(torch.ones(1))
        if runtime.rank == 1:
            os.abort()
        runtime.mean(torch.ones(1))

command(main, ScriptOptions, "")
"""


def test_under_torchrun_a_crash_says_where_and_by_which_signal(script):
    torchrun = "-m torch.distributed.run --standalone --nproc_per_node 2 --no-python"
    words = [*torchrun.split(), sys.executable, "-c", CRASH, "--device", "cpu"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Fatal Python error: Aborted" in done.stderr
    assert 'File "<string>", line 12 in main' in done.stderr
    assert "error: another process of this run has ended: torchrun names it" in done.stderr
    assert "Signal 6 (SIGABRT)" in done.stderr


AVERAGE = """
import torch
from common.runtime import ScriptOptions, choose_device, start
runtime = start(ScriptOptions(device="cpu"))
model = torch.nn.Linear(3, 2)
for parameter in model.parameters():
    parameter.grad = torch.full_like(parameter, 1.0 + 2 * runtime.rank)
runtime.average_gradients(model)
assert all((parameter.grad == 2).all() for parameter in model.parameters())
assert runtime.on_any_rank(runtime.rank == 1) and not runtime.on_any_rank(False)
assert runtime.mean(torch.tensor([float(runtime.rank)])) == 0.5
torch.distributed.destroy_process_group()
"""


def test_two_processes_average_their_gradients(script):
    torchrun = "-m torch.distributed.run --standalone --nproc_per_node 2 --no-python"
    script(*torchrun.split(), sys.executable, "-c", AVERAGE)


def test_runs_wait_for_each_other_only_where_they_prepare_the_same_data_set(tmp_path, capsys):
    runtime = Runtime(torch.device("cpu"), "fp32")
    code = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]): print(flush=True), sys.stdin.read()"
    words = [sys.executable, "-c", code, str(tmp_path / ".mnist.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()  # it holds the lock now
        with runtime.one_first(tmp_path, "omniglot"):  # at once
            pass
        assert not capsys.readouterr().err
        threading.Timer(2.5, other.stdin.close).start()  # the message comes after two seconds
        with runtime.one_first(tmp_path, "mnist"):
            pass
    assert "waiting for another run that prepares mnist" in capsys.readouterr().err
