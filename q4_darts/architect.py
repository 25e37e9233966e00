"""The gradient of the alphas (Liu et al. 2019, section 2.3): first order, or second by finite differences."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from common.device import no_tf32
from q4_darts.model_search import Supernet

# The mean of each tensor over torchrun's processes: `runtime.means`, or `list` for a single process.
Mean = Callable[[Sequence[Tensor]], Sequence[Tensor]]


def first_order(
    model: Supernet,
    validation_loss: Callable[[], Tensor],
    autocast: Callable = nullcontext,
    mean: Mean = list,
) -> Tensor:
    """Sets the gradients of `model.architecture()` to d L_val(w, alpha) / d alpha (xi = 0 in eq. 6).

    The weights get no gradient, which saves the cost of theirs.

    Returns:
        The validation loss of this process's batch, detached.
    """
    weights = model.weights()
    architecture = model.architecture()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        with autocast():
            loss = validation_loss()
        for alphas, gradient in zip(architecture, mean(torch.autograd.grad(loss, architecture))):
            alphas.grad = gradient
    finally:
        for weight in weights:
            weight.requires_grad_(True)
    return loss.detach()


def second_order(
    model: Supernet,
    optimizer: torch.optim.SGD,
    train_loss: Callable[[], Tensor],
    validation_loss: Callable[[], Tensor],
    autocast: Callable = nullcontext,
    radius: float = 0.01,
    mean: Mean = list,
) -> Tensor:
    """Sets the gradients of `model.architecture()` to d L_val(w', alpha) / d alpha (eq. 6 to 8).

    w' = w - eta (momentum * buffer + d L_train / d w + weight decay * w) is the step that `optimizer` would
    make. The mixed second derivative times v = d L_val(w') / d w' is taken as (g+ - g-) / 2R, with
    g+- = d L_train(w +- R v) / d alpha and R = radius / |v|. Weights and running statistics are restored
    bit for bit.

    Args:
        model: the supernet.
        optimizer: the weights'; its learning rate, momentum, weight decay and buffers are only read.
        train_loss, validation_loss: the losses of one batch each, in full precision.
        autocast: makes the context of the first two passes, such as `runtime.autocast`. The two perturbed
            ones run neither in it nor in TF32: R v is about 1e-4 of the weights, which bf16 rounds away and
            TF32 distorts. On the paper's supernet the product of fp32 passes is 11 % off that of float64;
            with operands rounded as in TF32 it was 31 % off, and 91 % as in bf16.
        radius: the paper's 0.01. ReLUs and max-pools switch within it, so on a tiny network the product is
            far from the exact one.
        mean: applied to every gradient, so that all processes make the same virtual step, with one v.

    Returns:
        The validation loss of this process's batch at w', detached.
    """
    weights = model.weights()
    architecture = model.architecture()
    group = optimizer.param_groups[0]
    saved = [weight.detach().clone() for weight in weights]
    statistics = [buffer.clone() for buffer in model.buffers()]
    try:
        # The virtual step to w'.
        with autocast():
            loss = train_loss()
        gradients = mean(torch.autograd.grad(loss, weights))
        with torch.no_grad():
            step = torch._foreach_add(gradients, weights, alpha=group["weight_decay"])
            if optimizer.state:  # after the first step
                buffers = [optimizer.state[weight]["momentum_buffer"] for weight in weights]
                torch._foreach_add_(step, buffers, alpha=group["momentum"])
            torch._foreach_add_(weights, step, alpha=-group["lr"])  # w'

        # d L_val / d alpha there, and the direction v.
        with autocast():
            loss = validation_loss()
        gradients = mean(torch.autograd.grad(loss, [*architecture, *weights]))
        direct = gradients[: len(architecture)]
        v = gradients[len(architecture) :]

        # Finite differences: d L_train / d alpha on both sides of w, R v away.
        reach = radius / torch.stack(torch._foreach_norm(v)).norm()  # R
        there = torch._foreach_mul(v, reach)  # R v
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                torch._foreach_copy_(weights, torch._foreach_add(saved, there, alpha=sign))
            with no_tf32():
                sides.append(mean(torch.autograd.grad(train_loss(), architecture)))
    finally:
        with torch.no_grad():
            torch._foreach_copy_(weights, saved)
            torch._foreach_copy_(list(model.buffers()), statistics)
    for alphas, gradient, plus, minus in zip(architecture, direct, *sides):
        alphas.grad = gradient - group["lr"] * (plus - minus) / (2 * reach)  # eq. 7 and 8
    return loss.detach()
