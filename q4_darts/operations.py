"""The eight operations of DARTS (section 3.1), as layers (n, c, h, w) -> (n, c, h / stride, w / stride)."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    """

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True):
        super().__init__()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))


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
    "avg_pool_3x3": lambda c, stride, affine: nn.AvgPool2d(3, stride, 1, count_include_pad=False),
    "skip_connect": lambda c, stride, affine: (
        nn.Identity() if stride == 1 else FactorizedReduce(c, c, affine)
    ),
    "sep_conv_3x3": lambda c, stride, affine: separable(c, 3, [stride, 1], 1, affine),
    "sep_conv_5x5": lambda c, stride, affine: separable(c, 5, [stride, 1], 1, affine),
    "dil_conv_3x3": lambda c, stride, affine: separable(c, 3, [stride], 2, affine),
    "dil_conv_5x5": lambda c, stride, affine: separable(c, 5, [stride], 2, affine),
}
