"""The losses of pix2pix on logits (Isola et al. 2017, equations 1 to 4, non-saturating), and R1."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


def random_signs(shape: torch.Size, device: torch.device) -> Tensor:
    """-1 or 1 at random, for `gradient_penalty`; from torch's own generator, as dropout draws."""
    return 2 * torch.randint(2, shape, device=device).float() - 1


def gradient_penalty(discriminator: nn.Module, photo: Tensor, real: Tensor, signs: Tensor) -> Tensor:
    """Half the mean of |grad_y D(x, y)|^2 over real pairs (Mescheder et al. 2018, eq. 9, R1); in fp32.

    The slope is that in the map y alone, at a fixed photo x. R1 makes the equilibrium stable by flattening D
    where data and generated data meet (their section 4.1), along the directions in which the generator can
    move its output. Here these are the map's: the photo is the same in a real and a generated pair, so that
    the slope in x gives the generator no gradient. Their class-conditional networks are penalised likewise,
    in the picture and not in the class.

    Each patch's logit is a discriminator of its own, so |grad D|^2 is the mean over patches of their squared
    slopes. One backward pass gives it without bias: for independent random signs s, the expectation of
    |grad sum_p s_p D_p|^2 is sum_p |grad D_p|^2 (Hutchinson 1989). Without signs the
    slopes of neighbouring patches could cancel: BatchNorm fixes each channel's sum over a picture's patches.

    Args:
        discriminator: photo and map -> logits (n, 1, rows, columns).
        photo, real: true pairs, (n, 3, size, size) each.
        signs: of the logits' shape, as `random_signs` gives them.
    """
    real = real.detach().requires_grad_()
    with torch.autocast(real.device.type, enabled=False):
        # forward: what --compile compiled cannot be differentiated twice
        logits = discriminator.forward(photo, real)
    (slope,) = torch.autograd.grad((signs * logits).sum(), real, create_graph=True)
    patches = signs[0].numel()
    return slope.square().flatten(1).sum(1).mean() / (2 * patches)
