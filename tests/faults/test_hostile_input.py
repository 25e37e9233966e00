"""Files of unknown origin run no code."""

import json
import os
import pickle

import pytest
import torch

from common import checkpoint
from common.device import Runtime
from common.errors import RunError, UsageError
from common.image_cache import cached_images, read_cache
from q1_dcgan import mnist_files
from q1_dcgan.classifier import trained_classifier
from q1_dcgan.synthetic import draw_digits
from q4_darts import cifar10_dataset, genotype_text
from q4_darts.options import DataOptions


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
        pickle.loads((tmp_path / "probe").read_bytes())  # noqa: S301
    else:
        torch.load(tmp_path / "probe", weights_only=False)
    assert mark.exists()  # the attack is real
    mark.unlink()
    yield write
    assert not mark.exists()


def offline(*_, **__):
    raise OSError("no network")


def the_cache(folder):
    (cache,) = (folder / "cache").glob("*.pt")
    return cache


def test_a_checkpoint(evil, tmp_path):
    evil(tmp_path / "last.pt")
    refusal = "holds more than tensors .* refused|is no checkpoint, or is cut short or damaged"
    with pytest.raises(RunError, match=f"last.pt ({refusal})"):
        checkpoint.load(tmp_path / "last.pt", "q")


def test_the_cache_of_a_classifier_is_made_again(evil, tmp_path):
    digits = draw_digits(64, 0)
    parts = {"train": digits, "test": digits}
    runtime = Runtime(torch.device("cpu"))
    _, facts = trained_classifier(parts, tmp_path, runtime)
    evil(the_cache(tmp_path))
    assert trained_classifier(parts, tmp_path, runtime)[1] == facts
    assert read_cache(the_cache(tmp_path))["facts"] == {key: facts[key] for key in facts if key != "file"}


def test_a_cache_of_pictures_is_made_again(evil, tmp_path):
    """All questions read their pictures through it."""
    (tmp_path / "a.txt").write_text("7")

    def read():
        one = [tmp_path / "a.txt"]
        return cached_images(tmp_path, "a number", one, (1,), lambda path: int(path.read_text()))

    assert read().tolist() == [[7]]
    evil(the_cache(tmp_path))
    assert read().tolist() == [[7]]
    assert read_cache(the_cache(tmp_path))["images"].tolist() == [[7]]


def test_a_genotype(evil, tmp_path):
    evil(tmp_path / "g.json")
    with pytest.raises(RunError, match="g.json is not a genotype"):
        genotype_text.read(str(tmp_path / "g.json"))


def test_a_genotype_that_is_code(tmp_path):
    code = f"__import__('os').system('touch {tmp_path / 'it-ran'}')"
    for text in (code, json.dumps({"normal": code, "reduce": code})):
        (tmp_path / "g.json").write_text(text)
        with pytest.raises(RunError, match="g.json is not a genotype"):
            genotype_text.read(str(tmp_path / "g.json"))
    with pytest.raises((RunError, UsageError)):
        genotype_text.read(code)
    assert not (tmp_path / "it-ran").exists()


def test_files_where_torchvision_reads_pickles(evil, tmp_path, monkeypatch):
    for name in (
        "mnist.download_and_extract_archive",
        "utils.download_url",
        "cifar.download_and_extract_archive",
    ):
        monkeypatch.setattr(f"torchvision.datasets.{name}", offline)
    cifar = ["cifar-10-batches-py/data_batch_1", "cifar-10-batches-py/batches.meta"]
    for file in ("MNIST/processed/training.pt", "MNIST/processed/test.pt", *cifar):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        evil(tmp_path / file)
    with pytest.raises(RunError, match="MNIST/raw"):
        mnist_files.read_mnist(tmp_path, "mnist")
    with pytest.raises(RunError, match=r"CIFAR-10 in .* is missing or damaged"):
        cifar10_dataset.load(tmp_path, DataOptions("cifar10"))
