"""Versions of a training step against each other, in turns: a busy machine slows all of them alike."""

import json
import re
import resource
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from common.provenance import command_line, commit, short
from common.results import write_json
from common.runtime import Runtime

WARM_UP = 3  # steps


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
            self.bytes += sum(
                x.numel() * x.element_size()
                for x in tree_leaves((args, kwargs, out))
                if isinstance(x, Tensor)
            )
        return out


def modes(compile: bool, graphs: bool = False) -> dict[str, str]:
    """How ours is run: the addition to a version's name, and the mode of torch.compile ("": without it).

    Args:
        graphs: also as CUDA graphs; not for networks with a second forward pass before the backward (GANs).
    """
    if not compile:
        return {"": ""}
    import torch._dynamo  # takes seconds

    # For all versions of a race together; beyond it a version would silently run uncompiled.
    torch._dynamo.config.cache_size_limit = 64
    return {"": "", ", compiled": "default"} | ({", CUDA graphs": "reduce-overhead"} if graphs else {})


def measure(version: Iterator, device: torch.device) -> dict[str, float]:
    """What a step of a version needs: its memory (MiB, with networks and optimisers), and what it computes.

    On a GPU memory is what torch allocates during two steps; on a CPU it is the growth of the process's peak
    resident size, so that each version needs a process of its own.
    """
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    next(version), next(version)
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    with FlopCounterMode(display=False) as flops, Counter() as counter:
        next(version)
    counted = {
        "operations": counter.operations,
        "gflop": flops.get_total_flops() / 1e9,
        "gigabytes": counter.bytes / 1e9,
    }
    return {"memory": peak - before} | counted


def race(versions: dict[str, Iterator], steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds per step; every next() of a version is one step.

    On a GPU a turn is ten steps with one wait at its end: in training, too, kernels are queued ahead.
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


def save(what: str, rows: dict[str, dict[str, float]], runtime: Runtime) -> Path:
    """Writes a table to logs/benchmarks/<script>-<device>.json, which report.py reads."""
    words = [word for word in command_line() if word != "--save"]
    name = Path(words[1]).stem
    device = "cpu" if runtime.device.type == "cpu" else re.sub(r"\W+", "-", runtime.device_name.lower())
    path = Path("logs", "benchmarks", f"{name}-{device}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = f"python {sys.version.split()[0]}, torch {torch.__version__}"
    facts = {
        "name": name,
        "what": what,
        "device": runtime.device_name,
        "versions": versions,
        "commit": short(commit()),
        "rows": rows,
    }
    write_json(path, facts | {"command": shlex.join(words)})
    return path


def run(
    what: str,
    versions: dict[str, Iterator],
    steps: int,
    runtime: Runtime,
    alone: str = "",
    keep: bool = False,
) -> dict[str, dict[str, float]]:
    """Races the versions and prints a table; the first one is what the others are compared with.

    A version that fails, such as one that torch.compile cannot compile here, is named and left out.

    Args:
        versions: generators that build their networks at the first next(), so that each is measured alone.
        steps: timed turns of each version.
        alone: only `measure` this version and print that as JSON; on a CPU the script runs itself with it,
            once per version.
        keep: also `save` the table.
    """
    if alone:
        print(json.dumps(measure(versions[alone], runtime.device)))
        return {}
    first, needs = next(iter(versions)), {}
    for name, version in list(versions.items()):  # before the race: a process inherits its parent's peak size
        try:
            if runtime.device.type == "cuda":
                needs[name] = measure(version, runtime.device)
            else:
                process = subprocess.run(
                    [sys.executable, *sys.argv, "--alone", name], check=True, capture_output=True, text=True
                )
                needs[name] = json.loads(process.stdout.splitlines()[-1])
        except Exception as error:
            if name == first:
                raise
            said = (getattr(error, "stderr", None) or f"{type(error).__name__}: {error}").strip().splitlines()
            print(
                f"{name}: FAILED and left out: {said[-1] if said else type(error).__name__}", file=sys.stderr
            )
            del versions[name]
    medians = race(versions, steps, runtime.device)
    print(f"{what}, {runtime.device_name}, torch {torch.__version__}")
    print(f"{'version':32}{'ms a step':>10}{'times faster':>14}{'memory, MiB':>13}", end="")
    print(f"{'GFLOP':>10}{'operations':>12}{'GB moved':>10}")
    rows = {}
    for name, value in medians.items():
        row = rows[name] = {"ms": 1000 * value, "times_faster": medians[first] / value} | needs[name]
        print(f"{name:32}{row['ms']:10.1f}{row['times_faster']:14.2f}{row['memory']:13.0f}", end="")
        print(f"{row['gflop']:10.1f}{row['operations']:12,}{row['gigabytes']:10.2f}", flush=True)
    if keep:
        print(f"saved to {save(what, rows, runtime)}")
    return rows
