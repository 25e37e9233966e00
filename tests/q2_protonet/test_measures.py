"""The Omniglot challenge, accuracy over episodes, and --unknown, against slow versions of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from common.runtime import RunError, UsageError
from q2_protonet import evaluate, measures, splits
from q2_protonet.measures import calibrate_unknown, embed, lake_row, run_episodes, unknown_rows
from q2_protonet.omniglot_dataset import Characters, make_synthetic, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler, WithinAlphabetSampler
from q2_protonet.prototypical_loss import prototypical_loss
from q2_protonet.splits import DataOptions


@pytest.fixture(scope="module")
def alphabets():
    """Three alphabets of 4, 6 and 2 characters, 5 drawings each."""
    part = make_synthetic(0, 12, 5)
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


def test_the_row_and_what_is_refused(alphabets, model):
    large = Characters(alphabets.images.repeat(2, 1, 1, 1), alphabets.counts.repeat(2), ["A/x"] * 24)
    row = measures.within_alphabet_row(model, large, 30, 0)
    assert 0 < row["value"] < 100 and row["interval"] > 0 and row["count"] == "30 episodes in 1 alphabets"
    with pytest.raises(UsageError, match="no alphabet here has 20 characters; the largest has 6"):
        measures.within_alphabet_row(model, alphabets, 30, 0)
    trained = vars(DataOptions()) | {"folder": None}
    with pytest.raises(UsageError, match="--split background"):
        evaluate.data_options(trained, evaluate.Options(within_alphabet=True, split="background"))
    data = evaluate.data_options(trained | {"split": "background"}, evaluate.Options(within_alphabet=True))
    assert data.split == "background" and data.no_rotations


def test_data_that_moved(tmp_path):
    trained = vars(DataOptions()) | {"dataset": "folder", "folder": str(tmp_path / "before")}
    with pytest.raises(UsageError, match="no longer in .*before: give their place with --folder"):
        evaluate.data_options(trained, evaluate.Options())
    assert evaluate.data_options(trained, evaluate.Options(folder=tmp_path)).folder == tmp_path


def test_lakes_runs(alphabets, model, tmp_path):
    errors = []
    for number in range(1, 21):
        run, lines = f"run{number:02d}", []
        order = np.random.default_rng(number).permutation(4).tolist()
        for item, row in enumerate(order):
            lines.append(f"{run}/test/item{item}.png {run}/training/class{row}.png")
            for path, column in zip(lines[-1].split(), (0, 1)):
                image = Image.fromarray(255 - alphabets.images[number % 8 + row, column].numpy())
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                image.save(tmp_path / path)
        (tmp_path / run / "class_labels.txt").write_text("\n".join(lines) + "\n")
        rows = [number % 8 + row for row in order]
        errors.append(100 * errs(model, alphabets.images[rows, 1], alphabets.images[rows, 0]))
    row = lake_row(model, tmp_path, torch.device("cpu"))
    assert row["value"] == pytest.approx(np.mean(errors), abs=1e-3) and row["count"] == "20 runs"
    assert row["interval"] == pytest.approx(1.96 * np.std(errors, ddof=1) / 20**0.5, abs=1e-3)
    (tmp_path / "run07" / "class_labels.txt").unlink()
    with pytest.raises(RunError, match="run07"):
        lake_row(model, tmp_path, torch.device("cpu"))


def test_the_background_split_keeps_alphabets_whole(alphabets, tmp_path, monkeypatch):
    names = {"images_background": ("Greek", "Latin", "Korean"), "images_evaluation": ("Angelic",)}
    for archive, inside in names.items():
        for name in inside:
            folder = tmp_path / archive / name / "character01"
            folder.mkdir(parents=True)
            Image.fromarray(255 - alphabets.images[len(name), 0].numpy()).save(folder / "01.png")
    monkeypatch.setattr(splits, "unpacked", lambda folder, name: tmp_path / name)
    parts = splits.load(tmp_path, DataOptions(split="background", no_rotations=True))
    found = {part: {name.split("/")[0] for name in parts[part].names} for part in parts}
    assert found == {"train": {"Latin", "Korean"}, "validation": {"Greek"}, "test": {"Angelic"}}


def test_embedding_once_equals_a_forward_pass_an_episode(alphabets):
    torch.manual_seed(0)
    part, model = alphabets, ProtoNet()
    model(prepare(part.images))  # some statistics for BatchNorm
    sampler = PrototypicalBatchSampler(part, 5, 2, 3, torch.Generator().manual_seed(3))
    loss, accuracies = run_episodes(embed(model, part.images), sampler, 4)
    sampler.generator.manual_seed(3)
    classes, drawings = sampler.sample(4)
    with torch.no_grad():
        episodes = [model(prepare(part.images[c, d])).unflatten(0, (5, 5)) for c, d in zip(classes, drawings)]
        each = [prototypical_loss(episode, 2) for episode in episodes]
    assert accuracies.tolist() == [accuracy.item() for _, accuracy in each]
    assert loss == pytest.approx(sum(value.item() for value, _ in each) / 4, rel=1e-5)


def test_unknown_is_calibrated_and_measured_as_a_loop_would():
    embeddings = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([6, 5, 2, 1, 6, 6, 6])
    distances = []
    for rows, count in zip(embeddings, counts.tolist()):
        for i in range(count if count > 1 else 0):
            others = [rows[j] for j in range(count) if j != i]
            prototype = sum(others) / len(others)
            distances.append(float(((rows[i] - prototype) ** 2).sum()) / (1 + 1 / len(others)))
    assert calibrate_unknown(embeddings, counts) == pytest.approx(np.quantile(distances, 0.95), rel=1e-5)

    part = Characters(None, torch.full((7,), 6), list("abcdefg"))
    sampler = PrototypicalBatchSampler(part, 4, 2, 3, torch.Generator().manual_seed(1))
    limit, errors = 4.0, []
    own, other = unknown_rows(embeddings, sampler, 30, limit)
    sampler.generator.manual_seed(1)
    for _ in range(30):
        (rows,), (columns,) = sampler.sample(1)
        episode = embeddings[rows, columns]  # (4, 5, 5)
        prototypes = [episode[i, :2].mean(0) for i in range(3)]
        far = [[all(((q - p) ** 2).sum() > limit * 1.5 for p in prototypes) for q in r[2:]] for r in episode]
        errors.append((np.mean(far[:3]), 1 - np.mean(far[3])))
    assert (own["value"], other["value"]) == pytest.approx(100 * np.mean(errors, 0), abs=1e-3)
