import json

import numpy as np
import pytest
import torch
from PIL import Image

from common.runtime import RunError, Runtime, UsageError
from q1_dcgan import classifier as judge_module
from q1_dcgan import figures, measures
from q1_dcgan.classifier import LEAST_ACCURACY, Classifier, judge, trained_classifier
from q1_dcgan.dcgan import Generator
from q1_dcgan.measures import frechet_distance, generate, measure
from q1_dcgan.mnist_dataset import DataOptions, draw_digits, load, prepare, to_uint8
from q1_dcgan.paper import CURVES
from tests.conftest import DATA_ROOT, ROOT

CPU = Runtime(torch.device("cpu"), "fp32")


def plain_frechet(one, other):
    """The closed form with NumPy: the trace of (C1 C2)^(1/2) from the eigenvalues of C1 C2."""
    one, other = one.double().numpy(), other.double().numpy()
    c1, c2 = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = np.sqrt(np.linalg.eigvals(c1 @ c2).astype(complex)).real.sum()
    return ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * root


def test_frechet_distance_against_the_closed_form_and_by_hand():
    torch.manual_seed(0)
    one, other = torch.randn(500, 6) @ torch.randn(6, 6), torch.randn(400, 6) * 2 + 1
    assert frechet_distance(one, other) == pytest.approx(plain_frechet(one, other), rel=1e-4)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-3)
    moved = frechet_distance(one, one + 3)  # of equal shape, by 3 in six dimensions
    assert moved == pytest.approx(6 * 9, rel=1e-3)


@pytest.fixture(scope="module")
def digits():
    return {"train": draw_digits(1500, 0), "test": draw_digits(500, 1)}


