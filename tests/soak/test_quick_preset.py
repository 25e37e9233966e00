"""The quick preset learns, on data that a linear classifier cannot do. Minutes: SOAK=1 runs it."""

import json
import os

import pytest
import torch
import torch.nn.functional as F

from common.rows import read_table
from q1_dcgan.synthetic import draw_digits
from q4_darts.synthetic import draw_shapes

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")


@pytest.mark.parametrize("draw, limit", [(draw_digits, 0.9), (draw_shapes, 0.6)])
def test_a_linear_classifier_on_pixels_is_not_enough(draw, limit):
    """Logistic regression on standardised pixels, with the weight decay that suits the test pictures best."""
    train, test = draw(2048, 0), draw(512, 1)
    pixels = [part.images.flatten(1).float() / 255 for part in (train, test)]
    mean, deviation = pixels[0].mean(0), pixels[0].std(0) + 0.1
    x, x_test = ((part - mean) / deviation for part in pixels)
    accuracies = []
    for decay in (1e-3, 1e-2, 1e-1):
        linear = torch.nn.Linear(x.shape[1], 10)
        optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=60, line_search_fn="strong_wolfe")

        def loss(linear=linear, optimizer=optimizer, decay=decay):
            optimizer.zero_grad()
            value = F.cross_entropy(linear(x), train.labels) + decay * linear.weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        accuracies.append((linear(x_test).argmax(1) == test.labels).float().mean().item())
    assert 0.2 < max(accuracies) < limit, accuracies


def test_every_question_is_clearly_above_its_controls(quick_preset):
    values = {}
    for file in (quick_preset / "log").glob("*/*/results.json"):
        for row in json.loads(file.read_text())["rows"]:
            values[file.parent.name, row["name"].partition(", epoch")[0]] = row["value"]
    assert values["quick-conditional", "label accuracy"] > 85  # chance is 10
    for run, setting in (("quick-5w1s", "5-way 1-shot"), ("quick-20w5s", "20-way 5-shot")):
        assert values[run, setting] > values[run, f"{setting}, untrained network"] + 10
    for control in ("mean training map", "nearest training pair's map"):
        error = values["quick-gan", "L1, train-mode inference (the paper's)"]
        assert error < 0.6 * values["quick-gan", f"L1, {control}"]
    assert values["quick-search", "supernet on the alphas' half"] > 50  # chance is 10
    assert values["quick-found", "test"] > 70
    search = read_table(quick_preset / "log/q4_darts/quick-search/metrics.csv")
    entropies = search["entropy_normal"][-1], search["entropy_reduce"][-1]
    assert max(entropies) < 1.95  # log 8 = 2.08 when all are equal
    lines = (quick_preset / "out.txt").read_text().splitlines()
    assert [line[:2] for line in lines if "; pictures in " in line] == ["q1", "q2", "q3", "q4"]
    assert lines[-1].endswith(f"Page: {quick_preset / 'figure' / 'report-quick.html'}")
