import copy

import pytest
import torch
from torch import nn

from q2_protonet.omniglot_dataset import prepare, synthetic_characters
from q2_protonet.protonet import ProtoNet, Residual, ShiftAveraged
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss


class Skip(nn.Sequential):
    def forward(self, x):
        return torch.relu(super().forward(x) + x)


def plain_network(model: ProtoNet) -> nn.Sequential:
    """In the paper's order, conv - BatchNorm - ReLU - pool, from torch's layers with `model`'s weights."""
    layers = []
    for b in copy.deepcopy(model.blocks):
        residual = isinstance(b, Residual)
        layers += [Skip(b.conv, b.norm)] if residual else [b.conv, b.norm, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten())


def test_parameters_and_shape():
    model = ProtoNet()
    assert sum(p.numel() for p in model.parameters()) == 111_936
    assert model(torch.rand(3, 1, 28, 28)).shape == (3, 64)
    deeper = ProtoNet((64, 64, 128, 256), residual_convs=1)
    assert sum(p.numel() for p in deeper.parameters()) == 629_568
    assert deeper(torch.rand(3, 1, 28, 28)).shape == (3, 256)


@pytest.mark.parametrize("residual_convs", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_the_plain_network(training, residual_convs):
    torch.manual_seed(0)
    model = ProtoNet(16, residual_convs).double()
    for module in model.modules():
        # scales of both signs and used statistics, or half the code would go untested
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
    plain = plain_network(model)
    model.train(training)
    plain.train(training)
    images = torch.rand(12, 1, 28, 28, dtype=torch.float64)
    ours, theirs = model(images), plain(images)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    for (name, mine), other in zip(model.named_parameters(), plain.parameters()):
        close = {"rtol": 1e-7, "atol": 1e-9, "msg": lambda text, name=name: f"{name}: {text}"}
        torch.testing.assert_close(mine.grad, other.grad, **close)
    for mine, other in zip(model.buffers(), plain.buffers()):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


def test_shifts_are_averaged():
    torch.manual_seed(0)
    model, image = ProtoNet(8).eval(), torch.zeros(1, 1, 28, 28)
    image[..., 5:20, 9:12] = 1
    moved = [image.roll((y, x), (-2, -1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]  # no ink near the edge
    expected = sum(model(one) for one in moved) / 9
    torch.testing.assert_close(ShiftAveraged(model, 1)(image), expected)


def test_one_episode_can_be_learnt_by_heart():
    torch.manual_seed(0)
    part = synthetic_characters(0, 20, 4)
    sampler = PrototypicalBatchSampler(part, 10, 1, 3, torch.Generator().manual_seed(0))
    images = prepare(part.images[tuple(index[0] for index in sampler.sample(1))])
    model = ProtoNet()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss, accuracy = prototypical_loss(model(images).unflatten(0, (10, 4)), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 < losses[0] and accuracy == 1
