"""The Omniglot challenge, against slow versions of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import RunError, UsageError
from q2_protonet import evaluate, lake_difference, omniglot_files
from q2_protonet.challenge import LakeRun, WithinAlphabetSampler, lake_row, read_runs, within_alphabet_row
from q2_protonet.measures import embed, run_episodes
from q2_protonet.omniglot_dataset import Characters, synthetic_characters
from q2_protonet.options import DataOptions
from q2_protonet.protonet import ProtoNet


@pytest.fixture(scope="module")
def alphabets():
    """Three alphabets of 4, 6 and 2 characters, 5 drawings each."""
    part = synthetic_characters(0, 12, 5)
    sizes = {"A": 4, "B": 6, "C": 2}
    part.names = [f"{name}/character{i}" for name, size in sizes.items() for i in range(size)]
    return part


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ProtoNet(8).eval()


def errs(model, support, query):
    """The share of queries whose nearest support image is not the one of the same row, one at a time."""
    support, query = embed(model, support), embed(model, query)
    wrong = 0
    for row, own in enumerate(query):
        distances = [float(((own - other) ** 2).sum()) for other in support]
        wrong += distances.index(min(distances)) != row
    return wrong / len(query)


def test_episodes_within_an_alphabet(alphabets, model):
    sampler = WithinAlphabetSampler(alphabets, torch.Generator().manual_seed(1), way=4)
    classes, drawings = sampler.sample(300)
    seen = set()
    for episode in range(300):
        names = [alphabets.names[i] for i in classes[episode].flatten()]
        assert len(set(names)) == 4 and len({name[0] for name in names}) == 1
        (support, query), *others = drawings[episode].tolist()
        assert support != query and all(pair == [support, query] for pair in others)
        seen |= {(names[0][0], support, query)}
    assert len(seen) == 2 * 5 * 4  # both alphabets that are large enough, every pair of people

    sampler.generator.manual_seed(2)
    _, accuracies = run_episodes(embed(model, alphabets.images), sampler, 20)
    sampler.generator.manual_seed(2)
    for accuracy, rows, columns in zip(accuracies, *sampler.sample(20)):
        support, query = alphabets.images[rows, columns].unbind(1)
        assert 1 - float(accuracy) == pytest.approx(errs(model, support, query))


def test_the_row_of_sampled_episodes(alphabets, model):
    large = Characters(alphabets.images.repeat(2, 1, 1, 1), alphabets.counts.repeat(2), ["A/x"] * 24)
    row = within_alphabet_row(model, large, 30, 0)
    assert 0 < row["value"] < 100
    assert row["interval"] > 0
    assert row["count"] == "30 episodes in 1 alphabets"


def test_alphabets_that_are_too_small_are_refused(alphabets, model):
    with pytest.raises(UsageError, match="no alphabet here has 20 characters; the largest has 6"):
        within_alphabet_row(model, alphabets, 30, 0)


def test_a_network_that_has_seen_the_evaluation_alphabets_is_refused():
    trained = vars(DataOptions())
    with pytest.raises(UsageError, match="--split background"):
        evaluate.choose_data(trained, evaluate.Options(within_alphabet=True, split="background"))


def test_the_challenge_leaves_out_rotations():
    trained = vars(DataOptions(split="background"))
    data = evaluate.choose_data(trained, evaluate.Options(within_alphabet=True))
    assert data.split == "background"
    assert data.no_rotations


def test_data_that_moved(tmp_path):
    trained = vars(DataOptions()) | {"dataset": "folder", "folder": str(tmp_path / "before")}
    with pytest.raises(UsageError, match="no longer in .*before: give their place with --folder"):
        evaluate.choose_data(trained, evaluate.Options())
    assert evaluate.choose_data(trained, evaluate.Options(folder=tmp_path)).folder == tmp_path


@pytest.fixture(scope="module")
def lake_runs(alphabets, model, tmp_path_factory):
    """A folder of 20 runs of four characters, and how many of its queries a loop gets wrong."""
    folder = tmp_path_factory.mktemp("lake")
    wrong = 0
    for number in range(1, 21):
        run = f"run{number:02d}"
        order = np.random.default_rng(number).permutation(4).tolist()
        lines = []
        for item, row in enumerate(order):
            lines.append(f"{run}/test/item{item}.png {run}/training/class{row}.png")
            for path, column in zip(lines[-1].split(), (0, 1)):
                image = Image.fromarray(255 - alphabets.images[number % 8 + row, column].numpy())
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                image.save(folder / path)
        (folder / run / "class_labels.txt").write_text("\n".join(lines) + "\n")
        rows = [number % 8 + row for row in order]
        wrong += round(4 * errs(model, alphabets.images[rows, 1], alphabets.images[rows, 0]))
    return folder, wrong


def test_lakes_runs_are_measured_as_a_loop_would(lake_runs, model):
    folder, wrong = lake_runs
    row = lake_row(model, read_runs(folder), torch.device("cpu"), shifts=1)
    assert row["value"] == pytest.approx(100 * wrong / 80, abs=0.01)
    assert row["trials"] == 80
    assert row["shifts"] == 1
    low, high = row["interval"]
    assert low < row["value"] < high


def test_a_missing_run_of_lakes_is_named(lake_runs):
    folder, _ = lake_runs
    labels = folder / "run07" / "class_labels.txt"
    text = labels.read_text()
    labels.unlink()
    with pytest.raises(RunError, match="run07.*is missing"):
        read_runs(folder)
    labels.write_text(text)


# Why Lake's runs are easier ---------------------------------------------------------------------------------


@pytest.fixture
def run_of_b(alphabets):
    """A run of four characters of alphabet B, the support by person 3 and the queries by person 1."""
    rows = torch.tensor([9, 4, 6, 7])
    return LakeRun(alphabets.images[rows, 3], alphabets.images[rows, 1]), rows


def test_a_runs_drawings_are_found(alphabets, run_of_b):
    run, rows = run_of_b
    [origin] = lake_difference.find_origins([run], alphabets)
    assert origin.characters.tolist() == rows.tolist()
    assert origin.alphabet.tolist() == [4, 5, 6, 7, 8, 9]
    assert origin.people == (3, 1)


def test_a_run_of_other_drawings_is_refused(alphabets, run_of_b):
    run, _ = run_of_b
    with pytest.raises(RunError, match="not among those of the evaluation alphabets"):
        lake_difference.find_origins([LakeRun(run.support, 255 - run.query)], alphabets)
    with pytest.raises(RunError, match="several people drew one side"):
        mixed = torch.cat([run.query[:2], alphabets.images[[6, 7], 2]])
        lake_difference.find_origins([LakeRun(run.support, mixed)], alphabets)


def test_the_runs_as_they_are_err_as_a_loop_would_and_the_others_vary(alphabets, model, run_of_b):
    run, _ = run_of_b
    [origin] = lake_difference.find_origins([run], alphabets)
    rows = lake_difference.compare(embed(model, alphabets.images), [origin], 40, seed=0)
    assert [row["name"] for row in rows] == [
        "the runs as they are",
        "other characters",
        "other people",
        "other characters and people",
    ]
    assert rows[0]["value"] == pytest.approx(100 * errs(model, *run))
    assert rows[0]["count"] == "1 runs, 1 episodes each"
    assert all(row["count"] == "1 runs, 40 episodes each" for row in rows[1:])


def test_other_people_are_never_those_of_the_run():
    origin = lake_difference.Origin(torch.arange(2), torch.arange(3), people=(0, 3))
    draws = torch.Generator().manual_seed(0)
    drawn = {lake_difference.draw_people(origin, 5, draws) for _ in range(100)}
    assert drawn == {(a, b) for a in (1, 2, 4) for b in (1, 2, 4) if a != b}


def test_the_background_split_keeps_alphabets_whole(tmp_path, monkeypatch):
    names = {"images_background": ("Greek", "Latin", "Korean"), "images_evaluation": ("Angelic",)}
    for archive, inside in names.items():
        for name in inside:
            folder = tmp_path / "omniglot-py" / archive / name / "character01"
            folder.mkdir(parents=True)
            Image.new("L", (9, 9)).save(folder / "01.png")
    monkeypatch.setattr(omniglot_files, "unpacked", lambda url, packed, *_: packed.with_suffix(""))
    division = omniglot_files.find_omniglot(tmp_path, "background", 0)
    found = {part: {name.split("/")[0] for name in names} for part, names in division.parts.items()}
    assert found == {"train": {"Latin", "Korean"}, "validation": {"Greek"}, "test": {"Angelic"}}
