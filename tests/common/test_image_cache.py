"""A cache belongs to the content of its files, and to nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from common import image_cache
from common.errors import RunError
from common.image_cache import cached, cached_images, content_hash, read_cache, write_cache
from common.image_reader import Depth


@pytest.fixture
def files(tmp_path):
    """Three files of four bytes, and a date of long ago."""
    (tmp_path / "set").mkdir()
    made = [tmp_path / "set" / str(i) for i in range(3)]
    for i, file in enumerate(made):
        file.write_bytes(bytes([i]) * 4)
        os.utime(file, (10**9, 10**9))
    return made


@pytest.fixture
def read():
    """A function that reads a file's bytes; `read.files` are those that it was called with."""

    def read_one(file):
        read_one.files.append(file)
        return np.frombuffer(file.read_bytes(), np.uint8)

    read_one.files = []
    return read_one


@pytest.fixture
def keep_at_once(monkeypatch):
    """Hashes are kept for young files too."""
    monkeypatch.setattr(image_cache, "SETTLED_NS", -(10**15))


def cache_files(root):
    return list((root / "cache").glob("pictures-*.pt"))


def test_a_hit_reads_no_image_wherever_its_files_lie(tmp_path, files, read):
    images = cached_images(tmp_path, "bytes", files, (4,), read)
    assert images.tolist() == [[0] * 4, [1] * 4, [2] * 4]
    (tmp_path / "set").rename(tmp_path / "moved")
    moved = [tmp_path / "moved" / file.name for file in files]
    assert torch.equal(cached_images(tmp_path, "bytes", moved, (4,), read), images)
    assert sorted(read.files) == files  # by several threads, each once


def test_another_order_is_another_data_set(tmp_path, files, read):
    cached_images(tmp_path, "bytes", files, (4,), read)
    assert cached_images(tmp_path, "bytes", files[::-1], (4,), read)[:, 0].tolist() == [2, 1, 0]


def test_another_recipe_is_read_anew(tmp_path, files, read):
    cached_images(tmp_path, "bytes", files, (4,), read)
    cached_images(tmp_path, "bytes, inverted", files, (4,), read)
    assert len(read.files) == 6


def test_one_image_may_come_of_several_files(tmp_path, files, read):
    pairs = [(files[0], files[1]), (files[1], files[2])]
    images = cached_images(tmp_path, "pairs", files, (4,), lambda pair: read(pair[1]), pairs)
    assert images[:, 0].tolist() == [1, 2]


@pytest.mark.usefixtures("keep_at_once")
@pytest.mark.parametrize("way", ["beside", "moved", "overwritten"])
def test_equal_names_sizes_and_times_are_not_equal_pixels(tmp_path, files, read, way):
    cached_images(tmp_path, "bytes", files, (4,), read)
    assert list((tmp_path / "cache").glob("*.content"))
    other = tmp_path / "other" / "set"
    other.mkdir(parents=True)
    for file in files:
        (other / file.name).write_bytes(b"abcd")
    if way == "moved":
        (tmp_path / "set").rename(tmp_path / "away")
        other.rename(tmp_path / "set")
    elif way == "overwritten":  # the same inodes
        for file in files:
            file.write_bytes(b"abcd")
    now = [other / file.name for file in files] if way == "beside" else files
    for file in now:
        os.utime(file, (10**9, 10**9))
    assert cached_images(tmp_path, "bytes", now, (4,), read).tolist() == [list(b"abcd")] * 3


def test_facts_are_found_once(tmp_path, files, read):
    found = []

    def find_facts():
        found.append(0)
        return {"scale": [0.5, 0.25]}

    for _ in range(2):
        made = cached(tmp_path, "bytes", files, (4,), read, find_facts=find_facts)
        assert made.facts == {"scale": [0.5, 0.25]}
        assert len(made.images) == 3
    assert found == [0]


def test_a_hit_tells_the_depth_that_was_found(tmp_path, files, read):
    first = Depth([])
    first.found = 4095
    cached_images(tmp_path, "bytes", files, (4,), read, depths=[first])
    second = Depth([])
    cached_images(tmp_path, "bytes", files, (4,), read, depths=[second])
    assert second.found == 4095


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign", "pickle"])
def test_a_damaged_cache_is_made_again(tmp_path, files, read, damage):
    images = cached_images(tmp_path, "bytes", files, (4,), read)
    (path,) = cache_files(tmp_path)
    whole = path.read_bytes()
    if damage == "flipped":
        saved = torch.load(path, weights_only=True)
        saved["images"][1, 1] ^= 1
        torch.save(saved, path)
    elif damage == "pickle":  # which would run code, were it loaded
        torch.save({"images": Path("x")}, path)
    else:
        path.write_bytes({"cut": whole[:-100], "empty": b"", "foreign": b"PK\3\4" + whole[:9]}[damage])
    assert torch.equal(cached_images(tmp_path, "bytes", files, (4,), read), images)
    assert len(read.files) == 6
    assert torch.equal(cached_images(tmp_path, "bytes", files, (4,), read), images)
    assert len(read.files) == 6


def test_what_could_run_code_is_not_loaded(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save(Hostile(), tmp_path / "a.pt")
    assert read_cache(tmp_path / "a.pt") == {}
    assert not (tmp_path / "made").exists()


def test_a_disk_that_refuses_makes_no_cache_and_no_error(tmp_path, files, read):
    (tmp_path / "cache").touch()  # a file where the folder should be
    assert len(cached_images(tmp_path, "bytes", files, (4,), read)) == 3
    assert (tmp_path / "cache").read_bytes() == b""


def test_a_cache_is_written_with_the_tag_that_spares_it_a_backup(tmp_path):
    write_cache(tmp_path / "cache" / "a.pt", {"a": 1})
    assert sorted(file.name for file in (tmp_path / "cache").iterdir()) == ["CACHEDIR.TAG", "a.pt"]
    assert read_cache(tmp_path / "cache" / "a.pt") == {"a": 1}


# The hash of the content ------------------------------------------------------------------------------------


def test_a_young_files_hash_is_not_kept(tmp_path, files):
    content_hash(files, tmp_path)
    assert not (tmp_path / "cache").exists()  # it may still change within a tick of the clock


@pytest.mark.usefixtures("keep_at_once")
def test_a_hash_that_is_kept_spares_the_reading(tmp_path, files, monkeypatch):
    first = content_hash(files, tmp_path)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    assert content_hash(files, tmp_path) == first


@pytest.mark.usefixtures("keep_at_once")
def test_a_damaged_hash_is_made_again(tmp_path, files):
    first = content_hash(files, tmp_path)
    (memo,) = (tmp_path / "cache").glob("*.content")
    memo.write_text("cut short")
    assert content_hash(files, tmp_path) == first


def test_a_file_that_is_missing_is_named(tmp_path):
    (tmp_path / "b").symlink_to("nowhere")
    with pytest.raises(RunError, match="b cannot be read .No such file"):
        content_hash([tmp_path / "b"], tmp_path)


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RunError, match="pipe cannot be read .it is no regular file"):
        content_hash([tmp_path / "pipe"], tmp_path)
