"""Measures of a network: in fp32, whatever precision its training has."""

import pytest
import torch

from common.device import Runtime
from q4_darts.cifar10_dataset import normalise
from q4_darts.measures import predict
from q4_darts.model_search import Supernet
from q4_darts.namer import Namer

CPU = torch.device("cpu")
PICTURES = torch.randint(256, (8, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_networks_logits_are_those_of_fp32(precision):
    namer = Namer.load("darts-cifar10", Runtime(CPU, precision=precision))
    with torch.no_grad():
        expected, _ = namer.network(normalise(PICTURES))
    logits = namer.logits(PICTURES)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_supernets_logits_are_those_of_fp32():
    torch.manual_seed(0)
    supernet = Supernet(4, 3)
    logits = predict(supernet, PICTURES, batch=3)
    with torch.no_grad():
        expected = supernet.eval()(normalise(PICTURES))
    assert torch.allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_a_network_in_training_stays_so():
    supernet = Supernet(4, 3)
    predict(supernet, PICTURES)
    assert supernet.training
