"""JSON and text on disk: written whole or not at all; JSON is read with an error that names the file."""

import json
import os
from pathlib import Path

from common.errors import RunError


def write_json(path: Path, value: dict) -> None:
    """Writes JSON as `write_text` does."""
    write_text(path, json.dumps(value, indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text by way of a temporary file, fsync and rename.

    A reader sees the old file or the new one, never half of it, also after a power cut.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with open(temporary, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Brings the names in a folder to the disk, after a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path, advice: str = "move it away first") -> dict:
    """Reads a JSON object.

    Raises:
        RunError: the file is not there, empty, or holds anything but a JSON object; with `advice`.
    """
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        size = path.stat().st_size
        raise RunError(f"{path} is damaged ({size:,} bytes that are no JSON): {advice}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged (it holds no JSON object): {advice}")
    return content


def plain(values: dict) -> dict:
    """Returns options or facts as JSON holds them."""
    return json.loads(json.dumps(values, default=str))
