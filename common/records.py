"""Writes what a run records while it trains: metrics.csv, steps.csv, TensorBoard and train.log."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common.rows import Number, Table

TABLES = ("metrics", "steps")


class Records:
    """The growing files of a run's folder.

    Args:
        folder: of the run.
        sizes: of each table in bytes at the checkpoint the run goes on from; {} at the start of a run.
        epoch: in which the run begins or goes on.
        step: of the whole run, in which it goes on.
    """

    def __init__(self, folder: Path, sizes: dict[str, int], epoch: int, step: int):
        self.folder = folder
        self.tables = {}
        self.boards = {}
        # TensorBoard's curves lose what came after the checkpoint, as the tables do.
        first = {"metrics": epoch, "steps": step + 1}
        for name in TABLES:
            self.tables[name] = Table(folder / f"{name}.csv", sizes.get(name, 0))
            self.boards[name] = SummaryWriter(folder / "tensorboard" / name, purge_step=first[name])

    def write(self, table: str, row: Mapping[str, Number]) -> None:
        """Adds a row to metrics.csv ("metrics") or steps.csv ("steps"), and its numbers to TensorBoard.

        The first column (the epoch or the step) is TensorBoard's x axis.
        """
        self.tables[table].write(row)
        (_, at), *rest = row.items()
        for name, value in rest:
            if isinstance(value, int | float):
                self.boards[table].add_scalar(f"{table}/{name}", value, at)

    def sync(self) -> dict[str, int]:
        """Brings the tables to the disk and returns their sizes in bytes."""
        return {name: table.sync() for name, table in self.tables.items()}

    def close(self) -> None:
        """Closes all files; tables that stayed empty are deleted."""
        for table in self.tables.values():
            table.close()
        for board in self.boards.values():
            board.close()


def progress_bar(name: str, done: int, count: int, shown: bool) -> tqdm:
    """Makes a bar of an epoch's steps; even if `shown` it shows on a terminal only."""
    disable = None if shown else True
    return tqdm(desc=name, initial=done, total=count, unit=" steps", leave=False, disable=disable)


def write_log(folder: Path, message: str) -> None:
    """Shows a line above the progress bar, and adds it to train.log with the time."""
    tqdm.write(message)
    with open(folder / "train.log", "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {message}\n")
