"""Tables on disk: damage named by file and line, and no formula for a spreadsheet."""

import csv

import pytest

from common.errors import RunError
from common.rows import Table, read_rows, read_table, write_rows


def test_a_table_grows_and_keeps_its_columns(tmp_path):
    table = Table(tmp_path / "a.csv")
    table.write({"epoch": 1, "loss": 0.25})
    table.write({"epoch": 2, "loss": 0.125})
    with pytest.raises(RunError, match=r"the columns of .*a.csv are \['epoch', 'loss'\]"):
        table.write({"epoch": 3})
    table.close()
    assert read_table(tmp_path / "a.csv") == {"epoch": [1, 2], "loss": [0.25, 0.125]}


def test_an_empty_cell_is_no_number(tmp_path):
    (tmp_path / "a.csv").write_text("epoch,loss\n1,\n")
    [loss] = read_table(tmp_path / "a.csv")["loss"]
    assert loss != loss


DAMAGED = {
    "a cell less": ("epoch,loss\n1,2\n3\n", "line 3, is damaged: 1 cells under 2 names"),
    "a cell more": ("epoch,loss\n1,2,3\n", "line 2, is damaged: 3 cells under 2 names"),
    "no number": ("epoch,loss\n1,2\n3,1.2.3\n", "line 3, is damaged: loss is '1.2.3'"),
    "bytes": ("epoch,loss\n1,\x00\udcff\n", "line 2, is damaged"),
}


@pytest.mark.parametrize("content, said", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named(tmp_path, content, said):
    (tmp_path / "metrics.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=f"metrics.csv, {said}"):
        read_table(tmp_path / "metrics.csv")


FORMULAS = ["=1+1", "+1+cmd", "-2+3", "@SUM(A1)", "\tx", "=", "-"]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_compute_is_written_as_text(tmp_path, text):
    write_rows(tmp_path / "a.csv", [{"class": text}])
    with open(tmp_path / "a.csv", newline="") as file:
        assert list(csv.reader(file)) == [["class"], [f"'{text}"]]


@pytest.mark.parametrize("text", [*FORMULAS, "a b", "-2.5", "'quoted'", "naïve", "not \udce9 UTF-8"])
def test_what_is_written_as_text_is_read_as_it_was(tmp_path, text):
    write_rows(tmp_path / "a.csv", [{"class": text}])
    assert read_rows(tmp_path / "a.csv") == [{"class": text}]


def test_numbers_stay_numbers(tmp_path):
    write_rows(tmp_path / "a.csv", [{"value": -2.5, "text": "-2.5"}])
    assert (tmp_path / "a.csv").read_text() == "value,text\n-2.5,-2.5\n"
