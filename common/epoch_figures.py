"""The figures of an epoch's steps: kept on the device, so that no step waits for the GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.device import Runtime
from common.errors import RunError


class EpochFigures:
    """One row of figures for each step of the epoch.

    Args:
        columns: their names.
        history: (steps, columns), which is part of the checkpoint.
        runtime: whose processes the figures are averaged over.
    """

    def __init__(self, columns: Sequence[str], history: Tensor, runtime: Runtime):
        self.columns = tuple(columns)
        self.history = history
        self.runtime = runtime
        self.missing = torch.full((), torch.nan, device=runtime.device)
        self.measured = [True] * len(self.columns)

    def record(self, step: int, figures: Sequence[Tensor | None]) -> None:
        """Keeps a step's figures: scalars on the device, one per column; None where not measured."""
        self.measured = [figure is not None for figure in figures]
        kept = [self.missing if figure is None else figure.detach().float() for figure in figures]
        self.history[step] = torch.stack(kept)

    def average_block(self, first: int, end: int, where: str, advice: str) -> dict[str, float]:
        """Averages the rows of steps `first` to `end` - 1 over the processes and returns their means.

        Args:
            where: such as "epoch 3", for the message.
            advice: what to do after a figure that is not finite.

        Raises:
            RunError: a figure is not finite.
        """
        block = self.history[first:end]
        block.copy_(self.runtime.mean(block))
        finite = block[:, self.measured].isfinite().all(1)
        if not finite.all():
            step = first + 1 + int((~finite).nonzero()[0])
            raise RunError(f"the loss is not finite at {where}, step {step}; {advice}")
        return dict(zip(self.columns, block.mean(0).tolist()))

    def means(self) -> dict[str, float]:
        """Returns the mean of each column over the epoch."""
        return dict(zip(self.columns, self.history.mean(0).tolist()))
