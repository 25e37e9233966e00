"""A moving average of a network's weights, with the usual ramp of its decay."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def averaged(model: nn.Module, decay: float) -> AveragedModel | None:
    """An average of `model`'s parameters and buffers; call its `update_parameters(model)` after each step.

    After t updates the average keeps min(decay, (1 + t) / (10 + t)) of itself, so that the random weights it
    starts from are forgotten within the first steps instead of the first 1 / (1 - decay).

    Args:
        model: its average is a copy of it, `averaged(...).module`.
        decay: in [0, 1); 0 means no average, and None is returned.
    """

    @torch.no_grad()
    def update(averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        if not averages[0].is_floating_point():  # BatchNorm's count of batches
            torch._foreach_copy_(averages, weights)
            return
        share = (9 / (10 + updates)).clamp(min=1 - decay)  # of the new weights
        change = torch._foreach_sub(weights, averages)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(averages, change)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True) if decay else None
