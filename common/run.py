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
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import filelock
import numpy
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common import checkpoint
from common.runtime import OUT_OF_MEMORY, RunError, Runtime, ScriptOptions, Stopped, UsageError


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

    def check(self) -> None:
        super().check()
        if self.resume and self.overwrite:
            raise UsageError("--resume goes on with a run and --overwrite deletes it: give one of them")
        if Path(self.run_name).name != self.run_name or self.run_name.startswith("."):
            raise UsageError(
                f"--run_name must be the name of a folder in <log_root>/<question>, not a path: {self.run_name}"
            )


# May differ between the legs of one run; every other option must stay, or the run would not be one.
FREE_ON_RESUME = {
    "resume",
    "overwrite",
    "debug",
    "device",
    "compile",
    "data_root",
    "log_root",
    "figure_root",
    "epochs",
    "run_name",
}


class Table:
    """A CSV file that grows a row at a time and can be cut back to what it was at a checkpoint."""

    def __init__(self, path: Path, keep_bytes: int = 0):
        if keep_bytes and (not path.exists() or path.stat().st_size < keep_bytes):
            raise RunError(
                f"{path} is shorter than its checkpoint says: it was changed; start again with --overwrite"
            )
        self.file = open(path, "a", newline="")
        self.file.truncate(keep_bytes)
        with open(path, newline="") as start:  # a resumed table keeps its columns
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
        return os.fstat(self.file.fileno()).st_size


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
        architecture: the numbers that rebuild the network, kept and checked in every checkpoint.
        fixed_epochs: the schedule depends on --epochs, so a resumed run may not change it.
        facts: what else config.json should record, such as the data's fingerprint.

    Raises:
        UsageError: the folder exists and neither --resume nor --overwrite was given; --resume and the options differ from
            the run's own; the folder is not a run's.
        RunError: another process is writing this run.
    """

    def __init__(
        self,
        question: str,
        options: RunOptions,
        runtime: Runtime,
        architecture: dict,
        *,
        fixed_epochs: bool = False,
        **facts: object,
    ):
        self.question, self.options, self.runtime, self.architecture = (
            question,
            options,
            runtime,
            architecture,
        )
        self.folder = options.log_root / question / options.run_name
        self.figures = options.figure_root / question / options.run_name
        self.last = self.folder / "checkpoints" / "last.pt"
        self.writing = runtime.rank == 0
        self.restarted = runtime.any(self.writing and self._restarted())
        self.tables: dict[str, Table] = {}
        self.boards: dict[str, SummaryWriter] = {}
        words = [word for word in command_line() if word not in ("--overwrite", "--resume")]
        self.resume_command = shlex.join(
            words if runtime.world == 1 else ["torchrun", "--nproc_per_node", str(runtime.world), *words[1:]]
        )
        self.resume_command += " --resume"
        if not self.writing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = filelock.FileLock(self.folder / ".lock")
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise RunError(
                f"another process is writing {self.folder}: wait for it, or give another --run_name"
            ) from error
        facts = json.loads(json.dumps(facts, default=str))
        self._claim(options, FREE_ON_RESUME - {"epochs"} if fixed_epochs else FREE_ON_RESUME, facts)
        self.figures.mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.json"
        legs = json.loads(config.read_text())["legs"] if config.exists() else []
        legs.append(
            {
                "torchrun": os.getppid() if "TORCHELASTIC_RESTART_COUNT" in os.environ else None,
                "command": shlex.join(command_line()),
                "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "commit": commit(),
                "device": runtime.device_name,
                "processes": runtime.world,
                "precision": runtime.precision,
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "torchvision": version("torchvision"),
                    "numpy": numpy.__version__,
                },
            }
        )
        write_json(config, {"question": question, "options": plain(options), **facts, "legs": legs})

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if self.writing:
            for table in self.tables.values():
                table.file.close()
            for board in self.boards.values():
                board.close()
            self.lock.release()
        if isinstance(error, torch.OutOfMemoryError):
            kept = f" (start again with --overwrite). What was trained is kept: with room on the GPU, {self.resume_command} goes on"
            raise RunError(OUT_OF_MEMORY + (kept if self.last.exists() else "")) from error

    def _restarted(self) -> bool:
        """torchrun --max_restarts started this run again after a worker died: its last leg is of the same torchrun process."""
        config = self.folder / "config.json"
        if not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) or not config.exists():
            return False
        return json.loads(config.read_text())["legs"][-1].get("torchrun") == os.getppid()

    def _claim(self, options: RunOptions, free: set[str], facts: dict) -> None:
        config = self.folder / "config.json"
        files = [file for file in self.folder.iterdir() if file.name != ".lock" and file.suffix != ".partial"]
        if not files:
            return
        if not config.exists():
            raise UsageError(
                f"{self.folder} holds files that no run of this project wrote: give another --run_name"
            )
        before = json.loads(config.read_text())
        afresh = options.overwrite or (options.smoke and before["options"]["smoke"] and not options.resume)
        if afresh and not self.restarted:
            for file in sorted(
                files, key=lambda file: file == config
            ):  # config.json last: it says whose folder this is
                shutil.rmtree(file) if file.is_dir() else file.unlink()
            shutil.rmtree(self.figures, ignore_errors=True)
        elif options.resume or self.restarted:
            others = [
                f"{key} is another than it began with"
                for key, fact in facts.items()
                if before.get(key, fact) != fact
            ]
            leg, before, now = before["legs"][-1], before["options"], plain(options)
            changed = others + [
                f"--{key} was {before[key]!r}, now {now[key]!r}"
                for key in before.keys() & now.keys() - free
                if before[key] != now[key]
            ]
            if leg["processes"] != self.runtime.world:
                changed.append(f"it ran on {leg['processes']} processes, now {self.runtime.world}")
            if leg["device"].startswith("CPU") != (self.runtime.device.type == "cpu"):
                changed.append(f"it ran on {leg['device']}, now {self.runtime.device_name} (--device)")
            if changed:
                raise UsageError(
                    f"--resume must go on with the options the run began with: {'; '.join(changed)}"
                )
        else:
            raise UsageError(
                f"the run {self.folder} exists: --resume goes on with it, --overwrite starts it again, --run_name NAME keeps both"
            )

    def restore(self, parts: dict[str, object]) -> dict:
        """Opens the run: puts every part and table back to the last checkpoint, if --resume finds one.

        Args:
            parts: what has a state: networks, optimisers, schedulers, torch.Generators; None is passed over.

        Returns:
            The values given to `save_last`, or {} at the start of a run.

        Raises:
            RunError: as `checkpoint.load_last`; a table was changed since.
        """
        saved, warning = None, ""
        if self.options.resume or self.restarted:
            saved, warning = checkpoint.load_last(
                self.last, self.question, self.architecture, self.runtime.device
            )
        for name, part in parts.items():
            if saved and part is not None:
                part.set_state(saved[name].cpu()) if isinstance(
                    part, torch.Generator
                ) else part.load_state_dict(saved[name])
        position = saved["position"] if saved else {}
        self._seconds_before, self._opened = (saved["seconds"] if saved else 0.0), time.perf_counter()
        if self.writing:
            sizes = saved["tables"] if saved else {}
            self.tables = {
                name: Table(self.folder / f"{name}.csv", sizes.get(name, 0)) for name in ("metrics", "steps")
            }
            purge = {
                "metrics": position.get("epoch", 0),
                "steps": None,
            }  # rows of the epoch that begins again are dropped
            self.boards = {
                name: SummaryWriter(self.folder / "tensorboard" / name, purge_step=step)
                for name, step in purge.items()
            }
            (self.folder / "results.json").unlink(
                missing_ok=True
            )  # a finished run that goes on is not finished
        if warning:
            self.log(f"warning: {warning}")
        return position

    @property
    def seconds(self) -> float:
        """Time spent training, over all legs."""
        return self._seconds_before + time.perf_counter() - self._opened

    def save_last(self, parts: dict[str, object], **position: object) -> None:
        """Saves all there is to resume from: the parts' states, the tables' sizes, and where the loop is."""
        if self.writing:
            states = {
                n: p.get_state() if isinstance(p, torch.Generator) else p.state_dict()
                for n, p in parts.items()
                if p is not None
            }
            sizes = {name: table.sync() for name, table in self.tables.items()}
            done = position["epoch"] - (
                position.get("step") == 0
            )  # at the start of an epoch the one before is what is trained
            for part in parts.values():
                self._check_weights(part, done)
            self._save(self.last, done, **states, position=position, tables=sizes, seconds=self.seconds)

    def save_network(self, name: str, model: torch.nn.Module, epoch: int) -> None:
        """Saves a network alone as checkpoints/<name>.pt: "best" is the best so far."""
        if self.writing:
            self._check_weights(model, epoch)
            self._save(self.last.with_name(f"{name}.pt"), epoch, model=model.state_dict())

    def _check_weights(self, part: object, epoch: int) -> None:
        if isinstance(part, torch.nn.Module) and not all(p.isfinite().all() for p in part.parameters()):
            self.not_finite(epoch, "last")

    def _save(self, path: Path, epoch: int, **state: object) -> None:
        checkpoint.save(
            path, self.question, self.architecture, options=plain(self.options), epoch=epoch, **state
        )

    def load_network(self, name: str, model: torch.nn.Module) -> None:
        """Puts a network saved by `save_network` into `model`."""
        path = self.last.with_name(f"{name}.pt")
        model.load_state_dict(
            checkpoint.load(path, self.question, self.architecture, self.runtime.device)["model"]
        )

    def stop(self, epoch: int, step: int) -> None:
        """Ends the process after Ctrl-C, once everything is saved.

        Raises:
            Stopped: always, with the command that goes on.
        """
        raise Stopped(
            f"Stopped and saved at epoch {epoch}, step {step}. Go on with:\n    {self.resume_command}"
        )

    def not_finite(self, epoch: int, step: int | str) -> None:
        """Ends a run whose loss became NaN or infinite.

        Raises:
            RunError: always, with the step, the last good checkpoint and advice.
        """
        good = (
            f"the last good checkpoint is {self.last}" if self.last.exists() else "there is no checkpoint yet"
        )
        advice = "start again (--overwrite) with a lower learning rate or --precision fp32"
        raise RunError(f"the loss is not finite at epoch {epoch}, step {step}; {good}; {advice}")

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
                self.boards[table].add_scalar(f"{table}/{name}", value, at)

    def progress(self, what: str, total: int, done: int, unit: str) -> tqdm:
        """A progress bar on rank 0, when the screen is a terminal."""
        return tqdm(
            desc=what,
            total=total,
            initial=done,
            unit=unit,
            leave=False,
            disable=None if self.writing else True,
        )

    def log(self, message: str) -> None:
        """A line on the screen (above the progress bar) and in train.log, there with the time."""
        if self.writing:
            tqdm.write(message)
            with open(self.folder / "train.log", "a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {message}\n")

    def finish(self, results: dict) -> None:
        """Writes results.json, the mark of a finished run, and drops the tables that stayed empty.

        Args:
            results: "title", "rows" (name, value, interval, unit, count, paper, report) and what else there is to say.
        """
        if not self.writing:
            return
        made = {
            "minutes": round(self.seconds / 60, 2),
            "device": self.runtime.device_name,
            "precision": self.runtime.precision,
        }
        write_json(self.folder / "results.json", {"question": self.question, **results, **made})
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
    return [
        "python",
        str(script.resolve().relative_to(root) if script.resolve().is_relative_to(root) else script.name),
        *sys.argv[1:],
    ]


def short(commit: str) -> str:
    """A commit as `commit` gives it, in eight digits."""
    return commit[:8] + "+changes" * commit.endswith("+changes")


def commit() -> str:
    """The git commit of the code, with "+changes" when files differ from it; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+changes" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
