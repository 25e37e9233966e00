import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from common.errors import RunError, UsageError
from q4_darts import cifar10_files
from q4_darts.cifar10_dataset import MEAN, STD, augment, count_shared, load, normalise, search_halves
from q4_darts.options import DataOptions
from q4_darts.synthetic import draw_shapes
from tests.conftest import DATA_ROOT


def test_normalise_by_hand():
    image = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 32, 32, 3)
    x = normalise(image)
    assert x.shape == (1, 3, 32, 32)
    assert x.is_contiguous(memory_format=torch.channels_last)
    for channel, value in enumerate((0, 128, 255)):
        assert abs(x[0, channel, 5, 7].item() - (value / 255 - MEAN[channel]) / STD[channel]) < 1e-5


def test_every_crop_is_a_window_of_the_padded_picture_or_its_mirror():
    images = draw_shapes(40, 0).images
    cropped = augment(images, torch.Generator().manual_seed(0))
    places = [(top, left) for top in range(9) for left in range(9)]
    found = []
    for image, crop in zip(images, cropped):
        padded = F.pad(image, (0, 0, 4, 4, 4, 4))
        windows = torch.stack([padded[top : top + 32, left : left + 32] for top, left in places])
        hits = []
        for mirrored, expected in enumerate((normalise(windows), normalise(windows.flip(2)))):
            equal = (expected == crop).flatten(1).all(1).nonzero().flatten().tolist()
            hits += [(*places[i], mirrored) for i in equal]
        assert len(hits) == 1
        found += hits
    assert len(set(found)) > 30
    assert 10 < sum(mirrored for *_, mirrored in found) < 30


def test_cutout_area():
    images = torch.full((4000, 32, 32, 3), 200, dtype=torch.uint8)
    x = augment(images, torch.Generator().manual_seed(0), cutout=16, padding=0)
    area = (x == 0).all(1).sum((1, 2)).double()
    assert area.min() == 8 * 8
    assert area.max() == 16 * 16
    # A side is 16, and less for the 15 of 32 centres near a border: 14 on average.
    assert abs(area.mean() - 14**2) < 3
    assert ((x == 0).any(1) == (x == 0).all(1)).all()


@pytest.mark.parametrize("side", [1, 5, 8])
def test_a_cutout_has_the_side_that_was_asked_for(side):
    images = torch.full((200, 32, 32, 3), 200, dtype=torch.uint8)
    x = augment(images, torch.Generator().manual_seed(0), cutout=side, padding=0)
    assert (x == 0).all(1).sum((1, 2)).max() == side * side


def test_halves_are_disjoint_and_whole():
    train = draw_shapes(101, 0)
    train.labels = torch.arange(101)
    halves = search_halves(train)
    assert halves.weights.labels.tolist() == list(range(50))
    assert halves.alphas.labels.tolist() == list(range(50, 101))


def test_test_pictures_that_are_training_pictures_are_counted():
    train = draw_shapes(20, 0)
    test = draw_shapes(10, 1)
    assert count_shared(train, test) == 0
    test.images[3] = train.images[7]
    test.images[4] = train.images[7]
    assert count_shared(train, test) == 2


def write_tree(folder, per_class=3):
    for part in ("train", "test"):
        for value, name in enumerate(("ant", "bee")):
            (folder / part / name).mkdir(parents=True)
            for i in range(per_class):
                Image.new("RGB", (40, 40), (100 * value, 10 * i, 0)).save(folder / part / name / f"{i}.png")


@pytest.fixture
def own(tmp_path):
    """Options of a tree of two classes with three pictures each."""
    write_tree(tmp_path / "own")
    return DataOptions("folder", tmp_path / "own")


def test_labels_follow_their_pictures_which_are_mixed(tmp_path, own):
    train = load(tmp_path, own)["train"]
    assert train.names == ["ant", "bee"]
    assert train.images.shape == (6, 32, 32, 3)
    assert torch.equal(train.images[:, 5, 5, 0], 100 * train.labels.byte())
    assert train.labels.tolist() != train.labels.sort().values.tolist()


def test_a_tree_is_read_from_the_cache_and_a_damaged_cache_is_made_again(tmp_path, own):
    parts = load(tmp_path, own)
    again = load(tmp_path, own)
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 1
    assert torch.equal(again["train"].images, parts["train"].images)
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert torch.equal(load(tmp_path, own)["test"].images, parts["test"].images)


def test_a_file_that_is_no_image_is_named(tmp_path, own):
    (own.folder / "train/bee/1.png").write_bytes(b"no image")
    with pytest.raises(RunError, match="1.png cannot be read"):
        load(tmp_path, own)


def test_too_few_pictures(tmp_path, own):
    own.train_pictures = 7
    with pytest.raises(UsageError, match="--train_pictures 7 is more than the 6"):
        load(tmp_path, own)


def test_parts_of_other_classes(tmp_path, own):
    (own.folder / "test/bee").rename(own.folder / "test/wasp")
    with pytest.raises(RunError, match="same classes"):
        load(tmp_path, own)


def test_a_single_class(tmp_path, own):
    for part in ("train", "test"):
        (own.folder / part / "bee").rename(tmp_path / f"{part}-bee")
    with pytest.raises(UsageError, match="only the class ant"):
        load(tmp_path, own)


def test_missing_data_says_what_to_put_where(tmp_path, monkeypatch):
    with pytest.raises(RunError, match="no images in .*cifar10-images/train"):
        load(tmp_path, DataOptions("cifar10_images"))
    with pytest.raises(UsageError, match="--folder DIR"):
        load(tmp_path, DataOptions("folder"))
    monkeypatch.setattr(cifar10_files, "MIRROR", "file:///nowhere/cifar-10-python.tar.gz")
    from torchvision import datasets

    monkeypatch.setattr(datasets.CIFAR10, "url", "file:///nowhere/cifar-10-python.tar.gz")
    with pytest.raises(RunError, match="They are called:  cifar-10-python.tar.gz"):
        load(tmp_path, DataOptions("cifar10"))


def test_an_incomplete_tree_of_cifar10_is_refused_before_it_is_decoded(tmp_path):
    write_tree(tmp_path / "cifar10-images")
    with pytest.raises(RunError, match=r"is incomplete: CIFAR-10 has 50,000 \+ 10,000"):
        load(tmp_path, DataOptions("cifar10_images"))
    assert not (tmp_path / "cache").exists()


def test_synthetic_shapes_are_ten_classes_from_a_seed():
    one = draw_shapes(200, 0)
    assert torch.equal(one.images, draw_shapes(200, 0).images)
    assert not torch.equal(one.images, draw_shapes(200, 1).images)
    assert len(one.names) == 10
    assert set(one.labels.tolist()) == set(range(10))


def test_real_tree():
    if not (DATA_ROOT / "cifar10-images" / "train").is_dir():
        pytest.skip(f"CIFAR-10's images are not in {DATA_ROOT / 'cifar10-images'}")
    parts = load(DATA_ROOT, DataOptions("cifar10_images"))
    assert {part: len(images) for part, images in parts.items()} == {"train": 50_000, "test": 10_000}
    for half in search_halves(parts["train"]):
        counts = torch.bincount(half.labels)  # both halves hold all classes alike
        assert len(counts) == 10
        assert counts.min() > 2350
        assert counts.max() < 2650
    pixels = parts["train"].images.double().mean((0, 1, 2)) / 255
    assert (pixels - torch.tensor(MEAN)).abs().max() < 0.005
