"""JSON files: whole or not at all, and errors that name the file."""

import json
import os

import pytest

from common.errors import RunError
from common.json_files import read_json, write_json, write_text


def test_what_is_written_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"x": [1, 2], "path": tmp_path})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2], "path": str(tmp_path)}


def test_it_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    acts = []
    real_fsync = os.fsync
    real_replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda file: acts.append("flush") or real_fsync(file))
    monkeypatch.setattr(os, "replace", lambda *names: acts.append("rename") or real_replace(*names))
    write_json(tmp_path / "a.json", {})
    assert acts == ["flush", "rename", "flush"]  # the file, its name, the folder


def test_a_crash_while_it_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_json(tmp_path / "a.json", {"old": 1})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("power cut")))
    with pytest.raises(OSError, match="power cut"):
        write_json(tmp_path / "a.json", {"new": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


def test_a_full_disk_leaves_the_old_text(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_text(tmp_path / "README.md", "new")
    assert (tmp_path / "README.md").read_text() == "old"


DAMAGED = {
    "empty": b"",
    "cut short": b'{"a": 1',
    "no object": b"[1]",
    "too deep": b"[" * 100_000,
    "bytes": b"\xff",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_one_is_named_with_what_to_do(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match="a.json is damaged .*: delete it"):
        read_json(tmp_path / "a.json", "delete it")


def test_a_missing_one_is_named(tmp_path):
    with pytest.raises(RunError, match="a.json cannot be read .No such file"):
        read_json(tmp_path / "a.json")
