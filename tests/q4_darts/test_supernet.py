import pytest
import torch
import torch.nn.functional as F

from benchmarks.plain_supernet import PlainSupernet, copy_weights, pairs
from q4_darts.model_search import Supernet


def test_fp32_outputs_agree():
    torch.manual_seed(0)
    fast, plain = Supernet(4, 5), PlainSupernet(4, 5)
    copy_weights(fast, plain)
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        assert (fast(images) - plain(images)).norm() / plain(images).norm() < 1e-4


def test_parameter_count():
    assert sum(p.numel() for p in Supernet().weights()) == 1_930_618
    assert sum(p.numel() for p in PlainSupernet().parameters()) == 1_930_618 + 2 * 14 * 8


@pytest.mark.parametrize("partial", [1, 4])
@pytest.mark.parametrize("dense_up_to", [0, 4, 16])  # depthwise, both, dense
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_fast_equals_plain_in_outputs_and_all_gradients(dtype, tolerance, dense_up_to, partial, monkeypatch):
    if dtype == torch.float32:  # rounding flips ReLUs and max-pools at ties: smooth ones here
        monkeypatch.setattr(F, "relu", lambda x, inplace=False: F.silu(x))
        monkeypatch.setattr(F, "max_pool2d", lambda x, *where, **_: 2 * F.avg_pool2d(x, *where[:3]))
    torch.manual_seed(0)
    channels = 4 * partial // 2 if partial > 1 else 4
    fast, plain = (kind(channels, 5, partial=partial).to(dtype) for kind in (Supernet, PlainSupernet))
    for parameter in fast.architecture():
        parameter.data.normal_()
    fast.run_dense(dense_up_to)
    copy_weights(fast, plain)
    images, labels = torch.randn(8, 3, 16, 16, dtype=dtype), torch.randint(0, 10, (8,))
    ours, theirs = fast(images), plain(images)
    assert (ours - theirs).norm() / theirs.norm() < tolerance
    F.cross_entropy(ours, labels).backward()
    F.cross_entropy(theirs, labels).backward()
    count = 0
    for get, other in pairs(fast, plain):
        mine = get(lambda parameter: parameter.grad)
        error = (mine - other.grad).norm()
        assert error <= tolerance * max(other.grad.norm().item(), 1e-2), (tuple(other.shape), count)
        count += other.numel()
    assert count == sum(p.numel() for p in plain.parameters())
    fast.eval()  # the running statistics are equal as well
    plain.eval()
    with torch.no_grad():
        assert (fast(images) - plain(images)).norm() / plain(images).norm() < tolerance


def test_weights_without_versions_are_read_as_a_safetensors_file_has_them():
    model = Supernet(2, 3)
    model.load_state_dict(dict(model.state_dict()))


def test_partial_channels_genotype_weighs_edges():
    model = Supernet(8, 3, partial=4)
    with torch.no_grad():
        model.alphas.zero_()
        model.betas.zero_()
        # sep_conv_3x3 leads on every edge alike, so that the edges' own weights decide.
        model.alphas[:, :, 4] = 1.0
        model.betas[0, 2 + 1] = 1.0  # into node 1, from state 1
        model.betas[0, 2 + 2] = 2.0  # into node 1, from state 2
    weights, edges = model.mixing()
    torch.testing.assert_close(edges[0, :2], torch.full((2,), 0.5))
    torch.testing.assert_close(edges[0].split([2, 3, 4, 5])[1].sum(), torch.tensor(1.0))
    torch.testing.assert_close(weights.sum(-1), edges)
    assert model.genotype().normal[2:4] == (("sep_conv_3x3", 2), ("sep_conv_3x3", 1))
