"""Before the science: device, precision, seed, torchrun, Ctrl-C, and errors of one line."""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

import filelock
import torch
import torch.distributed as dist
import tyro
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous


class UsageError(Exception):
    """The command asks for something that cannot be: exit status 2, and the message says what to change."""


class RunError(Exception):
    """The command was fine and the run was not (data, disk, divergence): exit status 1."""


class Stopped(Exception):
    """Ctrl-C or SIGTERM, after everything was saved: exit status 130."""


@dataclass
class ScriptOptions:
    """What every script takes."""

    device: Literal["auto", "cuda", "cpu"] = "auto"  # where to compute; auto takes CUDA when there is one
    # of training; auto: bf16 autocast on a GPU that has it, fp32 elsewhere; tf32: fp32 whose products keep 10 bits, only on a GPU
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    seed: int = 0  # seed of every random draw
    deterministic: bool = (
        False  # equal bits on every run on a GPU too, at some cost in speed; a CPU's runs are equal anyway
    )
    debug: bool = False  # show the whole traceback of an error

    def check(self) -> None:
        """Raises UsageError for what no script could do."""
        at_least(0, self, "seed")


@dataclass(frozen=True)
class Runtime:
    """Where and how a script computes. `rank` and `world` come from torchrun (0 and 1 without it)."""

    device: torch.device
    precision: str
    rank: int = 0
    world: int = 1

    @property
    def device_name(self) -> str:
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"CPU, {torch.get_num_threads()} threads"

    def autocast(self) -> torch.autocast:
        """The forward pass in bf16 where that was chosen; losses and distances stay in fp32 outside of it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def parallel(self, model: nn.Module) -> nn.Module:
        """Averages gradients over the processes of torchrun; the model itself when there is one process."""
        if self.world == 1:
            return model
        return nn.parallel.DistributedDataParallel(
            model, [self.device] if self.device.type == "cuda" else None
        )

    def average_gradients(self, model: nn.Module) -> None:
        """Averages gradients over the processes by hand, for networks that pass forward several times a step (GANs)."""
        if self.world > 1:
            gradients = [p.grad for p in model.parameters() if p.grad is not None]
            for gradient, mean in zip(gradients, self.means(gradients)):
                gradient.copy_(mean)

    def means(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The mean of each tensor over the processes, in one message."""
        if self.world == 1:
            return tensors
        together = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        return [
            mean.view_as(tensor)
            for mean, tensor in zip(together.split([t.numel() for t in tensors]), tensors)
        ]

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.world > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.world
        return values

    @contextlib.contextmanager
    def one_first(self, data_root: Path) -> Iterator[None]:
        """Rank 0 goes first and other runs wait, so that one process alone downloads and fills caches under `data_root`."""
        if self.rank > 0:
            dist.barrier()
            yield
            return
        lock = filelock.FileLock(data_root / ".lock")
        with contextlib.suppress(OSError):  # a folder that nobody can write needs no lock
            data_root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
        self.barrier()

    def barrier(self) -> None:
        """Waits until every process of torchrun has come this far."""
        if self.world > 1:
            dist.barrier()

    def on_any_rank(self, flag: bool) -> bool:
        """True on every process if it is true on one; all must call it."""
        if self.world == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)


def start(options: ScriptOptions) -> Runtime:
    """Chooses device and precision, seeds torch and joins torchrun's group.

    Raises:
        UsageError: CUDA, or its tf32, was asked for and is not there; a negative seed.
    """
    options.check()
    if (
        options.deterministic
    ):  # an operation that has no such form raises RuntimeError, which one_line_errors explains
        os.environ.setdefault(
            "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
        )  # or cuBLAS would choose its sums by the clock
        torch.use_deterministic_algorithms(True)
    world = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    cuda = torch.cuda.is_available()
    if options.device == "cuda" and not cuda:
        raise UsageError(
            "--device cuda: torch finds no CUDA GPU here; use --device cpu, or --device auto to take what there is"
        )
    if options.device != "cpu" and cuda:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        if device.index >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun started more processes than there are GPUs: --nproc_per_node {torch.cuda.device_count()}"
            )
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = (
            not options.deterministic
        )  # the shapes of a training are always the same
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options.precision == "tf32"
    elif options.precision == "tf32":
        raise UsageError("--precision tf32 is of a CUDA GPU; on a CPU there are fp32 and bf16")
    else:
        device = torch.device("cpu")
    precision = options.precision
    if precision == "auto":
        precision = "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "fp32"
    if world > 1 and not dist.is_initialized():
        # torchrun keeps its store over a restart: under a prefix of its own no attempt reads the addresses of the one before.
        store = dist.PrefixStore(
            os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), next(rendezvous("env://"))[0]
        )
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rank,
            world_size=world,
            timeout=timedelta(hours=3),
        )  # of a download
    torch.manual_seed(options.seed)
    return Runtime(device, precision, rank, world)


