"""The networks for torch.hub:

torch.hub.load(".", "protonet", source="local", pretrained=True)

With pretrained=True `name` is one of pretrained/ and the network comes in eval mode; otherwise further
arguments go to its class.
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from torch import nn

dependencies = ["torch", "safetensors"]


def _shipped(question: str, loader: str, name: str) -> nn.Module:
    from common.runtime import Runtime

    measures = import_module(f"{question}.measures")
    return getattr(measures, loader)(name, Runtime(torch.device("cpu"), "fp32"))[0].eval()


def dcgan(pretrained: bool = False, name: str = "dcgan-conditional", **options: object) -> nn.Module:
    """Noise (n, latent_size) and labels (n,) -> digits (n, 1, 28, 28) in [-1, 1]."""
    if pretrained:
        return _shipped("q1_dcgan", "load_generator", name)
    return import_module("q1_dcgan.dcgan").Generator(**options)


def protonet(pretrained: bool = False, name: str = "protonet-1shot", **options: object) -> nn.Module:
    """Drawings (n, 1, 28, 28), ink 1 on 0 -> embeddings (n, 64), compared by squared distance."""
    if pretrained:
        return _shipped("q2_protonet", "load_model", name)
    return import_module("q2_protonet.protonet").ProtoNet(**options)


def pix2pix(pretrained: bool = False, name: str = "pix2pix-aerial", **options: object) -> nn.Module:
    """Photos (n, 3, size, size) in [-1, 1] -> maps of the same shape and range."""
    if pretrained:
        return _shipped("q3_pix2pix", "load_generator", name)
    return import_module("q3_pix2pix.pix2pix").UNet(**options)


def darts(pretrained: bool = False, name: str = "darts-cifar10", **options: object) -> nn.Module:
    """Normalised pictures (n, 3, 32, 32) -> logits (n, classes) and the auxiliary head's or None."""
    if pretrained:
        return _shipped("q4_darts", "load_network", name)
    return import_module("q4_darts.model").Network(**options)
