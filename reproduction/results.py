"""Reads results.json: a run's own rows, and those of the evaluations that belong to them."""

from math import isclose

from common.evaluations import rows_of
from reproduction.wording import unified

# What it raises to read the fields of a JSON file that somebody has changed.
DAMAGE = (ValueError, KeyError, TypeError, IndexError, AttributeError)


def require(content: dict, *fields: str) -> None:
    """Raises KeyError where an object of a JSON file lacks fields that tables and page show."""
    missing = [name for name in fields if name not in content]
    if missing:
        raise KeyError(", ".join(missing))


def agree(one: dict, other: dict) -> bool:
    """Returns whether two rows of one name measured the same: as many of the same things.

    Where a count is not known the values must be equal, to half a percent: that is what another machine or
    number of threads may change.
    """
    counts = [row.get("count") for row in (one, other)]
    if None not in counts:
        return unified(counts[0]) == unified(counts[1])
    return isclose(one["value"], other["value"], rel_tol=0.005)


def evaluated(results: dict) -> dict[str, list[dict]]:
    """Returns the rows of each evaluation, by its key.

    One that measured something else than the rows before it, such as other classes, is left out.
    """
    known = {row["name"]: row for row in results["rows"]}
    found = {}
    for key, evaluation in results.get("evaluations", {}).items():
        rows = rows_of(evaluation)
        if all(agree(known[row["name"]], row) for row in rows if row["name"] in known):
            found[key] = rows
            known = {row["name"]: row for row in rows} | known
    return found


def all_rows(results: dict) -> list[dict]:
    """Returns the rows of results.json and what its evaluations add to them."""
    rows = {row["name"]: row for row in results["rows"]}
    for found in evaluated(results).values():
        for row in found:
            rows.setdefault(row["name"], row)
    return list(rows.values())
