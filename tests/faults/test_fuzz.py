"""Valid files with random damage: a reader gives something usable or its documented error, nothing else.

SOAK=1 reads ten times as many. A failure names its input; FUZZ_INPUT=<number> reads only those inputs.
"""

import functools
import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint, download
from common.errors import RunError, UsageError
from common.image_reader import Depth, read_image
from q1_dcgan.mnist_dataset import load_folder
from q1_dcgan.mnist_files import read_idx
from q2_protonet.drawings import read_ink
from q2_protonet.omniglot_files import read_list
from q3_pix2pix.pair_reader import PairReader
from q4_darts import genotype_text, genotypes
from tests.common.test_download import write_archive
from tests.common.test_image_reader import encoded

TIMES = 10 if os.environ.get("SOAK") == "1" else 1
ODD = [None, True, -1, 0, 5, 10**30, 1e308, float("nan"), float("inf"), "", "none", "skip_connect", "\ud800"]
ODD += [[], {}, [[]], {"normal": 1}]


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where that can be: a disk is waited for whenever a file is written over."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else tmp_path) as folder:
        yield Path(folder)


def mutate(random, data):
    """One to four of: a flipped bit, another byte, an end cut off, bytes put in, taken out or copied."""
    for _ in range(random.integers(1, 5)):
        at, there = random.integers(0, len(data) + 1, 2) if data else (0, 0)
        length = int(random.integers(1, 17))
        kind = random.integers(0, 8)
        if kind < 3 and at < len(data):
            changed = data[at] ^ 1 << random.integers(0, 8) if kind < 2 else random.choice([0, 127, 128, 255])
            data = data[:at] + bytes([changed]) + data[at + 1 :]
        elif kind == 3:
            data = data[:at]
        elif kind == 4:
            data = data[:at] + random.bytes(length) + data[at:]
        elif kind == 5:
            data = data[:at] + data[at + length :]
        elif kind == 6:
            data = data[:at] + data[there : there + length] + data[at + length :]
        else:
            data = data[:at] + data[there:]
    return data


def flips(data, count, seed=0):
    """The data with one bit changed, and cut short, at `count` random places each."""
    random = np.random.default_rng(seed)
    for at, bit in zip(random.integers(0, len(data), count), random.integers(0, 8, count)):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        yield bytes(changed)
        yield data[:at]


def restructure(random, value):
    """Some places of a JSON value hold something odd, another part of it, or nothing, or are there twice."""
    if random.random() < 0.04:
        return ODD[random.integers(len(ODD))]
    if isinstance(value, dict):
        keys = {key if random.random() > 0.02 else "odd": inner for key, inner in value.items()}
        return {key: restructure(random, inner) for key, inner in keys.items()}
    if isinstance(value, list):
        times = random.choice([0, 1, 2], p=[0.01, 0.98, 0.01], size=len(value))
        changed = [restructure(random, inner) for inner, n in zip(value, times) for _ in range(n)]
        return changed if random.random() > 0.02 else [changed]
    return value


def sealed(random, data):
    """A checkpoint whose pickle is damaged and whose checksums are right, as only malice makes it."""
    parts, out = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name in parts.namelist():
            part = parts.read(name)
            file.writestr(name, mutate(random, part) if name.endswith("data.pkl") else part)
    return out.getvalue()


def run(reader, sample, read, count, path, change=mutate):
    """Damages the samples `count` times and reads each.

    Args:
        sample: the valid files' bytes.
        read: reads `path` and checks what it gives; RunError and UsageError are documented.
    """
    only = os.environ.get("FUZZ_INPUT")
    refused = 0
    for number in [int(only)] if only else range(count * TIMES):
        random = np.random.default_rng([zlib.crc32(reader.encode()), number])
        path.write_bytes(change(random, sample[number % len(sample)]))
        began = time.perf_counter()
        try:
            read()
        except (RunError, UsageError) as error:
            assert path.name in str(error), f"{reader}, FUZZ_INPUT={number}: {error}"
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{reader}, FUZZ_INPUT={number}: {type(error).__name__}: {error}") from error
        assert time.perf_counter() - began < 20, f"{reader}, FUZZ_INPUT={number} took long"
    print(f"{reader}: {count * TIMES} inputs, {refused} refused")
    return refused


