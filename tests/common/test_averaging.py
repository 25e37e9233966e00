"""The moving average of a network's weights."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.averaging import averaged


def test_the_decay_ramps_up_to_its_limit():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = averaged(model, 0.5)
    for t in range(40):
        nn.init.normal_(model[0].weight)
        model(torch.randn(4, 3))
        average.update(model)
        weights = [model[0].weight.detach().clone(), model[1].running_var.clone()]
        if t == 0:  # the first update is a copy
            expected = weights
        else:
            keep = min(0.5, (1 + t) / (10 + t))
            expected = [keep * old + (1 - keep) * new for old, new in zip(expected, weights)]
        found = [average.module[0].weight.detach(), average.module[1].running_var]
        torch.testing.assert_close(found, expected)


def test_counts_are_copied_and_not_averaged():
    model = nn.BatchNorm1d(2)
    average = averaged(model, 0.5)
    for _ in range(3):
        model(torch.randn(4, 2))
        average.update(model)
    assert average.module.num_batches_tracked == 3


def test_no_decay_is_no_average():
    assert averaged(nn.Linear(3, 2), 0.0) is None


def test_it_reads_the_averages_of_torch():
    model = nn.Linear(3, 2)
    of_torch = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    own = averaged(nn.Linear(3, 2), 0.9)
    own.load_state_dict(of_torch.state_dict())
    assert torch.equal(own.module.weight, model.weight)
