"""Checkpoints that survive a kill: written whole or not at all, checked before use, plain data only."""

import os
import pickle
import zipfile
from pathlib import Path

import torch

from common.runtime import RunError

FORMAT = "four-papers-1"


class Damaged(RunError):
    """The file is cut short or its bytes changed."""


def save(path: Path, question: str, architecture: dict, **state: object) -> None:
    """Writes a checkpoint atomically; the file it replaces stays beside it as `<name>.previous`.

    The bytes go to a temporary file, reach the disk (fsync), and only then take the name: a kill or a full disk at any
    moment leaves a whole checkpoint behind.

    Args:
        path: where it ends up.
        question: "q2_protonet"; checked again when it is read.
        architecture: the numbers that rebuild the network; checked again when it is read.
        state: tensors, numbers, strings, and lists and dicts of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, "question": question, "architecture": architecture, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def write_cache(path: Path, contents: dict) -> None:
    """Writes what can be made again, whole or not at all; where the disk refuses, the next run makes it once more."""
    partial = path.with_suffix(f".partial{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(contents, partial)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)


def previous(path: Path) -> Path:
    """Where `save` keeps the checkpoint before this one."""
    return path.with_name(path.name + ".previous")


def load(path: Path | str, question: str, architecture: dict | None = None, device: torch.device | str = "cpu") -> dict:
    """Reads a checkpoint of `question`, and of `architecture` when that is given.

    Raises:
        Damaged: the file is cut short or corrupted (every part's checksum is verified).
        RunError: missing, not a checkpoint of this project, of another question or architecture, or it holds anything
            but tensors and plain values (such a file could run code when read, so it is refused).
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise zipfile.BadZipFile
        state = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise RunError(f"{path} holds more than tensors and plain values and is refused: reading it could run code") from error
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise Damaged(f"{path} is cut short or damaged") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path} is not a checkpoint of this project")
    if state["question"] != question:
        raise RunError(f"{path} is a checkpoint of {state['question']}, not of {question}")
    if architecture is not None and state["architecture"] != architecture:
        raise RunError(f"{path} holds the network {state['architecture']}, and {architecture} was asked for")
    return state


def load_last(path: Path, question: str, architecture: dict, device: torch.device | str = "cpu") -> tuple[dict | None, str]:
    """The checkpoint to resume from, and a warning if it is not the newest: a damaged one yields to the one before it.

    Returns (None, "") when there is none yet.

    Raises:
        Damaged: neither the checkpoint nor the one before it is whole.
        RunError: as `load`.
    """
    candidates = [file for file in (path, previous(path)) if file.exists()]
    warning = ""
    for file in candidates:
        try:
            return load(file, question, architecture, device), warning
        except Damaged as error:
            warning = f"{error}: resuming from the checkpoint before it"
    if candidates:
        raise Damaged(f"{path} and the checkpoint before it are damaged: start again with --overwrite")
    return None, ""
