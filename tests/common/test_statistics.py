"""Intervals of means and shares."""

import pytest
import torch
from scipy.stats import binomtest

from common.statistics import mean_row, share_row, show_name, show_value


@pytest.mark.parametrize("right, count", [(0, 5), (6, 8), (30, 30), (977, 1000)])
def test_a_share_has_wilsons_interval(right, count):
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    assert share_row("a", right, count, 4)["interval"] == pytest.approx([100 * low, 100 * high], abs=2e-3)


def test_a_share_of_all_is_not_shown_as_certain():
    assert show_value(share_row("a", 30, 30)) == "100.0 (88.65 to 100.0) %"


@pytest.mark.parametrize("values", [[2.0], [2.0, 2.0, 2.0]])
def test_a_mean_of_equal_values_has_no_interval(values):
    row = mean_row("a", torch.tensor(values), "dB")
    assert "interval" not in row
    assert show_value(row) == "2.0 dB"


def test_a_mean_has_its_interval():
    row = mean_row("a", torch.tensor([1.0, 3.0]), "dB")
    assert row["interval"] == pytest.approx(1.96 * 2**0.5 / 2**0.5, abs=1e-3)
    assert show_value(row, 1) == "2.0 ± 2.0 dB"


def test_a_name_is_shown_with_its_accent():
    assert show_name({"name": "Frechet distance"}) == "Fréchet distance"
