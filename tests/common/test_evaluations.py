"""Evaluations go into their own run's results only, on the classes that were trained on."""

import contextlib
import importlib
import json
import subprocess
import sys

import pytest

from common.errors import RunError, UsageError
from common.evaluations import (
    add_evaluation,
    check_classes,
    have_changed,
    results_to_extend,
    rows_of,
    trained_folder,
)
from tests.conftest import ROOT


@pytest.mark.parametrize(
    "known, there, said",
    [
        (["cat", "dog"], ["cat", "dog"], None),
        (["caf\u00e9", "dog"], ["cafe\u0301", "dog"], None),  # two Unicode forms of one name
        (["0", "1"], ["cat", "dog"], "cat instead of 0"),
        (["cat", "dog"], ["cat"], "2 classes, and the pictures have 1"),
        (["cat", "dog"], ["cat", "zebra"], "other classes than the network: zebra instead of dog"),
        (["cat", "dog"], ["dog", "cat"], "dog instead of cat"),
    ],
)
def test_an_evaluation_needs_the_classes_of_the_training(known, there, said):
    with pytest.raises(RunError, match=said) if said else contextlib.nullcontext():
        check_classes(known, there)


def test_an_evaluation_is_added_to_its_runs_results(tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"question": "q", "rows": [1]}))
    row = {"name": "error", "value": 2}
    add_evaluation(results_to_extend(tmp_path / "checkpoints" / "last.pt", "q"), "last.pt", [row])
    assert json.loads(results.read_text()) == {
        "question": "q",
        "rows": [1],
        "evaluations": {"last.pt": [row]},
    }


@pytest.mark.parametrize("more", [{}, {"parameters": 7}])
def test_a_second_evaluation_keeps_the_rows_that_it_has_not_measured(tmp_path, more):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"question": "q"}))
    add_evaluation(results, "last.pt", [{"name": "a", "value": 1}, {"name": "b", "value": 2}], **more)
    add_evaluation(results, "last.pt", [{"name": "a", "value": 3}], **more)
    kept = json.loads(results.read_text())["evaluations"]["last.pt"]
    assert rows_of(kept) == [{"name": "a", "value": 3}, {"name": "b", "value": 2}]
    assert not more or kept["parameters"] == 7


def test_an_evaluation_of_a_run_that_went_on_meanwhile_is_shown_alone(tmp_path, capsys):
    add_evaluation(tmp_path / "results.json", "last.pt", [])
    assert "is gone, since its run goes on" in capsys.readouterr().err
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    "facts, changed",
    [({}, False), ({"data": {"pictures": 3}}, False), ({"data": {"train": {"sha256": "a"}}}, False)]
    + [({"data": {"train": {"sha256": "b"}}}, True)],
)
def test_data_that_changed_since_the_training_are_known_by_their_hash(facts, changed):
    assert have_changed(facts, "train", "a") == changed


def test_evaluations_side_by_side_lose_nothing(tmp_path):
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"question": "q"}))
    add = "import sys; from pathlib import Path; from common.evaluations import add_evaluation\n"
    add += "for i in range(20): add_evaluation(Path(sys.argv[1]), f'{sys.argv[2]}{i}', [])"
    words = [sys.executable, "-c", add, str(results)]
    both = [subprocess.Popen([*words, name], cwd=ROOT, stdout=subprocess.DEVNULL) for name in "ab"]
    assert [each.wait(60) for each in both] == [0, 0]
    assert len(json.loads(results.read_text())["evaluations"]) == 40


def test_a_checkpoint_outside_of_a_run_has_no_results(tmp_path):
    assert results_to_extend(tmp_path / "checkpoints" / "last.pt", "q") is None  # there are none
    (tmp_path / "results.json").write_text("{}")
    assert results_to_extend(tmp_path / "last.pt", "q") is None  # it is not in the run's folder


FOREIGN = ['{"question": "other"}', "{", "[1]", "{}", '{"question": "q", "evaluations": [1]}']


@pytest.mark.parametrize("content", FOREIGN)
def test_results_of_another_kind_are_refused_and_left_alone(tmp_path, content):
    results = tmp_path / "results.json"
    results.write_text(content)
    with pytest.raises(RunError, match="results"):
        results_to_extend(tmp_path / "checkpoints" / "last.pt", "q")
    assert results.read_text() == content


def test_pictures_that_moved_are_asked_for_by_their_flag(tmp_path):
    trained = {"pairs": str(tmp_path / "gone"), "folder": None}
    with pytest.raises(UsageError, match="no longer in .*gone: give their place with --pairs DIR"):
        trained_folder(trained, None, "--pairs")
    assert trained_folder(trained, tmp_path, "--pairs") == tmp_path
    assert trained_folder(trained, None) is None


@pytest.mark.parametrize("question", ["q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts"])
def test_damaged_results_are_refused_before_a_network_is_loaded(question, tmp_path, monkeypatch):
    evaluate = importlib.import_module(f"{question}.evaluate")
    monkeypatch.setattr(evaluate, "start", lambda *_: pytest.fail("it began"))
    (tmp_path / "results.json").write_text("{")
    checkpoint = tmp_path / "checkpoints" / "last.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    with pytest.raises(RunError, match="results.json"):
        evaluate.main(evaluate.Options(checkpoint=checkpoint))
