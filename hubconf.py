"""The networks for torch.hub:

torch.hub.load(".", "protonet", source="local", pretrained=True)

With pretrained=True `name` is one of pretrained/ and the network comes in eval mode, with the sizes it was
trained with; otherwise further arguments go to its class.
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from torch import nn

dependencies = ["torch", "safetensors"]


def _make(question: str, file: str, network: str, loader: str, shipped: str, options: dict) -> nn.Module:
    if not shipped:
        return getattr(import_module(f"{question}.{file}"), network)(**options)
    if options:
        raise TypeError(f"{shipped} has the sizes it was trained with: it takes no {', '.join(options)}")
    from common.runtime import Runtime

    load = getattr(import_module(f"{question}.measures"), loader)
    return load(shipped, Runtime(torch.device("cpu"), "fp32"))[0].eval()


def dcgan(pretrained: bool = False, name: str = "dcgan-conditional", **options: object) -> nn.Module:
    """Noise (n, latent_size) and labels (n,) -> digits (n, 1, 28, 28) in [-1, 1]."""
    return _make("q1_dcgan", "dcgan", "Generator", "load_generator", name if pretrained else "", options)


def protonet(pretrained: bool = False, name: str = "protonet-1shot", **options: object) -> nn.Module:
    """Drawings (n, 1, 28, 28), ink 1 on 0 -> embeddings (n, 64), pretrained (n, 256); squared distances."""
    return _make("q2_protonet", "protonet", "ProtoNet", "load_model", name if pretrained else "", options)


def pix2pix(pretrained: bool = False, name: str = "pix2pix-aerial", **options: object) -> nn.Module:
    """Photos (n, 3, size, size) in [-1, 1] -> maps of the same shape and range."""
    return _make("q3_pix2pix", "pix2pix", "UNet", "load_generator", name if pretrained else "", options)


def darts(pretrained: bool = False, name: str = "darts-cifar10", **options: object) -> nn.Module:
    """Pictures (n, 3, 32, 32), normalised by q4_darts.cifar10_dataset.normalise -> logits (n, classes), None.

    Without `pretrained`, genotype="DARTS_V2" by default: what `train.py --genotype` takes, or a Genotype. In
    training with auxiliary=True the auxiliary head's logits stand in place of None.
    """
    if not pretrained and isinstance(options.setdefault("genotype", "DARTS_V2"), str):
        options["genotype"] = import_module("q4_darts.genotypes").read(options["genotype"])
    return _make("q4_darts", "model", "Network", "load_network", name if pretrained else "", options)
