import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from q2_protonet.omniglot_dataset import Characters
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler, check


def sampler(counts, way, shot, query, seed=0):
    part = Characters(None, torch.as_tensor(counts), [f"class{i}" for i in range(len(counts))])
    return PrototypicalBatchSampler(part, way, shot, query, torch.Generator().manual_seed(seed))


COUNTS = st.lists(st.integers(3, 12), min_size=2, max_size=12)


@settings(max_examples=40, deadline=None)
@given(COUNTS, st.integers(1, 12), st.integers(1, 2), st.integers(0, 1000))
def test_no_class_and_no_drawing_twice_and_only_real_drawings(counts, way, shot, seed):
    way = min(way, len(counts))
    classes, drawings = sampler(counts, way, shot, 1, seed).sample(5)
    assert classes.shape == (5, way, 1) and drawings.shape == (5, way, shot + 1)
    for episode in range(5):
        assert len(set(classes[episode].flatten().tolist())) == way
        for row in range(way):
            chosen = drawings[episode, row].tolist()
            assert len(set(chosen)) == shot + 1 and max(chosen) < counts[classes[episode, row, 0]]


def test_every_class_and_drawing_comes_equally_often():
    classes, drawings = sampler([4] * 10, 5, 1, 1).sample(4000)
    often = torch.bincount(classes.flatten(), minlength=10) / 4000
    assert (often - 0.5).abs().max() < 0.04  # five standard deviations of a fair draw
    assert (torch.bincount(drawings[..., 0].flatten(), minlength=4) / 20000 - 0.25).abs().max() < 0.016


def test_the_seed_decides_and_the_state_goes_on():
    first, second, other = (sampler([9] * 9, 4, 1, 2, seed) for seed in (0, 0, 1))
    one = first.sample(3)[1]
    assert torch.equal(one, second.sample(3)[1]) and not torch.equal(one, other.sample(3)[1])
    state = first.generator.get_state()
    two = first.sample(3)[1]
    other.generator.set_state(state)
    assert torch.equal(two, other.sample(3)[1]) and not torch.equal(one, two)


def test_a_sampler_of_too_few_classes_is_refused():
    with pytest.raises(UsageError, match="6-way episodes need 6 classes, and this part of the data has 5"):
        sampler([9] * 5, 6, 1, 1)


def test_a_sampler_of_too_few_drawings_is_refused():
    with pytest.raises(UsageError, match="a class has only 4"):
        sampler([9, 4], 2, 2, 3)


def test_the_check_names_the_flags_of_train_py():
    few = Characters(None, torch.tensor([9, 4, 3]), ["alpha", "beta", "gamma"])
    with pytest.raises(UsageError, match=r"train part .* only 4 \(beta; 2 of 3 .*lower --num_support_tr"):
        check(few, 2, 2, 3, "train")
    with pytest.raises(UsageError, match="validation part .* has 3: --classes_per_it_val can be at most 3"):
        check(few, 5, 1, 1, "validation")
