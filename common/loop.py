"""Epochs and steps of a training: position, rows, progress, stops and NaN.

A script's loop is then the paper alone:

loop = Loop(run, state, steps, ("train_loss", "train_accuracy"), options.log_every, best=inf, best_epoch=0)
for epoch in loop.epochs(options.epochs):
    [order] = loop.shuffle(options.seed, len(train))
    for step in loop.steps():
        loss, accuracy = train_step(train.images[order[step]], ...)
        loop.record(loss, accuracy)
    run.write_epoch({"epoch": epoch} | loop.means())
"""

from collections.abc import Iterator
from types import SimpleNamespace

import torch
from torch import Tensor
from tqdm import tqdm

from common.run import Run
from common.runtime import RunError, Runtime, Stopped, UsageError


def split_batch(count: int, batch_size: int, runtime: Runtime) -> tuple[int, int, slice]:
    """How one epoch over `count` pictures is cut into steps.

    Returns:
        Steps per epoch, the global batch (`batch_size` times the processes), and this process's slice of it.

    Raises:
        UsageError: the global batch is larger than `count`.
    """
    global_batch = batch_size * runtime.world
    if global_batch > count:
        raise UsageError(f"--batch_size: {global_batch} pictures per step, more than the {count} there are")
    first = runtime.rank * batch_size
    return count // global_batch, global_batch, slice(first, first + batch_size)


class Loop:
    """The position of a training run, kept in its checkpoint: it resumes at the step it was saved at.

    Args:
        run: the entered run; its last checkpoint, if it resumes, is loaded into `state` here.
        state: what has a state, by name: networks, optimisers, schedulers, torch.Generators, or None.
        steps: steps per epoch.
        columns: the names of what `record` takes.
        log_every: steps averaged into one row of steps.csv.
        position: what else the checkpoint carries, with first values; used as `loop.at.best`.
    """

    def __init__(
        self, run: Run, state: dict, steps: int, columns: tuple[str, ...], log_every: int, **position: object
    ):
        self.run, self.state, self.columns = run, state, columns
        self.step_count, self.log_every = steps, log_every
        device = run.runtime.device
        history = torch.zeros(steps, len(columns), device=device)  # one row per step of this epoch
        first = {"epoch": 1, "step": 0, "history": history, "ended": False, **position}
        self.at = SimpleNamespace(**first | run.restore(state))
        self.missing, self.measured = torch.full((), torch.nan, device=device), [True] * len(columns)

    @property
    def where(self) -> str:
        """For the first line of the log: the device, the precision, and where the run starts or goes on."""
        runtime = self.run.runtime
        return f"{runtime.device_name}, {runtime.precision}, from epoch {self.at.epoch}, step {self.at.step}"

    def epochs(self, total: int) -> Iterator[int]:
        """The epochs still to train, up to `total`; a checkpoint is saved at the end of each.

        Set `at.ended` to end after the current epoch: `break` would leave before its checkpoint is saved.

        Raises:
            Stopped: a stop was requested, after saving.
            UsageError: the checkpoint lies inside an epoch after the last of them.
        """
        if self.at.epoch > total and self.at.step:
            raise UsageError(f"--resume: epoch {self.at.epoch} has begun, after the last of --epochs {total}")
        self.total = total
        while self.at.epoch <= total and not self.at.ended:
            yield self.at.epoch
            self.at.epoch, self.at.step = self.at.epoch + 1, 0
            self.at.history.zero_()
            self._save(self.run.runtime.on_any_rank(self.run.stop_signal.requested))

    def steps(self) -> Iterator[int]:
        """The steps of this epoch still to train, from 0. The body must call `record` once.

        Raises:
            Stopped: a stop was requested, after saving.
            RunError: a recorded figure is not finite.
        """
        at, runtime = self.at, self.run.runtime
        bar = {"desc": f"epoch {at.epoch}/{self.total}", "total": self.step_count, "initial": at.step}
        # on rank 0 alone, and where the screen is a terminal
        with tqdm(**bar, unit=" steps", leave=False, disable=None if self.run.writing else True) as bar:
            while at.step < self.step_count:
                yield at.step
                at.step += 1
                bar.update()
                due = at.step % self.log_every == 0 or at.step == self.step_count
                stopping = self.run.stop_signal.requested
                if runtime.world > 1:  # processes agree only where they exchange numbers anyway
                    stopping = due and runtime.on_any_rank(stopping)
                if due or stopping:
                    means = self._average_block()
                if due:
                    self.run.write("steps", {"step": (at.epoch - 1) * self.step_count + at.step} | means)
                    bar.set_postfix({name: f"{value:.3g}" for name, value in means.items()})
                if stopping:
                    self._save(stopping)

    def record(self, *figures: Tensor | None) -> None:
        """Keeps this step's figures: scalars on the device, one per column; None where not measured."""
        self.measured = [figure is not None for figure in figures]
        figures = [self.missing if figure is None else figure.detach().float() for figure in figures]
        self.at.history[self.at.step] = torch.stack(figures)

    def means(self) -> dict[str, float]:
        """The mean of each column over the epoch and the processes; call it after the last step."""
        return dict(zip(self.columns, self.at.history.mean(0).tolist()))

    def shuffle(self, seed: int, *counts: int) -> list[Tensor]:
        """A random order of each of `counts` items, from seed and epoch: the same on every process."""
        device = self.run.runtime.device
        generator = torch.Generator(device).manual_seed(seed + 1000 * self.at.epoch)
        return [torch.randperm(count, generator=generator, device=device) for count in counts]

    def _average_block(self) -> dict[str, float]:
        """Averages the rows since the last multiple of log_every over the processes, and checks them."""
        first = (self.at.step - 1) // self.log_every * self.log_every
        block = self.at.history[first : self.at.step]
        block.copy_(self.run.runtime.mean(block))
        finite = block[:, self.measured].isfinite().all(1)
        if not finite.all():
            step = first + 1 + int((~finite).nonzero()[0])
            raise RunError(f"the loss is not finite at epoch {self.at.epoch}, step {step}; {self.run.advice}")
        return dict(zip(self.columns, block.mean(0).tolist()))

    def _save(self, stopping: bool) -> None:
        self.run.save_last(self.state, **vars(self.at))
        if stopping:
            where = f"epoch {self.at.epoch}, step {self.at.step}"
            raise Stopped(f"Stopped and saved at {where}. Go on with:\n    {self.run.resume_command}")
