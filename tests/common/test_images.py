"""One reader for all four questions: whatever the file, its pixels are those of the plain 8-bit picture."""

import functools
import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from common.images import Depth, list_images, make_each, read_image
from common.runtime import RunError, UsageError
from q1_dcgan import mnist_dataset
from q2_protonet import splits
from q3_pix2pix import maps_dataset
from q3_pix2pix import predict as q3_predict
from q4_darts import cifar10_dataset

QUESTIONS = ["q1", "q2", "q3", "q4"]
GREY = np.full((48, 48), 255, np.uint8)  # a thick L, which shows the way up, and a grey square
GREY[8:40, 8:16], GREY[32:40, 8:32], GREY[8:20, 28:40] = 0, 0, 102
COLOUR = np.stack([GREY, GREY, np.where(GREY == 102, 204, GREY)], -1).astype(np.uint8)
INK = Image.fromarray(255 - np.where(GREY == 102, 255, GREY).astype(np.uint8))  # opaque where the L is


def load(question, folder, data_root, dataset="folder"):
    if question == "q1":
        return mnist_dataset.load(data_root, mnist_dataset.DataOptions(dataset, folder))
    if question == "q2":
        options = splits.DataOptions(dataset, folder=folder, no_rotations=True)
        return splits.load(data_root, options)
    if question == "q3":
        return maps_dataset.load(data_root, maps_dataset.DataOptions(dataset, folder), 32)
    return cifar10_dataset.load(data_root, cifar10_dataset.DataOptions(dataset, folder))


def place(question, folder, file, name="a", part="train"):
    """Puts a file into a data set of the question's layout; returns where it is."""
    inside = folder / f"{part}A" if question == "q3" else folder / part / name
    inside.mkdir(parents=True, exist_ok=True)
    (inside / file.name).write_bytes(file.read_bytes())
    if question == "q3":
        (folder / f"{part}B").mkdir(exist_ok=True)
        target = Image.fromarray(np.full((48, 48), 70 if part == "train" else 90, np.uint8))
        target.save(folder / f"{part}B" / f"{file.stem}.png")
    return inside / file.name


def pixels(question, tmp_path, *files):
    """The files as the training pictures of a data set, in their order."""
    folder = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
    for file in files:
        place(question, folder, file)
    plain = tmp_path / "other.png"
    Image.fromarray(COLOUR[::-1].copy()).save(plain)
    for part in ("test", "validation"):
        place(question, folder, plain, f"a{part}" if question == "q2" else "a", part)
    train = load(question, folder, tmp_path / "root")["train"].images
    if question == "q4":  # which are mixed by a fixed permutation
        train = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).argsort()]
    return {"q2": train.flatten(0, 1), "q3": train[:, :3]}.get(question, train).numpy().astype(int)


def png(width, height, bits, kind, rows):
    """A PNG with these bytes as its rows; kind 0 grey, 2 RGB, 4 grey and alpha."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        file += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return file


def png16(values, kind):
    """A 16-bit PNG of values (height, width, channels)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(values.shape[1], values.shape[0], 16, kind, rows)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(kind, orientation, **options):
    """The grey picture stored in one of the eight orientations, with the tag that turns it back."""
    flips = [None, 0, 3, 1, 5, 4, 6, 2]  # Pillow's transpositions that undo orientations 1 to 8
    image, exif = Image.fromarray(GREY), Image.Exif()
    exif[274] = orientation
    undo = {4: 2, 2: 4}.get(flips[orientation - 1], flips[orientation - 1])
    return encoded(image if undo is None else image.transpose(undo), kind, exif=exif, **options)


def of_values(values, **options):
    return encoded(Image.fromarray(values), "TIFF", **options)


def with_alpha(mode, ink, hidden=(10, 200, 30)):
    """The L in this ink, opaque on transparent pixels that hide a colour."""
    image = Image.new("RGB", (48, 48), hidden)
    image.paste(ink, mask=INK)
    image.putalpha(INK)
    if mode == "P":
        return encoded(image.quantize(8), "PNG")
    return encoded(image.convert(mode), "PNG")


