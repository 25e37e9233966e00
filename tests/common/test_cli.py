"""The command line: flags given twice, habits, paths; errors in one line with their status; quiet pipes."""

import errno
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch

from common import cli
from common.cli import explain, one_line_errors, parse
from common.errors import RunError, Stopped, UsageError
from common.ranges import at_least


@dataclass
class Options:
    """Options of every kind."""

    data_root: Path = Path("data")  # one path
    folder: Path | None = None  # perhaps one path
    images: tuple[Path, ...] = ()  # several paths
    genotype: str = ""  # a path or a name
    batch_size: Annotated[int, at_least(1)] = 1  # a number
    device: Literal["cpu", "cuda"] = "cpu"  # one of several
    compile: bool = False  # a flag without a value


def read(words):
    return parse(Options, "", words.split())


# Reading ----------------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_dataclass():
    assert read("") == Options()


@pytest.mark.parametrize("words", ["--batch_size 3 --compile", "--batch-size=3 --compile"])
def test_flags_have_underscores_or_hyphens(words):
    assert read(words) == Options(batch_size=3, compile=True)


def test_a_flag_of_one_value_that_is_given_twice_is_refused():
    with pytest.raises(UsageError, match="--batch_size is given twice: give it once"):
        read("--batch_size 1 --batch_size 2")


@pytest.mark.parametrize(
    "words", ["--batch_size 1 --batch-size 1", "--compile --compile", "--folder=a --folder b"]
)
def test_however_it_is_written(words):
    with pytest.raises(UsageError, match="given twice"):
        read(words)


def test_a_flag_of_several_values_takes_them_all():
    assert read("--images a b --compile --images=c").images == (Path("a"), Path("b"), Path("c"))


HABITS = {"--lr 1": None, "--bs 2": "--batch_size", "--dataroot x": "--data_root", "--gpu 0": "--device cuda"}


@pytest.mark.parametrize("words, ours", HABITS.items())
def test_a_flag_of_other_programs_names_ours_where_there_is_one(words, ours, capfd):
    if ours is None:
        with pytest.raises(SystemExit):  # tyro's refusal
            read(words)
        return
    with pytest.raises(UsageError, match=f"there is no {words.split()[0]}: perhaps you meant {ours}"):
        read(words)


def test_a_tilde_is_the_home_folder_in_every_option_that_can_hold_a_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    home = Path("/home/me")
    options = read("--data_root=~/x --folder=~ --images ~/a b~ --genotype=~/g.json")
    assert options == Options(home / "x", home, (home / "a", Path("b~")), "/home/me/g.json")


def test_what_was_given_is_known_to_resolve():
    given = cli.read(Options, lambda options: options, "", ["--batch_size", "1", "--folder=x"]).given
    assert given == {"batch_size", "folder"}


# Errors -----------------------------------------------------------------------------------------------------

ERRORS = [
    (UsageError("fewer"), 2, "error: fewer"),
    (RunError("broke"), 1, "error: broke"),
    (Stopped("saved"), 130, "saved"),
    (OSError(errno.ENOSPC, "No space left", "x.pt"), 1, "the disk is full: x.pt"),
    (KeyError("k"), 1, "KeyError: 'k' (--debug shows where)"),
    (
        torch.OutOfMemoryError("CUDA"),
        1,
        "the GPU is out of memory. What helps: a smaller --batch_size, or --device cpu",
    ),
    (
        RuntimeError("median CUDA does not have a deterministic implementation, but you set ..."),
        1,
        "error: --deterministic: median CUDA does not have a deterministic implementation on this GPU",
    ),
    (RuntimeError("Connection closed by peer [127.0.0.1]"), 1, "another process of this run has ended"),
]


@pytest.mark.parametrize("error, status, text", ERRORS)
def test_errors_are_one_line_with_the_right_status(error, status, text, capsys):
    with pytest.raises(SystemExit) as ended:
        with one_line_errors(debug=False, memory_advice="a smaller --batch_size"):
            raise error
    written = capsys.readouterr().err
    assert ended.value.code == status
    assert text in written
    assert len(written.splitlines()) == 1


def test_debug_shows_the_traceback():
    with pytest.raises(RunError):
        with one_line_errors(debug=True):
            raise RunError("broke")


@pytest.mark.parametrize(
    "ask", [lambda: torch.empty(10**15), lambda: __import__("numpy").ones((10**9, 10**6))]
)
def test_too_little_memory_is_told_in_plain_words(ask, capsys):
    with pytest.raises(SystemExit):
        with one_line_errors(debug=False, memory_advice="a smaller --n"):
            ask()
    said = capsys.readouterr().err
    assert "error: there is not enough memory: " in said
    assert said.endswith(" were asked for at once. What helps: a smaller --n\n")


def test_without_something_to_make_smaller_only_a_gpu_has_advice():
    assert explain(torch.OutOfMemoryError("CUDA")) == "the GPU is out of memory. What helps: --device cpu"
    said = explain(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"))
    assert said == "there is not enough memory: 8 bytes were asked for at once"


# Streams ----------------------------------------------------------------------------------------------------

PRINTS = "from common import cli; from common.options import *; "
PRINTS += "cli.run(lambda _: print(flush=True), cli.read(ScriptOptions, lambda options: options, ''))"
WORDS = [["reproduce.py", "--dry_run"], ["report.py", "--help"], ["-c", PRINTS], ["-c", PRINTS, "--help"]]


@pytest.mark.parametrize("words", WORDS)
def test_output_that_nobody_reads_ends_quietly(script, words):
    reader, writer = os.pipe()
    os.close(reader)
    pipes = {"capture_output": False, "stdout": writer, "stderr": subprocess.PIPE}
    assert script(*words, status=1, **pipes).stderr == ""
    os.close(writer)


class NotebooksStream(io.StringIO):
    """As ipykernel's: without reconfigure() and without a number."""

    reconfigure = property()


def test_a_notebooks_streams_are_written_to(monkeypatch):
    stream = NotebooksStream()
    monkeypatch.setattr(sys, "stdout", stream)
    cli.run(lambda options: print("works"), Options())
    assert stream.getvalue() == "works\n"


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    done = []
    cli.run(lambda options: print("works", file=getattr(sys, name)) or done.append(1), Options())
    assert done == [1]
