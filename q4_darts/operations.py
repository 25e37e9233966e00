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


def every_second(x: Tensor, first: int = 0) -> Tensor:
    """Takes every second row and column from `first` on: (n, c, h, w) -> (n, c, h/2, w/2).

    Sliced in NHWC: autograd lays a slice's gradient out in plain order, so that x[:, :, ::2, ::2] would turn
    the gradients from there on to NCHW, and an operation on two layouts is slow on a CPU.
    """
    pixels = x.permute(0, 2, 3, 1)
    return pixels[:, first::2, first::2].permute(0, 3, 1, 2)


def convolve_depthwise(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """Convolves every channel (n, c, h, w) with its own filter (c, 1, k, k); dilation and stride are 1 or 2.

    On a CPU a dilation of 2 goes by `convolve_dilated`, and in fp32: with AVX512_BF16 the gradient of a
    dilated filter in bf16 and channels_last contains what lay in memory before, from 29 pixels a row on
    (oneDNN 3.12.0 in torch 2.14.1).
    """
    if dilation == 1 or x.device.type != "cpu":
        padding = dilation * (weight.shape[-1] // 2)
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))
    if x.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            return convolve_dilated(x.float(), weight.float(), stride).bfloat16()
    return convolve_dilated(x, weight, stride)


def convolve_dilated(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Computes a depthwise convolution of dilation 2 by one without dilation, whose gradients are fast.

    Each filter reads pixels of one parity of row and one of column. So a picture falls into four of half the
    sides, each convolved by itself; at stride 2 only that of the even rows and columns is asked for. oneDNN
    has no fast gradients for depthwise convolutions with dilation (CPU, fp32).

    Args:
        x: (n, c, h, w).
        weight: (c, 1, k, k), k odd.
        stride: 1 or 2.

    Returns:
        (n, c, h / stride, w / stride), rounded up.
    """
    channels, _, kernel, _ = weight.shape
    if stride == 2:
        return F.conv2d(every_second(x), weight, None, 1, kernel // 2, 1, channels)
    height, width = x.shape[2:]
    # Zeros behind the picture, as its padding: to even sides, and for oneDNN to no less than the filter's.
    lacking_rows = max(height + height % 2, 2 * kernel) - height
    lacking_columns = max(width + width % 2, 2 * kernel) - width
    if lacking_rows or lacking_columns:
        x = F.pad(x, (0, lacking_columns, 0, lacking_rows))
    out = F.conv2d(split_by_parity(x), weight, None, 1, kernel // 2, 1, channels)
    return join_parities(out)[:, :, :height, :width]


def split_by_parity(x: Tensor) -> Tensor:
    """Splits pictures by the parity of row and column: (n, c, 2h, 2w) -> (4n, c, h, w), in channels_last."""
    pixels = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # (n, h, 2, w, 2, c)
    return pixels.permute(2, 4, 0, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)


def join_parities(parities: Tensor) -> Tensor:
    """The inverse of `split_by_parity`: (4n, c, h, w) -> (n, c, 2h, 2w), in channels_last."""
    pixels = parities.permute(0, 2, 3, 1).unflatten(0, (2, 2, -1))  # (2, 2, n, h, w, c)
    return pixels.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


class DepthwiseConv(nn.Conv2d):
    """A depthwise convolution (n, c, h, w) -> (n, c, h / stride, w / stride), as `convolve_depthwise`."""

    def __init__(self, channels: int, kernel: int, stride: int, dilation: int):
        padding = dilation * (kernel - 1) // 2
        super().__init__(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return convolve_depthwise(x, self.weight, self.stride[0], self.dilation[0])


def separable(channels: int, kernel: int, strides: list[int], dilation: int, affine: bool) -> nn.Sequential:
    """Makes ReLU - depthwise conv - pointwise conv - BatchNorm, once for each stride."""
    layers: list[nn.Module] = []
    for stride in strides:
        layers += [
            nn.ReLU(),
            DepthwiseConv(channels, kernel, stride, dilation),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels, affine=affine),
        ]
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
        return self.norm(torch.cat([self.even(every_second(x)), self.odd(every_second(x, 1))], 1))


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
        """Returns the stride of the edges that leave a state: a reduction halves its two inputs' sides."""
        return 2 if self.reduction and state < 2 else 1

    def inputs(self, affine: bool = True) -> nn.ModuleList:
        """Makes the layers that bring both inputs to the cell's channels and sides."""
        kind = FactorizedReduce if self.reduction_before else ReLUConvBN
        first = kind(self.before_before, self.channels, affine)
        return nn.ModuleList([first, ReLUConvBN(self.before, self.channels, affine)])


def cell_shapes(channels: int, layers: int) -> Iterator[CellShape]:
    """Yields the cells behind a stem of 3 * channels; those at one and two thirds reduce and double them."""
    before_before = 3 * channels
    before = 3 * channels
    reduction_before = False
    for place in range(layers):
        reduction = place in (layers // 3, 2 * layers // 3)
        channels *= 2 if reduction else 1
        yield CellShape(before_before, before, channels, reduction, reduction_before)
        before_before = before
        before = NODES * channels
        reduction_before = reduction


def make_stem(channels: int) -> nn.Sequential:
    """Makes the first layers: pictures (n, 3, h, w) -> (n, 3 * channels, h, w)."""
    return nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
