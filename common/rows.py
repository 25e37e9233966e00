"""Tables on disk: CSV files that grow row by row, and whole ones."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import RunError

Number = float | int | str


class Table:
    """A CSV file that grows row by row and can be cut back to its size at a checkpoint.

    Raises:
        RunError: the file is shorter than `keep_bytes`.
    """

    def __init__(self, path: Path, keep_bytes: int = 0):
        if keep_bytes and (not path.exists() or path.stat().st_size < keep_bytes):
            raise RunError(
                f"{path} was changed: it is shorter than its checkpoint says; start again with --overwrite"
            )
        self.path = path
        self.file = open(path, "a", newline="")
        self.file.truncate(keep_bytes)
        with open(path, newline="") as start:  # a resumed table keeps its columns
            self.columns = next(csv.reader(start), None)

    def write(self, row: Mapping[str, Number]) -> None:
        """Adds a row; the first one decides the columns. Floats keep six digits.

        Raises:
            RunError: the row has other columns than the file.
        """
        out = csv.writer(self.file, lineterminator="\n")
        if self.columns is None:
            self.columns = list(row)
            out.writerow(self.columns)
        if list(row) != self.columns:
            raise RunError(f"the columns of {self.path} are {self.columns}, and a row has {list(row)}")
        out.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in row.values())

    def sync(self) -> int:
        """Brings every row to the disk and returns the size in bytes, which goes into the checkpoint."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return os.fstat(self.file.fileno()).st_size

    def close(self) -> None:
        """Closes the file; one that stayed empty is deleted."""
        self.file.close()
        if self.columns is None:
            self.path.unlink(missing_ok=True)


def read_table(path: Path) -> dict[str, list[float]]:
    """Reads a CSV of numbers by column; an empty cell is NaN.

    Raises:
        RunError: a line is damaged: it has another number of cells than the head, or one that is no number.
    """
    with open(path, newline="", errors="replace") as file:
        lines = csv.reader(file)
        try:
            return _columns_of_numbers(lines)
        except (ValueError, csv.Error) as error:
            raise RunError(f"{path}, line {lines.line_num}, is damaged: {error}") from error


def _columns_of_numbers(lines: Iterator[list[str]]) -> dict[str, list[float]]:
    """Returns the numbers under each name; raises ValueError or csv.Error at a damaged line."""
    columns = next(lines, [])
    table: dict[str, list[float]] = {name: [] for name in columns}
    for cells in lines:
        if len(cells) != len(columns):
            raise ValueError(f"{len(cells)} cells under {len(columns)} names")
        for name, cell in zip(columns, cells):
            try:
                table[name].append(float(cell or "nan"))
            except ValueError as error:
                raise ValueError(f"{name} is {cell[:40]!r}") from error
    return table


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows of the same keys as a CSV, which a spreadsheet may open: no cell is a formula to it.

    File names that are not UTF-8 keep their bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(as_text(name) for name in rows[0])
        for row in rows:
            table.writerow(as_text(value) for value in row.values())


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads the cells that `write_rows` wrote."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        lines = [[_own_text(cell) for cell in line] for line in csv.reader(file)]
    columns, *rows = lines
    return [dict(zip(columns, row)) for row in rows]


def _own_text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and is_formula(cell[1:]) else cell


def as_text(value: Any) -> Any:
    """Returns a cell that a spreadsheet takes as text: what it would compute begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and is_formula(value) else value


def is_formula(cell: str) -> bool:
    """Returns whether a spreadsheet would compute a cell: it begins as a formula does, and is no number."""
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False
