import contextlib
import json
from types import SimpleNamespace

import pytest
import torch

from common.device import Runtime
from common.errors import RunError, UsageError
from q2_protonet import evaluate
from q2_protonet.few_shot import FewShot
from q2_protonet.omniglot_dataset import synthetic_characters
from q2_protonet.omniglot_files import Division
from q2_protonet.options import DataOptions, EvaluateOptions, warn_of_start
from tests.q2_protonet.conftest import results_of, run

SETTINGS = ["5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"]
MANY = "--way 5 20 --shot 1 5 --episodes 20".split()


def test_many_settings_with_unknown(best, trained, capsys):
    run(evaluate, "--checkpoint", best, *MANY, "--unknown")
    results = results_of(trained / "logs/q2_protonet/a")
    rows = [row for rows in results["evaluations"].values() for row in rows]
    names = [row["name"] for row in rows]
    assert names[:12:3] == SETTINGS
    assert names[1:3] == ["5-way 1-shot, wrongly called unknown", "5-way 1-shot, other class accepted"]
    assert names[0] in capsys.readouterr().out
    assert len(results["rows"]) == 2
    assert all(0 < row["value"] <= 100 for row in rows[:12:3])


def test_shifts_and_another_part_are_named(best, trained):
    rows = run(evaluate, "--checkpoint", best, *MANY, "--part", "validation", "--shifts", 1)
    assert [row["name"] for row in rows] == [f"{name}, validation part, shifts 1" for name in SETTINGS]
    kept = results_of(trained / "logs/q2_protonet/a")["evaluations"].values()
    assert rows in kept


@pytest.mark.parametrize(
    "words, message",
    [
        (["--way", 300], "300-way episodes need 300 classes"),
        (["--unknown", "--within_alphabet"], "--unknown goes with --way"),
        (["--untrained", "--within_alphabet"], "--untrained goes with --way"),
        (["--folder", "."], "--folder needs --dataset folder, not synthetic"),
        (["--lake_runs", "nowhere"], "--lake_runs nowhere is not a folder"),
        (["--shifts", 28], "--shifts must be 0 or more and below 28"),
    ],
)
def test_wrong_commands(best, words, message):
    with pytest.raises(UsageError, match=message):
        run(evaluate, "--checkpoint", best, *words)


def test_a_missing_checkpoint():
    with pytest.raises(RunError, match="no checkpoint at nowhere.pt"):
        run(evaluate, "--checkpoint", "nowhere.pt")


def test_the_averaged_weights_of_last_pt_are_tested(trained):
    last = trained / "logs/q2_protonet/a/checkpoints/last.pt"
    state = torch.load(last)
    averaged = FewShot.load(last, Runtime(torch.device("cpu"))).network.state_dict()
    for name, weights in averaged.items():
        assert torch.equal(weights, state["average"][f"module.{name}"])
    name = next(name for name in averaged if name.endswith("conv.weight"))
    assert not torch.equal(averaged[name], state["model"][name])


def test_the_untrained_control_is_of_the_run(best, trained):
    folder = trained / "logs/q2_protonet/a"
    asked = json.loads((folder / "config.json").read_text())["options"]
    words = ["--way", asked["classes_per_it_val"], "--shot", asked["num_support_val"], "--query"]
    words += [asked["num_query_val"], "--episodes", asked["test_episodes"], "--seed", asked["seed"]]
    run(evaluate, "--checkpoint", best, "--untrained", *words)
    results = results_of(folder)
    own = results["rows"][1]
    again = [row for rows in results["evaluations"].values() for row in rows if row["name"] == own["name"]]
    assert own["name"].endswith("untrained network") and again == [own]


def test_a_folder_that_changed_since_the_training_is_refused(tmp_path):
    """Divided anew, its parts may hold what was trained on."""
    train = synthetic_characters(0, 4, 2)
    trained = SimpleNamespace(facts={"data": {"train": train.facts()}})
    data = DataOptions(dataset="folder", folder=tmp_path)
    evaluate.check_division(trained, train, data)
    with pytest.raises(UsageError, match="have changed since the training. .* --folder .* nevertheless"):
        evaluate.check_division(trained, synthetic_characters(1, 4, 2), data)


def test_a_start_from_another_network_is_said_where_its_characters_may_be_tested():
    assert "starts from old.pt: if that network was" in warn_of_start("omniglot", "old.pt")
    assert warn_of_start("omniglot", None) == warn_of_start("folder", "old.pt") == ""


PARTS = {
    "vinyals": {"train": ["A/1", "A/2"], "validation": ["B/1"], "test": ["C/1", "C/2"]},
    "random": {"train": ["C/1"], "validation": ["A/1"], "test": ["A/2", "B/1", "C/2"]},
    "background": {"train": ["B/1"], "validation": ["A/1"], "test": ["C/1", "C/2"]},
}


@pytest.mark.parametrize(
    "trained, split, part, message",
    [
        (("vinyals", ""), "vinyals", "test", None),
        (("vinyals", ""), "background", "test", None),
        (
            ("vinyals", ""),
            "random",
            "test",
            "trained on 1 of the 3 characters of the test part of split random",
        ),
        (("vinyals", "a"), "random", "test", "trained on 2 of the 3 characters"),
        (("vinyals", ""), "random", "train", None),
        (("vinyals", ""), "vinyals", "validation", None),
        (("vinyals", "a"), "vinyals", "validation", "trained on the validation classes too"),
    ],
)
def test_characters_that_were_trained_on_are_refused(monkeypatch, trained, split, part, message):
    monkeypatch.setattr(evaluate, "find_omniglot", lambda root, name, seed: Division({}, PARTS[name]))
    dataset = {"dataset": "omniglot", "split": trained[0], "trainval": trained[1], "seed": 0}
    data = DataOptions(dataset="omniglot", split=split)
    with pytest.raises(UsageError, match=message) if message else contextlib.nullcontext():
        evaluate.check_unseen(data, dataset, EvaluateOptions(part=part))
