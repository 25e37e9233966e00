"""Files of unknown origin run no code, write nothing outside, fill no memory; damage is noticed."""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from common import archive, checkpoint
from common.images import list_classes, list_images, open_image
from common.runtime import RunError, Runtime, UsageError
from q1_dcgan import mnist_dataset
from q1_dcgan.classifier import trained_classifier
from q2_protonet import omniglot_dataset, splits
from q3_pix2pix import maps_dataset
from q4_darts import cifar10_dataset, genotypes
from tests.conftest import ENVIRONMENT, ROOT

QUESTIONS = ["q1", "q2", "q3", "q4"]


class Evil:
    """A pickle of it runs a command when it is read by anything less than careful."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture(params=["zip", "pickle"])
def evil(request, tmp_path):
    """Writes a hostile file, as torch.save does or as a bare pickle; at the end nothing may have run."""
    mark = tmp_path / "it-ran"

    def write(path):
        content = {"format": checkpoint.FORMAT, "sha256": "", "images": Evil(mark)}
        if request.param == "zip":
            torch.save(content, path)
        else:
            path.write_bytes(pickle.dumps(content))

    write(tmp_path / "probe")
    if request.param == "pickle":
        pickle.loads((tmp_path / "probe").read_bytes())
    else:
        torch.load(tmp_path / "probe", weights_only=False)
    assert mark.exists()  # the attack is real
    mark.unlink()
    yield write
    assert not mark.exists()


def offline(*_, **__):
    raise OSError("no network")


# 1: nothing runs --------------------------------------------------------------------------------------------


def test_the_code_has_no_other_reader_of_objects():
    unsafe = re.compile(
        r"(?<![\w.])(eval|exec|__import__)\(|pickle\.loads?\(|module_from_spec|import_module\((?!f?\"(\{question\}|q\d_\w+)\.\w+\"\))|joblib|yaml\.|allow_pickle|weights_only=False"
    )
    for file in [
        *ROOT.glob("*.py"),
        *ROOT.glob("common/*.py"),
        *ROOT.glob("q?_*/*.py"),
        *ROOT.glob("benchmarks/*.py"),
        *ROOT.glob("reproduction/*.py"),
    ]:
        text = file.read_text()
        found = unsafe.search(text)
        assert not found, f"{file}: {found[0]}"
        assert text.count("torch.load(") == (file == ROOT / "common/checkpoint.py"), file


def test_a_hostile_checkpoint(evil, tmp_path):
    evil(tmp_path / "last.pt")
    with pytest.raises(
        RunError, match="last.pt (holds more than tensors .* refused|is cut short or damaged)"
    ):
        checkpoint.load(tmp_path / "last.pt", "q")


def test_a_hostile_cache_of_q1(evil, tmp_path):
    pictures = mnist_dataset.draw_digits(64, 0)
    runtime = Runtime(torch.device("cpu"), "fp32")
    first, facts = trained_classifier({"train": pictures, "test": pictures}, tmp_path, runtime)
    cache = the_cache(tmp_path)
    good = cache.read_bytes()
    evil(cache)
    assert trained_classifier({"train": pictures, "test": pictures}, tmp_path, runtime)[1] == facts
    assert len(cache.read_bytes()) == len(good) and checkpoint.read(cache)["facts"] == facts  # rebuilt


def trees(folder):
    """What each question keeps a cache of, as a function that reads it: picture pixels."""
    for name in ("a", "b"):
        (folder / "tree" / name).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            Image.fromarray(np.random.default_rng(i).integers(0, 255, (32, 64, 3), dtype=np.uint8)).save(
                folder / f"tree/{name}/{i}.png"
            )
    pairs = [(file,) for file in list_images(folder / "tree/a")]
    shutil.copytree(folder / "tree", folder / "parts/train", dirs_exist_ok=True)
    shutil.copytree(folder / "tree", folder / "parts/test", dirs_exist_ok=True)
    return {
        "q1": lambda: mnist_dataset.load_folder(folder, folder / "tree", 0)["train"].images,
        "q2": lambda: omniglot_dataset.decode(list_classes(folder / "tree"), folder).images,
        "q3": lambda: maps_dataset.decode({"train": pairs}, {"train": 32}, folder)["train"].images,
        "q4": lambda: cifar10_dataset.load_tree(folder / "parts", folder)["train"].images,
    }


def the_cache(folder):
    (cache,) = (folder / "cache").glob("*.pt")
    return cache


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_hostile_cache_of_pictures(evil, tmp_path, question):
    read = trees(tmp_path)[question]
    images = read()
    cache = the_cache(tmp_path)
    evil(cache)
    assert torch.equal(read(), images)
    assert len(checkpoint.read(cache)["images"]) >= len(images)  # rebuilt


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_cache_of_other_shapes_is_rebuilt(tmp_path, question):
    read = trees(tmp_path)[question]
    images = read()
    cache = the_cache(tmp_path)
    saved = checkpoint.read(cache)
    for wrong in (torch.zeros(1, dtype=torch.uint8), saved["images"].float(), [1], None):
        torch.save(saved | {"images": wrong}, cache)
        assert torch.equal(read(), images)


def test_a_hostile_genotype(evil, tmp_path):
    evil(tmp_path / "g.json")
    with pytest.raises(RunError, match="g.json is not a genotype"):
        genotypes.read(str(tmp_path / "g.json"))
    code = f"__import__('os').system('touch {tmp_path / 'it-ran'}')"
    for text in (code, json.dumps({"normal": code, "reduce": code})):
        (tmp_path / "g.json").write_text(text)
        with pytest.raises(RunError, match="g.json is not a genotype"):
            genotypes.read(str(tmp_path / "g.json"))
    with pytest.raises((RunError, UsageError)):
        genotypes.read(code)


def test_hostile_files_where_torchvision_reads_pickles(evil, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    for folder, names in (
        ("MNIST/processed", ["training.pt", "test.pt"]),
        ("cifar-10-batches-py", ["data_batch_1", "batches.meta"]),
    ):
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            evil(tmp_path / folder / name)
    with pytest.raises(RunError, match="MNIST/raw"):
        mnist_dataset.load(tmp_path, mnist_dataset.DataOptions("mnist"))
    with pytest.raises(RunError, match=r"CIFAR-10 in .* is missing or damaged(?s:.*)--dataset synthetic\n"):
        cifar10_dataset.load(tmp_path, cifar10_dataset.DataOptions("cifar10"))


# 2: archives ------------------------------------------------------------------------------------------------


def write_archive(path, *hostile):
    """An archive of a good folder and these members: (name, bytes), or (name, tar type, target of a link)."""
    members = [("maps/train/1.jpg", b"one"), ("maps/val/2.jpg", b"two" * 5000), *hostile]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, *content in members:
                info = zipfile.ZipInfo(name)
                if len(content) == 2:
                    kinds = {
                        tarfile.SYMTYPE: stat.S_IFLNK,
                        tarfile.CHRTYPE: stat.S_IFCHR,
                        tarfile.FIFOTYPE: stat.S_IFIFO,
                    }
                    info.external_attr = (kinds.get(content[0], stat.S_IFLNK) | 0o777) << 16
                file.writestr(info, content[-1], zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(path, "w:gz") as file:
            for name, *content in members:
                info = tarfile.TarInfo(name)
                if len(content) == 2:
                    info.type, info.linkname = content
                    file.addfile(info)
                else:
                    info.size = len(content[0])
                    file.addfile(info, io.BytesIO(content[0]))


@pytest.fixture(params=["zip", "tar.gz"])
def packed(request, tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / f"maps.{request.param}"


def refused(packed, reason):
    """Extraction fails with this reason and leaves the folder and what is around it as they were."""
    before = sorted(packed.parent.parent.rglob("*"))
    with pytest.raises(RunError, match=f"{packed.name} is damaged or unsafe .*{reason}"):
        archive.extract(packed, "maps", packed.parent / "maps")
    assert sorted(packed.parent.parent.rglob("*")) == before


def test_a_good_archive_replaces_what_was_there(packed):
    write_archive(packed, ("other/3.jpg", b"3"))
    (packed.parent / "maps").mkdir()
    (packed.parent / "maps/old").touch()
    archive.extract(packed, "maps", packed.parent / "maps")
    found = {str(file.relative_to(packed.parent)): file.read_bytes() for file in packed.parent.rglob("*.jpg")}
    assert found == {"maps/train/1.jpg": b"one", "maps/val/2.jpg": b"two" * 5000}
    assert sorted(file.name for file in packed.parent.iterdir()) == ["maps", packed.name]


OUTSIDE = [
    "../outside",
    "maps/../../outside",
    "{}/outside",
    "..\\outside",
    "C:\\outside",
    "//host/outside",
    "m/" * 99,
]


@pytest.fixture
def tar(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "maps.tar.gz"


@pytest.mark.parametrize("name", OUTSIDE)
def test_members_outside(tar, name):
    write_archive(tar, (name.format(tar.parent.parent), b"x"))
    refused(tar, "would lie outside")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices(tar, kind):
    write_archive(tar, ("maps/link", kind, ".."), ("maps/link/outside", b"x"))
    refused(tar, "neither a plain file nor a folder")


def test_too_many_and_too_much(tar, monkeypatch):
    write_archive(tar, ("maps/zeros", bytes(1_000_000)))
    assert tar.stat().st_size < 5000
    monkeypatch.setattr(archive, "MOST_BYTES", 900_000)
    refused(tar, "more than .* 900,000 bytes")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    refused(tar, "more than 2 members")


@pytest.mark.parametrize("name", [*OUTSIDE[:-1], "maps/link"])
def test_a_zip_too_writes_nothing_outside_and_no_link(tmp_path, name):
    """Its MD5 is verified before; zipfile itself would not do it either."""
    inside = tmp_path / "in" / "data"
    inside.mkdir(parents=True)
    hostile = (name, tarfile.SYMTYPE, "..") if name == "maps/link" else (name.format(tmp_path), b"x")
    write_archive(inside / "maps.zip", hostile)
    archive.extract(inside / "maps.zip", "maps", inside / "maps")
    found = [file for file in tmp_path.rglob("*") if not file.is_relative_to(inside / "maps")]
    assert sorted(found) == [tmp_path / "in", inside, inside / "maps.zip"]
    assert not any(file.is_symlink() for file in inside.rglob("*"))


def test_no_such_folder_and_a_file_in_its_place(packed):
    write_archive(packed)
    with pytest.raises(RunError, match="it has no folder charts"):
        archive.extract(packed, "charts", packed.parent / "charts")
    write_archive(packed, ("maps/train/1.jpg/inside", b"x"))
    refused(packed, "")


def test_zip_headers_that_lie(tmp_path):
    (tmp_path / "data").mkdir()
    packed = tmp_path / "data/maps.zip"
    write_archive(packed, ("maps/zeros", bytes(1_000_000)))
    claimed = packed.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 10))
    packed.write_bytes(claimed)
    refused(packed, "Bad CRC-32")


@pytest.mark.parametrize("size", [1 << 40, -(1 << 40)])
def test_tar_headers_that_lie(tar, size):
    """A long name (which tarfile reads into memory) of a terabyte, and of less than nothing."""
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size | 0x80 << 88 if size > 0 else size + (1 << 96)).to_bytes(12, "big")
    header[156:157] = tarfile.GNUTYPE_LONGNAME
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with gzip.open(tar, "wb") as file:
        file.write(header + bytes(10240))
    refused(tar, "a header claims")


def test_both_questions_use_it(tmp_path, monkeypatch):
    from torchvision.datasets.utils import calculate_md5

    (tmp_path / "omniglot-py").mkdir()
    write_archive(tmp_path / "omniglot-py/tiny.zip", ("../outside", b"x"))
    monkeypatch.setitem(splits.ARCHIVES, "tiny", (calculate_md5(tmp_path / "omniglot-py/tiny.zip"), 3))
    with pytest.raises(RunError, match="tiny.zip is damaged or unsafe .*no folder tiny"):
        splits.alphabets(tmp_path, "tiny")
    write_archive(tmp_path / "maps.tar.gz", ("maps/link", tarfile.SYMTYPE, "/etc"))
    monkeypatch.setattr(maps_dataset, "MAPS_BYTES", (tmp_path / "maps.tar.gz").stat().st_size)
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe .*maps/link"):
        maps_dataset.fetch_maps(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["maps.tar.gz", "omniglot-py"]


# 3: damage --------------------------------------------------------------------------------------------------


def flips(data, count, seed=0):
    """The data with one bit changed, and cut short, at `count` random places each."""
    random = np.random.default_rng(seed)
    for at, bit in zip(random.integers(0, len(data), count), random.integers(0, 8, count)):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        yield bytes(changed)
        yield data[:at]


def test_flips_of_an_archive(packed):
    write_archive(packed)
    target = packed.parent / "maps"
    noticed = 0
    for data in flips(packed.read_bytes(), 200):
        packed.write_bytes(data)
        shutil.rmtree(target, ignore_errors=True)
        try:
            archive.extract(packed, "maps", target)
        except RunError as error:
            noticed += 1
            assert packed.name in str(error) and not target.exists()
        else:
            found = {str(file.relative_to(target)): file.read_bytes() for file in target.rglob("*.*")}
            whole = {"train/1.jpg": b"one", "val/2.jpg": b"two" * 5000}
            # how many members a zip has is covered by no checksum of its own; Omniglot's come with an MD5
            assert found == whole if packed.suffix == ".gz" else found.items() <= whole.items()
    assert noticed > 200


@pytest.mark.parametrize("question", QUESTIONS)
def test_flips_of_a_cache(tmp_path, question):
    read = trees(tmp_path)[question]
    images = read()
    cache = the_cache(tmp_path)
    for data in flips(cache.read_bytes(), 15):
        cache.write_bytes(data)
        assert torch.equal(read(), images)


def test_flips_of_a_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, "q", {"width": 3}, weight=torch.arange(100.0), position={"epoch": 3})
    good = checkpoint.load(path, "q")
    for data in flips(path.read_bytes(), 300):
        path.write_bytes(data)
        try:
            state = checkpoint.load(path, "q")
        except RunError as error:
            assert "last.pt" in str(error)
        else:
            assert torch.equal(state.pop("weight"), good["weight"])
            assert state == {key: value for key, value in good.items() if key != "weight"}


def test_flips_of_a_png_and_truncated_images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    for data in flips((tmp_path / "p.png").read_bytes(), 300):
        (tmp_path / "p.png").write_bytes(data)
        try:
            with open_image(tmp_path / "p.png") as image:
                found = np.asarray(image.convert("RGB"))
        except RunError as error:
            assert "p.png cannot be read as an image" in str(error)
        else:
            assert np.array_equal(found, pixels)
    for ending in ("png", "jpg", "bmp", "gif", "tif", "webp", "ppm"):
        file = tmp_path / f"t.{ending}"
        Image.fromarray(pixels).save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
        with pytest.raises(RunError, match=f"t.{ending} cannot be read as an image"):
            maps_dataset.open_rgb(file)


# 4: enormous images -----------------------------------------------------------------------------------------


def claims(side_x, side_y):
    """Files of under 200 bytes, whose headers claim so many pixels: name -> bytes."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", side_x, side_y, 8, 0, 0, 0, 0)
    yield (
        "b.png",
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99)))
        + chunk(b"IEND", b""),
    )
    x, y = min(side_x, 65535), min(side_y, 65535)
    screen = struct.pack("<HH", x, y)
    yield (
        "b.gif",
        b"GIF89a" + screen + b"\x80\0\0" + bytes(6) + b"," + bytes(4) + screen + b"\0\x02\x02\x4c\x01\0;",
    )
    tags = [
        (256, 4, side_x),
        (257, 4, side_y),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, side_y),
        (279, 4, 99),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    yield "b.tif", b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    yield (
        "b.bmp",
        b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, side_x, side_y, 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(99),
    )
    yield "b.ppm", b"P5 %d %d 255\n" % (side_x, side_y) + bytes(99)


