import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.device import Runtime
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.gan_loss import discriminator_loss, generator_loss, gradient_penalty
from q1_dcgan.train import train_step


@pytest.mark.parametrize(
    "size, sides", [(28, [4, 7, 14, 28, 28, 14, 7]), (64, [4, 8, 16, 32, 64, 64, 32, 16, 8])]
)
@pytest.mark.parametrize("classes", [0, 10])
def test_sizes_layer_by_layer(size, sides, classes):
    generator, discriminator = Generator(16, classes, size), Discriminator(classes, size)
    seen = []
    for layer in generator.layers:
        if isinstance(layer, nn.ConvTranspose2d):
            layer.register_forward_hook(lambda _, __, output: seen.append(output.shape[-1]))
    for layer in discriminator.features:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[-1]))
    labels = torch.arange(6) if classes else None
    images = generator(torch.randn(6, 16), labels)
    logits = discriminator(images, labels)
    assert seen == sides
    assert images.shape == (6, 1, size, size) and images.abs().max() <= 1 and logits.shape == (6,)


def test_base_channels_scale_every_width():
    def widths(base):
        networks = Generator(16, base_channels=base), Discriminator(base_channels=base)
        modules = [module for network in networks for module in network.modules()]
        return [m.out_channels for m in modules if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]

    assert widths(64) == [512, 256, 128, 1, 64, 128, 256, 1]
    assert widths(16) == [128, 64, 32, 1, 16, 32, 64, 1]


def test_norms_and_activations_are_where_the_paper_has_them():
    generator, discriminator = Generator(), Discriminator()
    assert isinstance(generator.layers[-1], nn.Tanh) and isinstance(generator.layers[-2], nn.ConvTranspose2d)
    assert not isinstance(discriminator.features[1], nn.BatchNorm2d)
    leaky = [layer for layer in discriminator.features if isinstance(layer, nn.LeakyReLU)]
    assert all(layer.negative_slope == 0.2 for layer in leaky)
    assert sum(isinstance(layer, nn.ReLU) for layer in generator.layers) == 3


def test_initial_weights():
    torch.manual_seed(0)
    for network in (Generator(), Discriminator(), Generator(classes=10, image_size=64)):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                n = module.weight.numel()
                assert abs(module.weight.mean()) < 5 * 0.02 / n**0.5
                assert abs(module.weight.std() / 0.02 - 1) < 5 / (2 * n) ** 0.5
                assert module.bias is None or not module.bias.any()
            elif isinstance(module, nn.BatchNorm2d):
                assert abs(module.weight.mean() - 1) < 0.02 and not module.bias.any()
                assert 0.01 < module.weight.std() < 0.03


@pytest.mark.parametrize("label_as", ["projection", "plane"])
def test_every_pixel_and_the_label_reach_the_logit(label_as):
    torch.manual_seed(0)
    discriminator = Discriminator(10, label_as=label_as).eval()
    image = torch.rand(1, 1, 28, 28, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(image, torch.tensor([3])).sum(), image)
    assert (gradient != 0).float().mean() > 0.99
    with torch.no_grad():
        logits = discriminator(image.expand(10, -1, -1, -1), torch.arange(10))
        pictures = Generator(8, 10).eval()(torch.ones(10, 8), torch.arange(10))
    assert len(set(logits.tolist())) == 10 and len(pictures.flatten(1).unique(dim=0)) == 10


def test_losses_by_hand():
    zero, one = torch.zeros(4), torch.ones(4)
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))
    assert discriminator_loss(one, -one).item() == pytest.approx(2 * math.log(1 + math.exp(-1)))
    by_hand = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert generator_loss(torch.tensor([0.0, 1.0])).item() == pytest.approx(by_hand)
    assert generator_loss(torch.tensor([-200.0])).item() == pytest.approx(200)  # no log(0)


def test_losses_are_the_binary_cross_entropies():
    torch.manual_seed(0)
    real, fake, entropy = torch.randn(9), torch.randn(9), F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(9), torch.zeros(9)
    torch.testing.assert_close(discriminator_loss(real, fake), entropy(real, ones) + entropy(fake, zeros))
    torch.testing.assert_close(generator_loss(fake), entropy(fake, ones))


def test_gradient_penalty_by_hand():
    class Quadratic(nn.Module):
        """D(x) = a |x|^2, whose slope is 2 a x: half its squared length is 2 a^2 |x|^2."""

        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(torch.tensor(3.0))

        def forward(self, images, labels):
            return self.a * images.square().sum((1, 2, 3))

    real, discriminator = torch.rand(5, 1, 4, 4), Quadratic()
    lengths = real.square().sum((1, 2, 3)).mean()
    with torch.autocast("cpu", torch.bfloat16):
        penalty = gradient_penalty(discriminator, real, None)
    penalty.backward()
    torch.testing.assert_close(penalty, 2 * 9 * lengths)
    torch.testing.assert_close(discriminator.a.grad, 4 * 3 * lengths)
    assert not real.requires_grad and real.grad is None


def test_each_half_of_a_step_gives_gradients_to_its_own_network_only():
    seen, generator = [], Generator(8, base_channels=4)

    class Recording(Discriminator):
        """In the order of a step: real, generated for its own half, generated for the generator's."""

        def forward(self, images, labels=None):
            gradients = [all(p.grad is not None for p in net.parameters()) for net in (generator, self)]
            seen.append((images.requires_grad, self.score.weight.requires_grad, *gradients))
            self.kept = [p.grad for p in self.parameters()]
            return super().forward(images, labels)

    networks = generator, Recording(base_channels=4)
    optimizers = [torch.optim.SGD(network.parameters(), 0.1) for network in networks]
    real, runtime = torch.rand(4, 1, 28, 28), Runtime(torch.device("cpu"))
    train_step(networks, optimizers, real, torch.randn(4, 8), None, None, 0.0, runtime)
    assert seen == [(False, True, False, False), (False, True, False, False), (True, False, False, True)]
    assert all(p.grad is not None for p in generator.parameters())
    assert all(p.grad is kept for p, kept in zip(networks[1].parameters(), networks[1].kept))


def test_a_discriminator_learns_one_batch_and_a_generator_fools_a_frozen_one():
    torch.manual_seed(0)
    generator, discriminator = Generator(8), Discriminator()
    real, noise = torch.rand(16, 1, 28, 28) * 2 - 1, torch.randn(16, 8)

    def losses(network, loss):
        optimizer, seen = torch.optim.Adam(network.parameters(), 2e-3), []
        for _ in range(15):
            value = loss()
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            seen.append(value.item())
        return seen

    def told_apart():
        return discriminator_loss(discriminator(real), discriminator(generator(noise).detach()))

    first, *_, last = losses(discriminator, told_apart)
    assert last < 0.2 < first
    first, *_, last = losses(generator, lambda: generator_loss(discriminator(generator(noise))))
    assert last < first / 2
