"""The command line of every script: options read by tyro, their ranges, and one-line errors."""

import contextlib
import dataclasses
import errno
import faulthandler
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
import tyro

from common.runtime import OUT_OF_MEMORY, RunError, Stopped, StopSignal, UsageError

# Messages of gloo and nccl to the processes that are left.
LOST_PROCESS = re.compile(r"Connection (closed|reset) by peer|ncclRemoteError|remote process exited")


def at_least(least: float, options: object, *names: str, below: float = float("inf")) -> None:
    """Raises UsageError for the first of these options that is below `least`, not below `below`, or NaN."""
    for name in names:
        if not least <= getattr(options, name) < below:
            most = f" and below {below}" if below < float("inf") else ""
            raise UsageError(f"--{name} must be {least} or more{most}, not {getattr(options, name)}")


def above(limit: float, options: object, *names: str) -> None:
    """Raises UsageError for the first of these options that is not a finite number above `limit`."""
    for name in names:
        if not limit < getattr(options, name) < float("inf"):
            raise UsageError(f"--{name} must be above {limit}, not {getattr(options, name)}")


def default_shown(text: str) -> object:
    """Annotates an option whose help should name its default in words."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


def as_smoke(options: object, **tiny: object) -> object:
    """A training script's options at tiny settings on synthetic data; `run_name` is for a run without one.

    Raises:
        UsageError: the command names data of its own.
    """
    own = [name for name in ("folder", "pairs") if getattr(options, name, None) is not None]
    if own or options.dataset == "folder":
        flag = f"--{own[0]}" if own else "--dataset folder"
        raise UsageError(f"--smoke draws its own small data: it needs no {flag}")
    tiny["run_name"] = options.run_name or tiny["run_name"]
    if options.precision == "auto" and not torch.cuda.is_available():
        # In bf16 q4's training at 4 channels ends with a loss that is not finite (torch 2.14.1, avx512_bf16);
        # two weight gradients are NaN with oneDNN and finite without. The cause is not found yet.
        tiny["precision"] = "fp32"
    return dataclasses.replace(options, dataset="synthetic", **tiny)


@contextlib.contextmanager
def quiet_pipe() -> Iterator[None]:
    """Ends the process silently, status 1, once nobody reads its output: Python's note on SIGPIPE."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here rather than at exit, where Python would complain
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still unwritten at exit
        sys.exit(1)


@contextlib.contextmanager
def one_line_errors(debug: bool) -> Iterator[None]:
    """Ends the process with one line and the right status instead of a traceback (unless debug)."""
    try:
        yield
    except Stopped as error:
        print(error, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        raise  # to quiet_pipe
    except Exception as error:
        if debug:
            raise
        print(f"error: {explain(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def explain(error: Exception) -> str:
    """What went wrong, in one line."""
    text = str(error)
    if isinstance(error, (UsageError, RunError)):
        return text
    if isinstance(error, torch.OutOfMemoryError):
        return OUT_OF_MEMORY
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or text
        return f"{reason}: {error.filename}" if error.filename else reason
    if dist.is_initialized() and LOST_PROCESS.search(text):
        ended = "another process of this run has ended"
        return f"{ended}: torchrun names it and its signal below ({text[:70]})"
    if "does not have a deterministic implementation" in text:
        return f"--deterministic: {text.split(',')[0]} on this GPU; without the flag it runs"
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''} (--debug shows where)"


def parse(options_type: type, description: str, words: list[str] | None = None) -> object:
    """Reads a command line into a dataclass; the help shows the fields of each class it inherits as a group.

    Args:
        description: the script's docstring; its lines that begin with a command stay lines of their own.
        words: the command line without the script's name (default: sys.argv).
    """
    groups, ungrouped = {}, options_type.__dataclass_fields__
    for cls in options_type.__mro__:
        own = inspect.get_annotations(cls).keys() & ungrouped.keys()
        # A dataclass of these fields alone; tyro finds their comments in the classes that it comes from.
        about = {name: field for name, field in ungrouped.items() if name in own}
        about = {"__dataclass_fields__": about, "__doc__": cls.__doc__, "__module__": cls.__module__}
        if own:
            group = type(cls.__name__, (options_type,), about)
            groups[cls.__name__.removesuffix("Options").lower() or "main"] = group
        ungrouped = {name: field for name, field in ungrouped.items() if name not in own}
    fields = [(name, group, dataclasses.field(default_factory=group)) for name, group in groups.items()]
    described = re.sub(r"\n+ *(?=(python|torchrun) )", "\n    ", description)  # lines that tyro would join
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    whole = dataclasses.make_dataclass("Options", fields)
    read = tyro.cli(whole, args=words, description=described, use_underscores=True, config=config)
    parts = [getattr(read, name) for name in groups]
    values = {f.name: getattr(part, f.name) for part in parts for f in dataclasses.fields(part)}
    return options_type(**{name: expand_user(value) for name, value in values.items()})


def expand_user(value: object) -> object:
    """The value of an option with a leading ~ replaced: the shell leaves it alone in --data_root=~/x."""
    if isinstance(value, (str, Path)):
        return type(value)(os.path.expanduser(value))
    return tuple(map(expand_user, value)) if isinstance(value, tuple) else value


def command(main: Callable, options_type: type, description: str) -> None:
    """Reads the command line into `options_type` and calls `main(options)`."""
    sys.stdout.reconfigure(errors="backslashreplace")  # file names that are not UTF-8
    StopSignal.ends_process = True
    with contextlib.suppress(OSError, RuntimeError):  # where stderr is no file, or there is none
        faulthandler.enable()  # a crash in a library says in which line of Python it happened
    with quiet_pipe():
        options = parse(options_type, description)
        with one_line_errors(getattr(options, "debug", False)):
            main(options)
