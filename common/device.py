"""Chooses where and how a script computes: device, precision, seed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from common import machine, memory, torchrun
from common.errors import UsageError
from common.options import ScriptOptions, SeedOption, TrainingOptions
from common.torchrun import Processes

SLOW_BF16 = (
    "this device has no instructions for bf16 (a CPU's are avx512_bf16 or amx_bf16), so training is slow: "
    "on an AVX2 core a step of ProtoNet took 7,859 ms instead of 771 in fp32, ten times as long"
)


@dataclass
class Runtime(Processes):
    """Says where and how a script computes.

    device, rank, world: as in Processes.
    precision: "fp32", "tf32" or "bf16"; a run that is resumed sets it to the one it began with.
    """

    precision: str = "fp32"

    @property
    def device_name(self) -> str:
        """The GPU's name, or how many threads of the CPU compute."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        threads = torch.get_num_threads()
        return "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads"

    @property
    def machine(self) -> dict:
        """What config.json and last.pt record of a leg: device, processes and precision."""
        return {"device": self.device_name, "processes": self.world, "precision": self.precision}

    def autocast(self) -> torch.autocast:
        """Computes the forward pass in bf16 where that was chosen; losses and distances stay in fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


def start(options: ScriptOptions) -> Runtime:
    """Chooses device and precision and seeds torch; a training script also joins torchrun's processes.

    What is no training computes in fp32.

    Raises:
        UsageError: this machine lacks the device or the precision.
    """
    asked = "fp32"
    rank, world = 0, 1
    if isinstance(options, TrainingOptions):
        asked = options.precision
        rank, world = torchrun.read_environment()
    if options.deterministic:  # an operation without such a form raises RuntimeError: cli.explain
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or the order of cuBLAS's sums varies
        torch.use_deterministic_algorithms(True)
    device = choose_device(options.device, world)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not options.deterministic  # the shapes in training never change
        use_tf32(asked == "tf32")
    else:
        memory.keep_freed_memory()
    precision = choose_precision(asked, device)
    if precision == "bf16" and rank == 0 and not computes_bf16(device):
        print(f"warning: --precision bf16: {SLOW_BF16}; --precision auto takes fp32 here", file=sys.stderr)
    if "OMP_NUM_THREADS" not in os.environ:  # torch sees the affinity, and not the limit of a control group
        torch.set_num_threads(min(torch.get_num_threads(), machine.usable_cores()))
    torchrun.join(device, rank, world)
    torch.manual_seed(options.seed if isinstance(options, SeedOption) else 0)
    return Runtime(device, rank, world, precision)


def choose_device(name: str, world: int = 1) -> torch.device:
    """Returns the device called `name`; under torchrun each process takes the GPU of its local rank.

    Raises:
        UsageError: this machine does not have it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name.startswith("cuda") and not count:
        raise UsageError(
            f"--device {name}: torch finds no CUDA GPU here; use --device cpu, or auto to take what there is"
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch finds no Apple GPU here; use --device cpu")
    if name in ("cpu", "mps"):
        return torch.device(name)
    if not count:
        return torch.device("cpu")
    _, _, number = name.partition(":")
    if number and world > 1:
        raise UsageError(f"--device {name}: torchrun gives each process its GPU; use --device cuda")
    local_rank = os.environ.get("LOCAL_RANK", 0) if world > 1 else 0
    index = int(number or local_rank)
    if index >= count:
        asked = f"--device {name}" if number else "torchrun --nproc_per_node"
        raise UsageError(f"{asked} needs more GPUs than the {count} there are")
    return torch.device("cuda", index)


def choose_precision(name: str, device: torch.device) -> str:
    """Returns the precision called `name`; "auto" is bf16 where the hardware computes it fast.

    Raises:
        UsageError: TF32 without a CUDA GPU.
    """
    if name == "tf32" and device.type != "cuda":
        raise UsageError("--precision tf32 needs a CUDA GPU; a CPU has fp32 and bf16")
    if name == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    return name


def use_tf32(allowed: bool) -> None:
    """Lets a CUDA GPU compute fp32 products and convolutions in TF32, or no longer."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def computes_bf16(device: torch.device) -> bool:
    """Returns whether a device has instructions for bf16, so that it is faster than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and machine.has_fast_bf16()


@contextlib.contextmanager
def no_tf32() -> Iterator[None]:
    """Makes fp32 mean fp32 inside (also as a decorator), whatever --precision says."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before):
            backend.allow_tf32 = allowed
