"""U-Net generator and PatchGAN discriminator of pix2pix (Isola et al. 2017, appendix 6.1)."""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def initialise(module: nn.Module) -> None:
    """Draws convolutions from N(0, 0.02), BatchNorm from N(1, 0.02); biases are 0 (appendix 6.2)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
        nn.init.zeros_(module.bias)


class Norm(nn.BatchNorm2d):
    """Normalises a batch; while `per_picture` is set, each picture by its own statistics.

    That is what train-mode BatchNorm computes at the paper's batch size of one. As instance normalisation it
    gives the same for a picture in a larger batch, and leaves the running statistics alone.
    """

    per_picture = False

    def forward(self, x: Tensor) -> Tensor:
        if self.per_picture:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        return super().forward(x)


class UNet(nn.Module):
    """Translates photos (n, 3, size, size) in [-1, 1] to maps of the same shape.

    Encoder C64-C128-C256-C512-C512-C512-C512-C512, decoder CD512-CD512-CD512-C512-C256-C128-C64 with skip
    connections: 54.41 M parameters at 256 pixels and 64 channels. No norm on the first and the innermost
    convolution; dropout 0.5 only in the three innermost decoder blocks.

    Args:
        image_size: a power of two, 32 or more; every halving is a layer, so 256 has eight.
        base_channels: feature maps of the first layer (the paper's 64).
    """

    def __init__(self, image_size: int = 256, base_channels: int = 64):
        super().__init__()
        depth = image_size.bit_length() - 1
        # 64 128 256 512 512 512 512 512
        widths = [base_channels * min(2**level, 8) for level in range(depth)]

        # The encoder: 256 -> 128 -> ... -> 1
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            is_plain = level in (0, depth - 1)  # without a norm, which would undo a bias
            inputs = 3 if level == 0 else widths[level - 1]
            layers: list[nn.Module] = []
            if level > 0:
                layers.append(nn.LeakyReLU(0.2))
            layers.append(nn.Conv2d(inputs, width, 4, 2, 1, bias=is_plain))
            if not is_plain:
                layers.append(Norm(width))
            self.down.append(nn.Sequential(*layers))

        # The decoder: 1 -> 2 -> ... -> 128 -> 256
        self.up = nn.ModuleList()
        for level in reversed(range(1, depth)):
            is_innermost = level == depth - 1  # to which no skip connection leads
            inputs = widths[level] if is_innermost else 2 * widths[level]
            outputs = widths[level - 1]
            layers = [nn.ReLU(), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), Norm(outputs)]
            if level >= depth - 3:
                layers.append(nn.Dropout(0.5))
            self.up.append(nn.Sequential(*layers))
        last = nn.ConvTranspose2d(2 * base_channels, 3, 4, 2, 1)
        self.up.append(nn.Sequential(nn.ReLU(), last, nn.Tanh()))
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.up[0](skips.pop())
        for layer in self.up[1:]:
            x = layer(torch.cat([x, skips.pop()], 1))
        return x


class PatchGAN(nn.Module):
    """Judges photo and map, both (n, 3, size, size): a logit per 70x70 patch, (n, 1, size / 8 - 2, the same).

    2.77 M parameters with 64 channels; 30 x 30 logits at 256 pixels.
    """

    def __init__(self, base_channels: int = 64):
        super().__init__()
        widths = [base_channels, base_channels * 2, base_channels * 4, base_channels * 8]
        layers = [nn.Conv2d(6, widths[0], 4, 2, 1), nn.LeakyReLU(0.2)]  # 256 -> 128; no norm on the input
        for before, after, stride in zip(widths, widths[1:], (2, 2, 1)):  # 128 -> 64 -> 32 -> 31
            layers.append(nn.Conv2d(before, after, 4, stride, 1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))  # 31 -> 30
        self.apply(initialise)
        self.to(memory_format=torch.channels_last)

    def forward(self, photo: Tensor, target: Tensor) -> Tensor:
        return self.layers(torch.cat([photo, target], 1))


def seed_dropout(*where: int) -> None:
    """Seeds torch's own generator, from which dropout draws: the same masks again after a resume.

    Args:
        where: seed, epoch, step and rank.
    """
    torch.manual_seed(int(np.random.SeedSequence(where).generate_state(1)[0]))


@contextlib.contextmanager
def own_statistics(network: nn.Module, dropout: bool = True) -> Iterator[None]:
    """Normalises each picture by its own statistics; with dropout, the paper's inference (section 3.4)."""
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, Norm)]
    network.train(dropout)
    for norm in norms:
        norm.per_picture = True
    try:
        yield
    finally:
        for norm in norms:
            del norm.per_picture  # the class's False again; a new value would make torch.compile start over
        network.train(training)
