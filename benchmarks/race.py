"""Races our training step against a plain implementation of the same mathematics, taking turns in one run.

python benchmarks/race.py protonet
python benchmarks/race.py dcgan --device cuda --compile
python benchmarks/race.py pix2pix --image_size 128
python benchmarks/race.py darts --second

A busy machine slows all versions alike, so that the ratio means something. `race.py NAME --help` lists a
race's options; benchmarks/plain_NAME.py says what its plain version is.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from benchmarks.options import RACES, Choice, RaceOptions, resolve
from common import cli

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    choice = cli.read(Choice, lambda choice: choice, __doc__, sys.argv[1:2])
    options = cli.read(RACES[choice.name], resolve, __doc__, sys.argv[2:])

import json
import os
import re
import resource
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator

import torch

from benchmarks.versions import Setup
from common.device import Runtime, start
from common.errors import UsageError
from common.json_files import write_json
from common.machine import LIMITS, cpu_name, has_fast_bf16
from common.provenance import command_line, commit, short

WARM_UP = 3  # steps


def prepare(options: RaceOptions) -> Callable[[RaceOptions, Runtime], Setup]:
    """Returns the function that sets this race up; it brings one question's training script, and no other."""
    name = race_name(options)
    if name == "protonet":
        from benchmarks.plain_protonet import set_up
    elif name == "dcgan":
        from benchmarks.plain_dcgan import set_up
    elif name == "pix2pix":
        from benchmarks.plain_pix2pix import set_up
    else:
        from benchmarks.plain_darts import set_up
    return set_up


def race_name(options: RaceOptions) -> str:
    """Returns the name of the race that has these options."""
    return next(name for name, kind in RACES.items() if isinstance(options, kind))


def measure_memory(version: Iterator, device: torch.device) -> float:
    """Returns the MiB that a version's first steps need with its networks and optimisers.

    On a GPU that is what torch allocates, up to the third step, which is recorded; on a CPU it is how much
    two steps add to the process's largest resident size, so that the version needs a process of its own.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()  # to what is allocated now
    before = peak_memory(device)
    for _ in range(3 if device.type == "cuda" else 2):
        next(version)
    return peak_memory(device) - before


def peak_memory(device: torch.device) -> float:
    """Returns the largest memory so far, in MiB: that torch allocated on a GPU, or that the process had."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_alone(name: str) -> float:
    """Returns the memory that a version needs on the CPU, measured by this script in another process."""
    words = [sys.executable, *sys.argv, "--alone", name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(versions: dict[str, Iterator], device: torch.device) -> dict[str, float]:
    """Returns the memory of each version in MiB; one that fails is named and left out.

    Raises:
        Exception: the first version fails, which the others are compared with.
    """
    memory = {}
    for name, version in versions.items():
        try:
            memory[name] = measure_memory(version, device) if device.type == "cuda" else measure_alone(name)
        except Exception as error:  # such as of a step that torch.compile cannot make here
            if not memory:
                raise
            said = (getattr(error, "stderr", None) or f"{type(error).__name__}: {error}").strip()
            print(f"{name}: FAILED and left out: {said.splitlines()[-1]}", file=sys.stderr)
    return memory


def take_turns(versions: dict[str, Iterator], steps: int, device: torch.device) -> dict[str, float]:
    """Returns the median seconds per step of each version.

    On a GPU a turn is ten steps with one wait at its end: as in training, steps are queued ahead of the GPU.
    """
    turn = 10 if device.type == "cuda" else 1
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for step in range(WARM_UP + steps):
        for name, version in versions.items():
            wait(device)
            began = time.perf_counter()
            for _ in range(turn):
                next(version)
            wait(device)
            if step >= WARM_UP:
                seconds[name].append((time.perf_counter() - began) / turn)
    return {name: statistics.median(values) for name, values in seconds.items()}


def wait(device: torch.device) -> None:
    """Waits until a GPU has done what was queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run(name: str, setup: Setup, options: RaceOptions, runtime: Runtime) -> None:
    """Races the versions, prints a table and, with --save, keeps it for the report.

    Raises:
        UsageError: --alone names no version.
    """
    device = runtime.device
    if options.alone:
        if options.alone not in setup.versions:
            raise UsageError(f"--alone {options.alone}: the versions are {', '.join(setup.versions)}")
        print(json.dumps(measure_memory(setup.versions[options.alone], device)))
        return

    # Memory first: on a CPU a process inherits its parent's largest size.
    versions = worth_racing(setup.versions, device)
    memory = measure_all(versions, device)
    medians = take_turns({each: versions[each] for each in memory}, options.steps, device)

    # The table.
    print(f"{setup.what}, {runtime.device_name}, {cpu_name()}, torch {torch.__version__}")
    print(f"{'version':32} ms per step  times faster  memory, MiB")
    reference = next(iter(medians.values()))
    rows = {}
    for each, median in medians.items():
        row = {"ms": 1000 * median, "times_faster": reference / median, "memory": memory[each]}
        print(f"{each:32}{row['ms']:12.1f}{row['times_faster']:14.2f}{row['memory']:13.0f}", flush=True)
        rows[each] = row
    if options.save:
        save(name, setup.what, rows, runtime)


def worth_racing(versions: dict[str, Iterator], device: torch.device) -> dict[str, Iterator]:
    """Leaves out bf16, with a word, on a CPU without instructions for it, which is many times slower."""
    if device.type != "cpu" or has_fast_bf16():
        return versions
    slow = [name for name in versions if "bf16" in name]
    print(f"left out, since this CPU has no instructions for bf16: {'; '.join(slow)}", file=sys.stderr)
    return {name: version for name, version in versions.items() if name not in slow}


def save(name: str, what: str, rows: dict[str, dict[str, float]], runtime: Runtime) -> None:
    """Writes logs/benchmarks/<name>-<kind of device>.json, which report.py reads."""
    device = runtime.device_name
    path = Path("logs", "benchmarks", f"{name}-{device_kind(runtime)}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "name": name,
        "what": what,
        "device": device,
        "cpu": cpu_name(),
        "versions": f"python {sys.version.split()[0]}, torch {torch.__version__}",
        "commit": short(commit()),
        "rows": rows,
        "command": shlex.join(word for word in command_line() if word != "--save"),
    }
    write_json(path, record)
    print(f"saved to {path}")


def device_kind(runtime: Runtime) -> str:
    """Returns the kind of device, for a file: "nvidia-h200", "cpu", or "cpu-avx2" with its limit."""
    if runtime.device.type != "cpu":
        return re.sub(r"\W+", "-", runtime.device_name.lower())
    limits = [os.environ[name].lower() for name in LIMITS if os.environ.get(name)]
    return "-".join(["cpu", *limits[:1]])


def main(options: RaceOptions) -> None:
    options = resolve(options)
    runtime = start(options)
    set_up = prepare(options)
    run(race_name(options), set_up(options, runtime), options, runtime)


if __name__ == "__main__":
    cli.run(main, options)
