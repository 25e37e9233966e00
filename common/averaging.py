"""A moving average of a network's weights, with the usual ramp of its decay."""

import copy

import torch
from torch import nn


class Average(nn.Module):
    """Averages a network's parameters and buffers into `module`; call `update(network)` after each step.

    After t updates it keeps min(decay, (1 + t) / (10 + t)) of itself, so that the random weights it starts
    from are forgotten within the first steps instead of the first 1 / (1 - decay). The first update takes
    the weights over. torch's AveragedModel counts on the CPU, so that every step would wait for the GPU.

    Args:
        network: it starts as a copy of it.
        decay: in (0, 1).
    """

    n_averaged: torch.Tensor  # how many updates there were

    def __init__(self, network: nn.Module, decay: float):
        super().__init__()
        self.module = copy.deepcopy(network)
        self.decay = decay
        device = next(network.parameters()).device
        self.register_buffer("n_averaged", torch.zeros((), dtype=torch.long, device=device))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average towards the network's weights; integers (BatchNorm's counts) are copied."""
        averages = [*self.module.parameters(), *self.module.buffers()]
        weights = [*network.parameters(), *network.buffers()]
        old = [average for average in averages if average.is_floating_point()]
        new = [weight for weight in weights if weight.is_floating_point()]
        share = (9 / (10 + self.n_averaged)).clamp(min=1 - self.decay)  # of the new weights
        share = share.masked_fill(self.n_averaged == 0, 1)
        torch._foreach_lerp_(old, new, [share] * len(old))  # in place: no memory for the differences
        for count, now in zip(averages, weights):
            if not count.is_floating_point():
                count.copy_(now)
        self.n_averaged += 1


def averaged(network: nn.Module, decay: float) -> Average | None:
    """Returns an Average of the network; with a decay of 0 there is none."""
    return Average(network, decay) if decay else None
