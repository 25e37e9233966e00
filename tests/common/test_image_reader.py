"""One reader for all four questions: whatever the file, its pixels are those of the plain 8-bit image."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from common.errors import RunError
from common.image_reader import Depth, open_image, read_each, read_image

GREY = np.full((48, 48), 255, np.uint8)  # a thick L, which shows the way up, and a grey square
GREY[8:40, 8:16] = 0
GREY[32:40, 8:32] = 0
GREY[8:20, 28:40] = 102
INK = Image.fromarray(255 - np.where(GREY == 102, 255, GREY).astype(np.uint8))  # opaque where the L is
MODES = ["L", "F", "RGB"]


def pixels(path, mode="L", depth=None):
    """Returns what is read of a file, as numbers; of colours that are grey one channel."""
    found = np.asarray(read_image(path, mode, depth)).astype(float)
    return found[..., 0] if found.ndim == 3 and np.ptp(found, axis=2).max() <= 1 else found


def write(path, content):
    """Writes a file and returns its path."""
    path.write_bytes(content)
    return path


def png(width, height, bits, kind, rows):
    """Returns a PNG with these bytes as its rows; kind 0 grey, 2 RGB, 4 grey and alpha."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        file += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return file


def png16(values, kind):
    """Returns a 16-bit PNG of values (height, width, channels)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, kind, rows)


def encoded(image, kind, **options):
    """Returns an image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(kind, orientation, **options):
    """Returns the grey picture stored in one of the eight orientations, with the tag that turns it back."""
    flips = [None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's transpositions that undo orientations 1 to 8
    image = Image.fromarray(GREY)
    exif = Image.Exif()
    exif[274] = orientation
    undo = {4: 2, 2: 4}.get(flips[orientation - 1], flips[orientation - 1])
    return encoded(image if undo is None else image.transpose(undo), kind, exif=exif, **options)


def of_values(values, **options):
    """Returns a TIFF of these values."""
    return encoded(Image.fromarray(values), "TIFF", **options)


def with_alpha(mode, ink, hidden=(10, 200, 30)):
    """Returns the L in this ink, opaque on transparent pixels that hide a colour."""
    image = Image.new("RGB", (48, 48), hidden)
    image.paste(ink, mask=INK)
    image.putalpha(INK)
    if mode == "P":
        return encoded(image.quantize(8), "PNG")
    return encoded(image.convert(mode), "PNG")


DEEP = GREY.astype(np.uint16)
TWELVE = (DEEP.astype(int) * 4095 // 255).astype(np.uint16)
PLAIN = Image.fromarray(GREY)
INVERTED = Image.fromarray(255 - GREY)
BLACK = Image.new("L", (48, 48))
GREYS = {  # name -> the bytes of a file that shows GREY
    **{f"orientation {i}.jpg": turned("JPEG", i, quality=100) for i in range(1, 9)},
    **{f"orientation 6.{kind.lower()}": turned(kind, 6) for kind in ("PNG", "TIFF")},
    "orientation 8.webp": turned("WEBP", 8, lossless=True),
    "16 bits.png": encoded(Image.fromarray(DEEP * 257), "PNG"),
    "16 bits.tif": of_values(DEEP * 257),
    "big-endian.tif": of_values((DEEP * 257).astype(">u2")),
    "bigtiff.TIFF": of_values(DEEP * 257, big_tiff=True),
    "white is zero.tif": of_values((65535 - DEEP * 257).astype(np.uint16), tiffinfo={262: 0}),
    "12 bits in 16.tif": of_values(TWELVE),
    "12 bits by tag.tif": of_values(TWELVE // 2 * 2, tiffinfo={281: 4095}),
    "8 bits in 16.png": encoded(Image.fromarray(DEEP), "PNG"),
    "int32.tif": of_values(GREY.astype(np.int32)),
    "int32 of 16 bits.tif": of_values(GREY.astype(np.int32) * 257),
    "float.tif": of_values((GREY / 255).astype(np.float32)),
    "pgm.pgm": b"P5 48 48 4095\n" + TWELVE.astype(">u2").tobytes(),
    "RGB 16.png": png16(np.repeat(DEEP[..., None] * 257, 3, -1), 2),
    "RGB 12 in 16.png": png16(np.repeat(TWELVE[..., None], 3, -1), 2),
    "grey and alpha 16.png": png16(np.stack([TWELVE, np.full_like(TWELVE, 65535)], -1), 4),
    "palette.GIF": encoded(PLAIN.convert("P"), "GIF"),
    "animated.gif": encoded(PLAIN, "GIF", save_all=True, append_images=[INVERTED]),
    "animated.webp": encoded(PLAIN, "WEBP", lossless=True, save_all=True, append_images=[BLACK]),
    "two pages.tif": encoded(PLAIN, "TIFF", save_all=True, append_images=[BLACK]),
    "CMYK.tif": encoded(Image.merge("CMYK", [INVERTED] * 3 + [BLACK]), "TIFF"),
    "opaque.png": encoded(Image.merge("RGBA", [PLAIN] * 3 + [Image.new("L", (48, 48), 255)]), "PNG"),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GREYS)
def test_any_file_shows_the_same_picture(tmp_path, name, mode):
    found = pixels(write(tmp_path / name, GREYS[name]), mode)
    assert np.abs(found - GREY).max() <= (4 if name.endswith("jpg") else 1)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ink", ["black", "white"])
def test_transparency_is_laid_where_the_ink_is_seen_and_hides_its_colours(tmp_path, kind, ink):
    file = write(tmp_path / "ink.png", with_alpha(kind, ink))
    expected = np.asarray(INK if ink == "white" else Image.eval(INK, lambda level: 255 - level))
    assert np.abs(pixels(file) - expected).max() <= 1


@pytest.mark.parametrize("ink, paper", [(0, 255), (255, 0)])
def test_a_level_that_is_transparent(tmp_path, ink, paper):
    values = np.where(GREY == 0, ink * 257, 30_000).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "t.png", transparency=30_000)
    assert (pixels(tmp_path / "t.png") == np.where(GREY == 0, ink, paper)).all()


# More than 8 bits -------------------------------------------------------------------------------------------


@pytest.fixture(params=["tif", "png"])
def bright_and_dark(request, tmp_path):
    """Two files of 12 bits: one has the full range, the other a twentieth of it."""
    files = []
    for name, values in (("bright", TWELVE), ("dark", TWELVE // 20)):
        colours = np.repeat(values[..., None], 3, -1)
        content = of_values(values) if request.param == "tif" else png16(colours, 2)
        files.append(write(tmp_path / f"{name}.{request.param}", content))
    return files


def test_a_dark_picture_keeps_the_scale_of_its_data_set(bright_and_dark):
    depth = Depth(bright_and_dark)
    assert depth.found == 0
    assert np.abs(pixels(bright_and_dark[1], depth=depth) - GREY / 20).max() <= 1
    assert depth.found == 4095


def test_a_single_dark_picture_keeps_the_scale_of_the_training(bright_and_dark):
    depth = Depth(bright_and_dark[1:], least=4095)
    assert np.abs(pixels(bright_and_dark[1], depth=depth) - GREY / 20).max() <= 1


def test_files_of_8_bits_are_not_looked_through_for_their_depth(tmp_path):
    depth = Depth([tmp_path / "missing.png"])
    Image.fromarray(GREY).save(tmp_path / "a.png")
    read_image(tmp_path / "a.png", "L", depth)
    assert depth.found == 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [-1, 70_000, 2.0, np.nan, np.inf, -0.5, 200.0])
def test_what_is_no_grey_level_is_refused_by_name(tmp_path, value, mode):
    values = np.zeros((20, 20), np.float32 if isinstance(value, float) else np.int32)
    values[3, 3] = value
    Image.fromarray(values).save(tmp_path / "odd.tif")
    with pytest.raises(RunError, match="odd.tif holds pixels that are no grey levels: values from"):
        read_image(tmp_path / "odd.tif", mode)


# Other people's files ---------------------------------------------------------------------------------------


def test_a_png_with_a_long_text_is_read(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("workflow", "x" * 1_200_000, zip=True)
    PLAIN.save(tmp_path / "t.png", pnginfo=info)
    assert (pixels(tmp_path / "t.png") == GREY).all()


def test_a_png_with_a_long_profile_is_read(tmp_path):
    PLAIN.convert("RGB").save(tmp_path / "t.png", icc_profile=b"x" * 1_200_000)
    assert (pixels(tmp_path / "t.png") == GREY).all()


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
RED_IS_GREEN = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize(
    "profile, seen",
    [(SRGB, (200, 20, 20)), (RED_IS_GREEN, (20, 200, 20)), (b"damaged", (200, 20, 20))],
    ids=["sRGB", "other", "damaged"],
)
def test_a_picture_has_the_colours_of_its_profile(tmp_path, profile, seen, mode):
    image = Image.new("RGB", (4, 4), (200, 20, 20)).convert(mode)
    image.save(tmp_path / "t.png", icc_profile=profile)
    assert read_image(tmp_path / "t.png", "RGB").getpixel((1, 1)) == seen


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(RunError, match="pipe.png cannot be read as an image .it is no regular file"):
        read_image(tmp_path / "pipe.png", "L")


def test_a_claim_of_too_many_pixels_is_refused_before_they_are_decoded(tmp_path):
    file = write(tmp_path / "bomb.png", png(12_000, 12_000, 8, 0, b""))
    with pytest.raises(RunError, match="it claims 12,000 x 12,000 pixels, and the limit is 100,000,000"):
        read_image(file, "L")


def test_postscript_is_no_image(tmp_path):
    PLAIN.save(tmp_path / "a.eps")
    with pytest.raises(RunError, match="a.eps cannot be read as an image"):
        read_image(tmp_path / "a.eps", "L")


def test_whatever_goes_wrong_while_an_image_is_decoded_names_its_file(tmp_path):
    PLAIN.save(tmp_path / "a.png")
    with pytest.raises(RunError, match="a.png cannot be read as an image .IndexError"):
        with open_image(tmp_path / "a.png"):
            raise IndexError


def test_a_damaged_file_is_told_and_the_others_are_read(tmp_path):
    good = write(tmp_path / "good.png", encoded(PLAIN, "PNG"))
    damaged = write(tmp_path / "damaged.png", encoded(PLAIN, "PNG")[:80])
    found, failed = read_each(lambda file: pixels(file).shape, [damaged, good])
    assert found == {good: (48, 48)}
    assert len(failed) == 1
    assert "damaged.png cannot be read as an image" in failed[0]


def test_no_file_that_can_be_read_is_an_error(tmp_path):
    with pytest.raises(RunError, match="a.png cannot be read .*; .*b.png cannot be read"):
        read_each(pixels, [tmp_path / "a.png", tmp_path / "b.png"])
