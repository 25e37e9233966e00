import io
import shutil
import tarfile
import unicodedata

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from common.errors import RunError, UsageError
from q3_pix2pix import maps_files
from q3_pix2pix.maps_dataset import (
    draw_towns,
    load,
    load_side,
    prepare,
    random_crop_and_mirror,
    random_crop_and_turn,
    to_uint8,
)
from q3_pix2pix.options import DataOptions
from tests.conftest import DATA_ROOT


def gradient_pair(path, side=64):
    """A pair whose halves are told apart by colour: red ramps on the left, blue on the right."""
    ramp = np.tile(np.linspace(0, 255, side, dtype=np.uint8), (side, 1))
    zero = np.zeros_like(ramp)
    halves = np.stack([ramp, zero, zero], -1), np.stack([zero, zero, ramp], -1)
    Image.fromarray(np.concatenate(halves, 1)).save(path)


def load_own(folder, test=False, **options):
    return load(folder.parent, DataOptions("folder", folder, **options), 32, test=test)


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        for i in range(count):
            gradient_pair(tmp_path / "pairs" / part / f"{part}{i}.png", 48 if part == "train" else 64)
    return tmp_path / "pairs"


def test_sides():
    assert load_side(256) == 286 and load_side(128) == 143


def test_folder_of_pairs_and_direction(folder):
    parts = load_own(folder)
    assert parts["train"].images.shape == (3, 6, 35, 35) and parts["val"].images.shape == (2, 6, 32, 32)
    left, right = parts["val"].images.split(3, 1)
    assert left[0, 0].float().std() > 50 and right[0, 0].max() == 0  # red left, blue right
    turned = load_own(folder, direction="BtoA")["val"].images
    assert torch.equal(turned, torch.cat([right, left], 1))
    again = load_own(folder)["train"]  # from the cache
    assert torch.equal(again.images, parts["train"].images)
    assert again.names == ["train0", "train1", "train2"]


def test_the_part_test_is_read_only_when_asked_for(folder):
    with pytest.raises(RunError, match="pairs has no test/ beside the validation pairs in val/"):
        load_own(folder, test=True)
    before = load_own(folder)
    (folder / "test").mkdir()
    gradient_pair(folder / "test" / "only.png", 80)
    (folder / "test" / "only.png").touch()
    assert load_own(folder).keys() == {"train", "val"}
    parts = load_own(folder, test=True)
    assert parts["test"].names == ["only"]
    assert parts["test"].images.shape == (1, 6, 32, 32)
    for name, part in before.items():
        assert torch.equal(parts[name].images, part.images)


def test_a_test_that_serves_as_validation_is_no_part_of_its_own(folder):
    (folder / "val").rename(folder / "test")
    assert len(load_own(folder)["val"]) == 2
    with pytest.raises(RunError, match="no test/ beside the validation pairs in test/"):
        load_own(folder, test=True)


def test_parallel_folders_have_a_part_test(tmp_path):
    for part in ("train", "val", "test"):
        for side, color in (("A", "red"), ("B", "blue")):
            (tmp_path / f"{part}{side}").mkdir()
            Image.new("RGB", (40, 40 + len(part)), color).save(tmp_path / f"{part}{side}" / f"{part}.png")
    gradient = Image.linear_gradient("L").convert("RGB")
    for side in "AB":
        gradient.save(tmp_path / f"train{side}" / "train.png")
    parts = load_own(tmp_path, test=True, resize="stretch")
    assert parts["test"].names == ["test"]
    assert parts["test"].images[0, :, 5, 5].tolist() == [255, 0, 0, 0, 0, 255]


def test_a_test_picture_is_never_a_training_picture(folder):
    (folder / "test").mkdir()
    shutil.copy(folder / "train" / "train1.png", folder / "test" / "renamed.png")
    load_own(folder)
    with pytest.raises(RunError, match="renamed.png is the training picture .*train[012].png"):
        load_own(folder, test=True)


def test_towns_of_the_test_are_others():
    parts = load(None, DataOptions("synthetic"), 32, test=True)
    assert len(parts["test"]) == 16
    towns = [F.interpolate(part.images.float(), 16).flatten(1) for part in parts.values()]
    assert torch.cdist(towns[2], towns[0]).min() > 100
    assert torch.cdist(towns[2], towns[1]).min() > 100


def test_a_validation_picture_is_never_a_training_picture(folder):
    shutil.copy(folder / "train" / "train1.png", folder / "val" / "renamed.png")
    with pytest.raises(RunError, match="renamed.png is the training picture .*train[012].png"):
        load_own(folder)


@pytest.mark.parametrize(
    "name, options", [("again.bmp", {}), ("again.webp", {"lossless": True}), ("again.jpg", {"quality": 85})]
)
def test_a_training_picture_saved_again_is_noticed_and_a_like_one_is_not(folder, name, options):
    town = np.concatenate(draw_towns(1, 64, 7).images[0].view(2, 3, 64, 64).permute(0, 2, 3, 1).numpy(), 1)
    Image.fromarray(town).save(folder / "train" / "town.png")
    town = town.astype(int) + np.random.default_rng(0).normal(0, 40, town.shape)
    Image.fromarray(town.clip(0, 255).astype(np.uint8)).save(folder / "val" / "like.png")
    load_own(folder)
    with Image.open(folder / "train" / "town.png") as image:
        image.save(folder / "val" / name, **options)
    with pytest.raises(RunError, match="val/again.* is the training picture .*train/town.png"):
        load_own(folder)


