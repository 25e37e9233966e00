"""What this folder measures of a network: its logits, its accuracy, and what one picture costs."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common import checkpoint
from common.results import share_row
from common.runtime import Runtime
from q4_darts.cifar10_dataset import SIZE, augment, normalise
from q4_darts.genotypes import parse
from q4_darts.model import Network
from q4_darts.model_search import Supernet
from q4_darts.paper import QUESTION

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@torch.inference_mode()
def predict(
    model: nn.Module, images: Tensor, runtime: Runtime, draws: torch.Generator | None = None, batch: int = 500
) -> Tensor:
    """Logits (n, classes) in fp32 of uint8 pictures (n, h, w, 3), in eval mode.

    Args:
        model: a Network or a Supernet; torch.compile is bypassed.
        draws: if given, pictures are cropped and mirrored at random, as in the published code's validation.
        batch: pictures per forward pass.
    """
    training = model.training
    model.eval()
    logits = []
    for piece in images.split(batch):
        with runtime.autocast():
            out = model.forward(augment(piece, draws) if draws else normalise(piece))
        logits.append((out[0] if isinstance(out, tuple) else out).float())
    model.train(training)
    return torch.cat(logits)


def accuracy_row(name: str, predicted: Tensor, labels: Tensor, **more: object) -> dict:
    """A row of results.json: the share of predicted classes (n,) that equal the labels (n,)."""
    return share_row(name, int((predicted == labels).sum()), len(labels), **more)


def count_parameters(model: nn.Module) -> int:
    """Parameters without the auxiliary head, which only training uses, and without the alphas."""
    left_out = ("auxiliary", "alphas", "betas")
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(left_out))


def multiply_adds(model: Network, size: int, device: torch.device) -> int:
    """Multiplications of the convolutions and the last layer for one picture, in eval mode."""
    training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, size, size, device=device))
    model.train(training)
    return counter.get_total_flops() // 2


def load_network(path: Path, runtime: Runtime) -> tuple[Network | Supernet, dict]:
    """The network of a checkpoint on the device, and the checkpoint's contents.

    Raises:
        RunError: as `checkpoint.load_network`.
    """

    def build(**numbers: object) -> Network | Supernet:
        if "genotype" in numbers:
            return Network(**numbers | {"genotype": parse(numbers["genotype"])})
        return Supernet(**numbers)

    return checkpoint.load_network(path, QUESTION, build, runtime.device)


def class_names(state: dict) -> list[str]:
    """The names of a checkpoint's classes; older checkpoints hold none: CIFAR-10's, or numbers."""
    names = state.get("facts", {}).get("classes")
    if names is None and state["options"]["dataset"].startswith("cifar10"):
        names = CIFAR10
    return names or [str(number) for number in range(state["architecture"]["classes"])]


def picture_size(state: dict) -> int:
    """The side of the pictures that a checkpoint's network was trained on, in pixels."""
    return state["options"].get("image_size", SIZE)
