"""Versions of one training step raced in one run, taking turns: a busy machine slows all of them alike."""

import json
import re
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from common.provenance import command_line, commit, short
from common.results import write_json
from common.runtime import Runtime, ScriptOptions

WARM_UP = 3  # steps
PRECISIONS = ("fp32", "bf16")
SHOWN = "{ms:12.1f}{times_faster:14.2f}{memory:13.0f}{gflop:10.1f}{operations:12,}{gigabytes:10.2f}"


@dataclass
class RaceOptions(ScriptOptions):
    """Options of every benchmark."""

    steps: int = 1  # timed steps of each version, ten times as many on a GPU; they take turns
    compile: bool = False  # also time ours with torch.compile
    save: bool = False  # also write the table to logs/benchmarks/, for the report
    alone: str = ""  # only measure what this version needs and print it as JSON


class Counter(TorchDispatchMode):
    """Counts operations that compute something (views do not), and the bytes they read and write.

    On a GPU each is about one kernel launch, and the bytes are what would pass through memory without caches.
    torch.compile is bypassed.
    """

    operations, bytes = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.operations += 1
            tensors = (x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
            self.bytes += sum(x.numel() * x.element_size() for x in tensors)
        return out


def in_modes(ours: Callable, compile: bool, device: torch.device) -> dict[str, Iterator]:
    """Our version in both precisions: as trained (on a GPU replayed), launched step by step, compiled.

    Args:
        ours: called with the precision and "replayed", "" or "compiled".
        compile: also with torch.compile.
        device: the second of these is there for a GPU alone.
    """
    modes = {"": "replayed"} | ({", no CUDA graph": ""} if device.type == "cuda" else {})
    if compile:
        import torch._dynamo  # takes seconds

        # Of all versions of a race together; beyond it a version would silently run uncompiled.
        torch._dynamo.config.cache_size_limit = 64
        modes[", compiled"] = "compiled"
    return {f"ours {p}{name}": ours(p, mode) for name, mode in modes.items() for p in PRECISIONS}


def replays(mode: str, runtime: Runtime) -> bool:
    """Whether a version in this mode of `in_modes` replays its step."""
    return mode == "replayed" and runtime.device.type == "cuda"


def measure(version: Iterator, device: torch.device) -> dict[str, float]:
    """What a step of a version does, and the MiB that two steps with its networks and optimisers need.

    On a GPU that is what torch allocates; on a CPU it is the growth of the process's largest resident size,
    so the version needs a process of its own.
    """

    def peak() -> float:
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # to what is allocated now
    before = peak()
    next(version), next(version)
    memory = peak() - before
    with FlopCounterMode(display=False) as flops, Counter() as counter:
        next(version)
    if device.type == "cuda":
        memory = peak() - before  # the third step was recorded: with what the recording holds
    made = {"gflop": flops.get_total_flops() / 1e9, "gigabytes": counter.bytes / 1e9}
    return {"memory": memory, "operations": counter.operations, **made}


def race(versions: dict[str, Iterator], steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds per step; every next() of a version is one step.

    On a GPU a turn is ten steps with one wait at its end: as in training, steps are queued ahead of the GPU.
    """
    turn = 10 if device.type == "cuda" else 1
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for step in range(steps + WARM_UP):
        for name, version in versions.items():
            wait()
            began = time.perf_counter()
            for _ in range(turn):
                next(version)
            wait()
            seconds[name] += [(time.perf_counter() - began) / turn] if step >= WARM_UP else []
    return {name: statistics.median(values) for name, values in seconds.items()}


def run(what: str, versions: dict[str, Iterator], options: RaceOptions, runtime: Runtime) -> None:
    """Races the versions and prints a table; the first one is what the others are compared with.

    A version that fails, such as one that torch.compile cannot make here, is named and left out. report.py
    reads what --save writes, logs/benchmarks/<script>-<device>.json.

    Args:
        versions: generators that build their networks at the first next(), so that each is measured alone.
    """
    if options.alone:
        print(json.dumps(measure(versions[options.alone], runtime.device)))
        return
    first, needs = next(iter(versions)), {}
    for name, version in list(versions.items()):  # first: a process inherits its parent's largest size
        try:
            if runtime.device.type == "cuda":
                needs[name] = measure(version, runtime.device)
            else:
                words = [sys.executable, *sys.argv, "--alone", name]
                process = subprocess.run(words, check=True, capture_output=True, text=True)
                needs[name] = json.loads(process.stdout.splitlines()[-1])
        except Exception as error:
            if name == first:
                raise
            said = (getattr(error, "stderr", None) or f"{type(error).__name__}: {error}").strip()
            print(f"{name}: FAILED and left out: {said.splitlines()[-1]}", file=sys.stderr)
            del versions[name]
    medians = race(versions, options.steps, runtime.device)
    print(f"{what}, {runtime.device_name}, torch {torch.__version__}")
    print(f"{'version':32} ms per step  times faster  memory, MiB     GFLOP  operations  GB moved")
    rows = {}
    for name, value in medians.items():
        row = rows[name] = {"ms": 1000 * value, "times_faster": medians[first] / value} | needs[name]
        print(name.ljust(32) + SHOWN.format(**row), flush=True)
    if options.save:
        words = [word for word in command_line() if word != "--save"]
        name, device = Path(words[1]).stem, runtime.device_name
        versions = f"python {sys.version.split()[0]}, torch {torch.__version__}"
        facts = {"name": name, "what": what, "device": device, "versions": versions}
        device = "cpu" if runtime.device.type == "cpu" else re.sub(r"\W+", "-", device.lower())
        path = Path("logs", "benchmarks", f"{name}-{device}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, facts | {"commit": short(commit()), "rows": rows, "command": shlex.join(words)})
        print(f"saved to {path}")
