"""Cuts one epoch into steps, and each step over the processes of torchrun."""

from typing import NamedTuple

from torch import Tensor

from common.device import Runtime
from common.errors import UsageError


class Batches(NamedTuple):
    """One epoch cut into steps.

    steps: how many there are; what is left over is not used in this epoch.
    global_batch: pictures per step over all processes.
    own: the slice of the global batch that this process computes.
    """

    steps: int
    global_batch: int
    own: slice

    def of(self, order: Tensor, step: int) -> Tensor:
        """Returns the global batch of a step (counted from 0) of an order of all pictures."""
        return order[step * self.global_batch : (step + 1) * self.global_batch]


def split_batch(count: int, batch_size: int, runtime: Runtime) -> Batches:
    """Cuts one epoch over `count` pictures into steps of `batch_size` pictures per process.

    Raises:
        UsageError: the global batch is larger than `count`.
    """
    global_batch = batch_size * runtime.world
    if global_batch > count:
        raise UsageError(f"--batch_size: {global_batch} pictures per step, more than the {count} there are")
    first = runtime.rank * batch_size
    return Batches(count // global_batch, global_batch, slice(first, first + batch_size))
