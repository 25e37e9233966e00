"""The page's maps beside those of predict.py's Mapper."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from q3_pix2pix.mapper import Mapper
from q3_pix2pix.pix2pix import UNet

if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")
from demo_page.maps_tab import LONGEST_SIDE, draw_map, read_photo  # noqa: E402


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def make_mapper(fitted, scale=0.5):
    torch.manual_seed(0)
    known = {"size": 64, "scale": (scale, scale), "depth": 0, "fitted": fitted, "legend": None}
    known |= {"architecture": {}, "options": {}, "epoch": 1, "name": "run", "device": torch.device("cpu")}
    return Mapper(UNet(64, 4).eval(), **known)


def quiet(done, tiles):
    """Takes the progress."""


@pytest.mark.parametrize("fitted", [False, True])
def test_a_photo_is_mapped_as_predict_does(photo, fitted):
    mapper = make_mapper(fitted)
    read = read_photo(mapper, photo)
    result, _ = draw_map(mapper, read, read.seen, quiet)
    assert np.array_equal(result, mapper.map(mapper.read(photo)))


def test_a_fitted_network_maps_otherwise(photo):
    maps = []
    for fitted in (False, True):
        mapper = make_mapper(fitted)
        read = read_photo(mapper, photo)
        maps.append(np.asarray(draw_map(mapper, read, read.seen, quiet)[0]))
    assert not np.array_equal(*maps)


def test_the_size_that_the_network_sees_is_that_of_its_training(photo):
    assert read_photo(make_mapper(False, scale=0.75), photo).seen == 45


def test_the_network_sees_the_size_that_was_chosen(photo, monkeypatch):
    mapper = make_mapper(False)
    asked = []
    monkeypatch.setattr(mapper, "map", lambda image, scale, progress: asked.append(scale) or image)
    draw_map(mapper, read_photo(mapper, photo), 120, quiet)
    assert asked == [2.0]


def test_a_large_photo_is_scaled_down_and_said_so(tmp_path, monkeypatch):
    Image.new("RGB", (4096, 64)).save(tmp_path / "large.png")
    mapper = make_mapper(False)
    monkeypatch.setattr(mapper, "map", lambda image, scale, progress: image)
    result, said = draw_map(mapper, read_photo(mapper, tmp_path / "large.png"), 1024, quiet)
    assert result.size == (LONGEST_SIDE, 32)
    assert said == "The photo was scaled down to 2,048 x 32 pixels."


def test_a_map_is_white_where_its_photo_is_transparent(photo):
    image = Image.open(photo).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 20, 20))
    image.save(photo)
    mapper = make_mapper(False)
    read = read_photo(mapper, photo)
    result = np.asarray(draw_map(mapper, read, read.seen, quiet)[0])
    assert (result[:20, :20] == 255).all()
    assert (result[20:] < 255).any()
