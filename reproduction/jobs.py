"""The commands of a preset as jobs: what is planned, how each is started, and what became of it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from common.machine import usable_cores
from reproduction import ending
from reproduction.commands import Row
from reproduction.options import ReproduceOptions as Options
from reproduction.options import asked_rows

TO_DO = ("new", "cut", "empty")


@dataclass
class Job:
    """A command and what became of it.

    words: the command line.
    state: as `Row.state` says: "done" or one of TO_DO; then "running", "failed", "stopped" or "waits".
    slot: which GPU, or which share of the cores.
    minutes: that it took.
    explanation: of a failure, shown below it.
    before: epochs that earlier legs had done.
    """

    row: Row
    folder: Path
    words: list[str]
    state: str
    process: subprocess.Popen | None = None
    output: IO | None = None
    slot: int = 0
    began: float = 0.0
    minutes: float = 0.0
    ending: str = ""
    explanation: list[str] = field(default_factory=list)
    before: int | None = None

    @property
    def label(self) -> str:
        return f"{self.row.question} {self.row.label}"

    def interrupt(self) -> None:
        """Asks its process to save and stop, as Ctrl-C does."""
        if self.process:
            self.process.send_signal(signal.SIGINT)

    def progress(self) -> str:
        """Tells how many epochs are done, and the time left at the pace of this leg."""
        if self.row.evaluates:
            return "evaluation"
        try:
            total = json.loads((self.folder / "config.json").read_text())["options"]["epochs"]
            lines = (self.folder / "metrics.csv").read_text().splitlines()
        except (OSError, ValueError, KeyError, TypeError):  # nothing written yet, or damaged
            return "starting"
        done = max(0, len(lines) - 1)
        if self.before is None:
            self.before = done
        if done == self.before:
            return f"epoch {done}/{total}"
        pace = (time.perf_counter() - self.began) / 60 / (done - self.before)
        return f"epoch {done}/{total}, {time_in_words(pace * (total - done))} left"


# Before ---------------------------------------------------------------------------------------------------


def plan(options: Options) -> list[Job]:
    """Returns the jobs of the preset that are asked for, and those they need, in its order."""
    rows = asked_rows(options)
    if options.runs:
        named = [row for row in rows if any(fnmatchcase(row.name, pattern) for pattern in options.runs)]
        rows = [row for row in rows if row in named or any(other.needs(row) for other in named)]
    jobs = []
    for row in rows:
        state = row.state(options.log_root)
        words = row.words(options.log_root, options.figure_root, options.data_root)
        if options.device != "auto":
            words += ["--device", options.device]
        if state == "cut":
            words.append("--resume")
        if state == "empty":
            words.append("--overwrite")
        jobs.append(Job(row, options.log_root / row.question / row.name, words, state))
    return jobs


def estimate(jobs: list[Job], gpu: bool) -> str:
    """Tells how long it will take, from what was measured on two CPU cores."""
    if not jobs:
        return "Everything is done already."
    known = [job.row.minutes for job in jobs if job.row.minutes is not None]
    commands = f"{len(jobs)} command{'s' if len(jobs) > 1 else ''} to run"
    if len(known) < len(jobs):
        unknown = f"for {len(jobs) - len(known)} of them no time was ever measured"
        return f"{commands}; {unknown}: progress is shown once epochs are done."
    faster = "; a GPU is faster" if gpu else ""
    return f"{commands}, about {time_in_words(sum(known))} one after the other on two CPU cores{faster}."


def time_in_words(minutes: float) -> str:
    """Returns "less than a minute", "1 minute", "40 minutes" or "2.5 hours"."""
    whole = round(minutes)
    if whole < 1:
        return "less than a minute"
    if whole == 1:
        return "1 minute"
    return f"{whole} minutes" if whole < 120 else f"{minutes / 60:.1f} hours"


# While it runs ----------------------------------------------------------------------------------------------


def launch(job: Job, options: Options, gpus: int, side_by_side: int) -> None:
    """Starts a command, which writes to <run>.out if it shares the screen with others."""
    environment = dict(os.environ)
    if gpus and ":" not in options.device:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[job.slot % gpus]
    if side_by_side > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // side_by_side)))
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        name = f"{job.row.name}-evaluation.out" if job.row.evaluates else f"{job.row.name}.out"
        job.output = open(job.folder.with_name(name), "w")
    job.process = subprocess.Popen(
        [sys.executable, *job.words[1:]],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=job.output,
        stderr=subprocess.STDOUT if job.output else None,
        # Ctrl-C reaches this program alone, which passes it on to every command just once.
        start_new_session=True,
    )
    job.state = "running"
    job.began = time.perf_counter()


def finish(job: Job, status: int) -> str:
    """Notes how a command ended, and in how many minutes; returns the line to show.

    Args:
        status: the exit status, or the signal that ended it, below 0.
    """
    job.minutes = (time.perf_counter() - job.began) / 60
    output = None
    if job.output:
        job.output.close()
        output = Path(job.output.name)
    if status == 0:
        job.state = "done"
        job.ending = f"done in {job.minutes:.1f} minutes"
    elif status in ending.STOPS:
        job.state = "stopped"
        job.ending = "stopped"
    else:
        where = output or (job.folder if job.row.evaluates else job.folder / "train.log")
        job.state = "failed"
        job.ending = f"FAILED ({ending.in_words(status)}; {where})"
        job.explanation = ending.explanation(status, output)
    return f"{job.label}: {job.ending}"


def left(jobs: list[Job], side_by_side: int) -> str:
    """Tells the time left: measured minutes scaled by what the finished commands took here; "" if unknown."""
    here = [(job.minutes, job.row.minutes) for job in jobs if job.minutes and job.row.minutes]
    to_do = [job.row.minutes for job in jobs if job.state in (*TO_DO, "running")]
    known = [minutes for minutes in to_do if minutes is not None]
    if not here or not to_do or len(known) < len(to_do):
        return ""
    pace = sum(took for took, _ in here) / sum(measured for _, measured in here)
    at_once = min(side_by_side, len(to_do))
    return f"; {time_in_words(pace * sum(known) / at_once)} left"
