import json

import numpy as np
import pytest
import torch

from common.device import Runtime
from common.errors import RunError
from common.labelled_images import LabelledImages
from q1_dcgan import classifier as judge_module
from q1_dcgan import measures
from q1_dcgan.classifier import LEAST_ACCURACY, Classifier, four_ways_up, judge, trained_classifier
from q1_dcgan.dcgan import Generator
from q1_dcgan.measures import Reference, frechet_distance, measure
from q1_dcgan.mnist_dataset import prepare, to_uint8
from q1_dcgan.painter import generate
from q1_dcgan.synthetic import draw_digits
from tests.conftest import ROOT

CPU = Runtime(torch.device("cpu"))


def plain_frechet(one, other):
    """The closed form with NumPy: the trace of (C1 C2)^(1/2) from the eigenvalues of C1 C2."""
    one = one.double().numpy()
    other = other.double().numpy()
    c1 = np.cov(one, rowvar=False)
    c2 = np.cov(other, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    return ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * root


def test_frechet_distance_against_the_closed_form_and_by_hand():
    torch.manual_seed(0)
    one = torch.randn(500, 6) @ torch.randn(6, 6)
    other = torch.randn(400, 6) * 2 + 1
    assert frechet_distance(one, other) == pytest.approx(plain_frechet(one, other), rel=1e-4)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-3)
    moved = frechet_distance(one, one + 3)  # of equal shape, by 3 in six dimensions
    assert moved == pytest.approx(6 * 9, rel=1e-3)


def test_frechet_distance_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.manual_seed(0)
    one = (torch.randn(300, 16) @ torch.randn(16, 16)).relu()
    other = (torch.randn(200, 16) @ torch.randn(16, 16)).relu()
    features = torch.nn.Identity()
    features.num_features = 16
    theirs = FrechetInceptionDistance(feature=features).set_dtype(torch.float64)
    theirs.update(one.double(), real=True)
    theirs.update(other.double(), real=False)
    assert frechet_distance(one, other) == pytest.approx(float(theirs.compute()), rel=1e-9)


@pytest.fixture(scope="module")
def digits():
    return {"train": draw_digits(1500, 0), "test": draw_digits(500, 1)}


