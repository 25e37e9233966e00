"""Before the science: device, precision, seed, torchrun, Ctrl-C, and the errors that scripts raise."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import filelock
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from common.machine import has_fast_bf16, usable_cores


class UsageError(Exception):
    """The command asks for something that cannot be: exit status 2, and the message says what to change."""


class RunError(Exception):
    """The command was fine and the run was not (data, disk, divergence): exit status 1."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM, after everything was saved: exit status 130."""


@dataclass
class ScriptOptions:
    """What every script takes."""

    device: str = "auto"  # cpu, cuda, cuda:1, mps; auto takes CUDA when there is one
    # of training; auto: bf16 autocast on a GPU or CPU with instructions for it (CPU: avx512_bf16, amx_bf16),
    # fp32 elsewhere; tf32: fp32 whose products keep 10 bits of mantissa, on a GPU only
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    seed: int = 0  # seed of every random draw
    deterministic: bool = False  # bit-identical runs on a GPU too, somewhat slower; CPU runs always are
    debug: bool = False  # show the whole traceback of an error

    def check(self) -> None:
        """Raises UsageError for what no script could do."""
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", self.device):
            raise UsageError(f"--device must be auto, cpu, cuda, cuda:NUMBER or mps, not {self.device}")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed must be 0 or more and below {2**32}, not {self.seed}")


@dataclass
class Runtime:
    """Where and how a script computes. `rank` and `world` come from torchrun (0 and 1 without it).

    A run that is resumed sets `precision` to that it began with: `RunFolder`.
    """

    device: torch.device
    precision: str
    rank: int = 0
    world: int = 1

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        threads = torch.get_num_threads()
        return "CPU, 1 thread" if threads == 1 else f"CPU, {threads} threads"

    def autocast(self) -> torch.autocast:
        """The forward pass in bf16 where that was chosen; losses and distances stay in fp32 outside of it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def parallel(self, model: nn.Module) -> nn.Module:
        """Averages gradients over the processes of torchrun; the model itself when there is one process."""
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, devices)

    def average_gradients(self, model: nn.Module) -> None:
        """Averages gradients over the processes by hand, for steps with several forward passes (GANs)."""
        if self.world > 1:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            for gradient, mean in zip(gradients, self.means(gradients)):
                gradient.copy_(mean)

    def means(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The mean of each tensor over the processes, in one message."""
        if self.world == 1:
            return tensors
        together = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = together.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors)]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world
        return values

    @contextlib.contextmanager
    def one_first(self, data_root: Path, dataset: str) -> Iterator[None]:
        """Rank 0 goes first: only one process downloads a data set to `data_root` and fills its cache there.

        Others wait, those of other runs too.
        """
        if self.rank > 0:
            self._follow_rank_0(0)
            yield
            return
        lock = filelock.FileLock(data_root / f".{dataset}.lock")
        with contextlib.suppress(OSError):  # a read-only folder needs no lock
            data_root.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=2)
            except filelock.Timeout:
                print(f"waiting for another run that prepares {dataset} in {data_root} ...", file=sys.stderr)
                lock.acquire()
        with self.ending_together():
            try:
                yield
            finally:
                lock.release()

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Around what rank 0 alone does: where it raises, the others end as well, silently, with its status.

        All ranks wait for rank 0 at the end.
        """
        try:
            yield
        except Exception as error:
            self._follow_rank_0(2 if isinstance(error, UsageError) else 1)
            raise
        self._follow_rank_0(0)

    def _follow_rank_0(self, status: int) -> None:
        if self.world > 1:
            told = torch.tensor(status, device=self.device)
            dist.broadcast(told, 0)
            if self.rank > 0 and told > 0:
                sys.exit(int(told))

    def barrier(self) -> None:
        """Waits until every process of torchrun has come this far."""
        if self.world > 1:
            dist.barrier()

    def on_any_rank(self, flag: bool) -> bool:
        """True on every process if it is true on one; all must call it."""
        if self.world == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)


def choose_device(name: str, world: int) -> torch.device:
    """The device called `name`; under torchrun each process takes the GPU of its local rank.

    Raises:
        UsageError: this machine does not have it.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name.startswith("cuda") and not count:
        advice = "use --device cpu, or auto to take what there is"
        raise UsageError(f"--device {name}: torch finds no CUDA GPU here; {advice}")
    if name == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch finds no Apple GPU here; use --device cpu")
    if name in ("cpu", "mps") or not count:
        return torch.device("cpu" if name == "auto" else name)
    _, _, number = name.partition(":")
    if number and world > 1:
        raise UsageError(f"--device {name}: torchrun gives each process its GPU; use --device cuda")
    index = int(number or os.environ.get("LOCAL_RANK", 0))
    if index >= count:
        asked = f"--device {name}" if number else "torchrun --nproc_per_node"
        raise UsageError(f"{asked} needs more GPUs than the {count} there are")
    return torch.device("cuda", index)


