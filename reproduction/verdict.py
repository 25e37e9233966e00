"""Sums up a reproduction for the front page in one of four words, by one rule for all papers.

A number has bounds: its 95% interval, or mean ± standard deviation of several seeds. It beats its control
where their bounds do not meet, or, where both were measured on the same pairs, where those of the difference
leave out 0.
"""

from typing import Literal, NamedTuple

Better = Literal["higher", "lower"]

REPRODUCED = "reproduced"
MOSTLY = "partly reproduced"
REDUCED = "reduced"
NOT_SHOWN = "not shown yet"
MEANINGS = {
    REPRODUCED: "at full size, beats its control, and reaches the paper's number within its own interval",
    MOSTLY: "at full size, beats its control, and misses the paper's number",
    REDUCED: "beats its control, at a smaller size or on other data than the paper's",
    NOT_SHOWN: "does not beat its control beyond the intervals, or was not measured",
}


class Bounds(NamedTuple):
    """The least and the greatest value that a number may stand for."""

    low: float
    high: float


def bounds(row: dict) -> Bounds:
    """Returns the bounds of a row of results.json; without an interval both are its value."""
    interval = row.get("interval")
    if isinstance(interval, list):
        return Bounds(*interval)
    reach = interval or 0.0
    return Bounds(row["value"] - reach, row["value"] + reach)


def beats(ours: Bounds, control: Bounds, better: Better) -> bool:
    """Returns whether ours lies beyond the control, in the direction that is better."""
    return ours.low > control.high if better == "higher" else ours.high < control.low


def reaches(ours: Bounds, paper: float, better: Better) -> bool:
    """Returns whether ours is as good as the paper's number, within its bounds."""
    return ours.high >= paper if better == "higher" else ours.low <= paper


def verdict(
    ours: dict | None,
    control: dict | None,
    better: Better,
    full_size: bool,
    paper: float | None = None,
    difference: dict | None = None,
) -> str:
    """Returns one of MEANINGS.

    Args:
        ours, control: rows of results.json; None: missing.
        better: which way a number is better.
        full_size: the run has the paper's size and data.
        paper: the paper's number, which nothing reaches where there is none.
        difference: the row "ours minus control", pair by pair, where there is one.
    """
    if ours is None:
        return NOT_SHOWN
    if difference is not None:
        is_better = beats(bounds(difference), Bounds(0.0, 0.0), better)
    else:
        is_better = control is not None and beats(bounds(ours), bounds(control), better)
    if not is_better:
        return NOT_SHOWN
    if not full_size:
        return REDUCED
    if paper is not None and reaches(bounds(ours), paper, better):
        return REPRODUCED
    return MOSTLY
