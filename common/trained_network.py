"""The network of a checkpoint, or of pretrained/: located, read and built in one go."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from common import checkpoint, pretrained
from common.errors import RunError, UsageError

Network = TypeVar("Network", bound=nn.Module)


def read(path: Path | str, question: str, device: torch.device | str = "cpu") -> tuple[Path, dict[str, Any]]:
    """Reads a checkpoint file or a network of pretrained/, and checks that it belongs to `question`.

    Returns:
        The file, and its contents.

    Raises:
        checkpoint.Damaged: the file is cut short or corrupted.
        RunError: there is none; it is another question's, or not of this project.
    """
    file = pretrained.locate(path, question)
    if file.suffix != ".safetensors":
        return file, checkpoint.load(file, question, device=device)
    state = pretrained.read(file, device)
    checkpoint.check(file, state, question)
    return file, state


class Recorded(dict):
    """Options or facts of a training, as its checkpoint has them; what is missing is a clear error.

    A checkpoint that another program wrote, or an older version, may lack an entry.
    """

    def __init__(self, file: Path, entries: dict):
        super().__init__(entries)
        self.file = file

    def __missing__(self, key: str) -> object:
        raise RunError(f"{self.file} is no checkpoint of this project: it does not record {key!r}")


class Loaded(NamedTuple):
    """A network of a checkpoint, in eval mode, and the rest of the checkpoint."""

    network: Any
    architecture: dict
    options: Recorded  # of its training
    facts: Recorded  # what else its training recorded, such as the classes' names
    epoch: int
    name: str  # of its run, or of the network in pretrained/


def load(
    path: Path | str,
    question: str,
    build: Callable[..., Network],
    device: torch.device | str,
    parts: tuple[str, ...] = ("model",),
) -> Loaded:
    """Builds the network of a checkpoint on the device, in eval mode.

    Args:
        path: a file, or the name of a network in pretrained/.
        build: makes the network from the numbers of the checkpoint's architecture, such as its class.
        parts: the names under which a checkpoint may hold the network; the first that is there is taken.

    Raises:
        checkpoint.Damaged: as `read`.
        RunError: as `read`; no network can be built from the architecture, or the weights do not fit it.
    """
    file, state = read(path, question, device)
    try:
        network = build(**state["architecture"])
    except Exception as error:  # whatever a network's class raises on numbers that are not its own
        raise RunError(
            f"{file} holds the architecture {state['architecture']}, from which no network can be built "
            f"({str(error) or type(error).__name__})"
        ) from error
    part = next((part for part in parts if state.get(part) is not None), parts[0])
    weights = state.get(part)
    if part == "average" and isinstance(weights, dict):  # which has "module." before each name
        weights = {key[7:]: value for key, value in weights.items() if key.startswith("module.")}
    checkpoint.load_state(network.to(device), weights, file)
    for key, kind in (("options", dict), ("facts", dict), ("epoch", int)):
        if not isinstance(state.get(key), kind):
            raise RunError(f"{file} is no checkpoint of this project: it has no {key}")
    dataset = str(state["options"].get("dataset", ""))
    if not re.fullmatch(r"[\w-]*", dataset):  # it becomes a part of paths
        raise RunError(f"{file} is no checkpoint of this project: its data set is called {dataset[:80]!r}")
    classes = state["facts"].get("classes")
    if any(re.search("[\x1b\x9b]", str(name)) for name in (classes if isinstance(classes, list) else ())):
        raise RunError(f"{file} names classes with escape sequences, which could write over the screen")
    return Loaded(
        network=network.eval(),
        architecture=state["architecture"],
        options=Recorded(file, state["options"]),
        facts=Recorded(file, state["facts"]),
        epoch=state["epoch"],
        name=run_name(Path(path)),
    )


def run_name(path: Path) -> str:
    """Returns what a checkpoint's figures go under: its run, else the folder it lies in, or its name."""
    if not path.is_file():
        return path.name
    folder = path.absolute().parent
    return folder.parent.name if folder.name == "checkpoints" else folder.name


def start_from(
    path: Path, saved: dict, architecture: dict, networks: dict[str, nn.Module], remade: tuple[str, ...] = ()
) -> list[str]:
    """Loads the weights of a checkpoint, or a network of pretrained/, into new networks, to train them on.

    A network that the checkpoint lacks stays as it is. A checkpoint of a single network ("best") has it as
    "model" and gives it to the first of `networks`.

    Args:
        path, saved: the checkpoint and what `read` returned of it.
        architecture: what the new networks were made from, for the message.
        networks: name in the checkpoint -> network.
        remade: parameters whose names begin so stay new where their shapes differ, such as ("classifier.",)
            for another number of classes.

    Returns:
        What was loaded and what was not, in words for the log.

    Raises:
        UsageError: the checkpoint's network has another shape.
    """
    first = next(iter(networks))
    loaded = []
    new = []
    for name, network in networks.items():
        weights = saved.get(name, saved.get("model") if name == first else None)
        if not isinstance(weights, dict):
            new.append(f"the {name}, which it lacks")
            continue
        own = network.state_dict()
        for key in sorted(own.keys() | weights.keys()):
            here = own.get(key)
            there = weights.get(key)
            if here is not None and here.shape == getattr(there, "shape", None):
                own[key] = there
            elif not key.startswith(remade):
                held = _shown(saved["architecture"])
                trained = _shown(architecture)
                raise UsageError(
                    f"--start_from {path} holds the network {held}, and this run trains {trained}: "
                    f"they differ in {name} {key}"
                )
            elif here is not None and there is None:  # as of an auxiliary head: one line for all of it
                new.append(f"{name} {key.split('.')[0]}, which it lacks")
            elif here is not None:
                new.append(f"{name} {key}, {tuple(here.shape)}")
        checkpoint.load_state(network, own, path)
        loaded.append(name)
    texts = [f"starts from {', '.join(loaded)} of {path}"]
    return texts + [f"starts anew: {what}" for what in dict.fromkeys(new)]


def _shown(architecture: dict) -> dict:
    """Returns an architecture for a message, without its genotype, which would fill the screen."""
    return {key: "..." if isinstance(value, dict) else value for key, value in architecture.items()}