def computes_bf16(device: torch.device) -> bool:
    """Tells whether the device has instructions for bf16, so that it is faster than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(False)
    return device.type == "cpu" and has_fast_bf16()


def start(options: ScriptOptions) -> Runtime:
    """Chooses device and precision, seeds torch and joins torchrun's group.

    Raises:
        UsageError: an option is out of range, or this machine lacks the device or precision.
    """
    options.check()
    if options.deterministic:  # an operation without such a form raises RuntimeError: cli.explain
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or the order of cuBLAS's sums varies
        torch.use_deterministic_algorithms(True)
    world = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    device = choose_device(options.device, world)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not options.deterministic  # the shapes in training never change
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    elif options.precision == "tf32":
        raise UsageError("--precision tf32 needs a CUDA GPU; a CPU has fp32 and bf16")
    if options.precision == "bf16" and rank == 0 and not computes_bf16(device):
        print(f"warning: --precision bf16: {SLOW_BF16}; --precision auto takes fp32 here", file=sys.stderr)
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if computes_bf16(device) else "fp32"
    if "OMP_NUM_THREADS" not in os.environ:  # torch sees the affinity, and not the limit of a control group
        torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    if world > 1 and not dist.is_initialized():
        # torchrun keeps its store over a restart; a prefix per attempt hides the addresses of the one before
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(attempt, next(rendezvous("env://"))[0])
        backend, wait = "nccl" if device.type == "cuda" else "gloo", timedelta(hours=3)  # for a download
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
    torch.manual_seed(options.seed)
    return Runtime(device, precision, rank, world)


@contextlib.contextmanager
def no_tf32() -> Iterator[None]:
    """Inside (also as a decorator) fp32 means fp32, whatever --precision says."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before):
            backend.allow_tf32 = allowed


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag that loops read between steps; a second ends at once."""

    requested = False
    ends_process = False  # after a stop; set by cli.command

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and time.monotonic() - self._since < 1:
            return  # the same stop, sent to the whole job and passed on by its parent as well
        if self.requested:
            raise KeyboardInterrupt
        self.requested, self._since = True, time.monotonic()
        print("\nStopping after this step (again to stop at once) ...", file=sys.stderr, flush=True)

    def __enter__(self) -> "StopSignal":
        stops = (signal.SIGINT, signal.SIGTERM)
        self._previous = {number: signal.signal(number, self._handle) for number in stops}
        return self

    def __exit__(self, *_: object) -> None:
        ending = self.requested and self.ends_process  # the same stop, sent twice, must not change its status
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if ending else handler)


SLOW_BF16 = (
    "this device has no instructions for bf16 (a CPU's are avx512_bf16 or amx_bf16), so training is slow: "
    "on an AVX2 core a step of ProtoNet took 7,859 ms instead of 771 in fp32, ten times as long"
)

OUT_OF_MEMORY = (
    "the GPU is out of memory. What helps: a smaller batch (--batch_size; in q2 --classes_per_it_tr, "
    "--num_support_tr, --num_query_tr), smaller pictures (q3: --image_size), fewer channels "
    "(q3: --base_channels; q4: --init_channels, in a search also --partial_channels 4), --precision bf16, "
    "--no_cuda_graphs"
)
