"""Measures of a network: its logits, its accuracy, and what one picture costs."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.device import no_tf32
from common.labelled_images import LabelledImages
from common.statistics import share_row
from q4_darts.cifar10_dataset import augment, normalise
from q4_darts.genotypes import save, skip_count
from q4_darts.model import Network
from q4_darts.model_search import Supernet


@torch.inference_mode()
@no_tf32()
def predict(
    model: nn.Module, images: Tensor, draws: torch.Generator | None = None, batch: int = 500
) -> Tensor:
    """Computes the logits (n, classes) of uint8 pictures (n, h, w, 3), in eval mode and in fp32.

    Fp32 whatever the precision of the training: a network's accuracy is the same on every machine.

    Args:
        model: a Network or a Supernet; torch.compile is bypassed.
        draws: if given, pictures are cropped and mirrored at random, as in the published code's validation.
        batch: pictures per forward pass.
    """
    training = model.training
    model.eval()
    logits = []
    for piece in images.split(batch):
        out = model.forward(augment(piece, draws) if draws else normalise(piece))
        logits.append(out[0] if isinstance(out, tuple) else out)
    model.train(training)
    return torch.cat(logits)


def accuracy_row(name: str, predicted: Tensor, labels: Tensor, **more: object) -> dict:
    """Returns a row of results.json: the share of predicted classes (n,) that equal the labels (n,)."""
    return share_row(name, int((predicted == labels).sum()), len(labels), **more)


def search_row(
    epoch: int, model: Supernet, half: LabelledImages, means: dict[str, float], rate: float
) -> dict[str, float]:
    """Measures a search after an epoch and returns its row of metrics.csv.

    Args:
        half: the alphas' half, which is cropped and mirrored here too, as in the published code.
        means: of the training's columns over the epoch.
        rate: the weights' learning rate.
    """
    draws = torch.Generator(half.images.device).manual_seed(epoch)
    logits = predict(model, half.images, draws)
    mixing = model.alphas.detach().softmax(-1)  # (2, 14, 8)
    entropy = torch.special.entr(mixing).sum(-1).mean(1).tolist()  # in nats, at most log 8
    return {
        "epoch": epoch,
        "train_loss": means["train_loss"],
        "validation_loss": F.cross_entropy(logits, half.labels).item(),
        "train_accuracy": means["train_accuracy"],
        "validation_accuracy": (logits.argmax(1) == half.labels).float().mean().item(),
        "learning_rate": rate,
        "skip_connections": skip_count(model.genotype()),
        "entropy_normal": entropy[0],
        "entropy_reduce": entropy[1],
    }


def save_cell(model: Supernet, folder: Path, epoch: int) -> None:
    """Writes a search's cell with all its weights as genotypes/epoch_NNN.json and genotype.json.

    Args:
        folder: of the run.
        epoch: the one that has ended.
    """
    weights = model.alphas.detach().softmax(-1)  # (2, 14, 8)
    _, edges = model.mixing()  # (2, 14), PC-DARTS's
    (folder / "genotypes").mkdir(exist_ok=True)
    for name in (f"genotypes/epoch_{epoch:03d}.json", "genotype.json"):
        save(model.genotype(), folder / name, epoch=epoch, weights=weights.tolist(), edges=edges.tolist())


def shares_by_class(predicted: Tensor, labels: Tensor, names: list[str]) -> dict[str, float]:
    """Returns the share of each class's pictures that are classified correctly, from (n,) and (n,)."""
    right = (predicted == labels).double()
    return {name: right[labels == label].mean().item() for label, name in enumerate(names)}


def count_parameters(model: nn.Module) -> int:
    """Counts parameters without the auxiliary head, which only training uses, and without the alphas."""
    left_out = ("auxiliary", "alphas", "betas")
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(left_out))


def multiply_adds(model: Network, size: int, device: torch.device) -> int:
    """Counts the multiplications of the convolutions and the last layer for one picture, in eval mode."""
    training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, size, size, device=device))
    model.train(training)
    return counter.get_total_flops() // 2
