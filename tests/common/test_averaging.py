import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from common.averaging import averaged


def test_the_decay_ramps_up_to_its_limit():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average, expected = averaged(model, 0.5), []
    for t in range(40):
        nn.init.normal_(model[0].weight)
        model(torch.randn(4, 3))
        average.update(model)
        weights = [model[0].weight.detach().clone(), model[1].running_var.clone()]
        keep = min(0.5, (1 + t) / (10 + t)) if t else 0  # the first update is a copy
        expected = [keep * old + (1 - keep) * new for old, new in zip(expected, weights)] if t else weights
        found = [average.module[0].weight.detach(), average.module[1].running_var]
        torch.testing.assert_close(found, expected)
    assert average.module[1].num_batches_tracked == 40


def test_no_decay_is_no_average_and_older_checkpoints_are_read():
    model = nn.Linear(3, 2)
    assert averaged(model, 0.0) is None
    before = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    averaged(model, 0.9).load_state_dict(before.state_dict())
