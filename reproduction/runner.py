"""Runs the commands of a preset: skips what is done, resumes what was cut, ends with tables and the page."""

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator

import torch
from tqdm import tqdm

from common.provenance import ROOT
from reproduction import report, tables
from reproduction.jobs import TO_DO, Job, estimate, finish, launch, left, plan
from reproduction.log_reader import read_runs
from reproduction.options import ReportOptions, resolve
from reproduction.options import ReproduceOptions as Options


def main(options: Options) -> int:
    """Runs the preset; returns the exit status."""
    options = resolve(options)
    os.chdir(ROOT)  # scripts and relative roots are found from here
    began = time.perf_counter()

    # What there is to do.
    gpus = torch.cuda.device_count() if options.device != "cpu" else 0
    side_by_side = options.jobs or max(1, gpus)
    jobs = plan(options)
    for number, job in enumerate(jobs, 1):
        if options.dry_run or job.state == "done":
            what = "done" if job.state == "done" else shlex.join(job.words)
            print(f"[{number}/{len(jobs)}] {job.label}: {what}")
    print(estimate([job for job in jobs if job.state != "done"], bool(gpus)), flush=True)
    if options.dry_run:
        return 0

    # Do it.
    if run_all(jobs, options, gpus, side_by_side):
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130

    # What came of it.
    show_results(jobs, options, (time.perf_counter() - began) / 60)
    show_failures(jobs)
    return 0 if all(job.state == "done" for job in jobs) else 1


def show_results(jobs: list[Job], options: Options, minutes: float) -> None:
    """Writes the page of a preset, and prints its tables and one line per question, if a run is finished."""
    names = tuple(f"{job.row.question}/{job.row.name}" for job in jobs)
    page_options = ReportOptions(options.log_root, options.figure_root, f"report-{options.preset}", names)
    page = report.write(page_options, [(options.preset, job.row) for job in jobs])
    for line in tables.in_words(read_runs(options.log_root, names), options.figure_root):
        print(line)
    places = f" Figures: {options.figure_root}/<question>/<run>. Page: {page}" if page else ""
    print(f"{minutes:.1f} minutes.{places}")


def show_failures(jobs: list[Job]) -> None:
    """Names what failed, with its last lines, and what was not run because of it."""
    for job in jobs:
        if job.state in ("failed", "stopped"):
            print("\n".join([f"{job.label}: {job.ending}", *job.explanation]), file=sys.stderr)
        elif job.state == "waits":
            print(f"NOT RUN: {job.label}, which needs one that failed", file=sys.stderr)


def run_all(jobs: list[Job], options: Options, gpus: int, side_by_side: int) -> bool:
    """Runs what is not done, `side_by_side` commands at a time; returns whether it was interrupted."""
    end = time.perf_counter() + 60 * (options.minutes or float("inf"))
    passed_on = 0
    with bars_of(jobs, side_by_side) as bars, interrupts(jobs) as seen:
        while True:
            if not seen and time.perf_counter() > end:
                seen.append(signal.SIGINT)

            # What has ended.
            for job in [job for job in jobs if job.state == "running"]:
                bar = bars[job.row.question]
                status = job.process.poll() if job.process else None
                if status is None:
                    bar.set_postfix_str(f"{job.row.name}, {job.progress()}")
                else:
                    tqdm.write(finish(job, status) + left(jobs, side_by_side))
                    bar.update(job.state == "done")
            running = [job for job in jobs if job.state == "running"]

            # An interrupt is passed on; a second one ends the commands at once.
            if len(seen) > passed_on:
                for job in running:
                    job.interrupt()
                passed_on = len(seen)

            if not seen:
                start_ready(jobs, running, options, gpus, side_by_side)
            if not running:
                break
            time.sleep(0.2)
    return bool(seen) and any(job.state not in ("done", "failed") for job in jobs)


def start_ready(jobs: list[Job], running: list[Job], options: Options, gpus: int, side_by_side: int) -> None:
    """Starts commands in free slots, in order, once everything they need is done; adds them to `running`."""
    for number, job in enumerate(jobs, 1):
        if job.state not in TO_DO:
            continue
        needed = [other.state for other in jobs if job.row.needs(other.row)]
        if any(state in ("failed", "stopped", "waits") for state in needed):
            job.state = "waits"
        elif len(running) < side_by_side and all(state == "done" for state in needed):
            job.slot = min(set(range(side_by_side)) - {other.slot for other in running})
            tqdm.write(f"[{number}/{len(jobs)}] {job.label}: {shlex.join(job.words)}")
            launch(job, options, gpus, side_by_side)
            running.append(job)


@contextlib.contextmanager
def bars_of(jobs: list[Job], side_by_side: int) -> Iterator[dict[str, tqdm]]:
    """Shows one line per question where several commands share the screen."""
    bars = {}
    for place, question in enumerate(dict.fromkeys(job.row.question for job in jobs)):
        states = [job.state for job in jobs if job.row.question == question]
        bars[question] = tqdm(
            desc=question,
            total=len(states),
            initial=states.count("done"),
            unit=" runs",
            position=place,
            disable=None if side_by_side > 1 else True,
        )
    try:
        yield bars
    finally:
        for bar in bars.values():
            bar.close()


@contextlib.contextmanager
def interrupts(jobs: list[Job]) -> Iterator[list[int]]:
    """Collects Ctrl-C, SIGTERM (a cluster's warning) and a closed terminal instead of dying of them.

    No command outlives an error inside, such as a closed output (`| head`): each saves and stops.
    """
    seen: list[int] = []
    heeded = [signal.SIGINT, signal.SIGTERM]  # also where a shell in the background ignores Ctrl-C
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
        heeded.append(signal.SIGHUP)
    previous = {each: signal.signal(each, lambda number, _: seen.append(number)) for each in heeded}
    try:
        yield seen
    finally:
        for job in jobs:
            if job.process and job.process.poll() is None:
                job.interrupt()
                job.process.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)
