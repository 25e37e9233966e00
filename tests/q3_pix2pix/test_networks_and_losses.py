import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from q3_pix2pix.measures import translate
from q3_pix2pix.pix2pix import PatchGAN, UNet, own_statistics
from q3_pix2pix.pix2pix_loss import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    l1_loss,
    random_signs,
)
from q3_pix2pix.train import rate_factor


def test_parameter_counts():
    assert sum(p.numel() for p in UNet().parameters()) == 54_414_531
    assert sum(p.numel() for p in PatchGAN().parameters()) == 2_768_705


@pytest.mark.parametrize("size", [32, 128, 256])
def test_shapes(size):
    generator, discriminator = UNet(size, 4), PatchGAN(4)
    images = torch.rand(2, 3, size, size)
    assert generator(images).shape == (2, 3, size, size) and generator(images).abs().max() <= 1
    assert discriminator(images, images).shape == (2, 1, size // 8 - 2, size // 8 - 2)


def test_receptive_field_is_70_pixels_and_the_output_30x30():
    discriminator = PatchGAN(4).eval()
    photo = torch.rand(1, 3, 256, 256, requires_grad=True)
    logits = discriminator(photo, torch.rand(1, 3, 256, 256))
    assert logits.shape[-2:] == (30, 30)
    (gradient,) = torch.autograd.grad(logits[0, 0, 15, 15], photo)
    rows, columns = gradient.abs().sum((0, 1)).nonzero().unbind(1)
    assert int(rows.max() - rows.min()) + 1 == 70 and int(columns.max() - columns.min()) + 1 == 70


def test_norm_and_dropout_are_where_the_paper_has_them():
    generator = UNet(256, 4)
    has = {
        kind: [any(isinstance(m, kind) for m in block) for block in (*generator.down, *generator.up)]
        for kind in (nn.BatchNorm2d, nn.Dropout)
    }
    assert has[nn.BatchNorm2d] == [False] + [True] * 6 + [False] + [True] * 7 + [False]
    assert has[nn.Dropout] == [False] * 8 + [True] * 3 + [False] * 5
    assert not isinstance(PatchGAN(4).layers[1], nn.BatchNorm2d)


def test_own_statistics_is_train_mode_with_a_batch_of_one_and_leaves_no_trace():
    torch.manual_seed(0)
    generator = UNet(32, 4)
    for _ in range(3):
        generator(torch.randn(4, 3, 32, 32))  # some running statistics
    generator.eval()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    images = torch.randn(3, 3, 32, 32)
    for module in generator.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the draws would differ between one batch of three and three of one
    with own_statistics(generator), torch.no_grad():
        together = generator(images)
    assert not generator.training
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    generator.train()
    with torch.no_grad():
        single = torch.cat([generator(image[None]) for image in images])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_own_statistics_keeps_dropout_on():
    generator, photo = UNet(32, 4).eval(), torch.ones(1, 3, 32, 32)
    with own_statistics(generator), torch.no_grad():
        assert not torch.equal(generator(photo), generator(photo))


def test_own_statistics_without_dropout_are_the_same_in_any_batch():
    torch.manual_seed(0)
    generator = UNet(32, 4)
    generator(torch.randn(4, 3, 32, 32))  # some running statistics
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    together = translate(generator, images, "no_dropout")
    single = torch.cat([translate(generator, image[None], "no_dropout") for image in images])
    torch.testing.assert_close(together, single, rtol=0, atol=1.1 / 255)
    assert not torch.equal(together, translate(generator, images, "eval"))
    assert not torch.equal(together, translate(generator, images, "paper"))


def test_losses_by_hand():
    zero = torch.zeros(2, 1, 3, 3)
    for real, fake in ((0, 0), (2, -1)):
        losses = [loss.item() for loss in discriminator_loss(zero + real, zero + fake)]
        expected = [math.log(1 + math.exp(-real)) / 2, math.log(1 + math.exp(fake)) / 2]
        assert losses == pytest.approx(expected)
    cross_entropy = F.binary_cross_entropy_with_logits(zero + 1, zero + 1)
    assert generator_loss(zero + 1).item() == pytest.approx(cross_entropy.item())
    assert l1_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.5, 1.0])).item() == pytest.approx(1.25)


def test_the_penalty_is_the_mean_squared_slope_of_every_patch_in_the_map():
    """Over all 16 choices of four signs, the mean is the expectation, here against one patch at a time."""
    torch.manual_seed(0)
    discriminator = PatchGAN(4)
    photo, real = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    found = []
    for signs in itertools.product((-1.0, 1.0), repeat=4):
        signs = torch.tensor(signs).view(1, 1, 2, 2).expand(2, -1, -1, -1)
        found.append(gradient_penalty(discriminator, photo, real, signs).item())
    copy = real.clone().requires_grad_()
    logits = discriminator(photo, copy)
    squares = []
    for row, column in itertools.product(range(2), repeat=2):
        (slope,) = torch.autograd.grad(logits[:, 0, row, column].sum(), copy, retain_graph=True)
        squares.append(slope.square().sum() / 2)  # of two pairs
    assert sum(found) / 16 == pytest.approx(sum(squares).item() / 4 / 2, rel=1e-4)


def test_the_penalty_flattens_the_discriminator():
    torch.manual_seed(0)
    discriminator = PatchGAN(4)
    adam = torch.optim.Adam(discriminator.parameters(), 1e-2)
    photo, real = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    before = photo.clone()
    penalties = []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            penalty = gradient_penalty(discriminator, photo, real, random_signs((2, 1, 2, 2), photo.device))
        assert penalty.dtype == torch.float32
        adam.zero_grad()
        penalty.backward()
        adam.step()
        penalties.append(penalty.item())
    assert penalties[-1] < 0.1 * penalties[0]
    assert torch.equal(photo, before)
    assert photo.grad is None and real.grad is None


def test_signs_are_one_or_minus_one_and_as_often():
    torch.manual_seed(0)
    signs = random_signs((4, 1, 50, 50), torch.device("cpu"))
    assert signs.abs().min() == signs.abs().max() == 1
    assert abs(signs.mean().item()) < 0.04  # four deviations


def test_the_discriminators_step_leaves_no_gradient_in_the_generator():
    generator, discriminator = UNet(32, 4), PatchGAN(4)
    photo, real = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    fake = generator(photo)
    sum(discriminator_loss(discriminator(photo, real), discriminator(photo, fake.detach()))).backward()
    assert all(p.grad is None for p in generator.parameters())
    assert all(p.grad is not None for p in discriminator.parameters())


def test_learning_rate_is_constant_then_falls_linearly_to_zero_after_the_last_epoch():
    factors = [rate_factor(epoch, 200, 100) for epoch in range(1, 201)]
    assert factors[:100] == [1.0] * 100
    found = [factors[epoch] for epoch in (100, 149, 199)]
    assert found == pytest.approx([100 / 101, 51 / 101, 1 / 101])
    assert rate_factor(201, 200, 100) == 0
    assert [rate_factor(epoch, 4, 4) for epoch in (1, 4)] == [1, 1]
