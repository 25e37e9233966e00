import copy

import pytest
import torch
from torch import nn

from q2_protonet.protonet import ProtoNet, ShiftAveraged


def plain_network(model: ProtoNet) -> nn.Sequential:
    """In the paper's order, conv - BatchNorm - ReLU - pool, from torch's layers with `model`'s weights."""
    layers = [
        layer
        for block in model.blocks
        for layer in (copy.deepcopy(block.conv), copy.deepcopy(block.norm), nn.ReLU(), nn.MaxPool2d(2))
    ]
    return nn.Sequential(*layers, nn.Flatten())


def test_parameters_and_shape():
    model = ProtoNet()
    assert sum(p.numel() for p in model.parameters()) == 111_936
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 64)


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_the_plain_network(training):
    torch.manual_seed(0)
    model = ProtoNet(16).double()
    for module in model.modules():
        if isinstance(
            module, nn.BatchNorm2d
        ):  # scales of both signs and used statistics, or half the code would go untested
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    plain = plain_network(model)
    model.train(training), plain.train(training)
    images = torch.rand(12, 1, 28, 28, dtype=torch.float64)
    ours, theirs = model(images), plain(images)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for (name, mine), other in zip(model.named_parameters(), plain.parameters()):
        torch.testing.assert_close(
            mine.grad, other.grad, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )
    for mine, other in zip(model.buffers(), plain.buffers()):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


def test_shifts_are_averaged():
    torch.manual_seed(0)
    model, image = ProtoNet(8).eval(), torch.zeros(1, 1, 28, 28)
    image[..., 5:20, 9:12] = 1
    moved = [image.roll((y, x), (-2, -1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # no ink near the edge
    expected = sum(model(one) for one in moved) / 9
    torch.testing.assert_close(ShiftAveraged(model, 1)(image), expected)
