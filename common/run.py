"""A run's folder: what was asked, what happened, what came out.

    logs/<question>/<run_name>/   config.json  metrics.csv  steps.csv  results.json  train.log  tensorboard/  checkpoints/
    figures/<question>/<run_name>/   the pictures
"""

import csv
import dataclasses
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import filelock
import numpy
import torch
import torchvision
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common.runtime import Runtime, RunError, ScriptOptions, UsageError


@dataclass
class RunOptions(ScriptOptions):
    """What every training script takes."""

    data_root: Path = Path("data")  # folder of the data sets
    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures
    run_name: str = ""  # name of the run folder (default: made from the settings)
    resume: bool = False  # go on with the run of this name, exactly where its last checkpoint was
    overwrite: bool = False  # delete the run of this name first
    compile: bool = False  # torch.compile the network (worth it on a GPU)
    smoke: bool = False  # a tiny run on synthetic data that shows that everything works (seconds)


# May differ between the legs of one run; every other option must stay, or the run would not be one.
FREE_ON_RESUME = {"resume", "overwrite", "debug", "device", "compile", "data_root", "log_root", "figure_root", "epochs", "run_name"}


class Table:
    """A CSV file that grows a row at a time and can be cut back to what it was at a checkpoint."""

    def __init__(self, path: Path, keep_bytes: int = 0):
        if keep_bytes and (not path.exists() or path.stat().st_size < keep_bytes):
            raise RunError(f"{path} is shorter than its checkpoint says: it was changed; start again with --overwrite")
        self.file = open(path, "a", newline="")
        self.file.truncate(keep_bytes)
        with open(path, newline="") as start:
            self.columns = next(csv.reader(start), None)

    def write(self, row: dict[str, float | int | str]) -> None:
        """Adds a row; the first one decides the columns. Floats keep six digits."""
        out = csv.writer(self.file, lineterminator="\n")
        if self.columns is None:
            self.columns = list(row)
            out.writerow(self.columns)
        assert list(row) == self.columns, f"columns changed from {self.columns} to {list(row)}"
        out.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in row.values())

    def sync(self) -> int:
        """Brings every row to the disk; the size in bytes goes into the checkpoint."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.file.tell()


def read_table(path: Path) -> dict[str, list[float]]:
    """A CSV of numbers, column by column; an empty cell is NaN."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in (rows[0] if rows else [])}


def write_json(path: Path, value: dict) -> None:
    """Writes JSON so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_suffix(".json.partial")
    temporary.write_text(json.dumps(value, indent=2, default=str) + "\n")
    os.replace(temporary, path)


class Run:
    """One run's folder, owned by one process (rank 0 of torchrun; on the other ranks nothing is written).

    Args:
        question: the folder's name, "q2_protonet".
        options: the script's options; `options.run_name` names the folder.
        runtime: where it computes.
        facts: what else config.json should record, such as the data's fingerprint.

    Raises:
        UsageError: the folder exists and neither --resume nor --overwrite was given; --resume and the options differ from
            the run's own; the folder is not a run's.
        RunError: another process is writing this run.
    """

    def __init__(self, question: str, options: RunOptions, runtime: Runtime, **facts: object):
        self.folder = options.log_root / question / options.run_name
        self.figures = options.figure_root / question / options.run_name
        self.last, self.best = (self.folder / "checkpoints" / name for name in ("last.pt", "best.pt"))
        self.writing = runtime.rank == 0
        self.tables: dict[str, Table] = {}
        self.board = None
        self.resume_command = shlex.join([a for a in command_line() if a not in ("--overwrite", "--resume")]) + " --resume"
        if not self.writing:
            return
        if options.resume and options.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite deletes it: give one of them")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = filelock.FileLock(self.folder / ".lock")
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise RunError(f"another process is writing {self.folder}: wait for it, or give another --run_name") from error
        self._claim(options)
        self.figures.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.json"
        legs = json.loads(config.read_text())["legs"] if config.exists() else []
        legs.append(
            {
                "command": shlex.join(command_line()),
                "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "commit": commit(),
                "device": runtime.device_name,
                "processes": runtime.world,
                "precision": runtime.precision,
                "versions": {"python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": numpy.__version__},
            }
        )
        write_json(config, {"question": question, "options": plain(options), **facts, "legs": legs})

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        if self.writing:
            for table in self.tables.values():
                table.file.close()
            if self.board:
                self.board.close()
            self.lock.release()

    def _claim(self, options: RunOptions) -> None:
        config = self.folder / "config.json"
        files = [file for file in self.folder.iterdir() if file.name != ".lock"]
        if not files:
            return
        if not config.exists():
            raise UsageError(f"{self.folder} holds files that no run of this project wrote: give another --run_name")
        if options.overwrite or options.smoke and not options.resume:
            for file in files:
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            shutil.rmtree(self.figures, ignore_errors=True)
        elif options.resume:
            before, now = json.loads(config.read_text())["options"], plain(options)
            changed = [f"--{key} was {before.get(key)!r}, now {now[key]!r}" for key in now if key not in FREE_ON_RESUME and before.get(key) != now[key]]
            if changed:
                raise UsageError(f"--resume must go on with the options the run began with: {'; '.join(changed)}")
        else:
            raise UsageError(f"the run {self.folder} exists: --resume goes on with it, --overwrite starts it again, --run_name NAME keeps both")

    def open(self, saved: dict[str, int] | None = None, step: int = 0) -> None:
        """Opens the tables, cut back to the checkpoint's `saved` sizes, and TensorBoard from `step` on."""
        if self.writing:
            saved = saved or {}
            self.tables = {name: Table(self.folder / f"{name}.csv", saved.get(name, 0)) for name in ("metrics", "steps")}
            self.board = SummaryWriter(self.folder / "tensorboard", purge_step=step)

    def write(self, table: str, row: dict[str, float | int | str]) -> None:
        """Adds a row to metrics.csv ("metrics") or steps.csv ("steps"), and its numbers to TensorBoard.

        The first column (the epoch or the step) is TensorBoard's x axis.
        """
        if not self.writing:
            return
        self.tables[table].write(row)
        (_, at), *rest = row.items()
        for name, value in rest:
            if isinstance(value, (int, float)):
                self.board.add_scalar(f"{table}/{name}", value, at)

    def sizes(self) -> dict[str, int]:
        """The tables' sizes on the disk, to be saved with a checkpoint."""
        return {name: table.sync() for name, table in self.tables.items()}

    def log(self, message: str) -> None:
        """A line on the screen (above the progress bar) and in train.log, there with the time."""
        if self.writing:
            tqdm.write(message)
            with open(self.folder / "train.log", "a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {message}\n")

    def finish(self, results: dict) -> None:
        """Writes results.json, the mark of a finished run, and drops the tables that stayed empty."""
        if not self.writing:
            return
        write_json(self.folder / "results.json", results)
        for table in self.tables.values():
            if table.columns is None:
                Path(table.file.name).unlink()


def plain(options: object) -> dict:
    """A dataclass as JSON holds it."""
    return json.loads(json.dumps(dataclasses.asdict(options), default=str))


def command_line() -> list[str]:
    """The command as it was typed, from the project's root."""
    script = Path(sys.argv[0])
    root = Path(__file__).resolve().parent.parent
    return ["python", str(script.resolve().relative_to(root) if script.resolve().is_relative_to(root) else script.name), *sys.argv[1:]]


def commit() -> str:
    """The git commit of the code, with "+changes" when files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
