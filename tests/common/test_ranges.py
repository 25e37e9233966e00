"""Ranges beside the options."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from common.errors import UsageError
from common.ranges import FREE_ON_RESUME, above, at_least, check_ranges, free_on_resume

NAN = float("nan")
INFINITY = float("inf")


@dataclass
class Options:
    count: Annotated[int, at_least(1)] = 1
    share: Annotated[float, at_least(0, below=1), FREE_ON_RESUME] = 0.5
    rate: Annotated[float, above(0)] = 0.1
    shots: Annotated[tuple[int, ...], at_least(1)] = (1, 5)
    limit: Annotated[float | None, above(0)] = None
    free: Annotated[str, FREE_ON_RESUME] = ""
    anything: int = 0


@pytest.mark.parametrize(
    "given", [{}, {"share": 0.0}, {"limit": 0.1}, {"anything": -7}, {"shots": ()}], ids=str
)
def test_what_lies_inside_is_taken(given):
    check_ranges(Options(**given))


OUTSIDE = [
    ({"count": 0}, "--count must be 1 or more, not 0"),
    ({"share": 1.0}, "--share must be 0 or more and below 1, not 1.0"),
    ({"share": NAN}, "--share must be .*, not nan"),
    ({"rate": 0.0}, "--rate must be above 0, not 0.0"),
    ({"rate": INFINITY}, "--rate must be above 0, not inf"),
    ({"shots": (1, 0)}, "--shots must be 1 or more, not 0"),
    ({"limit": -1.0}, "--limit must be above 0, not -1.0"),
]


@pytest.mark.parametrize("given, said", OUTSIDE, ids=str)
def test_what_lies_outside_is_refused_with_flag_range_and_value(given, said):
    with pytest.raises(UsageError, match=said):
        check_ranges(Options(**given))


def test_options_that_may_change_on_resume_are_marked():
    assert free_on_resume(Options) == {"share", "free"}
