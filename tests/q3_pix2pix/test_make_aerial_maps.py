"""aerial_maps made from an invented clone; its numbering is compared with the real set's."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from common.runtime import RunError, UsageError
from q3_pix2pix import make_aerial_maps
from q3_pix2pix.make_aerial_maps import Options, largest_share, list_parts, main
from q3_pix2pix.maps_dataset import DataOptions, load
from tests.conftest import DATA_ROOT


def test_every_scene_gives_15_columns_to_train_one_to_val_and_two_to_test():
    parts = list_parts()
    numbers = {part: [n for n in parts if parts[n] == part] for part in ("train", "val", "test")}
    assert list(parts) == list(range(1854))  # no tile is left out
    assert numbers["train"][:105] == list(range(105))
    assert numbers["val"][:14] == [*range(105, 112), *range(231, 238)]
    assert numbers["val"][-12:] == [*range(1728, 1734), *range(1836, 1842)]  # scenes 13 and 14 have six rows
    assert numbers["test"][:28] == [*range(112, 126), *range(238, 252)]
    assert numbers["test"][-24:] == [*range(1734, 1746), *range(1842, 1854)]
    assert [len(numbers[part]) for part in ("train", "val", "test")] == [15 * 103, 103, 2 * 103]


def test_the_real_sets_tiles_are_where_this_script_puts_them():
    real = DATA_ROOT / "aerial_maps"
    if not real.is_dir():
        pytest.skip(f"aerial_maps is not in {DATA_ROOT}")
    parts, files = list_parts(), list(real.glob("*/*.jpg"))
    assert Counter(file.parent.name for file in files) == {"train": 1106, "val": 63, "test": 116}
    assert all(parts[int(file.stem)] == file.parent.name for file in files)


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """Two scenes, of two rows and of one: 54 tiles. Map n has n rows of another colour."""
    monkeypatch.setattr(make_aerial_maps, "SCENES", [2, 1])
    folder = tmp_path / "clone/phsi/imageset"
    folder.mkdir(parents=True)
    for number in range(54):
        pair = np.full((256, 512, 3), (200, 30, number), np.uint8)
        pair[:, 256:] = (10, 20, 30)
        pair[:number, 256:] = (240, 250, 30)
        Image.fromarray(pair).save(folder / f"({number}).png")
    return tmp_path / "clone"


def test_made_from_a_clone(clone, tmp_path, capsys):
    main(Options(clone, tmp_path / "data"))
    maps = tmp_path / "data/aerial_maps"
    made = {part.name: {int(file.stem) for file in part.iterdir()} for part in maps.iterdir()}
    few = set(range(13))  # rows of the second colour; 12 / 256 are less than 5 %, 13 / 256 more
    expected = {"train": {*range(30), *range(36, 51)} - few, "val": {30, 31, 51}}
    assert made == expected | {"test": {*range(32, 36), 52, 53}}
    assert "32 pairs in train, 3 in val, 6 in test" in capsys.readouterr().out
    with Image.open(maps / "val/51.jpg") as image:
        assert image.size == (512, 256)
        row = np.asarray(image, int)[200, [0, 255, 256, 511]]  # of the photo's ends and the map's
    assert np.abs(row - [*[(200, 30, 51)] * 2, *[(10, 20, 30)] * 2]).max() < 4
    pairs = load(tmp_path / "data", DataOptions("aerial_maps"), 32, test=True)
    assert {part: len(each) for part, each in pairs.items()} == {"train": 32, "val": 3, "test": 6}


def test_what_is_wrong_is_named_and_leaves_nothing_behind(clone, tmp_path):
    with pytest.raises(UsageError, match="git clone --depth 1 https://github.com/henriquejandrade/map-synth"):
        main(Options(tmp_path, tmp_path / "data"))
    Image.new("RGB", (256, 256)).save(clone / "phsi/imageset/(3).png")
    with pytest.raises(RunError, match=r"\(3\).png has 256 x 256 pixels instead of 512 x 256"):
        main(Options(clone, tmp_path / "data"))
    (clone / "phsi/imageset/(2).png").unlink()
    with pytest.raises(RunError, match=r"1 of 54 tiles are missing in .*, the first one \(2\).png"):
        main(Options(clone, tmp_path / "data"))
    assert not (tmp_path / "data/aerial_maps").exists()
    (tmp_path / "data/aerial_maps").mkdir()
    with pytest.raises(UsageError, match="move it away"):
        main(Options(clone, tmp_path / "data"))


def test_the_largest_share():
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[0] = (0, 1, 0)
    picture[1, 0] = (1, 0, 0)
    assert largest_share(Image.fromarray(picture)) == 14 / 20
