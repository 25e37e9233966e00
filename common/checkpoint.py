"""Checkpoints that survive a kill: written whole or not at all, checked before use, plain data only."""

import json
import os
import pickle
import textwrap
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import nn

from common import pretrained
from common.runtime import RunError, UsageError

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
    try:
        with open(temporary, "wb") as file:
            write({"format": FORMAT, "question": question, "architecture": architecture, **state}, file)
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


def write(contents: dict, file: BinaryIO) -> None:
    """torch.save by way of memory: into a file it reports a full disk as a RuntimeError about positions."""
    whole = BytesIO()
    torch.save(contents, whole)
    file.write(whole.getbuffer())


def previous(path: Path) -> Path:
    """Where `save` keeps the checkpoint before this one."""
    return path.with_name(path.name + ".previous")


def load(path: Path | str, question: str, architecture: dict | None = None, device: Device = "cpu") -> dict:
    """Reads a checkpoint of `question`, and of `architecture` when that is given.

    Args:
        path: a file, or the name of a network in pretrained/.

    Raises:
        Damaged, RunError: as `read` and `pretrained.read`.
        RunError: missing, not a checkpoint of this project, of another question or architecture.
    """
    path = pretrained.locate(path, question)
    state = pretrained.read(path, device) if path.suffix == ".safetensors" else read(path, device)
    about = [state.get(key) for key in ("format", "question", "architecture")] if type(state) is dict else []
    if [type(fact) for fact in about] != [str, str, dict] or about[0] != FORMAT:
        raise RunError(f"{path} is not a checkpoint of this project")
    if about[1] != question:
        raise RunError(f"{path} is a checkpoint of {about[1]}, not of {question}")
    try:
        json.dumps(about[2])  # plain values, which can be compared and printed
    except (TypeError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not a checkpoint of this project") from error
    if architecture is not None and about[2] != architecture:
        raise RunError(f"{path} holds the network {about[2]}, and {architecture} was asked for")
    return state


def load_network(
    path: Path | str, question: str, build: Callable, device: Device, parts: tuple[str, ...] = ("model",)
) -> tuple[nn.Module, dict]:
    """The network of a checkpoint, on the device, and the checkpoint's contents.

    Args:
        path: a file, or the name of a network in pretrained/.
        build: makes the network from the numbers of the checkpoint's architecture, such as its class.
        parts: the names under which a checkpoint may hold the network; the first that is there is taken.

    Raises:
        Damaged, RunError: as `load` and `load_state`, or no network can be built from the architecture.
    """
    path = pretrained.locate(path, question)
    state = load(path, question, device=device)
    try:
        network = build(**state["architecture"])
    except Exception as error:  # whatever a network's class raises on numbers that are not its own
        why = f"from which no network can be built ({error or type(error).__name__})"
        raise RunError(f"{path} holds the architecture {state['architecture']}, {why}") from error
    name = next((name for name in parts if name in state), None)
    weights = state.get(name)
    if name == "average":  # of an Average, which has "module." before each name
        weights = {key[7:]: value for key, value in weights.items() if key.startswith("module.")}
    load_state(network.to(device), weights, path)
    return network, state


def load_state(part: object, state: object, path: Path) -> None:
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
    """All parameters and buffers are finite numbers."""
    return all(value.isfinite().all() for value in network.state_dict().values())


def read(path: Path, device: Device = "cpu") -> object:
    """What `torch.save` wrote, a checkpoint or a cache; every part's checksum is verified, and no code can
    run.

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
            what = "more than tensors and plain values"
            raise RunError(f"{path} holds {what} and is refused: reading it could run code") from error
        except Exception as error:  # zipfile and torch raise almost anything on damaged bytes
            raise Damaged(f"{path} is no checkpoint, or is cut short or damaged") from error


def start_from(
    path: Path, saved: dict, architecture: dict, networks: dict[str, nn.Module], remade: tuple = ()
) -> list[str]:
    """Loads the weights of a checkpoint, or a network of pretrained/, into new networks, to train them on.

    A network that the checkpoint lacks stays as it is. A checkpoint of a single network ("best") has it as
    "model" and gives it to the first of `networks`.

    Args:
        path, saved: the checkpoint and what `load` read from it.
        architecture: what the new networks were made from, for the message.
        networks: name in the checkpoint -> network.
        remade: parameters whose names begin so stay new where their shapes differ, such as ("classifier.",)
            for another number of classes.

    Returns:
        What was loaded and what was not, in words for the log.

    Raises:
        UsageError: the checkpoint's network has another shape.
    """
    first, loaded, new = next(iter(networks)), [], []
    for name, network in networks.items():
        weights = saved.get(name, saved.get("model") if name == first else None)
        if not isinstance(weights, dict):
            new.append(f"the {name}, which it lacks")
            continue
        own, loaded = network.state_dict(), [*loaded, name]
        for key in sorted(own.keys() | weights.keys()):
            here, there = own.get(key), weights.get(key)
            if here is not None and here.shape == getattr(there, "shape", None):
                own[key] = there
            elif not key.startswith(remade):
                both = [  # a genotype would fill the screen
                    {key: "..." if isinstance(value, dict) else value for key, value in network.items()}
                    for network in (saved["architecture"], architecture)
                ]
                both = f"{both[0]}, and this run trains {both[1]}"
                raise UsageError(f"--start_from {path} holds the network {both}: they differ in {name} {key}")
            elif here is not None and there is None:  # as of an auxiliary head: one line for all of it
                new.append(f"{name} {key.split('.')[0]}, which it lacks")
            elif here is not None:
                new.append(f"{name} {key}, {tuple(here.shape)}")
        load_state(network, own, path)
    return [f"starts from {', '.join(loaded)} of {path}", *(f"starts anew: {w}" for w in dict.fromkeys(new))]


def load_last(
    path: Path, question: str, architecture: dict, device: Device = "cpu"
) -> tuple[dict | None, str]:
    """The checkpoint to resume from, and a warning if it is the one before the newest, which is damaged.

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
