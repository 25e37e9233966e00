"""Measures of a prototypical network: accuracy over episodes, and what predict.py --unknown gets wrong.

In eval mode an embedding depends on its image alone, so every drawing passes the network once and the
episodes are then sampled from the embeddings: the numbers of one forward pass per episode, in about a second
for 1,000 episodes.
"""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from common.device import no_tf32
from common.statistics import mean_row
from q2_protonet.omniglot_dataset import Characters, prepare
from q2_protonet.options import Episode
from q2_protonet.paper import PAPER, REPORT, name_setting
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypes_and_queries, prototypical_loss, squared_distances


class Sampler(Protocol):
    """Samples episodes: of a shape, as indices of classes and of drawings."""

    way: int
    shot: int
    query: int

    def sample(self, episodes: int) -> tuple[Tensor, Tensor]: ...


@torch.inference_mode()
@no_tf32()
def embed(network: nn.Module, images: Tensor, batch: int = 1000) -> Tensor:
    """Embeds uint8 drawings in eval mode and fp32: (..., 28, 28) -> (..., dim)."""
    network.eval()
    flat = images.flatten(0, -3)  # (..., 28, 28) -> (n, 28, 28)
    # `network.forward` rather than `network(...)`: without torch.compile, which would compile once per size
    # of a batch.
    pieces = [network.forward(prepare(piece)) for piece in flat.split(batch)]
    return torch.cat(pieces).view(*images.shape[:-2], -1)


# Accuracy ---------------------------------------------------------------------------------------------------


@torch.inference_mode()
def run_episodes(embeddings: Tensor, sampler: Sampler, episodes: int) -> tuple[float, Tensor]:
    """Classifies the queries of many episodes, a batch of episodes at a time.

    Args:
        embeddings: (class, drawing, dim) of a whole part.
        sampler: samples the episodes.
        episodes: how many.

    Returns:
        Mean loss in nats, and the accuracy of each episode (episodes,) in 0..1.
    """
    # How many are sampled at once decides which: another batch would measure on other episodes.
    numbers = sampler.way * sampler.query * sampler.way * embeddings.shape[-1]
    batch = max(1, 2**24 // numbers)
    losses = []
    accuracies = []
    for first in range(0, episodes, batch):
        count = min(batch, episodes - first)
        loss, accuracy = prototypical_loss(embeddings[sampler.sample(count)], sampler.shot)
        losses.append(loss * count)
        accuracies.append(accuracy)
    return float(sum(losses)) / episodes, torch.cat(accuracies)


def validate(
    network: nn.Module, part: Characters, shape: Episode, episodes: int, seed: int
) -> tuple[float, float]:
    """Returns mean loss in nats and mean accuracy in 0..1 over episodes of `part`, which the seed decides."""
    generator = torch.Generator(part.counts.device).manual_seed(seed)
    sampler = PrototypicalBatchSampler(part, *shape, generator)
    loss, accuracies = run_episodes(embed(network, part.images), sampler, episodes)
    return loss, float(accuracies.mean())


def accuracy_rows(
    embeddings: Tensor,
    part: Characters,
    settings: Iterable[tuple[int, int]],
    query: int,
    episodes: int,
    seed: int,
    unknown_distance: float | None = None,
) -> list[dict]:
    """Returns rows of results.json, one per (way, shot): mean accuracy in % with its 95% interval.

    Args:
        embeddings: (class, drawing, dim) of the part.
        query: queries per class.
        seed: of the episodes, the same for every setting.
        unknown_distance: as `calibrate_unknown`, for two more rows per setting, those of `unknown_rows`.
    """
    rows = []
    for way, shot in settings:
        generator = torch.Generator(embeddings.device).manual_seed(seed)
        sampler = PrototypicalBatchSampler(part, way, shot, query, generator)
        _, accuracies = run_episodes(embeddings, sampler, episodes)
        count = f"{episodes} episodes, {query} queries per class, {len(part)} classes"
        rows.append(mean_row(name_setting(way, shot), 100 * accuracies, "% accuracy", count=count))
        if unknown_distance is not None:
            sampler = PrototypicalBatchSampler(part, way + 1, shot, query, generator)
            rows += unknown_rows(embeddings, sampler, episodes, unknown_distance)
    return rows


def beside_paper(rows: list[dict]) -> list[dict]:
    """Adds the paper's and the first report's numbers, which hold for splits of all of Omniglot."""
    settings = {name_setting(*setting): setting for setting in PAPER}
    cited = []
    for row in rows:
        setting = settings.get(row["name"])
        known = {"paper": PAPER[setting], "report": REPORT[setting]} if setting else {}
        cited.append(row | known)
    return cited


def add_to_names(rows: list[dict], note: str) -> list[dict]:
    """Returns the rows with a note at the end of their names, such as paper.UNTRAINED."""
    return [row | {"name": row["name"] + note} for row in rows]


# Drawings of other classes ----------------------------------------------------------------------------------


def calibrate_unknown(embeddings: Tensor, counts: Tensor) -> float:
    """Finds the limit of predict.py --unknown: 95 % of drawings are nearer to their prototype.

    The limit is a squared distance that goes with every shot: a drawing's squared distance to the mean of k
    others of its class is on average 1 + 1 / k times the class's variance, so it is compared with the limit
    times 1 + 1 / shot. Here each is compared with all n - 1 others of its class, whose mean is n / (n - 1)
    times as far away as the mean of all n.

    Args:
        embeddings: (class, drawing, dim) of classes that were not trained on.
        counts: (class,) how many drawings of each are real.
    """
    n = counts[:, None]  # (class, 1)
    real = torch.arange(embeddings.shape[1], device=n.device) < n  # (class, drawing)
    mean = (embeddings * real[..., None]).sum(1, keepdim=True) / n[..., None]  # (class, 1, dim)
    distance = (embeddings - mean).square().sum(-1) * n / (n - 1)  # (class, drawing)
    return float(distance[real & (n > 1)].quantile(0.95))


@torch.inference_mode()
def unknown_rows(
    embeddings: Tensor, sampler: PrototypicalBatchSampler, episodes: int, unknown_distance: float
) -> list[dict]:
    """Returns both errors of predict.py --unknown in %, as rows of results.json.

    Of the classes of an episode the last has no prototype, and its queries should be called unknown.

    Args:
        embeddings: (class, drawing, dim) of a whole part.
        unknown_distance: as `calibrate_unknown`.
    """
    way = sampler.way - 1
    shot = sampler.shot
    limit = unknown_distance * (1 + 1 / shot)
    rejected = []
    for _ in range(episodes):
        classes, drawings = sampler.sample(1)
        prototypes, queries = prototypes_and_queries(embeddings[classes[0], drawings[0]], shot)
        distances = squared_distances(queries, prototypes[:-1]).amin(-1)  # ((way + 1) * query,)
        rejected.append((distances > limit).float().view(way + 1, -1).mean(-1))
    shares = 100 * torch.stack(rejected)  # (episodes, way + 1)
    name = name_setting(way, shot)
    count = f"{episodes} episodes"
    return [
        mean_row(f"{name}, wrongly called unknown", shares[:, :-1].mean(1), "%", count=count),
        mean_row(f"{name}, other class accepted", 100 - shares[:, -1], "%", count=count),
    ]
