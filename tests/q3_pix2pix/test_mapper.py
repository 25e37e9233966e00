"""A trained network ready for use: tiles, scale, border and legend; and predict.py's names of results."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from common.device import Runtime
from common.errors import RunError, UsageError
from q3_pix2pix import mapper, predict
from q3_pix2pix.legend import Legend
from q3_pix2pix.mapper import Mapper
from q3_pix2pix.options import PredictOptions, place_results
from q3_pix2pix.pair_reader import stack
from q3_pix2pix.tiling import reflect, tiled

# Tiles ------------------------------------------------------------------------------------------------------


def test_tiling_equals_the_whole_picture_away_from_the_borders():
    torch.manual_seed(0)
    kernel = torch.randn(3, 1, 5, 5)
    image = torch.randint(0, 256, (3, 150, 201), dtype=torch.uint8)

    def blur(tiles):
        return F.conv2d(tiles.float() / 255, kernel, padding=2, groups=3)

    # a tile's outermost two pixels see its padding; with weights near zero there they hardly count
    result = tiled(blur, image, 64, 0.5)
    whole = blur(image[None])[0]
    assert result.shape == image.shape
    assert (result - whole)[:, 4:-4, 4:-4].abs().max() < 0.02 * whole.abs().max()


@pytest.mark.parametrize("shape", [(64, 64), (20, 50), (64, 65), (17, 300), (129, 64)])
def test_tiling_of_any_size_gives_back_the_identity(shape):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    result = tiled(lambda tiles: tiles.float(), image, 64, 0.5)
    torch.testing.assert_close(result, image.float(), rtol=1e-4, atol=1e-2)


def test_tiles_come_in_whole_grey_levels_and_batches():
    seen = []

    def look(tiles):
        seen.append((len(tiles), tiles.dtype))
        return tiles

    tiled(look, torch.zeros(3, 40, 200, dtype=torch.uint8), 32, 0.5, batch=8)
    assert seen == [(8, torch.uint8)] * 3


def test_progress_counts_the_tiles():
    told = []
    tiled(
        lambda tiles: tiles,
        torch.zeros(3, 32, 200, dtype=torch.uint8),
        32,
        0.5,
        lambda *now: told.append(now),
    )
    assert told == [(8, 12), (12, 12)]


@pytest.mark.parametrize("side, padded", [(2, 9), (5, 5), (5, 31)])
def test_a_reflection_is_numpys(side, padded):
    assert reflect(side, padded).tolist() == np.pad(np.arange(side), (0, padded - side), "reflect").tolist()


# Photos -----------------------------------------------------------------------------------------------------


class Discs(torch.nn.Module):
    """Paints discs red that hold a square of 7 pixels, and smaller ones blue."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        ink = (x.amax(1, keepdim=True) > 0).float()
        opened = F.max_pool2d(-F.max_pool2d(-ink, 7, 1, 3), 7, 1, 3)
        return 2 * torch.cat([opened, 0 * ink, ink * (1 - opened)], 1) - 1


def make_mapper(size, scale=(1.0, 1.0), **fields):
    """A mapper with a network that knows discs."""
    known = {"size": size, "scale": scale, "depth": 0, "fitted": False, "legend": None, "architecture": {}}
    known |= {"options": {"dataset": "discs"}, "epoch": 3, "name": "run", "device": torch.device("cpu")}
    return Mapper(Discs(), **(known | fields))


@pytest.mark.parametrize("scale, small", [(None, "blue"), (1.0, "red")])
def test_a_photo_is_taken_at_the_scale_of_the_training(tmp_path, monkeypatch, scale, small):
    """Trained at 64 pixels on pairs of 256: discs of 24 pixels are red, of 8 pixels blue."""
    monkeypatch.setattr(Mapper, "load", lambda *_: make_mapper(64, (0.25, 0.25)))
    photo = Image.new("RGB", (300, 256))
    for x, y, radius in ((60, 60, 24), (220, 180, 8)):
        ImageDraw.Draw(photo).ellipse((x - radius, y - radius, x + radius, y + radius), "white")
    file = tmp_path / os.fsdecode(b"caf\xe9.png")  # a name that is not UTF-8
    photo.save(file)
    paths = {"input": (file,), "output": tmp_path / "map.png"}
    assert predict.main(PredictOptions(**paths, scale=scale, device="cpu")) == [tmp_path / "map.png"]
    with Image.open(tmp_path / "map.png") as result:
        assert result.size == photo.size
        colors = [np.argmax(result.getpixel(at)) for at in ((60, 60), (220, 180))]
    assert colors == [0, {"red": 0, "blue": 2}[small]]


