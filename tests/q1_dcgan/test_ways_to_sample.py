"""Ways of drawing samples, against what defines them."""

import pytest
import torch

from common.errors import UsageError
from q1_dcgan import ways_to_sample
from q1_dcgan.dcgan import Generator
from q1_dcgan.options import WaysOptions, resolve_ways


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(latent_size=6, classes=10, base_channels=2)


def test_batch_statistics_are_those_of_training(generator):
    noise = torch.randn(20, 6)
    labels = torch.arange(20) % 10
    state = {name: value.clone() for name, value in generator.state_dict().items()}
    with torch.no_grad():
        copied = ways_to_sample.with_batch_statistics(generator).eval()
        drawn = copied(noise, labels)
        assert (drawn - generator.eval()(noise, labels)).abs().max() > 1e-3
        assert all(torch.equal(value, state[name]) for name, value in generator.state_dict().items())
        torch.testing.assert_close(drawn, generator.train()(noise, labels))


def test_sobol_latents_are_normal_and_more_even_than_random_ones(generator):
    noise = ways_to_sample.latents("sobol", 10 * 256, generator, seed=0)
    other = ways_to_sample.latents("sobol", 10 * 256, generator, seed=1)
    assert noise.shape == (2560, 6)
    assert not torch.equal(noise, other)
    for label in range(10):
        own = noise[label::10]
        # Of 256 points of a Sobol sequence one lies in each 256th of every axis.
        cells = (torch.special.ndtr(own.double()) * 256).floor()
        assert all(len(column.unique()) >= 255 for column in cells.T)
        assert own.std(0).sub(1).abs().max() < 0.05


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(UsageError, match="--seeds must be 0 or more and below 4294967296, not -1"):
        resolve_ways(WaysOptions(seeds=(0, -1)))


def test_lengths_of_latents(generator):
    plain = ways_to_sample.latents("plain", 500, generator, seed=0)
    sphere = ways_to_sample.latents("sphere", 500, generator, seed=0)
    narrow = ways_to_sample.latents("radius-0.7", 500, generator, seed=0)
    torch.testing.assert_close(sphere.norm(dim=1), torch.full((500,), 6**0.5))
    torch.testing.assert_close(narrow, 0.7 * plain)
    assert torch.cosine_similarity(sphere, plain).min() > 0.9999
