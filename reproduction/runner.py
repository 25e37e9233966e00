"""Runs the commands of a preset: skips what is done, resumes what was cut, ends with tables and the page."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Annotated, Literal

import torch
from tqdm import tqdm

from common.cli import default_shown
from common.machine import usable_cores
from common.runtime import UsageError
from reproduction import ending, report, tables
from reproduction.presets import PRESETS, Row, with_seeds
from reproduction.results import read_runs

QUESTIONS = sorted({row.question for rows in PRESETS.values() for row in rows})
TO_DO = ("new", "cut", "empty")


@dataclass
class Options:
    """Reproduce the questions at a preset."""

    # quick: synthetic data; small: real data on a CPU, about an hour and a half; evidence: the
    # committed results on a CPU, days; full: full size on a GPU, on the data at hand; report, paper:
    # their settings and data, on a GPU; precision: what bf16 and TF32 cost in accuracy, three seeds
    preset: Literal["quick", "small", "evidence", "full", "report", "paper", "precision"] = "quick"
    # only these questions
    only: Annotated[tuple[Literal[tuple(QUESTIONS)], ...], default_shown("all four")] = ()
    # only runs of these names, and what they need; * stands for anything: 'omniglot-*-seed1' mnist
    runs: Annotated[tuple[str, ...], default_shown("all")] = ()
    # every run with each of these seeds
    seeds: Annotated[tuple[int, ...], default_shown("the preset's own, mostly 0")] = ()
    # commands side by side (0: one per visible GPU; one on a CPU, where several share the cores)
    jobs: int = 0
    minutes: float = 0.0  # save and stop after this long; the same command continues (0: run to the end)
    dry_run: bool = False  # show the commands and do nothing
    data_root: Path = Path("data")  # folder of the data sets
    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures and of the page report-<preset>.html
    device: str = "auto"  # where to compute: cpu, cuda, cuda:1, mps; auto takes CUDA when there is one


@dataclass
class Job:
    """A command and what became of it."""

    row: Row
    folder: Path
    words: list[str]
    state: str  # as `Row.state` says: "done" or one of TO_DO; then "running", "failed", "stopped" or "waits"
    process: subprocess.Popen | None = None
    output: IO | None = None
    slot: int = 0  # which GPU, or which share of the cores
    began: float = 0.0
    minutes: float = 0.0  # that it took
    ending: str = ""
    explanation: list[str] = field(default_factory=list)  # of a failure, shown below it
    before: int | None = None  # epochs that earlier legs had done

    @property
    def label(self) -> str:
        return f"{self.row.question} {self.row.label}"

    def progress(self) -> str:
        """How many epochs are done, and the time left at the pace of this leg."""
        if self.row.evaluates:
            return "evaluation"
        try:
            total = json.loads((self.folder / "config.json").read_text())["options"]["epochs"]
            done = max(0, len((self.folder / "metrics.csv").read_text().splitlines()) - 1)
        except (OSError, ValueError, KeyError):  # nothing written yet
            return "starting"
        self.before = done if self.before is None else self.before
        if done == self.before:
            return f"epoch {done}/{total}"
        pace = (time.perf_counter() - self.began) / 60 / (done - self.before)
        return f"epoch {done}/{total}, {pace * (total - done):.0f} minutes left"


def plan(options: Options, gpu: bool) -> list[Job]:
    """The jobs of the preset, in its order; without those in TF32 where there is no GPU.

    Raises:
        UsageError: a name in --runs is none of the preset's.
    """
    rows, named, jobs = with_seeds(PRESETS[options.preset], options.seeds), [], []
    for pattern in options.runs:
        found = [row for row in rows if fnmatchcase(row.name, pattern)]
        if not found:
            there = ", ".join(dict.fromkeys(row.name for row in rows))
            raise UsageError(f"--runs {pattern}: preset {options.preset} has only {there}")
        named += found
    if named:
        rows = [row for row in rows if row in named or any(other.needs(row) for other in named)]
    for row in rows:
        chosen = not options.only or row.question in options.only
        if not chosen or row.options.get("precision") == "tf32" and not gpu:
            continue
        now = row.state(options.log_root)
        words = row.words(options.log_root, options.figure_root, options.data_root)
        words += ["--device", options.device] if options.device != "auto" else []
        words += {"cut": ["--resume"], "empty": ["--overwrite"]}.get(now, [])
        jobs.append(Job(row, options.log_root / row.question / row.name, words, now))
    return jobs


def estimate(jobs: list[Job], gpu: bool) -> str:
    """How long it will take, from what was measured on two CPU cores."""
    if not jobs:
        return "Everything is done already."
    known = [job.row.minutes for job in jobs if job.row.minutes is not None]
    what = f"{len(jobs)} command{'s' if len(jobs) > 1 else ''} to run"
    if len(known) < len(jobs):
        unknown = f"for {len(jobs) - len(known)} of them no time was ever measured"
        return f"{what}; {unknown}: progress is shown once epochs are done."
    length = f"{sum(known):.0f} minutes" if sum(known) < 120 else f"{sum(known) / 60:.1f} hours"
    faster = "; a GPU is faster" if gpu else ""
    return f"{what}, about {length} one after the other on two CPU cores{faster}."


def launch(job: Job, options: Options, gpus: int, jobs: int) -> None:
    """Starts a command, which writes to <run>.out if it shares the screen with others."""
    environment = dict(os.environ)
    if gpus and ":" not in options.device:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        environment["CUDA_VISIBLE_DEVICES"] = visible[job.slot % gpus]
    # A session of its own: Ctrl-C reaches this program alone, which passes it on to every command just once.
    how = {"env": environment, "stdin": subprocess.DEVNULL, "start_new_session": True}
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // jobs)))
        job.folder.parent.mkdir(parents=True, exist_ok=True)
        name = job.row.name + ("-evaluation.out" if job.row.evaluates else ".out")
        job.output = open(job.folder.with_name(name), "w")
        how |= {"stdout": job.output, "stderr": subprocess.STDOUT}
    job.process = subprocess.Popen([sys.executable, *job.words[1:]], **how)
    job.state, job.began = "running", time.perf_counter()


def finish(job: Job) -> str:
    """Notes how a command ended, and in how many minutes; the line to show."""
    job.minutes, status = (time.perf_counter() - job.began) / 60, job.process.returncode
    where = job.folder if job.row.evaluates else job.folder / "train.log"
    if job.output:
        job.output.close()
        where = job.output.name
    if status == 0:
        job.state, job.ending = "done", f"done in {job.minutes:.1f} minutes"
    elif status in ending.STOPS:
        job.state = job.ending = "stopped"
    else:
        job.state, job.ending = "failed", f"FAILED ({ending.in_words(status)}; {where})"
        job.explanation = ending.explanation(status, Path(where) if job.output else None)
    return f"{job.label}: {job.ending}"


def left(jobs: list[Job]) -> str:
    """The time left: measured minutes scaled by what the finished commands took here; "" where unknown."""
    here = [job for job in jobs if job.minutes and job.row.minutes]
    to_do = [job.row.minutes for job in jobs if job.state in (*TO_DO, "running")]
    if not here or not to_do or None in to_do:
        return ""
    pace = sum(job.minutes for job in here) / sum(job.row.minutes for job in here)
    return f"; about {pace * sum(to_do):.1f} minutes left"


@contextlib.contextmanager
def interrupts(jobs: list[Job]) -> Iterator[list[int]]:
    """Collects Ctrl-C, SIGTERM (a cluster's warning) and a closed terminal instead of dying of them.

    No command outlives an error inside, such as a closed output (`| head`): each saves and stops.
    """
    seen: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]  # nohup ignores SIGHUP
    previous = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in heeded}
    try:
        yield seen
    finally:
        for job in jobs:
            if job.process and job.process.poll() is None:
                job.process.send_signal(signal.SIGINT)
                job.process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def start_ready(jobs: list[Job], running: list[Job], options: Options, gpus: int, side_by_side: int) -> None:
    """Starts commands in free slots, in order, once everything they need is done; adds them to `running`."""
    for job in jobs:
        if job.state not in TO_DO:
            continue
        needed = [other.state for other in jobs if job.row.needs(other.row)]
        if any(state in ("failed", "stopped", "waits") for state in needed):
            job.state = "waits"
        elif len(running) < side_by_side and all(state == "done" for state in needed):
            job.slot = min(set(range(side_by_side)) - {other.slot for other in running})
            tqdm.write(f"[{jobs.index(job) + 1}/{len(jobs)}] {job.label}: {shlex.join(job.words)}")
            launch(job, options, gpus, side_by_side)
            running.append(job)


def run_all(jobs: list[Job], options: Options, gpus: int, side_by_side: int) -> bool:
    """Runs what is not done, `side_by_side` commands at a time; True if it was interrupted."""
    passed_on, end = 0, time.perf_counter() + 60 * (options.minutes or float("inf"))
    bars = {}  # one line per question when several commands share the screen
    for place, question in enumerate(dict.fromkeys(job.row.question for job in jobs)):
        its = [job.state for job in jobs if job.row.question == question]
        style = {"unit": " runs", "position": place, "disable": None if side_by_side > 1 else True}
        bars[question] = tqdm(desc=question, total=len(its), initial=its.count("done"), **style)
    with interrupts(jobs) as seen:
        while True:
            if not seen and time.perf_counter() > end:
                seen.append(signal.SIGINT)
            for job in [job for job in jobs if job.state == "running"]:
                if job.process.poll() is None:
                    bars[job.row.question].set_postfix_str(f"{job.row.name}, {job.progress()}")
                else:
                    tqdm.write(finish(job) + left(jobs))
                    bars[job.row.question].update(job.state == "done")
            running = [job for job in jobs if job.state == "running"]
            if len(seen) > passed_on:  # a second one ends the commands at once
                for job in running:
                    job.process.send_signal(signal.SIGINT)
                passed_on = len(seen)
            if not seen:
                start_ready(jobs, running, options, gpus, side_by_side)
            if not running:
                break
            time.sleep(0.2)
    for bar in bars.values():
        bar.close()
    return bool(seen) and any(job.state not in ("done", "failed") for job in jobs)


def main(options: Options) -> int:
    """Runs the preset; the exit status."""
    os.chdir(Path(__file__).resolve().parent.parent)  # scripts and relative roots are found from here
    if min(options.jobs, options.minutes, *options.seeds) < 0:
        raise UsageError("--jobs, --minutes and --seeds must be 0 or more")
    gpus = torch.cuda.device_count() if options.device != "cpu" else 0
    side_by_side = options.jobs or max(1, gpus)
    jobs = plan(options, bool(gpus))
    began = time.perf_counter()
    for number, job in enumerate(jobs, 1):
        if options.dry_run or job.state == "done":
            what = "done" if job.state == "done" else shlex.join(job.words)
            print(f"[{number}/{len(jobs)}] {job.label}: {what}")
    print(estimate([job for job in jobs if job.state != "done"], bool(gpus)), flush=True)
    if options.dry_run:
        return 0
    if run_all(jobs, options, gpus, side_by_side):
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    names = tuple(f"{job.row.question}/{job.row.name}" for job in jobs)
    wanted = [(options.preset, job.row) for job in jobs]
    page = report.Options(options.log_root, options.figure_root, f"report-{options.preset}", names)
    page = report.main(page, wanted)
    for line in tables.in_words(read_runs(options.log_root, names), options.figure_root):
        print(line)
    minutes = (time.perf_counter() - began) / 60
    print(f"{minutes:.1f} minutes. Figures: {options.figure_root}/<question>/<run>. Page: {page}")
    for job in jobs:
        if job.state in ("failed", "stopped"):
            print("\n".join([f"{job.label}: {job.ending}", *job.explanation]), file=sys.stderr)
        elif job.state == "waits":
            print(f"NOT RUN: {job.label}, which needs one that failed", file=sys.stderr)
    return 0 if all(job.state == "done" for job in jobs) else 1
