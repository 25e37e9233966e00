"""Any picture becomes ink on a page of 28 x 28 pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from common.errors import RunError
from q2_protonet.drawings import read_ink


def letter(size=105, ink=0, paper=255):
    """An L in the upper left: which way is up can be seen."""
    image = Image.new("L", (size, size), paper)
    image.paste(ink, (size // 5, size // 5, size // 4, size // 2))
    image.paste(ink, (size // 5, size // 2 - size // 20, size // 2, size // 2))
    return image


def test_ink_is_bright_on_zero_whatever_the_picture(tmp_path):
    image = letter()
    image.convert("1").save(tmp_path / "black.png")
    ImageOps.invert(image).save(tmp_path / "white.png")
    image.point(lambda v: 100 + v // 3).save(tmp_path / "faint.png")
    expected = read_ink(tmp_path / "black.png")
    assert expected.max() > 200
    assert expected[0, 0] == 0
    assert expected.mean() < 30
    for name in ("white", "faint"):
        assert np.abs(read_ink(tmp_path / f"{name}.png").astype(int) - expected).max() <= 2, name


def test_ink_that_touches_the_border(tmp_path):
    """Cropped tightly, or in a frame: told which it is, the reader keeps the ink that covers the border."""
    cropped = np.zeros((60, 40), np.uint8)  # a black E
    cropped[10:25, 12:] = 255
    cropped[35:50, 12:] = 255
    framed = np.full((60, 60), 255, np.uint8)
    framed[6:-6, 6:-6] = 0
    framed = 255 - framed
    framed[20:40, 28:32] = 0
    for drawing in (cropped, framed):
        Image.fromarray(drawing).save(tmp_path / "dark.png")
        Image.fromarray(255 - drawing).save(tmp_path / "light.png")
        square = Image.new("L", (60, 60))
        square.paste(Image.fromarray(255 - drawing), ((60 - drawing.shape[1]) // 2, 0))
        expected = np.asarray(square.resize((28, 28), Image.Resampling.BILINEAR))
        assert np.array_equal(read_ink(tmp_path / "dark.png", "no"), expected)
        assert np.array_equal(read_ink(tmp_path / "light.png", "yes"), expected)


@pytest.mark.parametrize("letter", "EFHLMNUOSR#")
@pytest.mark.parametrize("margin", [0, 1])
def test_the_ink_of_a_tightly_cropped_letter_is_found_out(tmp_path, letter, margin):
    page = Image.new("L", (200, 200))
    ImageDraw.Draw(page).text((100, 100), letter, 255, ImageFont.load_default(120), anchor="mm")
    left, top, right, bottom = page.getbbox()
    light = page.crop((left - margin, top - margin, right + margin, bottom + margin))
    light.save(tmp_path / "light.png")
    ImageOps.invert(light).save(tmp_path / "dark.png")
    expected = read_ink(tmp_path / "light.png", "yes")
    assert np.array_equal(read_ink(tmp_path / "light.png"), expected)
    assert np.array_equal(read_ink(tmp_path / "dark.png"), expected)


@pytest.mark.parametrize("invert", ["auto", "yes", "no"])
@pytest.mark.parametrize("mode", ["L", "RGBA", "F"])
def test_a_picture_without_ink_is_named(tmp_path, invert, mode):
    Image.new(mode, (40, 40)).save(tmp_path / "blank.tif")
    with pytest.raises(RunError, match="blank.tif has no ink"):
        read_ink(tmp_path / "blank.tif", invert)


def test_wide_pictures_are_padded_not_stretched(tmp_path):
    image = Image.new("L", (200, 100), 255)
    image.paste(0, (80, 30, 120, 70))
    image.save(tmp_path / "wide.png")
    ink = read_ink(tmp_path / "wide.png") > 128
    assert ink.any(1).sum() == ink.any(0).sum()  # the square stays a square
