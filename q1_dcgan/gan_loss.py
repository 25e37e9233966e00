"""The losses of the original GAN, non-saturating, on logits (Goodfellow et al. 2014, section 3)."""

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """-mean log D(x) - mean log(1 - D(G(z))), the sum of both halves, in nats: 2 log 2 when D knows nothing.

    Args:
        real, fake: logits (n,) of real and of generated pictures; the generated ones must be detached.
    """
    return F.softplus(-real.float()).mean() + F.softplus(fake.float()).mean()


def generator_loss(fake: Tensor) -> Tensor:
    """-mean log D(G(z)) in nats, the non-saturating form: its gradient is large where D(G(z)) is near 0.

    Args:
        fake: logits (n,) of generated pictures.
    """
    return F.softplus(-fake.float()).mean()
