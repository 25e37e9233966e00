from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from common import cli


@dataclass
class Options:
    """Options of every plain type."""

    digit: int | None = None  # of the class
    rate: float = 0.1  # of learning
    name: str = ""  # of the run
    file: Path | None = None  # to read
    widths: int | tuple[int, int] = 64  # of the blocks
    part: Literal["train", "test"] | None = None  # of the data


def said(capsys, *words):
    """What the command line says before it ends the process, on one line."""
    with pytest.raises(SystemExit):
        cli.parse(Options, "", list(words))
    caught = capsys.readouterr()
    return " ".join((caught.out + caught.err).replace("│", " ").split())


def test_plain_values_are_read():
    words = ["--digit", "-4", "--rate", "1e-3", "--name", "mine", "--file", "a.png"]
    assert cli.parse(Options, "", words) == Options(-4, 0.001, "mine", Path("a.png"))


def test_an_option_of_two_forms_takes_both():
    assert cli.parse(Options, "", ["--widths", "8"]).widths == 8
    assert cli.parse(Options, "", ["--widths", "8", "16"]).widths == (8, 16)


@pytest.mark.parametrize("flag, what", [("--digit", "a whole number"), ("--rate", "a number")])
def test_a_value_of_another_type_is_called_by_its_name(capsys, flag, what):
    assert f"{flag}: 'x' is not {what}" in said(capsys, flag, "x")


def test_help_shows_what_is_left_out_as_none(capsys):
    text = said(capsys, "--help")
    assert "--digit INT of the class (default: none)" in text
    assert "--name STR of the run (default: none)" in text
    assert "--file PATH to read (default: none)" in text


def test_a_choice_that_may_be_left_out_shows_its_values_alone(capsys):
    assert "--part {train,test} of the data (default: none)" in said(capsys, "--help")
    assert cli.parse(Options, "", []).part is None
    assert cli.parse(Options, "", ["--part", "test"]).part == "test"


@pytest.mark.parametrize("word", ["None", "other"])
def test_another_choice_is_refused_with_those_that_there_are(capsys, word):
    assert f"invalid choice '{word}' for argument '--part'" in said(capsys, "--part", word)
