import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import RunError, UsageError
from q1_dcgan import mnist_dataset, mnist_files
from q1_dcgan.mnist_dataset import load, prepare, to_uint8
from q1_dcgan.options import DataOptions, check_data
from q1_dcgan.synthetic import draw_digits
from tests.conftest import DATA_ROOT


def test_uint8_and_back():
    images = torch.arange(256, dtype=torch.uint8).repeat(4)[: 28 * 28].view(1, 28, 28)
    assert torch.equal(to_uint8(prepare(images)), images)


def test_prepared_images_fill_the_range_of_tanh():
    prepared = prepare(torch.tensor([0, 255], dtype=torch.uint8).repeat(28 * 14).view(1, 28, 28), 28)
    assert (prepared.min(), prepared.max()) == (-1, 1)
    assert prepare(torch.zeros(1, 28, 28, dtype=torch.uint8), 64).shape == (1, 1, 64, 64)


def test_synthetic_digits_are_seeded_and_of_all_classes():
    one = draw_digits(200, 0)
    assert torch.equal(one.images, draw_digits(200, 0).images)
    assert not torch.equal(one.images, draw_digits(200, 1).images)
    assert one.labels.unique().tolist() == list(range(10))
    assert (one.images.flatten(1).max(1).values > 150).all()


@pytest.fixture
def own(tmp_path):
    """Two classes of seven grey pictures each."""
    folder = tmp_path / "own"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for i in range(7):
            Image.fromarray(np.full((32, 32), 10 * i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def test_a_seventh_of_a_folder_is_kept_for_testing(own, tmp_path):
    parts = load(tmp_path, DataOptions("folder", own))
    assert (len(parts["train"]), len(parts["test"])) == (12, 2)
    assert parts["train"].names == ["a", "b"]


def test_invert_makes_dark_ink_light(own, tmp_path):
    plain = load(tmp_path, DataOptions("folder", own))["test"].images
    assert torch.equal(load(tmp_path, DataOptions("folder", own, invert=True))["test"].images, 255 - plain)


def test_another_size_of_the_same_shape_is_scaled(own, tmp_path):
    plain = load(tmp_path, DataOptions("folder", own))["train"].images
    Image.new("L", (64, 64), 60).save(own / "a" / "6.png")
    assert torch.equal(load(tmp_path, DataOptions("folder", own))["train"].images, plain)


def test_another_shape_is_refused_by_name(own, tmp_path):
    Image.new("L", (20, 32)).save(own / "a" / "9.png")
    with pytest.raises(UsageError, match="must have one size.*9.png"):
        load(tmp_path, DataOptions("folder", own))


def test_a_cached_folder_is_not_decoded_again(own, tmp_path, monkeypatch):
    before = load(tmp_path, DataOptions("folder", own))["train"].images
    monkeypatch.setattr(mnist_dataset, "read_image", lambda *_: pytest.fail("an image was decoded"))
    assert torch.equal(load(tmp_path, DataOptions("folder", own))["train"].images, before)


def test_a_folder_keeps_the_shares_of_its_classes_in_natural_order(tmp_path):
    counts = {str(name): 28 if name == 2 else 7 for name in range(12)}
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (28, 28), int(name)).save(tmp_path / name / f"{i}.png")
    parts = load(tmp_path / "data", DataOptions("folder", tmp_path), seed=3)
    assert parts["test"].names == list(counts)
    assert parts["test"].labels.bincount().tolist() == [count // 7 for count in counts.values()]
    assert parts["train"].labels.bincount().tolist() == [6 * count // 7 for count in counts.values()]
    for pictures in parts.values():  # each picture keeps its label
        assert torch.equal(pictures.images[:, 0, 0].long(), pictures.labels)


def test_colour_and_a_folder_without_classes(tmp_path):
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 256, (28, 28, 3), np.uint8) for _ in range(14)]
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    parts = load(tmp_path / "data", DataOptions("folder", tmp_path, channels=3))
    images = torch.cat([parts["train"].images, parts["test"].images])
    assert parts["train"].names == []
    assert {image.numpy().tobytes() for image in images} == {image.tobytes() for image in pixels}
    assert torch.equal(to_uint8(prepare(images)), images)


@pytest.mark.parametrize(
    "options, message",
    [
        (DataOptions("folder"), "needs --folder"),
        (DataOptions("mnist", DATA_ROOT), "--folder needs --dataset folder"),
        (DataOptions("mnist", channels=3), "--channels 3 needs --dataset folder"),
        (DataOptions("folder", DATA_ROOT.parent, channels=2), "--channels must be 1"),
        (DataOptions("mnist", invert=True), "--invert needs --dataset folder"),
    ],
)
def test_contradicting_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        check_data(options)


@pytest.mark.parametrize("error, said", [(OSError("no network"), "no network"), (ValueError(), "ValueError")])
def test_mnist_missing_without_network(tmp_path, monkeypatch, error, said):
    def offline(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    monkeypatch.setattr("sys.argv", ["q1_dcgan/train.py"])
    with pytest.raises(RunError, match=rf"(?s)\({said}\).*--dataset synthetic.*train-images-idx3-ubyte.gz"):
        load(tmp_path, DataOptions("mnist"))


def test_names_and_classes_are_those_of_torchvision():
    from torchvision import datasets

    for dataset, name in mnist_files.NAMES.items():
        kind = getattr(datasets, name)
        assert mnist_files.CLASSES[dataset] == [each.split(" - ")[0] for each in kind.classes]


@pytest.fixture
def labels(tmp_path):
    """An IDX file of ten labels."""
    path = tmp_path / "labels"
    path.write_bytes(bytes(8) + bytes(range(10)))
    return path


def test_an_idx_file_is_read(labels):
    md5 = hashlib.md5(labels.read_bytes()).hexdigest()
    assert mnist_files.read_idx(labels, md5, (10,)).tolist() == list(range(10))


def test_an_idx_file_of_another_size_is_refused(labels):
    md5 = hashlib.md5(labels.read_bytes()).hexdigest()
    with pytest.raises(RunError, match="labels is damaged"):
        mnist_files.read_idx(labels, md5, (11,))


def test_an_idx_file_of_another_content_is_refused(labels):
    md5 = hashlib.md5(labels.read_bytes()).hexdigest()
    labels.write_bytes(bytes(8) + bytes(10))
    with pytest.raises(RunError, match="labels is damaged"):
        mnist_files.read_idx(labels, md5, (10,))


def test_real_mnist():
    if not (DATA_ROOT / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST is not in {DATA_ROOT / 'MNIST' / 'raw'}")
    parts = load(DATA_ROOT, DataOptions("mnist"))
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert torch.bincount(parts["test"].labels).tolist() == counts
    assert parts["train"].names == [str(i) for i in range(10)]
