"""Ranges that stand beside an option: `epochs: Annotated[int, at_least(1)] = 15`."""

from dataclasses import dataclass
from math import inf
from typing import Annotated, get_args, get_origin, get_type_hints

from common.errors import UsageError


@dataclass(frozen=True)
class Range:
    """The values that an option may take.

    Args:
        least: the smallest value.
        below: values must be smaller than this.
        open_at_least: `least` itself is not allowed.
    """

    least: float
    below: float = inf
    open_at_least: bool = False

    def holds(self, value: float) -> bool:
        """Returns whether a value lies inside; NaN and infinity never do."""
        if self.open_at_least:
            return self.least < value < self.below
        return self.least <= value < self.below

    def __str__(self) -> str:
        text = f"above {self.least}" if self.open_at_least else f"{self.least} or more"
        if self.below < inf:
            text += f" and below {self.below}"
        return text


def at_least(least: float, below: float = inf) -> Range:
    """Returns the range of finite values from `least` on, and below `below`."""
    return Range(least, below)


def above(limit: float) -> Range:
    """Returns the range of finite values greater than `limit`."""
    return Range(limit, open_at_least=True)


@dataclass(frozen=True)
class FreeOnResume:
    """Marks an option that may differ between the legs of a run."""


FREE_ON_RESUME = FreeOnResume()


def annotations(options_type: type) -> dict[str, tuple]:
    """Returns the annotations beside each option of a class, by the option's name."""
    hints = get_type_hints(options_type, include_extras=True)
    marked = {name: hint for name, hint in hints.items() if get_origin(hint) is Annotated}
    return {name: get_args(hint)[1:] for name, hint in marked.items()}


def check_ranges(options: object) -> None:
    """Checks every option that has a range; of several values each is checked, and None is always allowed.

    Raises:
        UsageError: names the first option that is out of its range.
    """
    for name, marks in annotations(type(options)).items():
        value = getattr(options, name)
        values = value if isinstance(value, tuple) else (value,)
        for mark in marks:
            if not isinstance(mark, Range):
                continue
            for each in values:
                if each is not None and not mark.holds(each):
                    raise UsageError(f"--{name} must be {mark}, not {each}")


def free_on_resume(options_type: type) -> set[str]:
    """Returns the options of a class that may differ between the legs of a run."""
    return {name for name, marks in annotations(options_type).items() if FREE_ON_RESUME in marks}
