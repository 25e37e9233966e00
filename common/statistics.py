"""Rows of results.json: a number with its interval and unit, and how people read it."""

from torch import Tensor


def mean_row(name: str, values: Tensor, unit: str, digits: int = 3, **more: object) -> dict:
    """Returns the mean of values (n,) and its 95% interval, 1.96 sd / sqrt(n).

    There is no interval for n = 1, nor where it rounds to 0: equal values say nothing about the next one.
    """
    row: dict = {"name": name, "value": round(float(values.double().mean()), digits)}
    deviation = float(values.double().std(correction=int(len(values) > 1)))
    interval = round(1.96 * deviation / len(values) ** 0.5, digits)
    if interval:
        row["interval"] = interval
    return row | {"unit": unit} | more


def share_row(name: str, right: int, count: int, digits: int = 2, **more: object) -> dict:
    """Returns a share of `count` in % with Wilson's 95% interval [low, high], which never claims certainty.

    Wilson 1927; see Brown, Cai and DasGupta 2001 on why not +- 1.96 sqrt(p (1 - p) / n).
    """
    z2 = 1.96**2 / count
    share = right / count
    middle = share + z2 / 2
    reach = (z2 * share * (1 - share) + z2**2 / 4) ** 0.5
    interval = [round(100 * bound / (1 + z2), digits) for bound in (middle - reach, middle + reach)]
    row = {"name": name, "value": round(100 * share, digits), "interval": interval, "unit": "%"}
    return row | {"count": count} | more


def show_value(row: dict, digits: int | None = None) -> str:
    """Returns a row's number with interval and unit: "98.48 ± 0.07 %" or "100.00 (88.65 to 100.00) %"."""

    def number(value: float) -> str:
        return f"{value:,}" if digits is None else f"{value:,.{digits}f}"

    text = number(row["value"])
    interval = row.get("interval")
    if isinstance(interval, list):
        low, high = interval
        text += f" ({number(low)} to {number(high)})"
    elif interval is not None:
        text += f" ± {number(interval)}"
    return f"{text} {row['unit']}".rstrip()


def show_name(row: dict) -> str:
    """Returns a row's name as people read it: results.json keeps to ASCII."""
    return row["name"].replace("Frechet", "Fréchet")


def print_rows(rows: list[dict]) -> None:
    """Shows rows of results.json, beside the paper's and the first report's numbers if there are any."""
    width = max((len(row["name"]) for row in rows), default=0) + 2
    for row in rows:
        beside = [f"{key} {row[key]}" for key in ("paper", "report") if row.get(key)]
        print(f"{show_name(row):{width}}{show_value(row):28}{', '.join(beside)}".rstrip())
