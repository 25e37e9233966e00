"""The non-saturating losses of the original GAN, on logits (Goodfellow et al. 2014, eq. 1), and R1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Returns -mean log D(x) - mean log(1 - D(G(z))) in nats (eq. 1): 2 log 2 when D knows nothing.

    Args:
        real, fake: logits (n,) of real and of generated pictures; the generated ones must be detached.
    """
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """Returns -mean log D(G(z)) in nats, non-saturating: its gradient is large where D(G(z)) is near 0.

    Args:
        fake: logits (n,) of generated pictures.
    """
    return F.softplus(-fake.float()).mean()


def gradient_penalty(discriminator: nn.Module, real: Tensor, labels: Tensor | None) -> Tensor:
    """Returns half the mean of |grad_x D(x)|^2 at real pictures (Mescheder et al. 2018, eq. 9, R1); in fp32.

    It keeps the discriminator flat around the data, so that the generator always has a slope to follow.

    Args:
        discriminator: pictures (n, ...) and labels (n,) or None -> logits (n,).
        real: pictures (n, channels, size, size).
    """
    real = real.detach().requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        # forward: what --compile compiled cannot be differentiated twice
        logits = discriminator.forward(real, labels)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2