DEEP = GREY.astype(np.uint16)
TWELVE = (DEEP.astype(int) * 4095 // 255).astype(np.uint16)
PLAIN, INVERTED, BLACK = Image.fromarray(GREY), Image.fromarray(255 - GREY), Image.new("L", (48, 48))
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


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("name", GREYS)
def test_any_file_shows_the_same_picture(tmp_path, question, name):
    (tmp_path / name).write_bytes(GREYS[name])
    Image.fromarray(GREY).save(tmp_path / "plain.png")
    found, plain = (pixels(question, tmp_path, tmp_path / file) for file in (name, "plain.png"))
    assert np.abs(found - plain).max() <= (8 if name.endswith("jpg") else 2) and plain.std() > 50


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ink", ["black", "white"])
def test_transparency_is_laid_where_the_ink_is_seen_and_hides_its_colours(tmp_path, question, mode, ink):
    (tmp_path / "ink.png").write_bytes(with_alpha(mode, ink))
    plain = INK if ink == "white" else Image.eval(INK, lambda level: 255 - level)
    plain.save(tmp_path / "plain.png")
    found, expected = (pixels(question, tmp_path, tmp_path / file) for file in ("ink.png", "plain.png"))
    assert np.abs(found - expected).max() <= 2 and expected.std() > 50


@pytest.mark.parametrize("kind", ["tif", "png"])
@pytest.mark.parametrize("question", ["q1", "q3", "q4"])  # q2 stretches each picture's contrast
def test_a_dark_picture_keeps_the_scale_of_its_data_set(tmp_path, question, kind):
    write = of_values if kind == "tif" else lambda values: png16(np.repeat(values[..., None], 3, -1), 2)
    (tmp_path / f"bright.{kind}").write_bytes(write(TWELVE))
    (tmp_path / f"dark.{kind}").write_bytes(write(TWELVE // 20))
    bright, dark = pixels(question, tmp_path, tmp_path / f"bright.{kind}", tmp_path / f"dark.{kind}")
    assert bright.max() == 255 and np.abs(dark - bright / 20).max() <= 3  # the filter overshoots, clipped


@pytest.mark.parametrize("question", ["q3", "q4"])
def test_a_single_dark_photo_keeps_the_scale_of_the_training(tmp_path, monkeypatch, question):
    """Also beside a damaged one. What the training divided by is known when its pictures are cached."""
    (tmp_path / "bright.tif").write_bytes(of_values(TWELVE))
    for part in ("train", "test"):
        place(question, tmp_path / "set", tmp_path / "bright.tif", part=part)
    for root in ("root", "root", "other root"):
        train = load(question, tmp_path / "set", tmp_path / root)["train"]
        depth = train.depths[0] if question == "q3" else train.depth
        assert depth == 4095
    dark, damaged = tmp_path / "dark.tif", tmp_path / "damaged.tif"
    dark.write_bytes(of_values(TWELVE // 20))
    damaged.write_bytes(dark.read_bytes()[:900])
    if question == "q4":
        read = functools.partial(cifar10_dataset.read_rgb, size=48, depth=Depth([damaged, dark], depth))
        found, failed = make_each(read, [damaged, dark])
        assert list(found) == [dark] and "damaged.tif cannot be read" in failed[0]
        found = [found[dark]]
    else:
        state = {"architecture": {"image_size": 64}, "facts": {"scale": [1.0, 1.0], "depth": depth}}
        monkeypatch.setattr(q3_predict, "load_generator", lambda *_: (torch.nn.Linear(1, 1), state))
        monkeypatch.setattr(q3_predict, "translate", lambda _, tiles, mode: tiles.float() / 255)
        options = q3_predict.Options(input=(damaged, dark), output=tmp_path / "maps", device="cpu")
        with pytest.raises(RunError, match="damaged.tif cannot be read"):
            q3_predict.main(options)
        found = np.asarray(Image.open(tmp_path / "maps" / "dark.png"))[None]
    assert np.abs(np.asarray(found)[0, ..., 0].astype(float) - GREY / 20).max() <= 1


@pytest.mark.parametrize("values", [[-1], [70_000], [2.0], [np.nan], [np.inf], [-0.5], [200.0]])
def test_what_is_no_grey_level_is_refused_by_name(tmp_path, values):
    pixels = np.zeros((20, 20), np.float32 if isinstance(values[0], float) else np.int32)
    pixels[3, 3] = values[0]
    Image.fromarray(pixels).save(tmp_path / "odd.tif")
    for mode in ("L", "F", "RGB"):
        with pytest.raises(RunError, match="odd.tif holds pixels that are no grey levels: values from"):
            read_image(tmp_path / "odd.tif", mode)


def test_a_level_that_is_transparent(tmp_path):
    for ink, paper in ((0, 255), (255, 0)):
        values = np.where(GREY == 0, ink * 257, 30_000).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "t.png", transparency=30_000)
        assert (np.asarray(read_image(tmp_path / "t.png", "L")) == np.where(GREY == 0, ink, paper)).all()


# Finding them -----------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path):
    """A function that writes a picture of its own for each number."""

    def write(number, ending="png"):
        file = tmp_path / f"{number}.{ending}"
        values = COLOUR.copy()
        values[40:, :24] = np.random.default_rng(number).integers(0, 255, (8, 24, 3))
        Image.fromarray(values).save(file)
        return file

    return write


JUNK = [".DS_Store", "._1.png", "Thumbs.db", "desktop.ini", "notes.pdf", "list.csv", "x.png~", ".hidden.png"]
JUNK_FOLDERS = [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "$RECYCLE.BIN", "lost+found"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_junk_is_never_seen(tmp_path, picture, question):
    folder = tmp_path / "set"
    for part in ("train", "val", "test"):
        for i in range(2):
            name = f"{i}{part}" if question == "q2" else str(i)
            place(question, folder, picture(2 * len(part) + i), name, part)
    clean = load(question, folder, tmp_path / "root")["train"]
    for inside in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in JUNK:
            (inside / name).write_bytes(b"junk")
        for name in JUNK_FOLDERS:
            (inside / name).mkdir()
            (inside / name / "a.png").write_bytes(b"junk")
    found = load(question, folder, tmp_path / "root2")["train"]
    assert found.names == clean.names and torch.equal(found.images, clean.images)


@pytest.mark.parametrize("question", QUESTIONS)
def test_names_are_in_natural_order_and_endings_in_any_case(tmp_path, picture, question):
    for number in (10, 2, 1, 0):
        for part in ("train", "validation", "test"):
            name = str(number) if question != "q2" or part == "train" else f"{number}{part}"
            place(question, tmp_path / "set", picture(number + len(part), "PNG"), name, part)
    train = load(question, tmp_path / "set", tmp_path / "root")["train"]
    if question != "q3":
        assert train.names == ["0", "1", "2", "10"]
    names = [file.name for file in list_images(tmp_path)]
    assert names == sorted(names, key=lambda name: int(name[:-4])) and "10.PNG" in names


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("second", ["val", "validation", "valid", "test", "Val"])
def test_parts_by_any_usual_name(tmp_path, picture, question, second):
    parts = ["train", second] + ["test"] * (question == "q2")
    if question == "q2" and second == "test":
        pytest.skip("q2 has three parts")
    for i, part in enumerate(parts):
        place(question, tmp_path / "set", picture(i), f"a{i}" if question == "q2" else "a", part)
    found = load(question, tmp_path / "set", tmp_path / "root")
    assert all(len(part.images) == 1 for part in found.values()) and len(found) == len(parts)


@pytest.mark.parametrize("question", QUESTIONS)
def test_errors_say_what_was_found(tmp_path, picture, question):
    place(question, tmp_path / "set", picture(1))
    (tmp_path / "set" / "evaluation").mkdir()
    with pytest.raises((RunError, UsageError), match=r"set .*holds .*evaluation/.*, train"):
        load(question, tmp_path / "set", tmp_path / "root")
    for part in ("val", "test"):
        file = place(question, tmp_path / "set", picture(2), f"a{part}" if question == "q2" else "a", part)
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(RunError, match=r"(no images in .*holds 2.heic|no partner .*2.png)"):
        load(question, tmp_path / "set", tmp_path / "root")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_folder_needs_dataset_folder_and_the_other_way_round(tmp_path, question):
    for dataset, folder in (("synthetic", tmp_path), ("folder", None), ("folder", tmp_path / "none")):
        with pytest.raises(UsageError, match="--(folder|pairs) (needs --dataset folder|DIR)"):
            load(question, folder, tmp_path, dataset)


@pytest.mark.parametrize("question", ["q1", "q2"])
def test_train_may_be_a_class_and_the_folder_the_data_root(tmp_path, picture, monkeypatch, question):
    """Kinds of vehicles, in the folder that the caches go to, given as "."."""
    for i, name in enumerate(("bus", "train", "tram", "car", "ship", "bike", "plane", "ferry")):
        place("q4", tmp_path / "vehicles", picture(i), name, ".")
        place("q4", tmp_path / "vehicles", picture(i + 20), name, ".")  # q1 needs two of a class
    monkeypatch.chdir(tmp_path / "vehicles")
    (tmp_path / "linked").mkdir()
    place("q4", tmp_path / "linked", picture(9), "lorry", ".")
    (tmp_path / "vehicles" / "lorry").symlink_to(tmp_path / "linked" / "lorry")
    for _ in range(2):
        parts = load(question, mnist_dataset.Path("."), mnist_dataset.Path("."))
        names = {name for part in parts.values() for name in part.names}
        assert names == {"bus", "train", "tram", "car", "ship", "bike", "plane", "ferry", "lorry"}
