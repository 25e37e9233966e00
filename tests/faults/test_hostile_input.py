"""Files of unknown origin run no code, write nothing outside, fill no memory; damage is noticed."""

import json
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint
from common.images import list_classes, list_images, open_image
from common.runtime import RunError, Runtime, UsageError
from q1_dcgan import mnist_dataset
from q1_dcgan.classifier import trained_classifier
from q2_protonet import omniglot_dataset
from q3_pix2pix import maps_dataset
from q4_darts import cifar10_dataset, genotypes
from tests.conftest import ROOT

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


# Nothing runs -----------------------------------------------------------------------------------------------


def test_the_code_has_no_other_reader_of_objects():
    imports = r"import_module\((?!f?\"(\{question\}|q\d_\w+)\.(\w+|\{file\})\"\))|module_from_spec"
    imports += r"|(?<![\w.])__import__\("
    readers = r"pickle\.loads?\(|joblib|yaml\.|allow_pickle|weights_only=False"
    unsafe = re.compile(rf"(?<![\w.])(eval|exec)\(|{readers}|{imports}")
    for folder in (".", "common", "q?_*", "benchmarks", "reproduction"):
        for file in ROOT.glob(f"{folder}/*.py"):
            text = file.read_text()
            found = unsafe.search(text)
            assert not found, f"{file}: {found[0]}"
            assert text.count("torch.load(") == (file == ROOT / "common/checkpoint.py"), file


def test_a_hostile_checkpoint(evil, tmp_path):
    evil(tmp_path / "last.pt")
    refusal = "holds more than tensors .* refused|is no checkpoint, or is cut short or damaged"
    with pytest.raises(RunError, match=f"last.pt ({refusal})"):
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


def reader(folder, question):
    """What gives the question's picture pixels, which it keeps a cache of."""
    for name in ("a", "b"):
        (folder / "tree" / name).mkdir(parents=True, exist_ok=True)
        for i in range(2):
            noise = np.random.default_rng(i).integers(0, 255, (32, 64, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"tree/{name}/{i}.png")
    pairs = [(file,) for file in list_images(folder / "tree/a")]
    for part in ("train", "test"):
        shutil.copytree(folder / "tree", folder / "parts" / part)
    return {
        "q1": lambda: mnist_dataset.load_folder(folder, folder / "tree", 0)["train"].images,
        "q2": lambda: omniglot_dataset.decode(list_classes(folder / "tree"), folder).images,
        "q3": lambda: maps_dataset.decode({"train": pairs}, {"train": 32}, folder)["train"].images,
        "q4": lambda: cifar10_dataset.load_tree(folder / "parts", folder)["train"].images,
    }[question]


def the_cache(folder):
    (cache,) = (folder / "cache").glob("*.pt")
    return cache


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_hostile_cache_of_pictures(evil, tmp_path, question):
    read = reader(tmp_path, question)
    images = read()
    cache = the_cache(tmp_path)
    evil(cache)
    assert torch.equal(read(), images)
    assert len(checkpoint.read(cache)["images"]) >= len(images)  # rebuilt


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


CIFAR = ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/batches.meta"]


def test_hostile_files_where_torchvision_reads_pickles(evil, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", offline)
    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    for file in ("MNIST/processed/training.pt", "MNIST/processed/test.pt", *CIFAR):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        evil(tmp_path / file)
    with pytest.raises(RunError, match="MNIST/raw"):
        mnist_dataset.load(tmp_path, mnist_dataset.DataOptions("mnist"))
    with pytest.raises(RunError, match=r"CIFAR-10 in .* is missing or damaged(?s:.*)--dataset synthetic\n"):
        cifar10_dataset.load(tmp_path, cifar10_dataset.DataOptions("cifar10"))


# Damage -----------------------------------------------------------------------------------------------------


def flips(data, count, seed=0):
    """The data with one bit changed, and cut short, at `count` random places each."""
    random = np.random.default_rng(seed)
    for at, bit in zip(random.integers(0, len(data), count), random.integers(0, 8, count)):
        changed = bytearray(data)
        changed[at] ^= 1 << bit
        yield bytes(changed)
        yield data[:at]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_cache_that_is_damaged_or_of_other_shapes_is_rebuilt(tmp_path, question):
    read = reader(tmp_path, question)
    images = read()
    cache = the_cache(tmp_path)
    saved, damaged = checkpoint.read(cache), list(flips(cache.read_bytes(), 15))
    for wrong in (torch.zeros(1, dtype=torch.uint8), saved["images"].float(), [1], None):
        torch.save(saved | {"images": wrong}, cache)
        damaged.append(cache.read_bytes())
    for data in damaged:
        cache.write_bytes(data)
        assert torch.equal(read(), images)


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
