"""One wording on tables and page for what the logs of different days spell differently."""

import re


def unified(text: object) -> str:
    """Returns a count or device of the logs as it is shown: "1 thread", "15 queries per class", "10,000"."""
    words = str(text)
    words = re.sub(r"\b1 threads\b", "1 thread", words)
    words = re.sub(r"\bqueries a class\b", "queries per class", words)
    return re.sub(r"\b(?<![.,])\d{4,}\b(?![.,]\d)", with_commas, words)


def with_commas(number: re.Match) -> str:
    """Returns the digits of a match in groups of three."""
    return f"{int(number[0]):,}"
