"""Kills training scripts at any moment, resumes them, and compares their ends with those of undisturbed runs.

python tests/faults/campaign.py --kills 20            # the long form: make soak

A server process imports torch once and forks a child for every start of a script, so that a start costs
nothing and there is time for many kills. A child dies at a random time, or at its n-th durable act: half of
the bytes of a checkpoint or cache, a flush to the disk, or a renaming, where a crash could do harm.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import BinaryIO, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reproduction.presets import Row

ROOT = Path(__file__).resolve().parents[2]


class Script(NamedTuple):
    """A training script at tiny settings."""

    question: str
    file: str
    flags: str

    def run(self, logs: Path, name: str) -> Path:
        """The folder of a run."""
        return logs / self.question / name


DARTS = """--dataset folder --folder {data}/shapes --epochs 3 --init_channels 4 --layers 3 --batch_size 8
    --log_every 1 """
DCGAN = """--dataset synthetic --synthetic_pictures 1000 --epochs 3 --batch_size 200 --latent_size 8
    --log_every 1 --quality_samples 0 --test_samples 200 --base_channels 4 --average_weights 0.9 --conditional
"""
EPISODES = """--dataset folder --folder {data}/characters --epochs 4 --iterations 3 --classes_per_it_tr 5
    --num_support_tr 1 --num_query_tr 2 --classes_per_it_val 2 --num_support_val 1 --num_query_val 2
    --validation_episodes 3 --test_episodes 5 --hidden_channels 4 --augment --average_weights 0.9"""
MAPS = "--dataset folder --pairs {data}/pairs --epochs 3 --image_size 32 --base_channels 4 --batch_size 2 "
SCRIPTS = {
    "q1_dcgan": Script("q1_dcgan", "train.py", DCGAN),
    "q2_protonet": Script("q2_protonet", "train.py", EPISODES),
    "q3_pix2pix": Script("q3_pix2pix", "train.py", MAPS + "--log_every 1"),
    "q4_search": Script("q4_darts", "train_search.py", DARTS + "--order second"),
    "q4_train": Script("q4_darts", "train.py", DARTS + "--genotype random:0"),
}


def draw_data(folder: Path) -> None:
    """The small data sets as image files, so that caches are built from them."""
    import numpy as np
    from PIL import Image

    draws = np.random.default_rng(0)
    shapes = {"characters/c{i}": (16, 6, (20, 20)), "shapes/train/c{i}": (4, 16, (32, 32, 3))}
    shapes |= {"shapes/test/c{i}": (4, 2, (32, 32, 3))}
    shapes |= {"pairs/train": (1, 6, (32, 64, 3)), "pairs/val": (1, 2, (32, 64, 3))}
    for pattern, (classes, count, shape) in shapes.items():
        for i in range(classes):
            inside = folder / pattern.format(i=i)
            inside.mkdir(parents=True, exist_ok=True)
            for k in range(count):
                Image.fromarray(draws.integers(0, 255, shape, dtype=np.uint8)).save(inside / f"{k}.png")


# In the child -----------------------------------------------------------------------------------------------


def armed(deadly: int, tally: str) -> None:
    """Makes this process die at its `deadly`-th durable act (0: never), or count them in the file `tally`."""
    from common import checkpoint

    count = 0
    real_write, real_replace, real_fsync = checkpoint.write, os.replace, os.fsync

    def act(half_of: str = "") -> None:
        nonlocal count
        count += 1
        if tally:
            Path(tally).write_text(str(count))
        if count == deadly:
            if half_of:
                os.truncate(half_of, os.path.getsize(half_of) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def write(contents: dict, file: BinaryIO) -> None:
        real_write(contents, file)
        file.flush()
        act(file.name)

    def replace(*names: object) -> None:
        act()
        real_replace(*names)
        act()

    def fsync(descriptor: int) -> None:
        act()
        real_fsync(descriptor)

    checkpoint.write, os.replace, os.fsync = write, replace, fsync


def child(words: list[str], deadly: int, tally: str, output: Path) -> None:
    """Runs a script as `python <words>` would, in this process."""
    from q1_dcgan import classifier

    classifier.EPOCHS = 1  # a judge for which seconds are enough
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.setsid()
    sys.argv = [str(ROOT / words[0]), *words[1:]]
    armed(deadly, tally)
    runpy.run_path(sys.argv[0], run_name="__main__")


# In the campaign --------------------------------------------------------------------------------------------


class Server:
    """Starts scripts, one at a time, as forks of a process that has imported what they need."""

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / "output"
        os.environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        scripts = [f"{script.question}.{script.file.removesuffix('.py')}" for script in SCRIPTS.values()]
        self.forks = multiprocessing.get_context("forkserver")
        self.forks.set_forkserver_preload(["torch", "torch._dynamo", *scripts])  # an optimiser imports dynamo

    def run(self, words: list[str], status: int = 0, **how: object) -> str:
        """Runs a script, whose exit status must be this one; what it said."""
        self.start(words, **how)
        assert self.end() == status, self.output()
        return self.output()

    def start_until(self, words: list[str], file: Path) -> int:
        """Starts a script and returns its process id as soon as `file` is there."""
        pid = self.start(words)
        while not file.exists():
            assert self.process.is_alive(), f"it ended before it wrote {file}:\n{self.output()}"
            time.sleep(0.002)
        return pid

    def start(self, words: list[str], deadly: int = 0, tally: str = "") -> int:
        """Starts a script; its process id."""
        self.file.unlink(missing_ok=True)
        self.process = self.forks.Process(target=child, args=(words, deadly, tally, self.file))
        self.process.start()
        return self.process.pid

    def end(self) -> int:
        """Waits for the script; its exit status, minus the signal if one killed it."""
        self.process.join()
        return self.process.exitcode

    def output(self) -> str:
        return self.file.read_text()


def words_of(script: Script, folder: Path, name: str) -> list[str]:
    """The command of a run, with --resume or --overwrite where the state of its folder needs it."""
    roots = f"--data_root {folder}/{name}-data --log_root {folder}/logs --figure_root {folder}/figures"
    words = f"{script.question}/{script.file} {script.flags.format(data=folder)} {roots} --run_name {name}"
    state = Row(script.question, name, script.file).state(folder / "logs")
    more = {"cut": ["--resume"], "empty": ["--overwrite"]}.get(state, [])
    return [*words.split(), "--device", "cpu", "--precision", "fp32", *more]  # the same on every CPU


def outcome(run: Path) -> dict[str, object]:
    """All that two runs of the same settings must have in common, to the bit."""
    import torch

    found: dict[str, object] = {file.name: file.read_bytes() for file in sorted(run.glob("*.csv"))}
    found |= {f"genotypes/{file.name}": file.read_bytes() for file in sorted(run.glob("genotypes/*.json"))}
    results = json.loads((run / "results.json").read_text())
    found["results.json"] = {key: value for key, value in results.items() if key != "minutes"}

    def flat(value: object, name: str) -> None:
        if isinstance(value, dict):
            for key, inside in value.items():
                if key not in ("options", "seconds"):
                    flat(inside, f"{name}/{key}")
        elif isinstance(value, (list, tuple)):
            for i, inside in enumerate(value):
                flat(inside, f"{name}/{i}")
        else:
            found[name] = value.numpy().tobytes() if isinstance(value, torch.Tensor) else value

    for file in sorted(run.glob("checkpoints/*.pt")):
        flat(torch.load(file, weights_only=True), file.name)
    return found


def campaign(name: str, kills: int, seed: int, server: Server) -> Counter:
    """Kills a script `kills` times in as many runs as that takes; every run must end as the undisturbed one.

    Returns:
        How many "kills" there were, "by_time" and "in_writing" (at a durable act), how many "runs" were
        brought to their end and compared, and how many ends were different ("lost").

    Raises:
        AssertionError: a start after a kill did not end well, or a run ended otherwise; with what was done.
    """
    script, draws, tally = SCRIPTS[name], random.Random(f"{name}{seed}"), Counter()
    logs, counter, began = server.folder / "logs", server.folder / "acts", time.perf_counter()
    server.run(words_of(script, server.folder, f"{name}-calm"), tally=str(counter))
    length, acts = time.perf_counter() - began, int(counter.read_text())
    calm = outcome(script.run(logs, f"{name}-calm"))
    while tally["kills"] < kills:
        run = f"{name}-{tally['runs']}"
        row, history = Row(script.question, run, script.file), []
        while row.state(logs) != "done":  # it may be killed after its end
            by_time = draws.random() < 0.5
            at = draws.uniform(0, length) if by_time else draws.randint(1, acts)
            enough = tally["kills"] >= kills
            pid = server.start(words_of(script, server.folder, run), 0 if by_time or enough else at)
            if by_time and not enough:
                time.sleep(at)
                with contextlib.suppress(ProcessLookupError):  # it was done before
                    os.kill(pid, signal.SIGKILL)
            status = server.end()
            history.append(f"{f'after {at:.3f} s' if by_time else f'at act {at}'}: status {status}")
            assert status in (0, -signal.SIGKILL), f"seed {seed}, {run}, {history}:\n{server.output()}"
            if status:
                tally.update(["kills", "by_time" if by_time else "in_writing"])
        ended = outcome(script.run(logs, run))
        different = sorted(key for key in calm.keys() | ended.keys() if calm.get(key) != ended.get(key))
        tally.update(["runs", "lost"] if different else ["runs"])
        assert not different, f"seed {seed}, {run}, {history}: {different[:10]} differ from the calm run"
        shutil.rmtree(script.run(logs, run))
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("scripts", nargs="*", help=f"of {', '.join(SCRIPTS)} (default: all)")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    columns = {"kills": "kills", "by_time": "at a random time", "in_writing": "in the middle of writing"}
    columns |= {"runs": "runs brought to their end", "lost": "ends that differed"}
    began = time.perf_counter()
    print(f"seed {options.seed}\n| script | {' | '.join(columns.values())} |\n{'| --- ' * 6}|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        draw_data(Path(temporary))
        server = Server(Path(temporary))
        for name in options.scripts or SCRIPTS:
            tally = campaign(name, options.kills, options.seed, server)
            print(f"| {name} | {' | '.join(str(tally[column]) for column in columns)} |", flush=True)
    print(f"{(time.perf_counter() - began) / 60:.1f} minutes")
