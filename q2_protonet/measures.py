"""Measures of a prototypical network: accuracy over episodes, and the error within alphabets.

In eval mode an embedding depends on its image alone, so every drawing passes the network once and the
episodes are then sampled from the embeddings: the numbers of one forward pass per episode, in about a second
for 1,000 episodes.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common import checkpoint
from common.images import trained_folder
from common.results import mean_row
from common.runtime import RunError, Runtime, UsageError, no_tf32
from q2_protonet.omniglot_dataset import Characters, prepare, read_ink
from q2_protonet.paper import CHALLENGE, LAKE_RUNS, PAPER, QUESTION, REPORT, WITHIN_ALPHABET
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler, WithinAlphabetSampler
from q2_protonet.prototypical_loss import prototypes_and_queries, prototypical_loss, squared_distances
from q2_protonet.splits import DataOptions, load


@torch.inference_mode()
@no_tf32()
def embed(model: ProtoNet, images: Tensor, batch: int = 1000) -> Tensor:
    """Embeddings of uint8 drawings in eval mode and fp32: (..., 28, 28) -> (..., dim)."""
    model.eval()
    flat = images.flatten(0, -3)  # (..., 28, 28) -> (n, 28, 28)
    # `model.forward` rather than `model(...)`: without torch.compile, which would compile once per size of a
    # batch.
    pieces = [model.forward(prepare(piece)) for piece in flat.split(batch)]
    return torch.cat(pieces).view(*images.shape[:-2], -1)


@torch.inference_mode()
def run_episodes(
    embeddings: Tensor, sampler: PrototypicalBatchSampler | WithinAlphabetSampler, episodes: int
) -> tuple[float, Tensor]:
    """Classifies the queries of many episodes, a batch of episodes at a time.

    Args:
        embeddings: (class, drawing, dim) of a whole part.
        sampler: samples the episodes.
        episodes: how many.

    Returns:
        Mean loss in nats, and the accuracy of each episode (episodes,) in 0..1.
    """
    # how many are sampled at once decides which: another batch would measure on other episodes
    numbers = sampler.way * sampler.query * sampler.way * embeddings.shape[-1]
    batch = max(1, 2**24 // numbers)
    losses, accuracies = [], []
    for first in range(0, episodes, batch):
        count = min(batch, episodes - first)
        loss, accuracy = prototypical_loss(embeddings[sampler.sample(count)], sampler.shot)
        losses.append(loss * count)
        accuracies.append(accuracy)
    return float(sum(losses)) / episodes, torch.cat(accuracies)


@torch.inference_mode()
def unknown_rows(
    embeddings: Tensor, sampler: PrototypicalBatchSampler, episodes: int, limit: float
) -> list[dict]:
    """Both errors of predict.py --unknown in %, as rows of results.json.

    Of the classes of an episode the last has no prototype, and its queries should be called unknown.

    Args:
        embeddings: (class, drawing, dim) of a whole part.
        limit: from `unknown_distance`.
    """
    way, shot, far, count = sampler.way - 1, sampler.shot, [], f"{episodes} episodes"
    for _ in range(episodes):
        classes, drawings = sampler.sample(1)
        prototypes, queries = prototypes_and_queries(embeddings[classes[0], drawings[0]], shot)
        distances = squared_distances(queries, prototypes[:-1]).amin(-1)  # ((way + 1) * query,)
        far.append((distances > limit * (1 + 1 / shot)).float().view(way + 1, -1).mean(-1))
    far, name = 100 * torch.stack(far), f"{way}-way {shot}-shot"  # (episodes, way + 1)
    own = mean_row(f"{name}, wrongly called unknown", far[:, :-1].mean(1), "%", count=count)
    return [own, mean_row(f"{name}, other class accepted", 100 - far[:, -1], "%", count=count)]


def accuracy_rows(
    model: ProtoNet,
    part: Characters,
    settings: list[tuple[int, int]],
    query: int,
    episodes: int,
    seed: int,
    note: str = "",
    beside_paper: bool = False,
    limit: float | None = None,
) -> list[dict]:
    """Rows of results.json, one per (way, shot): mean accuracy in % over the episodes, with its 95% interval.

    Args:
        query: queries per class.
        note: added to the names, for a control.
        beside_paper: give the paper's and the first report's numbers, which hold for splits of all of
            Omniglot.
        limit: from `unknown_distance`, for two more rows per setting, those of `unknown_rows`.
    """
    embeddings = embed(model, part.images)
    rows = []
    for way, shot in settings:
        generator = torch.Generator(embeddings.device).manual_seed(seed)
        sampler = PrototypicalBatchSampler(part, way, shot, query, generator)
        _, accuracies = run_episodes(embeddings, sampler, episodes)
        count = f"{episodes} episodes, {query} queries per class, {len(part)} classes"
        row = mean_row(f"{way}-way {shot}-shot{note}", 100 * accuracies, "% accuracy", count=count)
        if beside_paper:
            row |= {"paper": PAPER.get((way, shot)), "report": REPORT.get((way, shot))}
        rows.append(row)
        if limit is not None:
            sampler = PrototypicalBatchSampler(part, way + 1, shot, query, generator)
            rows += unknown_rows(embeddings, sampler, episodes, limit)
    return rows


def within_alphabet_row(model: ProtoNet, part: Characters, episodes: int, seed: int) -> dict:
    """Error in % of episodes that WithinAlphabetSampler samples, as a row of results.json."""
    embeddings = embed(model, part.images)
    sampler = WithinAlphabetSampler(part, torch.Generator(embeddings.device).manual_seed(seed))
    _, accuracies = run_episodes(embeddings, sampler, episodes)
    count = f"{episodes} episodes in {len(sampler.alphabets)} alphabets"
    return mean_row(WITHIN_ALPHABET, 100 * (1 - accuracies), "%", count=count, literature=CHALLENGE)


def lake_row(model: ProtoNet, folder: Path, device: torch.device) -> dict:
    """Error in % of the 20 fixed runs of Lake et al., as a row of results.json.

    Args:
        folder: all_runs.zip of the author's one-shot-classification folder, unpacked: run01 to run20, each
            with class_labels.txt, whose lines "run01/test/item01.png run01/training/class09.png" pair a query
            with its class.

    Raises:
        RunError: a run is missing or damaged.
    """
    errors = []
    for number in range(1, 21):
        labels = folder / f"run{number:02d}" / "class_labels.txt"
        if not labels.is_file():
            needed = "the folder must hold run01 to run20 of the author's all_runs.zip"
            raise RunError(f"{labels} is missing: {needed}")
        pairs = [line.split() for line in labels.read_text("utf-8", "replace").splitlines() if line.strip()]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise RunError(f"{labels}: each line must name a test image and a training image")
        images = [np.stack([read_ink(folder / path, "no") for path in column]) for column in zip(*pairs)]
        images = torch.from_numpy(np.stack(images)).to(device)  # (2, way, 28, 28)
        query, support = embed(model, images)  # (way, dim) each; row i of both is the same character
        _, accuracy = prototypical_loss(torch.stack([support, query], 1), 1)  # (way, 2, dim)
        errors.append(100 * (1 - accuracy))
    return mean_row(LAKE_RUNS, torch.stack(errors), "%", count="20 runs", literature=CHALLENGE)


def calibrate_unknown(embeddings: Tensor, counts: Tensor) -> float:
    """95 % of drawings are nearer to their prototype than this squared distance times 1 + 1 / shot.

    A drawing's squared distance to the mean of k others of its class is on average 1 + 1 / k times the
    class's variance. Here each is compared with all n - 1 others of its class, whose mean is n / (n - 1)
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


def unknown_distance(model: ProtoNet, state: dict, data_root: Path, device: torch.device) -> float:
    """`calibrate_unknown` of a checkpoint: its own, or for an older one that of its validation classes.

    Raises:
        UsageError: the network was trained on them.
        RunError: as `splits.load`.
    """
    known, trained = state.get("facts", {}).get("unknown_distance"), state["options"]
    if known is not None:
        return known
    if trained["trainval"]:
        raise UsageError("--unknown: with --trainval no validation classes were left to calibrate it on")
    folder = trained_folder(trained, None)
    data = DataOptions(trained["dataset"], trained["split"], folder, trained["no_rotations"])
    part = load(data_root, data, trained["seed"])["validation"].to(device)
    return calibrate_unknown(embed(model, part.images), part.counts)


def load_model(path: Path, runtime: Runtime) -> tuple[ProtoNet, dict]:
    """The network of a checkpoint, on the device, and the checkpoint's other contents.

    Raises:
        RunError: as `checkpoint.load_network`.
    """
    return checkpoint.load_network(path, QUESTION, ProtoNet, runtime.device)