@pytest.mark.parametrize("sides", [(60, 35), (25, 64), (32, 32)])
def test_a_photo_is_fitted_as_the_pairs_of_the_training_were(monkeypatch, sides):
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (*sides[::-1], 3), np.uint8))
    seen = []

    def copy(images):
        seen.append(images)
        return images

    monkeypatch.setattr(mapper, "to_uint8", copy)
    monkeypatch.setattr(mapper, "prepare", lambda images: images)
    scale = 32 / max(sides)
    known = make_mapper(32, (scale, scale), fitted=True)
    monkeypatch.setattr(known.generator, "forward", lambda images: images)
    result = known.map(photo)
    [tiles] = seen
    assert np.array_equal(tiles[0].numpy(), stack([photo], 32, "fit"))
    small = photo.resize([round(side * scale) for side in sides], Image.Resampling.BICUBIC)
    assert np.array_equal(result, small.resize(photo.size, Image.Resampling.BICUBIC))


def test_a_photo_too_large_at_the_scale_of_the_training_is_refused():
    photo = Image.new("RGB", (3000, 17))
    with pytest.raises(RunError, match="3,000 x 17 pixels would have 3,000,000 x 17,000.*--scale"):
        make_mapper(64, (1000.0, 1000.0)).map(photo)


@pytest.mark.parametrize("color", [(250, 250, 240, 255), (10, 20, 10, 255)])
def test_what_is_transparent_in_a_photo_is_white(tmp_path, color):
    photo = Image.new("RGBA", (40, 40), color)
    photo.paste((0, 0, 0, 0), (0, 0, 20, 40))
    photo.save(tmp_path / "photo.png")
    read = make_mapper(32).read(tmp_path / "photo.png")
    assert read.getpixel((5, 5)) == (255, 255, 255)
    assert read.getpixel((30, 5)) == color[:3]


def test_how_far_a_map_is_from_the_legend():
    legend = Legend(torch.tensor([[1.0, 0.0, 0.0]]), [1.0], [""])
    result = Image.new("RGB", (40, 600), (250, 5, 5))
    result.paste((0, 0, 250), (0, 0, 40, 150))
    assert make_mapper(32, legend=legend).on_legend(result) == pytest.approx(75)


def test_without_a_legend_nothing_is_said_of_it():
    assert make_mapper(32).on_legend(Image.new("RGB", (40, 40))) is None


def test_the_network_that_comes_with_the_project():
    known = Mapper.load("pix2pix-aerial", Runtime(torch.device("cpu")))
    assert known.size == 128
    assert known.scale == (0.5, 0.5)
    assert not known.fitted
    assert len(known.legend.colors) == 11
    assert known.title == "pix2pix-aerial, aerial_maps, epoch 50"


# Results ----------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    """Two folders of photos, some of which share a name."""
    for name in ("x/a.jpg", "x/a.png", "x/a-png.png", "x/b.png", "y/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    return tmp_path


def test_results_have_distinct_names(photos):
    options = PredictOptions(input=(photos / "x", photos / "y", photos / "y/b.png"), output=Path("o"))
    results = {str(photo.relative_to(photos)): file.name for photo, file in place_results(options).items()}
    expected = {"x/a.jpg": "a-jpg.png", "x/a.png": "a-png-2.png", "x/a-png.png": "a-png.png"}
    assert results == expected | {"x/b.png": "b-png.png", "y/b.png": "b-png-2.png"}


def test_the_current_folder_is_an_input(photos, monkeypatch):
    monkeypatch.chdir(photos / "y")
    here = PredictOptions(input=(Path("."),), output=Path("o"))
    assert list(place_results(here).values()) == [Path("o/b.png")]


def test_a_single_photo_may_have_a_file_of_its_own(photos):
    single = PredictOptions(input=(photos / "x/a.jpg",), output=photos / "map.webp")
    assert list(place_results(single).values()) == [photos / "map.webp"]


@pytest.mark.parametrize(
    "source, output, message",
    [
        ("x", "map.png", "one file, and there are 4 photos"),
        ("x/a.jpg", "map.psd", "write .png, .jpg, .tif or .webp, not .psd"),
        ("y", "y", "would replace .*/y/b.png"),
        ("x/a.jpg", "x/a.jpg", "would replace"),
        ("x/a.jpg", "x", "x is a folder of photos, and its a.png would be replaced"),
        ("z", "o", "z does not exist"),
    ],
)
def test_what_results_cannot_be_is_refused(photos, source, output, message):
    options = PredictOptions(input=(photos / source,), output=photos / output)
    with pytest.raises(UsageError, match=message):
        place_results(options)