@pytest.mark.parametrize("sides", [(100_000, 100_000), (12_000, 12_500), (100_000_001, 1)])
def test_enormous_claims_are_refused_before_decoding(tmp_path, sides):
    files = []
    for name, data in claims(*sides):
        if name != "b.gif" or min(sides) > 1:  # a GIF of one row cannot be too large
            (tmp_path / name).write_bytes(data)
            files.append(str(tmp_path / name))
    code = """
import re, resource, sys
from pathlib import Path
from common.runtime import RunError
from common.images import read_image
from q2_protonet.omniglot_dataset import read_ink
from q3_pix2pix.maps_dataset import open_rgb
mine = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (mine + (90 << 20),) * 2)  # less than one byte a pixel
for file in map(Path, sys.argv[1:]):
    for read in (read_ink, open_rgb, lambda f: read_image(f, "RGB"), lambda f: read_image(f, "L")):
        try:
            read(file)
        except RunError as error:
            print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr  # no warning either
    lines = done.stdout.splitlines()
    assert len(lines) == 4 * len(files)
    for line in lines:
        assert re.search(
            r"b\.\w+ cannot be read as an image \(.*(claims [\d,]+ x [\d,]+|size \(\d{9,}) pixels", line
        ), line


def test_a_thin_picture_and_pixels_that_are_no_numbers(tmp_path):
    Image.new("L", (1_000_000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(RunError, match="thin.png is 1,000,000 x 1 pixels: too many"):
        omniglot_dataset.read_ink(tmp_path / "thin.png")
    for value in (np.nan, np.inf, 3e38):
        pixels = np.zeros((20, 20), np.float32)
        pixels[3, 3] = value
        Image.fromarray(pixels).save(tmp_path / "f.tif")
        with pytest.raises(RunError, match="f.tif holds pixels that are no grey levels"):
            omniglot_dataset.read_ink(tmp_path / "f.tif")


def test_no_program_is_started_for_an_image(tmp_path, monkeypatch):
    """Pillow gives EPS, under any ending, to Ghostscript."""
    (tmp_path / "e.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n"
    )
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(RunError, match="e.png cannot be read as an image"):
        maps_dataset.open_rgb(tmp_path / "e.png")


# 5: IDX, lists, genotypes -----------------------------------------------------------------------------------


def test_idx_files(tmp_path, monkeypatch):
    from torchvision import datasets

    folder = tmp_path / "MNIST/raw"
    folder.mkdir(parents=True)
    shapes = {
        "train-images-idx3": (60_000, 28, 28),
        "train-labels-idx1": (60_000,),
        "t10k-images-idx3": (10_000, 28, 28),
    }
    shapes["t10k-labels-idx1"] = (10_000,)
    monkeypatch.setitem(mnist_dataset.MD5, "MNIST", {})
    for name, shape in shapes.items():
        content = (
            struct.pack(f">{1 + len(shape)}I", 0x800 + len(shape), *shape)
            + np.arange(np.prod(shape), dtype=np.uint8).tobytes()
        )
        (folder / f"{name}-ubyte").write_bytes(content)
        monkeypatch.setitem(mnist_dataset.MD5["MNIST"], f"{name}-ubyte", hashlib.md5(content).hexdigest())
    parts = mnist_dataset.load(tmp_path, mnist_dataset.DataOptions())
    plain = datasets.MNIST(str(tmp_path), train=False)
    assert torch.equal(parts["test"].images, plain.data) and torch.equal(parts["test"].labels, plain.targets)
    for name, shape in list(shapes.items())[1:]:
        file = folder / f"{name}-ubyte"
        whole, md5 = file.read_bytes(), mnist_dataset.MD5["MNIST"][file.name]
        for damaged in (
            b"",
            whole[:7],
            whole[:-1],
            whole + b"x",
            whole[:3] + b"\x09" + whole[4:],
            whole[:99] + b"\x99\x01" + whole[101:],
        ):
            file.write_bytes(damaged)
            with pytest.raises(RunError, match=f"{name}-ubyte is damaged, or another file"):
                mnist_dataset.read_idx(file, md5, shape)
    with pytest.raises(RunError, match="train-labels-idx1-ubyte is damaged"):
        mnist_dataset.load(tmp_path, mnist_dataset.DataOptions())


@pytest.mark.parametrize(
    "line",
    ["Greek/character99/rot000", "Greek/character01/rot045", "Greek", "/", "x" * 10**6, "\0", "\udcff"],
)
def test_a_foreign_line_of_a_split_list(tmp_path, line):
    good = "".join(f"Greek/character01/rot{turn:03d}\n" for turn in (0, 90, 180, 270))
    (tmp_path / "val.txt").write_text(good)
    assert splits.read_list(tmp_path / "val.txt", {"Greek/character01"}) == ["Greek/character01"]
    (tmp_path / "val.txt").write_bytes((good + line).encode(errors="surrogateescape"))
    with pytest.raises(RunError, match="val.txt, line 5: ") as caught:
        splits.read_list(tmp_path / "val.txt", {"Greek/character01"})
    assert len(str(caught.value)) < 500


CELL = json.dumps(genotypes.DARTS_V2.normal)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"normal": ' * 100_000,
        b'{"normal": %b, "reduce": %b, "epoch": %b}' % (CELL.encode(), CELL.encode(), b"9" * 5000),
        b'{"normal": %b, "reduce": %b, "reduce": %b}' % ((CELL.encode(),) * 3),
        b'{"normal": %b, "reduce": [["skip_connect", NaN], ["skip_connect", 1]]}' % CELL.encode(),
        b'{"normal": %b, "reduce": [["skip_connect", true], ["skip_connect", 0]]}' % CELL.encode(),
        b'{"normal": %b, "reduce": [["skip_connect", 1, 1]]}' % CELL.encode(),
        b'{"normal": %b, "reduce": [[["skip_connect"], 1]]}' % CELL.encode(),
        b'{"normal": %b, "reduce": {"ab": 1}}' % CELL.encode(),
        b'{"normal": %b, "reduce": null}' % CELL.encode(),
        b'"normal"',
        b"NaN",
        b"\xff\xfe{}",
        b"\x80\x04\x95",
    ],
)
def test_files_that_are_no_genotype(tmp_path, content):
    (tmp_path / "g.json").write_bytes(content)
    with pytest.raises(RunError, match="g.json is not a genotype"):
        genotypes.read(str(tmp_path / "g.json"))


def test_huge_numbers_in_a_genotype(tmp_path):
    edges = [[operation, state] for operation, state in genotypes.DARTS_V2.normal]
    edges[3][1] = 10**4000
    (tmp_path / "g.json").write_text(json.dumps({"normal": edges, "reduce": genotypes.DARTS_V2.reduce}))
    with pytest.raises(UsageError, match="does not come before"):
        genotypes.read(str(tmp_path / "g.json"))
    with pytest.raises(UsageError, match="random:0"):
        genotypes.read("random:" + "9" * 5000)


@pytest.mark.parametrize(
    "content",
    [
        {"format": torch.zeros(2)},
        {"format": checkpoint.FORMAT},
        {"format": checkpoint.FORMAT, "question": torch.zeros(2), "architecture": {}},
        {"format": checkpoint.FORMAT, "question": "q", "architecture": {"width": torch.zeros(2)}},
        {"format": checkpoint.FORMAT, "question": "q", "architecture": [3]},
    ],
)
def test_checkpoints_of_odd_contents(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(RunError, match="last.pt is not a checkpoint of this project"):
        checkpoint.load(tmp_path / "last.pt", "q", {"width": 3})


def test_a_compressed_checkpoint_is_a_bomb(tmp_path):
    checkpoint.save(tmp_path / "last.pt", "q", {"width": 3}, weight=torch.zeros(1_000_000))
    with (
        zipfile.ZipFile(tmp_path / "last.pt") as whole,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(checkpoint.Damaged, match="b.pt"):
        checkpoint.load(tmp_path / "b.pt", "q")