@pytest.fixture(scope="module")
def judged(digits, tmp_path_factory):
    """A judge trained for six epochs, and the data root its weights are kept in."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_module, "EPOCHS", 6)
        return *trained_classifier(digits, root, CPU), root


def test_classifier_is_pinned_cached_and_checked(judged, digits, monkeypatch):
    classifier, facts, root = judged
    features, probabilities = judge(classifier, digits["test"].images)
    right = (probabilities.argmax(1) == digits["test"].labels).float().mean()
    assert float(right) == facts["test_accuracy"] > 0.8
    with monkeypatch.context() as patch:
        patch.setattr(judge_module, "fit", lambda *_: pytest.fail("the cache was not used"))
        torch.manual_seed(99)  # the recipe's seed is its own
        again, facts_again = trained_classifier(digits, root, CPU)
    assert facts_again == facts and torch.equal(judge(again, digits["test"].images)[0], features)
    (cache,) = (root / "cache").glob("*.pt")
    cache.write_bytes(cache.read_bytes()[:-1000])
    monkeypatch.setattr(judge_module, "EPOCHS", 6)
    assert trained_classifier(digits, root, CPU)[1] == facts  # trained again, to the same bits


def test_real_pictures_measure_as_real(judged, digits):
    classifier, facts, _ = judged
    test = digits["test"]
    features = judge(classifier, test.images)[0]
    figures = measure(classifier, features, test.images, test.labels)
    assert figures["frechet_distance"] == pytest.approx(0, abs=1e-2)
    assert figures["label_accuracy"] == pytest.approx(facts["test_accuracy"])
    parts = [figures[f"label_accuracy_{c}"] * (test.labels == c).sum().item() for c in range(10)]
    assert sum(parts) / 500 == pytest.approx(figures["label_accuracy"])
    least = measures.floor(classifier, digits["train"], features, 500, 0)
    noise = measure(classifier, features, torch.randint(0, 256, (500, 28, 28), dtype=torch.uint8), None)
    assert 0 < least < noise["frechet_distance"] / 5 and "label_accuracy" not in noise


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
    assert measures.as_rows(figures, 1.0, 8, "x")[-1]["interval"] == [40.93, 92.85]  # Wilson, 6 of 8


def test_nearest_neighbours_against_a_loop():
    known, test = draw_digits(300, 0), draw_digits(90, 1)
    wrong, (index, distance) = 0, measures.nearest(test.images, known.images, batch=40)
    for i, (image, label) in enumerate(zip(test.images.double(), test.labels)):
        distances = [float((image - other).square().mean() ** 0.5) for other in known.images.double()]
        closest = distances.index(min(distances))
        assert index[i] == closest and distance[i].item() == pytest.approx(distances[closest], abs=1e-3)
        wrong += int(known.labels[closest] != label)
    index, distance = measures.nearest(known.images, known.images)
    assert torch.equal(known.images[index], known.images) and not distance.any()
    parts = {"train": known, "test": test}
    ours, real = measures.nearest_neighbour_rows(Generator(8, 10, base_channels=4), parts, 300, 0, "epoch 1")
    assert 0 < real["value"] == round(100 * wrong / 90, 2) < ours["value"]
    assert ours["count"] == "300 samples known, epoch 1" and real["count"] == "300 real pictures known"


def test_samples_are_the_seeds_and_labels_are_even():
    generator = Generator(8, 10)
    images, labels = measures.sample(generator, 40, 3, torch.device("cpu"))
    again, _ = measures.sample(generator, 40, 3, torch.device("cpu"))
    other, _ = measures.sample(generator, 40, 4, torch.device("cpu"))
    assert torch.equal(images, again) and not torch.equal(images, other)
    assert images.shape == (40, 28, 28) and images.dtype == torch.uint8 and generator.training
    assert torch.bincount(labels).tolist() == [4] * 10


def test_uint8_and_back():
    images = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].view(1, 28, 28)
    assert torch.equal(to_uint8(prepare(images)), images)
    assert prepare(images).min() == -1 and prepare(images).max() == 1
    assert prepare(images, 64).shape == (1, 1, 64, 64)


def test_synthetic_digits_are_seeded_and_of_all_classes():
    one, two, other = draw_digits(200, 0), draw_digits(200, 0), draw_digits(200, 1)
    assert torch.equal(one.images, two.images) and not torch.equal(one.images, other.images)
    assert one.labels.unique().tolist() == list(range(10))
    assert (one.images.flatten(1).max(1).values > 150).all()


def test_folder(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(7):
            Image.fromarray(np.full((32, 32), 10 * i, np.uint8)).save(tmp_path / name / f"{i}.png")
    parts = load(tmp_path, DataOptions("folder", tmp_path))
    assert len(parts["train"]) == 12 and len(parts["test"]) == 2 and parts["train"].names == ["a", "b"]
    inverted = load(tmp_path, DataOptions("folder", tmp_path, invert=True))
    assert torch.equal(inverted["test"].images, 255 - parts["test"].images)
    for i in range(7):  # 16 bits a pixel mean the same greys
        Image.fromarray(np.full((32, 32), 257 * 10 * i, np.uint16)).save(tmp_path / "a" / f"{i}.png")
    again = load(tmp_path, DataOptions("folder", tmp_path))
    assert torch.equal(again["train"].images, parts["train"].images)
    Image.new("L", (64, 64), 60).save(tmp_path / "a" / "6.png")  # another size of the same shape
    again = load(tmp_path, DataOptions("folder", tmp_path))
    assert torch.equal(again["train"].images, parts["train"].images)
    Image.new("L", (20, 32)).save(tmp_path / "a" / "9.png")
    with pytest.raises(UsageError, match="must have one size.*9.png"):
        load(tmp_path, DataOptions("folder", tmp_path))
    (tmp_path / "a" / "9.png").write_bytes(b"no")
    with pytest.raises(RunError, match="9.png cannot be read"):
        load(tmp_path, DataOptions("folder", tmp_path))
    with pytest.raises(UsageError, match="needs --folder"):
        load(tmp_path, DataOptions("folder"))


def test_a_folder_keeps_the_shares_of_its_classes_in_natural_order(tmp_path):
    counts = {str(name): 28 if name == 2 else 7 for name in range(12)}
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (28, 28), int(name)).save(tmp_path / name / f"{i}.png")
    parts = load(tmp_path, DataOptions("folder", tmp_path), seed=3)
    assert parts["test"].names == list(counts)
    shares = {part: torch.bincount(pictures.labels).tolist() for part, pictures in parts.items()}
    assert shares["test"] == [count // 7 for count in counts.values()]
    assert shares["train"] == [6 * count // 7 for count in counts.values()]
    for pictures in parts.values():  # each picture keeps its label
        assert torch.equal(pictures.images[:, 0, 0].long(), pictures.labels)


def test_colour_and_a_folder_without_classes(tmp_path):
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (28, 28, 3), np.uint8) for _ in range(14)]
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    parts = load(tmp_path, DataOptions("folder", tmp_path, channels=3))
    train, test = parts["train"], parts["test"]
    assert (len(train), len(test), train.names) == (12, 2, [])
    read = {image.numpy().tobytes() for part in parts.values() for image in part.images}
    assert read == {image.tobytes() for image in pixels} and prepare(train.images).shape == (12, 3, 28, 28)
    assert torch.equal(to_uint8(prepare(train.images)), train.images)
    assert generate(Generator(8, channels=3, base_channels=4), torch.randn(2, 8)).shape == (2, 28, 28, 3)
    turned = judge_module.four_ways_up(train)  # what its judge learns to tell apart
    assert len(turned) == 48 and turned.labels.bincount().tolist() == [12] * 4
    assert torch.equal(turned.images[12 * 3], train.images[0].rot90(3, (0, 1)))
    judge_of_all = Classifier(0, 3)
    features, probabilities = judge(judge_of_all, turned.images)
    assert probabilities.shape == (48, 4)
    measured = measure(judge_of_all, features, test.images.repeat(60, 1, 1, 1), None)
    assert list(measured) == ["frechet_distance"]


@pytest.mark.parametrize("error, said", [(OSError("no network"), "no network"), (ValueError(), "ValueError")])
def test_mnist_missing_without_network(tmp_path, monkeypatch, error, said):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    with pytest.raises(RunError, match=rf"(?s)\({said}\).*--dataset synthetic.*train-images-idx3-ubyte.gz"):
        load(tmp_path, DataOptions("mnist"))


def test_real_mnist():
    if not (DATA_ROOT / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST is not in {DATA_ROOT / 'MNIST' / 'raw'}")
    parts = load(DATA_ROOT, DataOptions("mnist"))
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(parts["test"].labels).tolist() == counts
    assert parts["train"].names == [str(i) for i in range(10)]
    torch.manual_seed(0)
    classifier = Classifier()
    features = judge(classifier, parts["test"].images[:2000])[0]
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-2)


def test_the_judge_of_the_official_runs_is_good_enough():
    configs = [json.loads(file.read_text()) for file in (ROOT / "logs/q1_dcgan").glob("mnist*/config.json")]
    assert configs and all(config["classifier"]["test_accuracy"] >= LEAST_ACCURACY for config in configs)


def test_a_poor_judge_is_refused(digits, tmp_path):
    few = {part: pictures[:64] for part, pictures in digits.items()}
    with pytest.raises(RunError, match="less than 100.00%"):
        trained_classifier(few, tmp_path, CPU, least=1.0)
    assert not list(tmp_path.rglob("*.pt"))


def test_reality_is_measured_as_samples_of_its_size_are():
    pictures = draw_digits(20, 0)
    assert measures.as_sampled(pictures, 28) is pictures
    seen = measures.as_sampled(pictures, 64, batch=7)
    assert torch.equal(seen.images, to_uint8(prepare(pictures.images, 64))) and seen.names == pictures.names
    assert 0 < (seen.images.float() - pictures.images.float()).abs().mean() < 10


def test_names_of_the_classes_of_any_checkpoint():
    def names(dataset, count, **facts):
        trained = {"architecture": {"classes": count}, "options": {"dataset": dataset}}
        return measures.class_names(trained | {"facts": facts})

    assert names("folder", 2, classes=["a", "b"]) == ["a", "b"]
    assert names("folder", 0, classes=["a", "b"]) == []  # unconditional
    assert names("mnist", 10) == [str(digit) for digit in range(10)] and names("folder", 3) == ["0", "1", "2"]
    assert names("fashion_mnist", 10)[-1] == "Ankle boot"


def test_curves_show_the_measures_under_plain_names(monkeypatch, tmp_path):
    canvases, metrics = [], ROOT / "logs/q1_dcgan/mnist/metrics.csv"
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: canvases.append(canvas))
    figures.plots.curves(metrics, tmp_path / "curves.png", "DCGAN", panels=CURVES)
    axes = canvases[0].axes
    assert [(axis.get_xlabel(), axis.get_ylabel()) for axis in axes] == [("epoch", name) for name in CURVES]
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes[1:]]
    assert legends == [["commonest class", "rarest class"], ["mean confidence"]]
    assert axes[0].lines[0].get_ydata()[0] == 97.5125 and axes[2].lines[0].get_ydata()[0] == 84.4653


@pytest.mark.parametrize("count", [60, 200])
def test_many_classes_stay_legible(monkeypatch, tmp_path, count):
    """Ticks do not overlap and the titles are inside of the figure, in classes.png and samples.png."""
    names, drawn = [f"a class called {i}" for i in range(count)], []

    def save(canvas, path):
        drawn.append(canvas)
        return plots_save(canvas, path)

    plots_save = figures.plots.save
    monkeypatch.setattr(figures.plots, "save", save)
    probabilities = torch.rand(1000, count, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(figures, "judge", lambda *_: (None, probabilities))
    figures.plot_histogram(torch.zeros(1000, 28, 28), None, names, tmp_path / "classes.png")
    rows = min(count, figures.MOST_ROWS)
    figures.write_sheet(torch.zeros(8 * rows, 28, 28), tmp_path / "samples/epoch_001.png")
    config = {"classes": names, "options": {"conditional": True}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    figures.plot_samples(tmp_path, tmp_path, "Conditional DCGAN, fashion_mnist, 28 pixels, seed 0")
    for canvas, axis, side in zip(drawn, ("xaxis", "yaxis"), ((0, 2), (1, 3))):
        labels = getattr(canvas.axes[0], axis).get_ticklabels()
        edges = sorted(label.get_window_extent().extents[list(side)].tolist() for label in labels)
        assert all(end <= start for (_, end), (start, _) in zip(edges, edges[1:]))
        title = (canvas._suptitle or canvas.axes[0].title).get_window_extent()
        assert 0 <= title.x0 and title.x1 <= canvas.bbox.x1
    assert [label.get_text() for label in labels] == names[:rows]
    assert f"first {rows} of {count} classes" in drawn[1].get_suptitle().replace("\n", " ")
    if count == 200:
        assert "40 rarest and 40 commonest of 200" in drawn[0].axes[0].get_title(loc="left")
