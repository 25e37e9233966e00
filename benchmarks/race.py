"""Versions of one training step against each other, in one run: they take turns, so that a busy machine slows all of them alike."""

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

from common.run import command_line, commit, short, write_json
from common.runtime import Runtime

WARM_UP = 3  # steps


def race(versions: dict[str, Iterator], steps: int, device: torch.device) -> dict[str, float]:
    """Median seconds a step; every next() of a version is one step."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for step in range(steps + WARM_UP):
        for name, version in versions.items():
            wait()
            began = time.perf_counter()
            next(version)
            wait()
            seconds[name] += [time.perf_counter() - began] if step >= WARM_UP else []
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory(version: Iterator, device: torch.device) -> float:
    """MiB that two steps of this version alone need, its networks and optimisers included.

    On a GPU what torch allocates; on a CPU the growth of the process's largest resident size, so it wants a process of its own.
    """
    cuda = device.type == "cuda"
    before = 0 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    next(version), next(version)
    return torch.cuda.max_memory_allocated() / 2**20 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before


def save(what: str, rows: dict[str, dict[str, float]], runtime: Runtime) -> Path:
    """Writes a table to logs/benchmarks/<script>-<device>.json, which report.py reads."""
    words = [word for word in command_line() if word != "--save"]
    name = Path(words[1]).stem
    device = "cpu" if runtime.device.type == "cpu" else re.sub(r"\W+", "-", runtime.device_name.lower())
    path = Path("logs", "benchmarks", f"{name}-{device}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = f"python {sys.version.split()[0]}, torch {torch.__version__}"
    facts = {"name": name, "what": what, "device": runtime.device_name, "versions": versions, "commit": short(commit()), "rows": rows}
    write_json(path, facts | {"command": shlex.join(words)})
    return path


def run(
    what: str, versions: dict[str, Iterator], steps: int, runtime: Runtime, memory_of: str = "", keep: bool = False
) -> dict[str, dict[str, float]]:
    """Races the versions and prints a table; the first one is what the others are compared with.

    Args:
        keep: also `save` the table.
        versions: generators that build their networks at the first next(), so that the memory of each can be measured by a call
            of this script that runs it alone (`memory_of`).
    """
    if memory_of:
        print(peak_memory(versions[memory_of], runtime.device))
        return {}
    memory = {}
    for name in versions:  # before the race: a process inherits the largest size its parent has had
        alone = subprocess.run([sys.executable, *sys.argv, "--memory_of", name], check=True, capture_output=True, text=True)
        memory[name] = float(alone.stdout.split()[-1])
    medians = race(versions, steps, runtime.device)
    first = next(iter(medians))
    print(f"{what}, {runtime.device_name}, torch {torch.__version__}")
    print(f"{'version':30}{'ms a step':>10}{'times faster':>14}{'memory, MiB':>13}")
    rows = {}
    for name, value in medians.items():
        rows[name] = {"ms": 1000 * value, "times_faster": medians[first] / value, "memory": memory[name]}
        print(f"{name:30}{rows[name]['ms']:10.1f}{rows[name]['times_faster']:14.2f}{rows[name]['memory']:13.0f}", flush=True)
    if keep:
        print(f"saved to {save(what, rows, runtime)}")
    return rows
