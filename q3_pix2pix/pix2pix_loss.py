"""The losses of pix2pix on logits (Isola et al. 2017, equations 1 to 4, with the non-saturating form of section 3.3)."""

import torch.nn.functional as F
from torch import Tensor

L1_WEIGHT = 100.0  # lambda


def discriminator_loss(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of each half, in nats, halved (section 3.3); their sum is D's loss: log 2 when D knows nothing.

    Args:
        real, fake: logits of any shape; `fake` must come from a detached picture.
    """
    return F.softplus(-real.float()).mean() / 2, F.softplus(fake.float()).mean() / 2


def generator_loss(fake: Tensor) -> Tensor:
    """-mean log D(x, G(x)) in nats, the generator's adversarial part."""
    return F.softplus(-fake.float()).mean()


def l1_loss(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of pictures in [-1, 1]; weighed by L1_WEIGHT in the generator's loss."""
    return F.l1_loss(output.float(), target.float())