@pytest.mark.parametrize("side", "AB")
def test_parallel_folders(tmp_path, side):
    for part, size in (("train", (40, 40)), ("val", (50, 50))):
        for inside, color in (("A", "red"), ("B", "blue")):
            (tmp_path / f"{part}{inside}").mkdir()
            Image.new("RGB", size, color).save(tmp_path / f"{part}{inside}" / "one.png")
    assert load_own(tmp_path)["train"].images[0, :, 0, 0].tolist() == [255, 0, 0, 0, 0, 255]
    folder = tmp_path / f"train{side}"
    Image.new("RGB", (40, 40)).save(folder / "two.png")
    with pytest.raises(RunError, match="no partner.*two.png"):
        load_own(tmp_path)
    (folder / "two.png").rename(folder / "one.jpg")
    with pytest.raises(RunError, match=f"train{side}/one.jpg and .*train{side}/one.png have one name"):
        load_own(tmp_path)


@pytest.fixture
def parallel(tmp_path):
    """trainA, trainB, valA and valB with a picture "café" each, written in another Unicode form in B."""
    for part in ("train", "val"):
        for side, form in (("A", "NFC"), ("B", "NFD")):
            (tmp_path / f"{part}{side}").mkdir()
            name = unicodedata.normalize(form, "café")
            Image.new("RGB", (40, 40) if part == "train" else (50, 50)).save(
                tmp_path / f"{part}{side}" / f"{name}.png"
            )
    return tmp_path


def test_pairs_are_matched_in_one_unicode_form(parallel):
    assert [len(files) for files in maps_files.list_pairs(parallel)["train"]] == [2]


def test_what_lies_beside_parallel_folders_is_named(parallel, capsys):
    (parallel / "trainC").mkdir()
    (parallel / "testA").mkdir()  # a part that is read when it is asked for
    Image.new("RGB", (40, 40)).save(parallel / "loose.png")
    maps_files.list_pairs(parallel)
    said = capsys.readouterr().err
    assert said == (
        f"left out of {parallel}: 1 folder that is no part: trainC; 1 picture beside the parts: loose.png\n"
    )


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_grey_alpha_and_palette_images_are_converted(folder, mode):
    Image.new(mode, (64, 32)).save(folder / "train" / "odd.png")
    assert len(load_own(folder)["train"]) == 4


SIZES = [((60, 32), "60 x 32: a side-by-side pair is twice as wide as high"), ((8, 4), "only 8 x 4")]


@pytest.mark.parametrize("size, message", [*SIZES, (None, "cannot be read")])
def test_bad_pictures_are_named(folder, size, message):
    file = folder / "train" / "bad.png"
    Image.new("RGB", size).save(file) if size else file.write_bytes(b"no")
    with pytest.raises(RunError, match="bad.png.*" + message):
        load_own(folder)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    "resize, scale, corner, left, middle",
    [
        ("stretch", (0.4, 0.8), "green", "green", "red"),
        ("fit", (0.4, 0.4), "white", "green", "red"),
        ("crop", (0.8, 0.8), "red", "red", "red"),
    ],
)
def test_pairs_that_are_not_square(tmp_path, beside, resize, scale, corner, left, middle):
    """Photos of 80 x 40, green with a red middle half, and blue maps; those of the training are gradients."""
    blue, photo = Image.new("RGB", (80, 40), "blue"), Image.new("RGB", (80, 40), (0, 255, 0))
    photo.paste((255, 0, 0), (20, 0, 60, 40))
    gradient = Image.linear_gradient("L").resize((80, 40)).convert("RGB")
    for part, picture in (("train", gradient), ("val", photo)):
        pair = {f"{part}A": picture, f"{part}B": blue}
        if beside:
            pair = {part: Image.fromarray(np.concatenate([picture, blue], 1))}
        for folder, image in pair.items():
            (tmp_path / folder).mkdir()
            image.save(tmp_path / folder / "one.png")
    pairs = load_own(tmp_path, resize=resize)["val"]
    assert pairs.scale == pytest.approx(scale)
    colors = {"red": [255, 0, 0], "green": [0, 255, 0], "white": [255, 255, 255]}
    for (y, x), color in {(2, 2): corner, (16, 2): left, (16, 16): middle}.items():
        assert pairs.images[0, :3, y, x].tolist() == colors[color]
    assert pairs.images[0, 3:, 16, 16].tolist() == [0, 0, 255]


