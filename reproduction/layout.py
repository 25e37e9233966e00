"""Lays out what tables and page show of each question, as named fields; the numbers are read from the logs.

Names of rows of results.json may hold *, which stands for anything.
"""

from types import ModuleType
from typing import Literal, NamedTuple


class Size(NamedTuple):
    """An option whose value says how near a run is to full size."""

    option: str
    full: int
    unit: str


class Control(NamedTuple):
    """Stands beside a result: a floor, or a network that should do worse."""

    name: str
    row: str = ""  # of the control's runs; "" where `name` says it all
    runs: tuple[str, ...] = ()  # of several the mean; () for the run itself
    value: int | float | None = None  # a number that is known without a run, such as that of guessing


class Measure(NamedTuple):
    """A row of docs/REPORT.md's first table."""

    name: str
    row: str  # of results.json
    control: Control
    runs: tuple[str, ...]  # best first: the first that is finished counts
    paper: str | float | None = None
    report: str | float | None = None  # the first report's number


class Headline(NamedTuple):
    """A paper's one row on the front page, with what its verdict is made from."""

    measure: str
    row: str
    run: str
    control: Control
    better: Literal["higher", "lower"]  # which way a result is better
    paper: float | None = None  # None: the paper gives no number
    beside: tuple[Control, ...] = ()  # what else is shown, and not judged
    # the row with the difference to the control, pair by pair, where both were measured on the same pairs
    difference: str = ""


class Table(NamedTuple):
    """A table of a question's README: one line per run."""

    columns: dict[str, str]  # head -> row of results.json
    references: dict[str, dict] = {}  # known numbers: name -> head -> number
    controls: dict[str, str] = {}  # name -> what its rows add to the names of the rows
    variants: dict[str, str] = {"": ""}  # ways of measuring one run: name -> what its rows add
    folded: tuple[str, ...] = ()  # runs that stand in a folded part below, by patterns


class Words(NamedTuple):
    """The line that reproduce.py ends with: a text, and (run, row) for each of its numbers."""

    text: str
    numbers: tuple[tuple[str, str], ...]


class Layout(NamedTuple):
    """All that is shown of one question."""

    question: str
    paper: ModuleType
    full_size: dict[str, tuple[Size, ...]]  # script -> its sizes
    stand_ins: dict[str, str]  # data set or split -> how it differs from the paper's
    headline: Headline
    measures: tuple[Measure, ...]
    tables: tuple[Table, ...]
    words: Words
    thumbnail: str  # run/picture
    pictures: dict[str, str]  # file -> caption, in the order of the page
