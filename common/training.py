"""All between the first and the last step of a training: folder, checkpoints, rows, stops, in one order.

A script's loop is then the paper alone:

with Training(QUESTION, options, runtime, gan, facts) as training:
    for epoch in training.epochs(options.epochs):
        for step in training.steps(batches.steps, ("d_loss", "g_loss")):
            training.record(*train_step(...))
        training.write_epoch({"epoch": epoch} | training.means())
    training.finish(results)
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from common import trained_network
from common.device import Runtime
from common.epoch_figures import EpochFigures
from common.errors import RunError, Stopped, UsageError
from common.json_files import plain
from common.options import TrainingOptions
from common.provenance import resume_command
from common.records import Records, progress_bar, write_log
from common.resumed_precision import keep_precision
from common.rows import Number
from common.run_checkpoints import RunCheckpoints, Saved, has_state
from common.run_folder import RunFolder
from common.statistics import print_rows
from common.stop_signal import StopSignal


class Training:
    """One run: its folder, its position, and everything that is saved and restored.

    Entering takes the folder, loads --start_from or the last checkpoint, and opens the tables. Under torchrun
    rank 0 owns the folder and the other ranks write nothing.

    Args:
        question: the folder's name, such as "q2_protonet".
        options: the script's options; `options.run_name` names the folder.
        runtime: where it computes.
        trained: an object with `architecture`, the numbers that rebuild the network. Every other attribute
            with a state (networks, optimisers, schedulers, averages, torch.Generators) is part of the
            checkpoint under its name; None is left out. --start_from fills its networks.
        facts: what else config.json and every checkpoint record, such as class names or fingerprints.
        remade: parameters that --start_from may leave new: those whose names begin so.
        position: what else the checkpoint carries, with first values; used as `training.position.best`.

    Raises (on entering):
        UsageError: as RunFolder; --start_from holds a network of another shape.
        RunError: another process is writing this run; a checkpoint cannot be read, or is another question's.
    """

    def __init__(
        self,
        question: str,
        options: TrainingOptions,
        runtime: Runtime,
        trained: Any,
        facts: dict,
        *,
        remade: tuple[str, ...] = (),
        **position: object,
    ):
        self.options = options
        self.runtime = runtime
        self.remade = remade
        self.facts = plain(facts)
        self.position = SimpleNamespace(epoch=1, step=0, ended=False, history=None, **position)
        self.run = RunFolder(question, options)
        self.folder = self.run.path
        self.figures = self.run.figures
        parts = {name: part for name, part in vars(trained).items() if has_state(part)}
        self.checkpoints = RunCheckpoints(self.run, runtime, trained.architecture, parts, self.facts)
        self.records: Records | None = None
        self.stop_signal = StopSignal()
        self.resume_command = resume_command(runtime.world)
        self._seconds_before = 0.0

    @property
    def writing(self) -> bool:
        """Whether this process writes the run's files."""
        return self.runtime.rank == 0

    # Beginning and end --------------------------------------------------------------------------------------

    def __enter__(self) -> "Training":
        # Read --start_from before --overwrite deletes it with its run.
        resuming = self.runtime.on_any_rank(self.run.resuming)
        saved = self.runtime.on_any_rank(self.run.saved)
        source = None
        if self.options.start_from and not (resuming and saved):
            source = trained_network.read(self.options.start_from, self.run.question)

        # Go on in the precision the run began with.
        if resuming and self.options.precision == "auto":
            keep_precision(self.run, self.runtime)

        # Take the folder.
        with self.runtime.ending_together():
            if self.writing:
                self.run.open(self.runtime, self.facts)
        self.options = self.run.options
        self.stop_signal.__enter__()
        try:
            self._load(resuming, source)
        except BaseException as error:
            self._close(error)
            raise
        return self

    def _load(self, resuming: bool, source: tuple[Path, dict] | None) -> None:
        """Loads --start_from or the last checkpoint, and opens the tables."""
        texts = self.checkpoints.start_from(*source, self.remade) if source else []
        if self.writing:
            self.run.clear()
        saved = (self.checkpoints.restore() if resuming else None) or Saved(position={}, tables={})
        vars(self.position).update(saved.position)
        self._seconds_before = saved.seconds
        self._opened = time.perf_counter()
        with self.runtime.ending_together():
            if self.writing:
                self.records = Records(self.folder, saved.tables, self.position.epoch, saved.steps_done)
        for warning in filter(None, [*self.run.warnings, saved.warning]):
            texts.append(f"warning: {warning}")
        for text in texts:
            self.log(text)

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self._close(error)
        if isinstance(error, torch.OutOfMemoryError):
            raise RunError(self.checkpoints.out_of_memory(self.resume_command)) from error

    def _close(self, error: BaseException | None) -> None:
        """Closes the files and gives the folder free."""
        self.stop_signal.__exit__()
        if not self.writing:
            return
        if self.records:
            self.records.close()
        self.run.close(refused=isinstance(error, UsageError), began=self.records is not None)

    def finish(self, results: dict) -> dict:
        """Writes results.json, which marks a finished run, and shows it; returns what it holds.

        A run that was finished before and had nothing left to train keeps what evaluate.py added.

        Args:
            results: "title", "rows" (name, value, interval, unit, count, paper, report) and more.
        """
        complete = {
            "question": self.run.question,
            **results,
            "minutes": round(self.seconds / 60, 2),
            "device": self.runtime.device_name,
            "precision": self.runtime.precision,
        }
        if self.writing:
            self.run.write_results(complete)
            print_rows(results["rows"])
            best = f", best epoch {results['best_epoch']}" if "best_epoch" in results else ""
            self.log(f"{results['title']}{best}: results in {self.run.results}, figures in {self.figures}")
        return complete

    @property
    def seconds(self) -> float:
        """Time spent training, over all legs."""
        return self._seconds_before + time.perf_counter() - self._opened

    # Epochs and steps ---------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """Device, precision, and where the run starts or goes on, for the first line of the log."""
        at = self.position
        device = self.runtime.device_name
        return f"{device}, {self.runtime.precision}, from epoch {at.epoch}, step {at.step}"

    def epochs(self, total: int) -> Iterator[int]:
        """Yields the epochs still to train, up to `total`; a checkpoint is saved at the end of each.

        Set `position.ended` to end after the current epoch: `break` would leave before its checkpoint is
        saved.

        Raises:
            Stopped: a stop was requested, after saving.
            UsageError: the checkpoint lies inside an epoch after the last of them.
        """
        at = self.position
        if at.epoch > total and at.step:
            raise UsageError(f"--resume: epoch {at.epoch} has begun, after the last of --epochs {total}")
        self.total_epochs = total
        while at.epoch <= total and not at.ended:
            yield at.epoch
            at.epoch += 1
            at.step = 0
            at.history.zero_()
            self._save_last(stopping=self.runtime.on_any_rank(self.stop_signal.requested))
        self.stop_signal.finishing = True

    def steps(self, count: int, columns: Sequence[str]) -> Iterator[int]:
        """Yields the steps of this epoch still to train, from 0. The body must call `record` once.

        Args:
            count: steps per epoch.
            columns: the names of what `record` takes.

        Raises:
            Stopped: a stop was requested, after saving.
            RunError: a recorded figure is not finite.
        """
        at = self.position
        self.step_count = count
        if at.history is None:
            at.history = torch.zeros(count, len(columns), device=self.runtime.device)
        self.figures_of_epoch = EpochFigures(columns, at.history, self.runtime)
        with progress_bar(f"epoch {at.epoch}/{self.total_epochs}", at.step, count, self.writing) as bar:
            while at.step < count:
                yield at.step
                at.step += 1
                bar.update()
                due = at.step % self.options.log_every == 0 or at.step == count
                # Processes agree on a stop only where they exchange numbers anyway.
                stopping = False
                if due or self.runtime.world == 1:
                    stopping = self.runtime.on_any_rank(self.stop_signal.requested)
                if due or stopping:
                    first = (at.step - 1) // self.options.log_every * self.options.log_every
                    where = f"epoch {at.epoch}"
                    advice = self.checkpoints.advice
                    means = self.figures_of_epoch.average_block(first, at.step, where, advice)
                if due:
                    bar.set_postfix({name: f"{value:.3g}" for name, value in means.items()})
                    self._write("steps", {"step": self._steps_done, **means})
                if stopping:
                    self._save_last(stopping=True)

    def record(self, *figures: Tensor | None) -> None:
        """Keeps this step's figures: scalars on the device, one per column; None where not measured."""
        self.figures_of_epoch.record(self.position.step, figures)

    def means(self) -> dict[str, float]:
        """Returns the mean of each column over the epoch and the processes; call it after the last step."""
        return self.figures_of_epoch.means()

    def shuffle(self, *counts: int) -> list[Tensor]:
        """Draws a random order of each of `counts` items, from seed and epoch: the same on every process."""
        device = self.runtime.device
        generator = torch.Generator(device).manual_seed(self.options.seed + 1000 * self.position.epoch)
        return [torch.randperm(count, generator=generator, device=device) for count in counts]

    def write_epoch(self, row: Mapping[str, Number]) -> None:
        """Adds the epoch's row to metrics.csv and TensorBoard, and shows it."""
        self._write("metrics", row)
        self.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))

    def _write(self, table: str, row: Mapping[str, Number]) -> None:
        if self.records:
            self._go_on()
            self.records.write(table, row)

    def _go_on(self) -> None:
        """Marks a finished run as one that goes on: its results are those of a network that changes now."""
        if self.run.results.exists():
            if self.run.evaluations:
                self.log("the run goes on: what evaluate.py measured before is no longer in results.json")
            self.run.remove_results()

    @property
    def _steps_done(self) -> int:
        """Steps of the whole run."""
        return (self.position.epoch - 1) * self.step_count + self.position.step

    # What is kept -------------------------------------------------------------------------------------------

    def log(self, message: str) -> None:
        """Shows a line above the progress bar, and adds it to train.log with the time."""
        if self.writing:
            write_log(self.folder, message)

    def note(self, **facts: object) -> None:
        """Adds facts that are known only now to config.json and to the next checkpoints."""
        self.facts |= plain(facts)
        if self.writing:
            self.run.note(plain(facts))

    def save_network(self, name: str, network: nn.Module, epoch: int) -> None:
        """Saves a network alone as checkpoints/<name>.pt: "best" is the best so far."""
        if self.writing:
            self.checkpoints.save_network(name, network, epoch)

    def load_network(self, name: str, network: nn.Module, epoch: int) -> None:
        """Loads the network that `save_network` saved at that epoch into `network`, on every rank."""
        self.checkpoints.load_network(name, network, epoch)

    def _save_last(self, stopping: bool) -> None:
        with self.runtime.ending_together():
            if self.records:
                self._go_on()
                tables = self.records.sync()
                self.checkpoints.save_last(self.position, tables, self._steps_done, self.seconds)
        if stopping:
            at = self.position
            where = f"epoch {at.epoch}, step {at.step}"
            raise Stopped(f"Stopped and saved at {where}. Go on with:\n    {self.resume_command}")
