"""The losses of pix2pix on logits (Isola et al. 2017, equations 1 to 4, non-saturating)."""

import torch.nn.functional as F
from torch import Tensor

L1_WEIGHT = 100.0  # lambda of eq. 4


def discriminator_loss(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of eq. 1, each a binary cross-entropy in nats and halved (section 3.3).

    Their sum is D's loss: log 2 when D knows nothing.

    Args:
        real, fake: logits of any shape; `fake` must come from a detached picture.
    """
    return F.softplus(-real.float()).mean() / 2, F.softplus(fake.float()).mean() / 2


def generator_loss(fake: Tensor) -> Tensor:
    """-mean log D(x, G(x)) in nats, the generator's adversarial part (eq. 1 as section 3.3 maximises it)."""
    return F.softplus(-fake.float()).mean()


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pictures in [-1, 1] (eq. 3); the loss has L1_WEIGHT times it."""
    return F.l1_loss(output.float(), target.float())