@pytest.fixture(scope="module")
def judged(digits, tmp_path_factory):
    """A judge trained for six epochs, and the data root its weights are kept in."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_module, "EPOCHS", 6)
        return Reference.make(digits, "synthetic", 28, root, CPU), root


def test_the_judge_is_checked(judged, digits):
    reference, _ = judged
    probabilities = judge(reference.classifier, digits["test"].images)[1]
    right = (probabilities.argmax(1) == digits["test"].labels).float().mean()
    assert float(right) == reference.facts["test_accuracy"] > 0.8


def test_the_judge_is_cached(judged, digits, monkeypatch):
    reference, root = judged
    monkeypatch.setattr(judge_module, "train_judge", lambda *_: pytest.fail("the cache was not used"))
    again, facts = trained_classifier(digits, root, CPU)
    assert facts == reference.facts
    assert torch.equal(judge(again, digits["test"].images)[0], reference.test_features)


def test_a_damaged_judge_is_trained_again_to_the_same_bits(judged, digits, monkeypatch):
    reference, root = judged
    (cache,) = (root / "cache").glob("*.pt")
    cache.write_bytes(cache.read_bytes()[:-1000])
    monkeypatch.setattr(judge_module, "EPOCHS", 6)
    torch.manual_seed(99)  # the recipe's seed is its own
    assert trained_classifier(digits, root, CPU)[1] == reference.facts


def test_a_poor_judge_is_refused(digits, tmp_path):
    few = {part: pictures[:64] for part, pictures in digits.items()}
    with pytest.raises(RunError, match="less than 100.00%"):
        trained_classifier(few, tmp_path, CPU, least=1.0)
    assert not list(tmp_path.rglob("*.pt"))


def test_the_judge_of_the_official_runs_is_good_enough():
    configs = [json.loads(file.read_text()) for file in (ROOT / "logs/q1_dcgan").glob("mnist*/config.json")]
    assert configs
    assert all(config["classifier"]["test_accuracy"] >= LEAST_ACCURACY for config in configs)


def test_real_pictures_measure_as_real(judged, digits):
    reference, _ = judged
    test = digits["test"]
    figures = reference.measure(test.images, test.labels)
    assert figures["frechet_distance"] == pytest.approx(0, abs=1e-2)
    assert figures["label_accuracy"] == pytest.approx(reference.facts["test_accuracy"])
    parts = [figures[f"label_accuracy_{c}"] * (test.labels == c).sum().item() for c in range(10)]
    assert sum(parts) / 500 == pytest.approx(figures["label_accuracy"])


def test_noise_is_farther_away_than_real_pictures(judged):
    reference, _ = judged
    noise = reference.measure(torch.randint(0, 256, (500, 28, 28), dtype=torch.uint8), None)
    floor = reference.floor(500, 0)
    assert 0 < floor["value"] < noise["frechet_distance"] / 5
    assert floor["count"] == "500 real pictures"
    assert "label_accuracy" not in noise


def test_a_single_test_picture_is_refused_before_it_is_measured(digits, tmp_path):
    """Its features have no covariance, and LAPACK ends the process on one of NaN."""
    parts = {"train": digits["train"], "test": digits["test"][:1]}
    with pytest.raises(RunError, match="the test part of folder has 1 picture: samples are compared"):
        Reference.make(parts, "folder", 28, tmp_path, CPU)


def test_fewer_samples_than_classes_have_no_accuracy_of_the_others(judged, digits):
    reference, _ = judged
    three = digits["test"][:3]
    figures = reference.measure(three.images, three.labels)
    per_class = [name for name in figures if name.startswith("label_accuracy_")]
    assert sorted(per_class) == sorted(f"label_accuracy_{c}" for c in set(three.labels.tolist()))


def test_class_figures_by_hand(monkeypatch):
    class Reader:
        classes = 4

    probabilities = torch.eye(4)[torch.tensor([0, 0, 0, 1, 1, 2, 3, 3])] * 0.8 + 0.05
    monkeypatch.setattr("q1_dcgan.measures.judge", lambda *_: (torch.randn(8, 2), probabilities))
    monkeypatch.setattr("q1_dcgan.measures.frechet_distance", lambda *_: 5.0)
    figures = measure(Reader(), None, torch.zeros(8, 28, 28), torch.tensor([0, 0, 1, 1, 1, 2, 3, 0]))
    shares = np.array([3, 2, 1, 2]) / 8
    assert figures["kl_to_uniform"] == pytest.approx((shares * np.log(shares * 4)).sum())
    assert (figures["rarest_class"], figures["commonest_class"]) == (0.5, 1.5)
    assert figures["confidence"] == pytest.approx(0.85)
    assert (figures["label_accuracy"], figures["label_accuracy_0"]) == (6 / 8, 2 / 3)
    floor = {"name": "floor", "value": 1.0, "count": "3 real pictures"}
    rows = measures.as_rows(figures, floor, 8, "x")
    assert rows[-1]["interval"] == [40.93, 92.85]  # Wilson, 6 of 8
    assert [row["count"] for row in rows[:3]] == ["8 samples, x", "3 real pictures", "8 samples, x"]


def test_nearest_neighbours_against_a_loop():
    known = draw_digits(300, 0)
    test = draw_digits(90, 1)
    index, distance = measures.nearest(test.images, known.images, batch=40)
    for i, image in enumerate(test.images.double()):
        distances = [float((image - other).square().mean() ** 0.5) for other in known.images.double()]
        closest = distances.index(min(distances))
        assert index[i] == closest
        assert distance[i].item() == pytest.approx(distances[closest], abs=1e-3)


def test_a_picture_is_nearest_to_itself():
    known = draw_digits(300, 0)
    index, distance = measures.nearest(known.images, known.images)
    assert torch.equal(known.images[index], known.images)
    assert not distance.any()


def test_nearest_neighbour_errors_count_wrong_labels():
    known = draw_digits(300, 0)
    test = draw_digits(90, 1)
    wrong = int((known.labels[measures.nearest(test.images, known.images)[0]] != test.labels).sum())
    parts = {"train": known, "test": test}
    ours, real = measures.nearest_neighbour_rows(Generator(8, 10, base_channels=4), parts, 300, 0, "epoch 1")
    assert 0 < real["value"] == round(100 * wrong / 90, 2) < ours["value"]
    assert ours["count"] == "300 samples known, epoch 1"
    assert real["count"] == "300 real pictures known"


def test_samples_are_the_seeds_and_labels_are_even():
    generator = Generator(8, 10)
    images, labels = measures.sample(generator, 40, 3, torch.device("cpu"))
    assert torch.equal(images, measures.sample(generator, 40, 3, torch.device("cpu"))[0])
    assert not torch.equal(images, measures.sample(generator, 40, 4, torch.device("cpu"))[0])
    assert (images.shape, images.dtype) == ((40, 28, 28), torch.uint8)
    assert torch.bincount(labels).tolist() == [4] * 10
    assert generator.training


def test_pictures_without_classes_are_judged_by_which_way_up_they_are():
    train = LabelledImages(
        torch.randint(0, 256, (12, 28, 28, 3), dtype=torch.uint8), torch.zeros(12).long(), []
    )
    turned = four_ways_up(train)
    assert turned.labels.bincount().tolist() == [12] * 4
    assert torch.equal(turned.images[12 * 3], train.images[0].rot90(3, (0, 1)))
    classifier = Classifier(0, 3)
    features, probabilities = judge(classifier, turned.images)
    assert probabilities.shape == (48, 4)
    assert list(measure(classifier, features, train.images.repeat(20, 1, 1, 1), None)) == ["frechet_distance"]


def test_colour_samples():
    images = generate(Generator(8, channels=3, base_channels=4), torch.randn(2, 8))
    assert images.shape == (2, 28, 28, 3)


def test_reality_is_measured_as_samples_of_its_size_are():
    pictures = draw_digits(20, 0)
    assert measures.as_sampled(pictures, 28) is pictures
    seen = measures.as_sampled(pictures, 64, batch=7)
    assert torch.equal(seen.images, to_uint8(prepare(pictures.images, 64)))
    assert 0 < (seen.images.float() - pictures.images.float()).abs().mean() < 10
