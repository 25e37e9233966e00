"""The eight operations of DARTS (section 3.1), as layers (n, c, h, w) -> (n, c, h / stride, w / stride).

And what the supernet and the network of a genotype have in common: their cells' shapes and inputs.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from q4_darts.genotypes import NODES


class ReLUConvBN(nn.Sequential):
    """ReLU - conv1x1 - BatchNorm: (n, channels_in, h, w) -> (n, channels_out, h, w)."""

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out, affine=affine),
        )


def separable(channels: int, kernel: int, strides: list[int], dilation: int, affine: bool) -> nn.Sequential:
    """ReLU - depthwise conv - pointwise conv - BatchNorm, once for each stride."""
    layers, padding = [], dilation * (kernel - 1) // 2
    depthwise = {"padding": padding, "dilation": dilation, "groups": channels, "bias": False}
    for stride in strides:
        layers += [nn.ReLU(), nn.Conv2d(channels, channels, kernel, stride, **depthwise)]
        layers += [nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine)]
    return nn.Sequential(*layers)


class FactorizedReduce(nn.Module):
    """ReLU - two conv1x1 of stride 2, the second one pixel off - concatenation - BatchNorm.

    (n, channels_in, h, w) -> (n, channels_out, h/2, w/2).

    It takes every second pixel first, and convolves those at stride 1.
    """

    # A conv1x1 of stride 2 in channels_last with 1 to 7 channels in writes outside its memory in its backward
    # pass on CPUs with AVX2 but no AVX512: torch 2.14.1 with oneDNN 3.12.0; uxlfoundation/oneDNN#6035, open.

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True):
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])], 1))


class AveragePool(nn.AvgPool2d):
    """3x3 average over the pixels inside the picture: (n, c, h, w) -> (n, c, h / stride, w / stride).

    On CUDA it runs in NCHW: there the gradient of a padded pool in channels_last is wrong in torch 2.11
    (pytorch/pytorch#188344, closed since).
    """

    def __init__(self, stride: int):
        super().__init__(3, stride, 1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
        return super().forward(x)


class Zero(nn.Module):
    """Zeros of the output's shape."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


# name -> (channels, stride, affine) -> layer. Pools have no BatchNorm: only in the supernet does one follow.
OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda c, stride, affine: Zero(stride),
    "max_pool_3x3": lambda c, stride, affine: nn.MaxPool2d(3, stride, 1),
    "avg_pool_3x3": lambda c, stride, affine: AveragePool(stride),
    "skip_connect": lambda c, stride, affine: (
        nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine)
    ),
    "sep_conv_3x3": lambda c, stride, affine: separable(c, 3, [stride, 1], 1, affine),
    "sep_conv_5x5": lambda c, stride, affine: separable(c, 5, [stride, 1], 1, affine),
    "dil_conv_3x3": lambda c, stride, affine: separable(c, 3, [stride], 2, affine),
    "dil_conv_5x5": lambda c, stride, affine: separable(c, 5, [stride], 2, affine),
}


class CellShape(NamedTuple):
    """Channels of a cell's two inputs and its own; whether it reduces, and whether the one before it does."""

    before_before: int
    before: int
    channels: int
    reduction: bool
    reduction_before: bool

    def stride(self, state: int) -> int:
        """Of the edges that leave a state: a reduction halves the sides of its two inputs."""
        return 2 if self.reduction and state < 2 else 1

    def inputs(self, affine: bool = True) -> nn.ModuleList:
        """The layers that bring both inputs to the cell's channels and sides."""
        kind = FactorizedReduce if self.reduction_before else ReLUConvBN
        first = kind(self.before_before, self.channels, affine)
        return nn.ModuleList([first, ReLUConvBN(self.before, self.channels, affine)])


def cell_shapes(channels: int, layers: int) -> Iterator[CellShape]:
    """The cells behind a stem of 3 * channels; at one and two thirds they reduce, and the channels double."""
    before_before, before, reduction_before = 3 * channels, 3 * channels, False
    for place in range(layers):
        reduction = place in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        yield CellShape(before_before, before, channels, reduction, reduction_before)
        before_before, before, reduction_before = before, NODES * channels, reduction


def make_stem(channels: int) -> nn.Sequential:
    """Pictures (n, 3, h, w) -> (n, 3 * channels, h, w)."""
    return nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
