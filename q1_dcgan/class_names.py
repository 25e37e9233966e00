"""The names of a generator's classes, as its checkpoint states them. Nothing here imports torch."""

import os
from pathlib import Path

from common.errors import RunError, UsageError
from common.folder_listing import one_form

MOST_SHOWN = 20  # names in a message


def class_names(source: Path, architecture: dict, facts: dict) -> list[str]:
    """Returns the names of a generator's classes, none of an unconditional one.

    Args:
        source: the checkpoint, for the message.
        architecture, facts: what it holds.

    Raises:
        RunError: it does not name each class with a text of its own.
    """
    count = architecture.get("classes", 0)
    names = facts.get("classes", [])
    if not count:
        return []
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise RunError(f"{source} does not say what its classes are called")
    if len(names) != count or len(set(names)) != count:
        raise RunError(f"{source} has {count} classes, and names {len(set(names))}")
    return names


def _is_name(name: object) -> bool:
    """Returns whether this is a text that can be shown and written."""
    if not isinstance(name, str):
        return False
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON allows
        return False
    return True


def find_class(names: list[str], name: str | None, number: int | None) -> int | None:
    """Returns the label that --class `name` or --digit `number` stands for, None without either.

    Raises:
        UsageError: there is no such class.
    """
    if name is None and number is None:
        return None
    asked = str(number) if name is None else name
    forms = [one_form(known) for known in names]
    if one_form(asked) in forms:
        return forms.index(one_form(asked))
    if number is not None and 0 <= number < len(names):
        return number
    flag = "--class" if number is None else "--digit"
    if not names:
        raise UsageError(f"{flag} {asked}: this generator is not conditional")
    shown = ", ".join(names[:MOST_SHOWN])
    if len(names) > MOST_SHOWN:
        shown += f" and {len(names) - MOST_SHOWN} more"
    raise UsageError(f"{flag} {asked}: the network's classes are {shown}")


def folder_name(name: str) -> str:
    """Returns what the folder of a class is called: one name, whatever the class is called.

    A checkpoint may come from anyone: a class called ".." must not lead out of the folder of all. Nor may
    a folder be hidden, or --folder would not read it.
    """
    safe = name.replace("/", "_").replace("\0", "_")
    while len(os.fsencode(safe)) > 200:  # file systems allow 255 bytes
        safe = safe[:-1]
    return f"_{safe}" if safe.startswith(".") or not safe else safe


def make_folders(parent: Path, names: list[str]) -> list[Path]:
    """Makes a folder for each class inside `parent`, which must be empty, and returns them.

    Two classes never share one: where a name is taken, also because the file system does not tell "a" from
    "A", a number follows it.
    """
    parent.mkdir(parents=True, exist_ok=True)
    folders = []
    for name in names:
        plain = folder_name(name)
        folder = parent / plain
        number = 2
        while os.path.lexists(folder):
            folder = parent / f"{plain}_{number}"
            number += 1
        folder.mkdir()
        folders.append(folder)
    return folders
