"""The Omniglot challenge (Lake et al. 2019): 20-way 1-shot within an alphabet, sampled or on Lake's runs."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import RunError, UsageError
from common.statistics import mean_row, share_row
from q2_protonet.drawings import read_ink
from q2_protonet.measures import embed, run_episodes
from q2_protonet.omniglot_dataset import Characters
from q2_protonet.paper import CHALLENGE, LAKE_RUNS, WITHIN_ALPHABET
from q2_protonet.prototypical_loss import squared_distances

RUNS = 20


# Episodes within an alphabet --------------------------------------------------------------------------------


class WithinAlphabetSampler:
    """Samples 1-shot episodes of `way` characters of one alphabet.

    The support is drawn by one person and the queries, one per character, by another: drawing number n of
    every character of an alphabet is by the same person. Smaller alphabets are left out.

    Args:
        part: whole alphabets of characters named "<alphabet>/<character>", without rotations.
        generator: on the device of its counts.
        way: characters per episode (20 in the challenge).

    Raises:
        UsageError: no alphabet has `way` characters; a character has fewer than two drawings.
    """

    shot = 1
    query = 1

    def __init__(self, part: Characters, generator: torch.Generator, way: int = 20):
        alphabets: dict[str, list[int]] = {}
        for i, name in enumerate(part.names):
            alphabets.setdefault(name.rpartition("/")[0], []).append(i)
        self.alphabets = {name: rows for name, rows in alphabets.items() if len(rows) >= way}
        if not self.alphabets:
            most = max(map(len, alphabets.values()))
            raise UsageError(f"no alphabet here has {way} characters; the largest has {most}")
        if part.counts.min() < 2:
            raise UsageError("every character needs two drawings or more, by different people")
        device = part.counts.device
        self.member = torch.zeros(len(self.alphabets), len(part), dtype=torch.bool, device=device)
        for line, rows in zip(self.member, self.alphabets.values()):
            line[rows] = True
        self.people = int(part.counts.min())
        self.way = way
        self.generator = generator

    def sample(self, episodes: int) -> tuple[Tensor, Tensor]:
        """Returns classes (episodes, way, 1) and drawings (episodes, way, 2): the support, then the query."""
        random = {"generator": self.generator, "device": self.member.device}
        alphabet = torch.randint(len(self.member), (episodes,), **random)
        chance = torch.rand(self.member[alphabet].shape, **random)  # (episodes, classes)
        classes = chance.masked_fill(~self.member[alphabet], -1).topk(self.way, dim=1).indices
        people = torch.rand(episodes, self.people, **random).topk(2, dim=1).indices  # (episodes, 2)
        return classes.unsqueeze(-1), people.unsqueeze(1).expand(-1, self.way, -1)


def within_alphabet_row(network: nn.Module, part: Characters, episodes: int, seed: int) -> dict:
    """Returns the error in % of episodes that WithinAlphabetSampler samples, as a row of results.json."""
    embeddings = embed(network, part.images)
    sampler = WithinAlphabetSampler(part, torch.Generator(embeddings.device).manual_seed(seed))
    _, accuracies = run_episodes(embeddings, sampler, episodes)
    count = f"{episodes} episodes in {len(sampler.alphabets)} alphabets"
    return mean_row(WITHIN_ALPHABET, 100 * (1 - accuracies), "%", count=count, literature=CHALLENGE)


# Lake's runs ------------------------------------------------------------------------------------------------


class LakeRun(NamedTuple):
    """One of the author's runs: as many queries as classes; row i of both is the same character.

    support, query: (way, 28, 28) uint8.
    """

    support: Tensor
    query: Tensor


def read_runs(folder: Path) -> list[LakeRun]:
    """Reads the 20 fixed runs of Lake et al.

    Args:
        folder: all_runs.zip of the author's one-shot-classification folder, unpacked: run01 to run20, each
            with class_labels.txt, whose lines "run01/test/item01.png run01/training/class09.png" pair a query
            with its class.

    Raises:
        RunError: a run is missing or damaged.
    """
    return [read_run(folder, f"run{number:02d}") for number in range(1, RUNS + 1)]


def read_run(folder: Path, name: str) -> LakeRun:
    """Reads the run of this name; errors as `read_runs`."""
    labels = folder / name / "class_labels.txt"
    if not labels.is_file():
        raise RunError(
            f"{labels} is missing: the folder must hold run01 to run{RUNS} of the author's all_runs.zip"
        )
    lines = labels.read_text("utf-8", "replace").splitlines()
    pairs = [line.split() for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise RunError(f"{labels}: each line must name a test image and a training image")
    query = [read_ink(folder / item, "no") for item, _ in pairs]
    support = [read_ink(folder / example, "no") for _, example in pairs]
    return LakeRun(torch.from_numpy(np.stack(support)), torch.from_numpy(np.stack(query)))


def lake_row(network: nn.Module, runs: list[LakeRun], device: torch.device, shifts: int = 0) -> dict:
    """Returns the error in % of Lake's runs, all trials together, as a row of results.json.

    Args:
        network: embeds the drawings; with ShiftAveraged around it where `shifts` is not 0.
        shifts: recorded with the row.
    """
    wrong = 0
    trials = 0
    for run in runs:
        support = embed(network, run.support.to(device))  # (way, dim), each the prototype of its class
        query = embed(network, run.query.to(device))  # (way, dim)
        wrong += wrong_queries(support, query)
        trials += len(query)
    row = share_row(LAKE_RUNS, wrong, trials, literature=CHALLENGE)
    return row | {"count": f"{trials} trials in {len(runs)} runs", "trials": trials, "shifts": shifts}


def wrong_queries(support: Tensor, query: Tensor) -> int:
    """Returns how many of the queries (way, dim) are nearest to another row of the support (way, dim)."""
    nearest = squared_distances(query, support).argmin(-1)
    own = torch.arange(len(nearest), device=nearest.device)
    return int((nearest != own).sum())
