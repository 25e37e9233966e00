import contextlib
import json

import pytest
import torch
from scipy.stats import binomtest

from common.results import add_evaluation, check_classes, mean_row, results_to_extend, share_row, show_value
from common.runtime import RunError


@pytest.mark.parametrize("right, count", [(0, 5), (6, 8), (30, 30), (977, 1000)])
def test_a_share_has_wilsons_interval(right, count):
    low, high = binomtest(right, count).proportion_ci(method="wilson")
    assert share_row("a", right, count, 4)["interval"] == pytest.approx([100 * low, 100 * high], abs=2e-3)


def test_a_mean_of_equal_values_has_no_interval():
    for same in ([2.0], [2.0, 2.0, 2.0]):
        row = mean_row("a", torch.tensor(same), "dB")
        assert "interval" not in row and show_value(row) == "2.0 dB"
    row = mean_row("a", torch.tensor([1.0, 3.0]), "dB")
    assert row["interval"] == pytest.approx(1.96 * 2**0.5 / 2**0.5, abs=1e-3)
    assert show_value(row, 1) == "2.0 ± 2.0 dB"
    assert show_value(share_row("a", 30, 30)) == "100.0 (88.65 to 100.0) %"


@pytest.mark.parametrize(
    "known, there, said",
    [
        (["cat", "dog"], ["cat", "dog"], None),
        ([], ["cat", "dog"], None),  # an earlier checkpoint, which holds no names
        (["0", "1"], ["cat", "dog"], "cat instead of 0"),
        (["cat", "dog"], ["cat"], "2 classes, and the pictures have 1"),
        (["cat", "dog"], ["cat", "zebra"], "other classes than the network: zebra instead of dog"),
        (["cat", "dog"], ["dog", "cat"], "dog instead of cat"),
    ],
)
def test_an_evaluation_needs_the_classes_of_the_training(known, there, said):
    with pytest.raises(RunError, match=said) if said else contextlib.nullcontext():
        check_classes({"architecture": {"classes": 2}, "facts": {"classes": known}}, there)


def test_an_evaluation_goes_into_its_own_run_only(tmp_path, capsys):
    results = tmp_path / "results.json"
    checkpoint = tmp_path / "checkpoints" / "last.pt"
    assert results_to_extend(checkpoint, "q") is None
    results.write_text(json.dumps({"question": "q", "rows": [1]}))
    assert results_to_extend(tmp_path / "last.pt", "q") is None  # not in a run's folder
    add_evaluation(results_to_extend(checkpoint, "q"), "last.pt", [2])
    assert json.loads(results.read_text()) == {"question": "q", "rows": [1], "evaluations": {"last.pt": [2]}}
    for foreign in ('{"question": "other"}', "{", "[1]", "{}", '{"question": "q", "evaluations": [1]}'):
        results.write_text(foreign)
        with pytest.raises(RunError, match="results"):
            results_to_extend(checkpoint, "q")
        assert results.read_text() == foreign
