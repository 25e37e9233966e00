"""The learning rate's schedule, which a resumed run keeps: constant, then linearly to 0 (section 3.3)."""

from collections.abc import Iterable
from typing import NamedTuple

from torch.optim import Optimizer

from common.errors import UsageError
from common.training import Training


class Schedule(NamedTuple):
    """The epochs that a run was planned for, and how many of them have a constant rate."""

    epochs: int
    constant: int

    def factor(self, epoch: int) -> float:
        """Returns the factor of the learning rate in an epoch, from 1.

        It is 1 for `constant` epochs, then falls linearly to 0 after the last; epochs that were added to the
        plan have a constant rate again.
        """
        if epoch > self.epochs:
            return 1.0
        return min(1.0, (self.epochs - epoch + 1) / (self.epochs - self.constant + 1))


def planned(training: Training) -> Schedule:
    """Returns the schedule that the run began with.

    A larger --epochs on --resume adds epochs at a constant rate, which config.json then says.

    Raises:
        UsageError: --epochs is smaller than it was.
    """
    options = training.options
    if training.position.schedule is None:
        training.position.schedule = [options.epochs, options.constant]
    schedule = Schedule(*training.position.schedule)
    added = options.epochs - schedule.epochs
    if added < 0:
        raise UsageError(f"--resume: --epochs was {schedule.epochs}, now {options.epochs}: it can only grow")
    if added:
        training.note(
            schedule=f"{schedule.epochs} epochs as planned, then {added} at a constant rate: "
            "not the one schedule"
        )
    return schedule


def set_rate(optimizers: Iterable[Optimizer], rate: float) -> None:
    """Sets the learning rate of every optimiser."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
