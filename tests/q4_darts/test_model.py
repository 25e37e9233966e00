import pytest
import torch
import torch.nn.functional as F
from torch import nn

from q4_darts.genotypes import DARTS_V2
from q4_darts.model import Network, PoolTo2x2, draw_keep
from q4_darts.operations import convolve_depthwise, every_second


def test_drop_path_statistics():
    keep = draw_keep(4, 500, 0.2, torch.Generator().manual_seed(0))
    assert keep.shape == (4, 8, 500, 1, 1, 1)
    assert set(keep.unique().tolist()) == {0.0, 1.25}
    assert abs((keep == 0).double().mean() - 0.2) < 0.01 and abs(keep.mean() - 1) < 0.02
    assert (draw_keep(4, 500, 0.0, torch.Generator()) == 1).all()


def test_drop_path_takes_whole_samples_and_never_a_skip_connection():
    torch.manual_seed(0)
    skips = DARTS_V2._replace(normal=(("skip_connect", 0), ("skip_connect", 1)) * 4)
    images = torch.randn(4, 3, 16, 16)
    for genotype, changed in ((skips, False), (DARTS_V2, True)):
        cell = Network(genotype, 4, 3).cells[0].eval()
        before = torch.randn(4, 12, 8, 8)
        keep = torch.ones(8, 4, 1, 1, 1)
        keep[:, 2] = 0
        whole, dropped = cell(before, before), cell(before, before, keep)
        assert torch.equal(whole[[0, 1, 3]], dropped[[0, 1, 3]])  # the other samples stay as they were
        assert torch.equal(whole[2], dropped[2]) != changed
    network = Network(DARTS_V2, 4, 3).eval()
    ones = draw_keep(3, 4, 0.0, torch.Generator())
    assert torch.equal(network(images)[0], network(images, ones)[0])


def test_auxiliary_head_only_in_training():
    network = Network(DARTS_V2, 4, 3, auxiliary=True)
    logits, extra = network(torch.randn(2, 3, 32, 32))
    assert logits.shape == extra.shape == (2, 10)
    assert network.eval()(torch.randn(2, 3, 32, 32))[1] is None
    assert network.auxiliary_after == 2 and Network(DARTS_V2, 4, 20).auxiliary_after == 13


def test_the_auxiliary_head_takes_pictures_of_any_size():
    images = torch.randn(2, 3, 8, 8)
    published = nn.AvgPool2d(5, 3, count_include_pad=False)
    assert torch.equal(PoolTo2x2()(images), published(images))
    for size in (16, 28, 96):
        logits, extra = Network(DARTS_V2, 4, 3, 7, auxiliary=True)(torch.randn(2, 3, size, size))
        assert logits.shape == extra.shape == (2, 7)


def test_reductions_stand_at_thirds_and_halve_the_sides():
    network = Network(DARTS_V2, 4, 6)
    sides = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    network(torch.randn(1, 3, 32, 32).expand(2, -1, -1, -1))
    assert sides == [32, 32, 16, 16, 8, 8]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("sides", [(1, 2), (7, 4), (9, 16), (15, 13), (32, 32)])
def test_a_dilated_convolution_is_right_in_its_output_and_gradients(sides, kernel, stride):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, *sides, generator=draws, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, kernel, kernel, generator=draws, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(x, weight, None, stride, padding=kernel - 1, dilation=2, groups=3)
    fast = convolve_depthwise(x.contiguous(memory_format=torch.channels_last), weight, stride, dilation=2)
    torch.testing.assert_close(fast, plain)
    above = torch.randn(plain.shape, generator=draws, dtype=torch.float64)
    expected = torch.autograd.grad(plain, (x, weight), above)
    for got, right in zip(torch.autograd.grad(fast, (x, weight), above), expected):
        torch.testing.assert_close(got, right)


def test_every_second_pixel_keeps_channels_last_in_both_directions():
    x = torch.randn(2, 3, 7, 8).to(memory_format=torch.channels_last).requires_grad_()
    for first in (0, 1):
        taken = every_second(x, first)
        assert torch.equal(taken, x[:, :, first::2, first::2])
        [gradient] = torch.autograd.grad(taken.square().sum(), x)
        assert torch.equal(gradient[:, :, first::2, first::2], 2 * taken)
        assert gradient.count_nonzero() == taken.numel()  # and zeros elsewhere
        assert gradient.is_contiguous(memory_format=torch.channels_last)
