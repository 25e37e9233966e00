"""Checkpoints that survive a kill: written whole or not at all, checked before use, plain data only."""

import json
import os
import pickle
import textwrap
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from common.errors import RunError
from common.json_files import sync_folder

FORMAT = "four-papers-1"
Device = torch.device | str


class Damaged(RunError):
    """The file is cut short or its bytes changed."""


def save(path: Path, question: str, architecture: dict, **state: object) -> None:
    """Writes a checkpoint atomically; the file it replaces stays beside it as `<name>.previous`.

    The bytes go to a temporary file, reach the disk (fsync), and only then take the name: a kill or a full
    disk at any moment leaves a whole checkpoint behind.

    Args:
        path: where it ends up.
        question: "q2_protonet"; checked again when it is read.
        architecture: the numbers that rebuild the network; checked again when it is read.
        state: tensors, numbers, strings, and lists and dicts of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    contents = {"format": FORMAT, "question": question, "architecture": architecture, **state}
    try:
        with open(temporary, "wb") as file:
            write(contents, file)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.replace(path, previous(path))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def write(contents: dict, file: BinaryIO) -> None:
    """Does as torch.save, by way of memory: into a file that reports a full disk as an error of positions."""
    whole = BytesIO()
    torch.save(contents, whole)
    file.write(whole.getbuffer())


def previous(path: Path) -> Path:
    """Returns where `save` keeps the checkpoint before this one."""
    return path.with_name(path.name + ".previous")


def copies(path: Path) -> list[Path]:
    """Lists a checkpoint and the one before it, where they are there; a kill may leave the latter alone."""
    return [file for file in (path, previous(path)) if file.exists()]


def load(path: Path, question: str, architecture: dict | None = None, device: Device = "cpu") -> dict:
    """Reads a checkpoint and checks that it belongs to `question` (and to `architecture`, if given).

    Raises:
        Damaged: as `read`.
        RunError: as `read`; missing, not a checkpoint of this project, of another question or architecture.
    """
    state = read(path, device)
    check(path, state, question)
    if architecture is not None and state["architecture"] != architecture:
        raise RunError(f"{path} holds the network {state['architecture']}, and {architecture} was asked for")
    return state


def check(path: Path, state: Any, question: str) -> None:
    """Checks that what was read from `path` is a checkpoint of this project and of `question`.

    Raises:
        RunError: it is not.
    """
    foreign = RunError(f"{path} is not a checkpoint of this project")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise foreign
    if not isinstance(state.get("question"), str) or not isinstance(state.get("architecture"), dict):
        raise foreign
    if state["question"] != question:
        raise RunError(f"{path} is a checkpoint of {state['question']}, not of {question}")
    try:
        json.dumps(state["architecture"])  # plain values, which can be compared and printed
    except (TypeError, ValueError, RecursionError) as error:
        raise foreign from error


def load_last(
    path: Path, question: str, architecture: dict | None = None, device: Device = "cpu"
) -> tuple[dict | None, str]:
    """Reads the checkpoint to resume from.

    Returns:
        Its contents, None when there is none yet; and a warning if it is the one before the newest, which is
        damaged.

    Raises:
        Damaged: neither the checkpoint nor the one before it is whole.
        RunError: as `load`.
    """
    candidates = copies(path)
    warning = ""
    for file in candidates:
        try:
            return load(file, question, architecture, device), warning
        except Damaged as error:
            warning = f"{error}: resuming from the checkpoint before it"
    if candidates:
        raise Damaged(f"{path} and the checkpoint before it are damaged: start again with --overwrite")
    return None, ""


def load_state(part: Any, state: object, path: Path) -> None:
    """Loads what `path` holds of a network, an optimiser or a scheduler.

    Raises:
        RunError: it belongs to another one (other names or shapes), or a network's weights are not finite.
    """
    try:
        part.load_state_dict(state)
    except torch.OutOfMemoryError:  # of the GPU
        raise
    except Exception as error:  # torch raises several kinds
        why = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise RunError(f"{path} does not fit the architecture it states: {why}") from error
    if isinstance(part, nn.Module) and not is_finite(part):
        raise RunError(f"{path} holds weights that are not finite")


def is_finite(network: nn.Module) -> bool:
    """Returns whether all parameters and buffers are finite numbers."""
    return all(bool(value.isfinite().all()) for value in network.state_dict().values())


def read(path: Path, device: Device = "cpu") -> Any:
    """Reads what `torch.save` wrote; every part's checksum is verified, and no code can run.

    Raises:
        Damaged: the file is cut short or corrupted.
        RunError: it holds anything but tensors and plain values, and could run code if that were read.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(part.file_size for part in archive.infolist())
                if size > path.stat().st_size or archive.testzip() is not None:
                    raise zipfile.BadZipFile  # torch.save does not compress: such parts would be a bomb
            file.seek(0)
            return torch.load(file, map_location=device, weights_only=True)
        except torch.OutOfMemoryError:  # of the GPU
            raise
        except pickle.UnpicklingError as error:
            raise RunError(
                f"{path} holds more than tensors and plain values and is refused: reading it could run code"
            ) from error
        except Exception as error:  # zipfile and torch raise almost anything on damaged bytes
            raise Damaged(f"{path} is no checkpoint, or is cut short or damaged") from error