def pictures(size):
    """The same noise in every format and mode, and a photo that is turned."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image, grey, exif = Image.fromarray(pixels), pixels[..., 0], Image.Exif()
    exif[274] = 3  # upside down
    deep, real = Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(grey.astype(np.float32))
    written = [encoded(image, "PNG"), encoded(image, "JPEG", exif=exif), encoded(image, "BMP")]
    written += [encoded(image, "TIFF", exif=exif), encoded(image, "WEBP"), encoded(image.convert("P"), "GIF")]
    written += [encoded(image.convert("P"), "PNG", transparency=3), encoded(image.convert("RGBA"), "PNG")]
    written += [encoded(deep, "PNG"), encoded(deep, "TIFF"), encoded(real, "TIFF")]
    written += [encoded(image.convert("1"), "TIFF", compression="group4")]
    written += [encoded(image, "TIFF", compression="tiff_lzw"), encoded(image, "PPM")]
    return [*written, encoded(image, "JPEG2000")]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_checkpoint(tmp_path):
    path, about = tmp_path / "last.pt", {"width": 3, "cell": (("a", 1),)}
    kept = {"model": {"w": torch.arange(20.0)}, "position": {"epoch": 3}, "names": ["a"]}
    checkpoint.save(path, "q", about, **kept)
    sample, whole = [path.read_bytes()], checkpoint.load(path, "q", about)

    def read():
        assert checkpoint.load(path, "q", about)["format"] == checkpoint.FORMAT

    def read_the_same():
        state = checkpoint.load(path, "q", about)
        assert torch.equal(state["model"].pop("w"), torch.arange(20.0)) and state == whole | {"model": {}}

    assert run("checkpoint", sample, read_the_same, 1300, path) > 500 * TIMES
    assert run("checkpoint with right checksums", sample, read, 1500, path, sealed) > 500 * TIMES


def test_genotype(tmp_path):
    path = tmp_path / "g.json"
    genotypes.save(genotypes.DARTS_V2, path, epoch=3, weights=[0.5, 1.0])
    sample = [path.read_bytes()]

    def read():
        genotypes.check(genotype_text.read(str(path)))

    def structure(random, data):
        text = json.dumps(restructure(random, json.loads(data)))
        return (text if random.random() < 0.9 else "[" * int(random.integers(1, 5000)) + text).encode()

    assert run("genotype", sample, read, 1500, path) > 500 * TIMES
    assert run("genotype's structure", sample, read, 2000, path, structure) > 500 * TIMES


def test_idx(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    whole = b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 28, 28)) + bytes(range(196)) * 8

    def read():
        assert read_idx(path, hashlib.md5(whole).hexdigest(), (2, 28, 28)).numpy().tobytes() == whole[16:]

    def read_any():
        assert read_idx(path, hashlib.md5(path.read_bytes()).hexdigest(), (2, 28, 28)).dtype == torch.uint8

    assert run("IDX", [whole], read, 750, path) > 500 * TIMES
    assert run("IDX with the right MD5", [whole], read_any, 750, path) > 200 * TIMES

    names = ("Greek", "Japanese_(katakana)")
    known = [f"{alphabet}/character{i:02d}" for alphabet in names for i in range(1, 6)]
    sample = ["\n".join(f"{name}/rot{turn:03d}" for name in known for turn in (0, 90, 180, 270)).encode()]

    def read():
        assert set(read_list(path, known)) <= set(known)

    assert run("split list", sample, read, 1500, path) > 500 * TIMES


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, of damaged metadata
@pytest.mark.filterwarnings("error::RuntimeWarning")  # numpy's, of numbers that are none
def test_images(tmp_path):
    path = tmp_path / "tree" / "class" / "picture.png"
    path.parent.mkdir(parents=True)
    Image.new("L", (24, 24)).save(path.with_name("whole.png"))  # q1 wants two pictures per class

    def as_rgb(path):
        return np.asarray(read_image(path, "RGB"))

    def read(reader, shape):
        found = reader(path)
        assert found.shape == shape and found.dtype == np.uint8

    square, wide = pictures((24, 24)), pictures((48, 24))
    picture, ink = (lambda path: PairReader(16, [Depth([path])])((path,))), read_ink
    tree = functools.partial(load_folder, tmp_path / "root", tmp_path / "tree", 0)
    ours = [("pair image of q3", wide, functools.partial(read, picture, (6, 16, 16)), 1500)]
    ours += [("ink image of q2", square, functools.partial(read, ink, (28, 28)), 1500)]
    ours += [("image of q4", square, functools.partial(read, as_rgb, (24, 24, 3)), 750)]
    ours += [("image of q1", square, tree, 750)]
    for name, sample, reader, count in ours:
        assert run(name, sample, reader, count, path) > 0.1 * count * TIMES


@pytest.mark.parametrize("ending", ["zip", "tar.gz"])
def test_archive(tmp_path, ending):
    path = tmp_path / "data" / f"maps.{ending}"
    path.parent.mkdir()
    write_archive(path)
    target, whole = path.parent / "maps", {"train/1.jpg": b"one", "val/2.jpg": b"two" * 5000}

    def read():
        shutil.rmtree(target, ignore_errors=True)
        try:
            download.extract(path, "maps", target)
        except RunError:
            assert not target.exists()
            raise
        found = {str(file.relative_to(target)): file.read_bytes() for file in target.rglob("*.*")}
        # how many members a zip has is covered by no checksum of its own; Omniglot's come with an MD5
        assert found == whole if ending == "tar.gz" else found.items() <= whole.items()

    sample = [path.read_bytes()]
    assert run(f"archive {ending}", sample, read, 250, path) > 100 * TIMES
    flipped = list(flips(sample[0], 200))  # one bit, or the end cut off
    assert run(f"archive {ending}, one flip", flipped, read, 400, path, lambda _, data: data) > 200
    assert {file.name for file in tmp_path.iterdir()} == {"data"}
    assert {file.name for file in path.parent.iterdir()} <= {path.name, "maps"}
