"""The embedding network of Prototypical Networks (Snell et al. 2017, section 3.1)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """conv3x3 - BatchNorm - max-pool 2 - ReLU: (n, channels_in, h, w) -> (n, channels_out, h // 2, w // 2).

    The paper writes ReLU before the pool. Both orders give the same numbers, since ReLU never changes which
    of two values is the larger, and this one applies ReLU to a quarter of them.
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.max_pool2d(self.norm(self.conv(x)), 2))


class ProtoNet(nn.Module):
    """Four blocks: (n, 1, 28, 28) images, ink 1 on 0 -> (n, d) embeddings.

    The paper's network has d = 64 and 111,936 parameters.

    Args:
        hidden_channels: feature maps of every block (the paper's 64), or of each of the four. The last is
            d, the length of the embedding.
        residual_convs: how many residual convolutions follow each block but the last (the paper's 0).
    """

    def __init__(self, hidden_channels: int | Sequence[int] = 64, residual_convs: int = 0):
        super().__init__()
        widths = [hidden_channels] * 4 if isinstance(hidden_channels, int) else list(hidden_channels)
        self.blocks = nn.Sequential(FirstBlock(1, widths[0]))  # 28 -> 14
        for before, now in pairwise(widths):  # 14 -> 7 -> 3 -> 1
            self.blocks.extend(Residual(before) for _ in range(residual_convs))
            self.blocks.append(Block(before, now))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        features = self.blocks(images.contiguous(memory_format=torch.channels_last))  # (n, d, 1, 1)
        return features.flatten(1)  # (n, d)


def untrained_network(architecture: dict, seed: int) -> ProtoNet:
    """Builds the network with the random weights that a training with this seed draws first.

    One with --start_from begins with other weights.
    """
    torch.manual_seed(seed)
    return ProtoNet(**architecture)


# Not in the paper -------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """x + BatchNorm(conv3x3(x)), then ReLU: (n, channels, h, w) -> the same shape (He et al. 2016, eq. 1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.norm(self.conv(x)))


class ShiftAveraged(nn.Module):
    """Averages each embedding over shifts of its image by up to `most` pixels: (2 most + 1)^2 passes."""

    def __init__(self, model: nn.Module, most: int):
        super().__init__()
        self.model = model
        self.most = most

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = F.pad(images, (self.most,) * 4)  # (n, 1, 28 + 2 most, 28 + 2 most)
        steps = range(2 * self.most + 1)
        embeddings = []
        for y in steps:
            for x in steps:
                embeddings.append(self.model(padded[..., y : y + height, x : x + width]))
        return torch.stack(embeddings).mean(0)  # (n, d)


# The first block, faster on a CPU ---------------------------------------------------------------------------


class FirstBlock(Block):
    """A Block on the images themselves that never stores the normalised feature maps: the same function,
    faster.

    Each output channel is y = w . p + b over 3x3 patches p of the image, so over a batch E[y] = w . E[p] + b
    and Var[y] = w' Cov[p] w: the batch statistics of BatchNorm follow from nine means and a 9x9 covariance of
    the input. The normalisation is then folded into the convolution's weights, and autograd differentiates
    through the fold as it would through BatchNorm. It pays because the images need no gradient, and on a CPU
    alone: it is some forty operations more, and a GPU waits for their launches.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        norm = self.norm
        weight = self.conv.weight.flatten(1)  # (64, 9 * channels_in)
        with torch.autocast("cpu", enabled=False):
            # All patches of the batch.
            patches = F.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1)  # (n, channels_in, h, w, 3, 3)
            patches = patches.permute(1, 4, 5, 0, 2, 3).flatten(0, 2)  # (9 * channels_in, n, h, w)
            patches = patches.flatten(1)  # (9 * channels_in, n * h * w)
            count = patches.shape[1]

            # Mean and variance of each output channel.
            middle = patches.mean(1)
            centred = patches - middle[:, None]
            mean = weight @ middle + self.conv.bias  # E[y]
            covariance = centred @ centred.T / count
            variance = (weight @ covariance * weight).sum(1)  # Var[y]

            # BatchNorm's running statistics, as it would keep them.
            with torch.no_grad():
                norm.running_mean.lerp_(mean, norm.momentum)
                norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
                norm.num_batches_tracked += 1

            # The normalisation, folded into the convolution.
            scale = norm.weight * (variance + norm.eps).rsqrt()
            folded = self.conv.weight * scale[:, None, None, None]  # (64, channels_in, 3, 3)
            folded = folded.contiguous(memory_format=torch.channels_last)
            bias = norm.bias + (self.conv.bias - mean) * scale
        return F.relu(F.max_pool2d(F.conv2d(x, folded, bias, padding=1), 2))
