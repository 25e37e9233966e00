"""Accuracy over episodes, and the limit of --unknown, against slow versions of them."""

import numpy as np
import pytest
import torch

from q2_protonet.measures import calibrate_unknown, embed, run_episodes, unknown_rows
from q2_protonet.omniglot_dataset import Characters, prepare, synthetic_characters
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss


def test_embedding_once_equals_a_forward_pass_an_episode():
    torch.manual_seed(0)
    part = synthetic_characters(0, 12, 5)
    model = ProtoNet()
    model(prepare(part.images))  # some statistics for BatchNorm
    sampler = PrototypicalBatchSampler(part, 5, 2, 3, torch.Generator().manual_seed(3))
    loss, accuracies = run_episodes(embed(model, part.images), sampler, 4)
    sampler.generator.manual_seed(3)
    classes, drawings = sampler.sample(4)
    with torch.no_grad():
        episodes = [model(prepare(part.images[c, d])).unflatten(0, (5, 5)) for c, d in zip(classes, drawings)]
        each = [prototypical_loss(episode, 2) for episode in episodes]
    assert accuracies.tolist() == [accuracy.item() for _, accuracy in each]
    assert loss == pytest.approx(sum(value.item() for value, _ in each) / 4, rel=1e-5)


def test_the_limit_of_unknown_is_calibrated_as_a_loop_would():
    embeddings = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    counts = torch.tensor([6, 5, 2, 1, 6, 6, 6])
    distances = []
    for rows, count in zip(embeddings, counts.tolist()):
        for i in range(count if count > 1 else 0):
            others = [rows[j] for j in range(count) if j != i]
            prototype = sum(others) / len(others)
            distances.append(float(((rows[i] - prototype) ** 2).sum()) / (1 + 1 / len(others)))
    assert calibrate_unknown(embeddings, counts) == pytest.approx(np.quantile(distances, 0.95), rel=1e-5)


def test_both_errors_of_unknown_are_those_of_a_loop():
    embeddings = torch.randn(7, 6, 5, generator=torch.Generator().manual_seed(0))
    part = Characters(None, torch.full((7,), 6), list("abcdefg"))
    sampler = PrototypicalBatchSampler(part, 4, 2, 3, torch.Generator().manual_seed(1))
    limit = 4.0
    errors = []
    own, other = unknown_rows(embeddings, sampler, 30, limit)
    sampler.generator.manual_seed(1)
    for _ in range(30):
        (rows,), (columns,) = sampler.sample(1)
        episode = embeddings[rows, columns]  # (4, 5, 5)
        prototypes = [episode[i, :2].mean(0) for i in range(3)]
        far = [[all(((q - p) ** 2).sum() > limit * 1.5 for p in prototypes) for q in r[2:]] for r in episode]
        errors.append((np.mean(far[:3]), 1 - np.mean(far[3])))
    assert (own["value"], other["value"]) == pytest.approx(100 * np.mean(errors, 0), abs=1e-3)
