"""The checkpoints of a run: last.pt, from which it resumes to the last bit, and networks by name."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import nn

from common import checkpoint, trained_network
from common.averaging import Average
from common.cli import gpu_is_full
from common.device import Runtime
from common.errors import RunError
from common.json_files import plain
from common.run_folder import RunFolder

# What last.pt holds besides the states of networks, optimisers and so on.
OF_THE_RUN = {"position", "tables", "steps_done", "seconds", "options", "facts", "machine"}


class Saved(NamedTuple):
    """Says where a run goes on; the defaults are where it begins."""

    position: dict[str, Any]
    tables: dict[str, int]  # their sizes in bytes
    steps_done: int = 0  # of the whole run
    seconds: float = 0.0  # spent training
    warning: str = ""


class RunCheckpoints:
    """Saves and restores everything that a training changes.

    Args:
        run: the run's folder.
        runtime: where it computes. Only rank 0 writes.
        architecture: the numbers that rebuild the network.
        parts: what has a state, by its name in the checkpoint.
        facts: recorded in every checkpoint; may grow.
    """

    def __init__(
        self, run: RunFolder, runtime: Runtime, architecture: dict, parts: dict[str, Any], facts: dict
    ):
        self.run = run
        self.runtime = runtime
        self.architecture = architecture
        self.parts = parts
        self.facts = facts

    @property
    def advice(self) -> str:
        """What to do after a loss or weights that are not finite."""
        last = self.run.last
        good = f"the last good checkpoint is {last}" if last.exists() else "there is no checkpoint yet"
        return f"{good}; start again (--overwrite) with a lower learning rate or --precision fp32"

    def out_of_memory(self, resume_command: str) -> str:
        """Says what helps where the GPU is out of memory, and what is kept."""
        text = gpu_is_full(self.run.options.memory_advice)
        if self.run.last.exists():
            text += (
                " (start again with --overwrite). What was trained is kept: with room on the GPU, "
                f"{resume_command} continues it"
            )
        return text

    def start_from(self, path: Path, saved: dict, remade: tuple[str, ...]) -> list[str]:
        """Loads the weights of another run's checkpoint into the networks, and starts their averages there.

        Arguments, result and errors are those of `trained_network.start_from`.
        """
        networks = {}
        averages = []
        for name, part in self.parts.items():
            if isinstance(part, Average):
                averages.append(part)
            elif isinstance(part, nn.Module):
                networks[name] = part
        texts = trained_network.start_from(path, saved, self.architecture, networks, remade)
        first = next(iter(networks.values()))
        for average in averages:  # of the network that predicts, which comes first
            average.module.load_state_dict(first.state_dict())
        return texts

    def restore(self) -> Saved | None:
        """Loads the state of every part from the last checkpoint.

        Returns:
            Where the run goes on; None if there is no checkpoint yet.

        Raises:
            RunError: as `checkpoint.load_last`; the checkpoint lacks a part.
        """
        last = self.run.last
        question = self.run.question
        saved, warning = checkpoint.load_last(last, question, self.architecture, self.runtime.device)
        if saved is None:
            return None
        if lacking := (self.parts.keys() | OF_THE_RUN) - saved.keys():
            raise RunError(f"{last} cannot be resumed: it lacks {', '.join(sorted(lacking))}")
        for name, part in self.parts.items():
            if isinstance(part, torch.Generator):
                _restore_generator(part, saved[name], saved["position"])
            else:
                checkpoint.load_state(part, saved[name], last)
        of_the_run = {name: saved[name] for name in Saved._fields if name in saved}
        return Saved(**of_the_run, warning=warning)

    def save_last(self, position: SimpleNamespace, tables: dict, steps_done: int, seconds: float) -> None:
        """Saves all that is needed to resume.

        Args:
            position: epoch, step and the figures of the epoch so far.
            tables: sizes of the tables in bytes.
            steps_done: steps of the whole run.
            seconds: spent training, over all legs.
        """
        epochs_done = position.epoch - 1 if position.step == 0 else position.epoch
        states = {}
        for name, part in self.parts.items():
            if isinstance(part, nn.Module):
                self._check_weights(part, epochs_done)
            states[name] = part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
        self._save(
            "last",
            epochs_done,
            **states,
            position=vars(position),
            tables=tables,
            steps_done=steps_done,
            seconds=seconds,
            machine=self.runtime.machine,
        )

    def save_network(self, name: str, network: nn.Module, epoch: int) -> None:
        """Saves a network alone as checkpoints/<name>.pt."""
        self._check_weights(network, epoch)
        self._save(name, epoch, model=network.state_dict())

    def load_network(self, name: str, network: nn.Module, epoch: int) -> None:
        """Loads a network saved by `save_network` into `network`; every rank calls it, after rank 0 saved.

        A kill between this file and last.pt leaves a network of steps that the next leg may repeat otherwise,
        on a GPU, and not keep. The network of `epoch` is then the one before. So it is after a kill in the
        middle of saving, when only the one before is there.

        Raises:
            RunError: neither is of that epoch.
        """
        self.runtime.barrier()
        path = self.run.last.with_name(f"{name}.pt")
        for file in checkpoint.copies(path):
            saved = self._read(file)
            if saved["epoch"] == epoch:
                break
        else:
            raise RunError(f"{path} is missing or not of epoch {epoch}: start again with --overwrite")
        checkpoint.load_state(network, saved.get("model"), file)
        self.runtime.barrier()  # rank 0 may replace the file from here on

    def _read(self, path: Path) -> dict:
        """Reads a checkpoint of this run; errors as `checkpoint.load`."""
        return checkpoint.load(path, self.run.question, self.architecture, self.runtime.device)

    def _save(self, name: str, epoch: int, **state: object) -> None:
        path = self.run.last.with_name(f"{name}.pt")
        options = plain(vars(self.run.options))
        about = {"options": options, "facts": self.facts, "epoch": epoch}
        checkpoint.save(path, self.run.question, self.architecture, **about, **state)

    def _check_weights(self, network: nn.Module, epoch: int) -> None:
        if not checkpoint.is_finite(network):
            raise RunError(f"the weights are not finite at epoch {epoch} and were not saved; {self.advice}")


def has_state(part: object) -> bool:
    """Returns whether a checkpoint holds this: a network, optimiser, scheduler, average or Generator."""
    return isinstance(part, torch.Generator) or hasattr(part, "state_dict")


def _restore_generator(generator: torch.Generator, state: torch.Tensor, position: dict) -> None:
    """Restores a generator; from the state of another kind of device it gets a seed of its own instead."""
    if len(state) == len(generator.get_state()):
        generator.set_state(state.cpu())
    else:
        generator.manual_seed(generator.initial_seed() + 10**6 * position["epoch"] + position["step"])