def test_missing_folders(tmp_path):
    with pytest.raises(UsageError, match="needs --pairs"):
        load(tmp_path, DataOptions("folder"), 32)
    with pytest.raises(RunError, match="no .*aerial_maps/train"):
        load(tmp_path, DataOptions("aerial_maps"), 32)
    (tmp_path / "train").mkdir()
    with pytest.raises(RunError, match="no images"):
        load_own(tmp_path)


def test_maps_archive_of_the_wrong_size_and_no_network(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    (tmp_path / "maps.tar.gz").write_bytes(b"cut short")
    with pytest.raises(RunError, match="They are called:  maps.tar.gz, from http"):
        load(tmp_path, DataOptions("maps"), 32)


def test_maps_archive_is_extracted_safely(tmp_path, monkeypatch):
    packed, options = tmp_path / "maps.tar.gz", DataOptions("maps")
    gradient_pair(tmp_path / "p.jpg")
    with tarfile.open(packed, "w:gz") as archive:
        for part in ("train", "val"):
            archive.add(tmp_path / "p.jpg", f"maps/{part}/1.jpg")
    monkeypatch.setattr(maps_files, "MAPS_BYTES", packed.stat().st_size)
    assert len(load(tmp_path, options, 32)["train"]) == 1
    few = "'train': 1, 'val': 1} pairs instead of {'train': 1096, 'val': 1098}: move it away"
    with pytest.raises(RunError, match=few):
        load(tmp_path, options, 32)
    assert len(list((tmp_path / "maps").rglob("*.jpg"))) == 2  # left alone
    shutil.rmtree(tmp_path / "maps")
    with tarfile.open(packed, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside.txt"), io.BytesIO())
    monkeypatch.setattr(maps_files, "MAPS_BYTES", packed.stat().st_size)
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe .*outside.txt"):
        load(tmp_path, options, 32)
    packed.write_bytes(packed.read_bytes()[:40].ljust(maps_files.MAPS_BYTES))
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe"):
        load(tmp_path, options, 32)
    assert not (tmp_path / "maps").exists()


def test_crop_and_mirror_are_the_same_for_input_and_target_and_cover_everything():
    side, size = 12, 8
    place = torch.arange(side * side, dtype=torch.uint8).view(1, 1, side, side)
    images = torch.cat([place.expand(400, 3, -1, -1), place.expand(400, 3, -1, -1)], 1)
    out = random_crop_and_mirror(images, size, torch.Generator().manual_seed(0))
    assert torch.equal(out[:, :3], out[:, 3:])
    seen = set()
    for crop in out[:, 0].int():
        mirrored = crop[0, 0] > crop[0, -1]
        plain = crop.flip(-1) if mirrored else crop
        top, left = divmod(int(plain[0, 0]), side)
        assert torch.equal(plain, place[0, 0, top : top + size, left : left + size].int())
        seen.add((top, left, bool(mirrored)))
    assert len(seen) == 5 * 5 * 2


def test_crop_and_turn_are_the_same_for_input_and_target_and_cover_all_eight_ways():
    side, size = 10, 8
    place = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    images = torch.from_numpy(place).expand(1500, 6, -1, -1)
    out = random_crop_and_turn(images, size, torch.Generator().manual_seed(0))
    assert out.shape == (1500, 6, size, size)
    assert torch.equal(out[:, :3], out[:, 3:])
    ways = {}  # pixels -> the place of the crop, whether it is mirrored and how often it is turned
    for top in range(side - size + 1):
        for left in range(side - size + 1):
            crop = place[top : top + size, left : left + size]
            for mirrored in (False, True):
                for quarters in range(4):
                    turned = np.rot90(np.fliplr(crop) if mirrored else crop, quarters)
                    ways[turned.tobytes()] = top, left, mirrored, quarters
    seen = [ways[crop.numpy().tobytes()] for crop in out[:, 0]]
    assert len(set(seen)) == len(ways) == 3 * 3 * 8
    for way in {way[2:] for way in seen}:  # each of the eight 187.5 times, with a deviation of 13
        assert 130 < [each[2:] for each in seen].count(way) < 245


def test_prepare_and_back():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    assert prepare(images).min() == -1 and prepare(images).max() == 1
    assert torch.equal(to_uint8(prepare(images)), images)


def test_train_and_validation_towns_differ_and_are_seeded():
    parts = load(None, DataOptions("synthetic"), 32)
    small = [F.interpolate(part.images.float(), 16).flatten(1) for part in parts.values()]
    assert torch.cdist(small[1], small[0]).min() > 100
    assert torch.equal(draw_towns(2, 64, 5).images, draw_towns(2, 64, 5).images)


def test_real_pairs():
    if not (DATA_ROOT / "aerial_maps" / "train").is_dir():
        pytest.skip(f"the aerial pairs are not in {DATA_ROOT / 'aerial_maps'}")
    parts = load(DATA_ROOT, DataOptions("aerial_maps"), 64, test=True)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1106, "val": 63, "test": 116}
    folders = [DATA_ROOT / "aerial_maps" / part for part in parts]
    files = [file.read_bytes() for folder in folders for file in folder.iterdir()]
    assert len(set(files)) == len(files) == 1106 + 63 + 116
