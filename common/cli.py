"""The command line of every script: options read by tyro, and errors of one line.

A script reads its command line before it imports torch, which takes seconds:

if __name__ == "__main__":
    options = cli.read(Options, resolve, __doc__)

import torch
...
if __name__ == "__main__":
    cli.run(main, options)
"""

import contextlib
import dataclasses
import errno
import faulthandler
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import tyro

from common.cli_types import registry
from common.errors import RunError, Stopped, UsageError

OptionsType = TypeVar("OptionsType")

# Messages of gloo and nccl to the processes that are left.
LOST_PROCESS = re.compile(r"Connection (closed|reset) by peer|ncclRemoteError|remote process exited")

# What people type out of habit -> the flag that does it here, wherever a script has it.
HABITS = {
    "lr": "--learning_rate",
    "bs": "--batch_size",
    "batch": "--batch_size",
    "num_epochs": "--epochs",
    "n_epochs": "--epochs",
    "niter": "--epochs",
    "gpu": "--device cuda",
    "gpu_ids": "--device cuda",
    "cuda": "--device cuda",
    "no_cuda": "--device cpu",
    "cpu": "--device cpu",
    "fp16": "--precision bf16",
    "amp": "--precision bf16",
    "name": "--run_name",
    "exp_name": "--run_name",
    "save": "--run_name",
    "dataroot": "--data_root",
    "data_dir": "--data_root",
    "output_dir": "--log_root",
    "logdir": "--log_root",
    "ckpt": "--checkpoint",
    "model": "--checkpoint",
    "weights": "--checkpoint",
    "pretrained": "--start_from",
    "continue_train": "--resume",
    "manual_seed": "--seed",
    "nz": "--latent_size",
    "ngf": "--base_channels",
    "ndf": "--base_channels",
    "lambda_gan": "--gan_weight",
    "cutout_length": "--cutout",
    "drop_path_prob": "--drop_path",
    "arch": "--genotype",
}


def read(
    options_type: type[OptionsType],
    resolve: Callable[[OptionsType], OptionsType],
    description: str | None,
    words: list[str] | None = None,
) -> OptionsType:
    """Reads the command line and checks it; help and refusals end the process here.

    Args:
        options_type: a dataclass.
        resolve: checks the options and fills in what follows from others.
        description: the script's docstring.
        words: the command line without the script's name (default: sys.argv).
    """
    _open_streams()
    with _quiet_pipe(), one_line_errors(debug="--debug" in sys.argv):
        words = sys.argv[1:] if words is None else words
        options = parse(options_type, description, words)
        given = given_flags(words)  # --smoke leaves them as they are, also when `main` resolves again
        options.given = given  # type: ignore[attr-defined]
        resolved = resolve(options)
        resolved.given = given  # type: ignore[attr-defined]
        return resolved


def run(main: Callable[[OptionsType], object], options: OptionsType) -> None:
    """Calls `main(options)`; an error becomes one line and an exit status."""
    from common.stop_signal import StopSignal

    _open_streams()
    StopSignal.ends_process = True
    with contextlib.suppress(OSError, RuntimeError):  # where stderr is no file, or there is none
        faulthandler.enable()  # a crash in a library says in which line of Python it happened
    advice = getattr(options, "memory_advice", "")
    with _quiet_pipe(), one_line_errors(getattr(options, "debug", False), advice):
        main(options)


def parse(
    options_type: type[OptionsType], description: str | None = "", words: list[str] | None = None
) -> OptionsType:
    """Reads a command line into a dataclass.

    Args:
        description: its lines that begin with a command stay lines of their own.
        words: the command line without the script's name (default: sys.argv).

    Raises:
        UsageError: a flag of one value stands there twice, or one that other programs have.
    """
    words = sys.argv[1:] if words is None else words
    words = join_repeated(words, options_type)
    suggest_for_habits(words, options_type)
    described = re.sub(r"\n+ *(?=(python|torchrun) )", "\n    ", description or "")  # tyro would join them
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    options: Any = tyro.cli(
        options_type,
        args=words,
        description=described,
        use_underscores=True,
        config=config,
        registry=registry,
    )
    for field in dataclasses.fields(options):
        setattr(options, field.name, expand_user(getattr(options, field.name)))
    return options


def given_flags(words: list[str]) -> frozenset[str]:
    """Returns the names of the flags in a command line."""
    flags = [word[2:].partition("=")[0] for word in words if word.startswith("--")]
    return frozenset(flag.replace("-", "_") for flag in flags)