@contextlib.contextmanager
def no_tf32() -> Iterator[None]:
    """Inside, also as a decorator, fp32 means fp32, whatever --precision says."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, allowed in zip(backends, before):
            backend.allow_tf32 = allowed


def at_least(least: float, options: object, *names: str, below: float = float("inf")) -> None:
    """Raises UsageError for the first of these options that is not a number from `least` to less than `below`."""
    for name in names:
        if not least <= getattr(options, name) < below:
            most = f" and below {below}" if below < float("inf") else ""
            raise UsageError(f"--{name} must be {least} or more{most}, not {getattr(options, name)}")


def above(limit: float, options: object, *names: str) -> None:
    """Raises UsageError for the first of these options that is not a finite number above `limit`."""
    for name in names:
        if not limit < getattr(options, name) < float("inf"):
            raise UsageError(f"--{name} must be above {limit}, not {getattr(options, name)}")


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a flag that loops read between steps; a second one ends at once."""

    requested = False

    def _handle(self, number: int, frame: object) -> None:
        if self.requested and time.monotonic() - self._since < 1:
            return  # the same stop, sent to the whole job and passed on by its parent as well
        if self.requested:
            raise KeyboardInterrupt
        self.requested, self._since = True, time.monotonic()
        print("\nStopping after this step (again to stop at once) ...", file=sys.stderr, flush=True)

    def __enter__(self) -> "StopSignal":
        self._previous = {
            number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if self.requested else handler)  # it is ending already


OUT_OF_MEMORY = (
    "the GPU is out of memory. What helps: a smaller batch (--batch_size; in q2 --classes_per_it_tr, --num_support_tr, --num_query_tr), "
    "smaller pictures (q3: --image_size), fewer channels (q3: --base_channels; q4: --init_channels, in a search also "
    "--partial_channels 4), --precision bf16"
)


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """Ends the process without a word, status 1, once nobody reads its output any more (`| head`), as Python's note on SIGPIPE says."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, and not at the exit, where Python would complain
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # for what is still unwritten at the exit
        sys.exit(1)


@contextlib.contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Ends the process with one line and the right status instead of a traceback (unless debug)."""
    status, message = 0, ""
    try:
        yield
    except UsageError as error:
        status, message = 2, f"error: {error}"
    except RunError as error:
        status, message = 1, f"error: {error}"
    except Stopped as error:
        print(error, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    except torch.OutOfMemoryError:
        status, message = 1, f"error: {OUT_OF_MEMORY}"
    except BrokenPipeError:
        raise  # to quiet_pipe
    except OSError as error:
        reason = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else error.strerror or str(error)
        )
        status, message = 1, f"error: {reason}{f': {error.filename}' if error.filename else ''}"
    except Exception as error:
        if "does not have a deterministic implementation" in str(error):
            status, message = (
                1,
                f"error: --deterministic: {str(error).split(',')[0]} on this GPU; without the flag it runs",
            )
        else:
            status, message = (
                1,
                f"error: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''} (--debug shows where)",
            )
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if status:
        if debug:
            raise
        print(message, file=sys.stderr)
        sys.exit(status)


def parse(
    options_type: type[ScriptOptions], description: str, words: list[str] | None = None
) -> ScriptOptions:
    """Reads a command line into `options_type`; the help shows the fields of each of its classes as a group of its own.

    Args:
        words: the command line without the script's name (default: sys.argv).
    """
    groups = {}
    for cls in options_type.__mro__:
        fields = {
            name: field
            for name, field in options_type.__dataclass_fields__.items()
            if name in cls.__dict__.get("__annotations__", {})
        }
        if (
            fields
        ):  # a dataclass of these fields alone; tyro finds their comments in the classes it comes from
            about = {"__dataclass_fields__": fields, "__doc__": cls.__doc__, "__module__": cls.__module__}
            groups[cls.__name__.removesuffix("Options").lower() or "main"] = type(
                cls.__name__, (options_type,), about
            )
    whole = dataclasses.make_dataclass(
        "Options", [(n, g, dataclasses.field(default_factory=g)) for n, g in groups.items()]
    )
    description = description.replace(
        "\npython ", "\n\npython "
    )  # or tyro would join the commands to one paragraph
    flat = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    read = tyro.cli(whole, args=words, description=description, use_underscores=True, config=flat)
    return options_type(
        **{
            field.name: getattr(part, field.name)
            for part in vars(read).values()
            for field in dataclasses.fields(part)
        }
    )


def command(main: Callable, options_type: type[ScriptOptions], description: str) -> None:
    """Reads the command line into `options_type` and calls `main(options)`."""
    with quiet_pipe():
        options = parse(options_type, description)
        with one_line_errors(options.debug):
            main(options)
