"""A cache belongs to the content of its files, and to nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common import cache
from common.cache import cached_images, content_hash
from common.runtime import RunError
from tests.common.test_images import QUESTIONS, load, place


def bitmaps(question, folder, seed):
    """A data set of BMPs of one size and date."""
    for i, part in enumerate(("train", "validation", "test")):
        values = np.random.default_rng([seed, i]).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        values[:4] = values[-4:] = 255
        Image.fromarray(values).save(folder.parent / "0.bmp")
        place(question, folder, folder.parent / "0.bmp", f"a{i}" if question == "q2" else "a", part)
    for file in folder.rglob("*.*"):
        os.utime(file, (10**9, 10**9))


@pytest.mark.parametrize("way", ["beside", "moved", "overwritten"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_equal_names_sizes_and_times_are_not_equal_pixels(tmp_path, monkeypatch, question, way):
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**15))  # hashes are kept at once
    one, two, root = tmp_path / "one", tmp_path / "two", tmp_path / "root"
    bitmaps(question, one, 1)
    first = load(question, one, root)["train"].images
    assert list((root / "cache").glob("*.content"))
    bitmaps(question, two, 2)
    if way == "moved":
        shutil.rmtree(one)
        two.rename(one)
    elif way == "overwritten":  # the same inodes
        for file in two.rglob("*.*"):
            (one / file.relative_to(two)).write_bytes(file.read_bytes())
            os.utime(one / file.relative_to(two), (10**9, 10**9))
    second = load(question, two if way == "beside" else one, root)["train"].images
    bitmaps(question, tmp_path / "again", 2)
    fresh = load(question, tmp_path / "again", tmp_path / "root2")["train"].images
    assert torch.equal(second, fresh) and not torch.equal(second, first)


def test_equal_content_is_read_once_wherever_it_lies(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for i in range(3):
            (tmp_path / folder / f"{folder}{i}").write_bytes(bytes([i]) * 4)
    here, there = (sorted((tmp_path / folder).iterdir()) for folder in ("here", "there"))

    def read(file):
        assert file.parent.name == "here"
        return np.frombuffer(file.read_bytes(), np.uint8)

    images = cached_images(tmp_path, "bytes", here, (4,), read)
    assert images.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    assert torch.equal(cached_images(tmp_path, "bytes", there, (4,), read), images)
    with pytest.raises(AssertionError):  # another order is another data set, and so is another recipe
        cached_images(tmp_path, "bytes", there[::-1], (4,), read)
    with pytest.raises(AssertionError):
        cached_images(tmp_path, "inverted bytes", there, (4,), read)


def test_a_hash_is_kept_for_files_that_are_not_young(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"a")
    first = content_hash([tmp_path / "a"], tmp_path)
    assert not (tmp_path / "cache").exists()  # it may still change within a tick of the clock
    monkeypatch.setattr(cache, "SETTLED_NS", -(10**15))
    assert content_hash([tmp_path / "a"], tmp_path) == first
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
        assert content_hash([tmp_path / "a"], tmp_path) == first
    (memo,) = (tmp_path / "cache").glob("*.content")
    memo.write_text("cut short")
    assert content_hash([tmp_path / "a"], tmp_path) == first
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(RunError, match="b cannot be read .No such file"):
        content_hash([tmp_path / "b"], tmp_path)