def suggest_for_habits(words: list[str], options_type: type) -> None:
    """Raises UsageError for a flag that other programs have and this script calls by another name."""
    known = get_type_hints(options_type)
    for flag in given_flags(words) - known.keys():
        ours = HABITS.get(flag.lower(), "")
        if ours and ours[2:].partition(" ")[0] in known:
            raise UsageError(f"there is no --{flag}: perhaps you meant {ours}")


def join_repeated(words: list[str], options_type: type) -> list[str]:
    """Joins the values of a flag that is given several times: `--input a --input b` is `--input a b`.

    Raises:
        UsageError: a flag of one value stands there twice.
    """
    hints = get_type_hints(options_type)
    values: dict[str, list[str]] = {}
    rest: list[str] = []  # what comes before the first flag
    current = rest
    for word in words:
        if word.startswith("--") and len(word) > 2:
            flag, equals, value = word.partition("=")
            name = flag[2:].replace("-", "_")
            if name in values and get_origin(hints.get(name)) is not tuple:
                raise UsageError(f"{flag} is given twice: give it once")
            current = values.setdefault(name, [])
            if equals:
                current.append(value)
        else:
            current.append(word)
    for name, its in values.items():
        rest += [f"--{name}", *its]
    return rest


def expand_user(value: object) -> object:
    """Replaces a leading ~ in the value of an option: the shell leaves it alone in --data_root=~/x."""
    if isinstance(value, str | Path):
        return type(value)(os.path.expanduser(value))
    if isinstance(value, tuple):
        return tuple(map(expand_user, value))
    return value


def default_shown(text: str) -> Any:
    """Annotates an option whose help should name its default in words."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


# Annotates an option without which a script refuses to work.
NEEDED = tyro.conf.arg(help_behavior_hint="(needed)")


@contextlib.contextmanager
def one_line_errors(debug: bool, memory_advice: str = "") -> Iterator[None]:
    """Ends the process with one line and the right status instead of a traceback (unless debug).

    Args:
        memory_advice: what to make smaller when there is not enough memory.
    """
    try:
        yield
    except Stopped as error:
        print(error, file=sys.stderr)
        sys.exit(130)
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        raise  # to _quiet_pipe
    except Exception as error:
        if debug:
            raise
        print(f"error: {explain(error, memory_advice)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    finally:
        if "torch.distributed" in sys.modules:
            from common import torchrun

            torchrun.leave()


def explain(error: Exception, memory_advice: str = "") -> str:
    """Returns what went wrong, in one line."""
    text = str(error)
    if isinstance(error, UsageError | RunError):
        return text
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported
        return gpu_is_full(memory_advice)
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or text
        return f"{reason}: {error.filename}" if error.filename else reason
    if "torch.distributed" in sys.modules and LOST_PROCESS.search(text):
        return f"another process of this run has ended: torchrun names it and its signal below ({text[:70]})"
    if "does not have a deterministic implementation" in text:
        return f"--deterministic: {text.split(',')[0]} on this GPU; without the flag it runs"
    if asked := re.search(r"allocate (?:memory: you tried to allocate )?([\d.]+ \w+)", text):  # torch, numpy
        helps = f". What helps: {memory_advice}" if memory_advice else ""
        return f"there is not enough memory: {asked[1]} were asked for at once{helps}"
    first_line = text.splitlines()[0] if text else ""
    return f"{type(error).__name__}: {first_line} (--debug shows where)"


def gpu_is_full(memory_advice: str) -> str:
    """Says that the GPU is out of memory and what helps; a CPU always has another memory."""
    helps = f"{memory_advice}, or --device cpu" if memory_advice else "--device cpu"
    return f"the GPU is out of memory. What helps: {helps}"


@contextlib.contextmanager
def _quiet_pipe() -> Iterator[None]:
    """Exits quietly with status 1 if stdout is closed early, as by `| head`."""
    if hasattr(sys.stdout, "reconfigure"):  # a notebook's has no such method
        sys.stdout.reconfigure(errors="backslashreplace")  # names that are not UTF-8
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here rather than at exit, where Python would complain
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # for what is still unwritten at exit
        sys.exit(1)


def _open_streams() -> None:
    """Gives a script that was started without stdout or stderr (`>&-`) somewhere to write."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
