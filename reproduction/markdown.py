"""Markdown: tables whose cells are shown as they are, anchors, and texts between marks."""

import re
from collections.abc import Sequence
from pathlib import Path

from common.errors import RunError
from common.json_files import write_text

SPECIAL = re.compile(r"([\\`*_\[\]<>|])")


def escaped(text: object) -> str:
    """Returns a text, such as a class's name, so that Markdown shows every character of it."""
    return SPECIAL.sub(r"\\\1", str(text).replace("\n", " "))


def code(text: str) -> str:
    """Returns a text of one line in the type of code, inside a table too."""
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return fence + pad + text.replace("|", r"\|") + pad + fence


def table(head: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Returns a table; its cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def anchor(question: str, name: str) -> str:
    """Returns where docs/REPORT.md has a run's command: the anchor of its heading "<question>/<name>"."""
    return question + re.sub(r"[^a-z0-9_-]", "", name.lower())


def link(question: str, name: str, file: str | None) -> str:
    """Returns a run's name, linked to its command in `file`, if given."""
    return escaped(name) if file is None else f"[{escaped(name)}]({file}#{anchor(question, name)})"


def unbroken(text: str) -> str:
    """Returns a text that stays on one line."""
    return text.replace(" ", "\u00a0")


def folded(summary: str, content: str) -> str:
    """Returns content that a click unfolds."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n\n</details>"


def write_between_marks(file: Path, text: str) -> None:
    """Replaces what stands between the marks <!-- results --> and <!-- /results -->.

    Raises:
        RunError: the file has no such marks.
    """
    before, _, rest = file.read_text().partition("<!-- results -->")
    _, mark, after = rest.partition("<!-- /results -->")
    if not mark:
        raise RunError(f"{file} has no marks <!-- results --> and <!-- /results -->")
    write_text(file, f"{before}<!-- results -->\n{text}\n<!-- /results -->{after}")
