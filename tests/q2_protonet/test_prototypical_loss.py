import math

import torch
import torch.nn.functional as F

from q2_protonet.prototypical_loss import (
    every_support,
    prototypes_and_queries,
    prototypical_loss,
    squared_distances,
)


def plain_loss(embeddings, shot):
    """Snell et al. 2017, equations 1 and 2, one class and one query at a time: (way, shot + query, dim)."""
    prototypes = [sum(rows[:shot]) / shot for rows in embeddings]
    loss, right, count = 0.0, 0, 0
    for label, rows in enumerate(embeddings):
        for query in rows[shot:]:
            logits = torch.stack([-((query - prototype) ** 2).sum() for prototype in prototypes])
            loss = loss - F.log_softmax(logits, 0)[label]
            right += int(logits.argmax() == label)
            count += 1
    return loss / count, right / count


def test_hand_computed():
    # prototypes 0 and 2, queries 0.5 (class 0) and 3 (class 1): squared distances (0.25, 2.25) and (9, 1)
    embeddings = torch.tensor([[[-1.0], [1.0], [0.5]], [[1.0], [3.0], [3.0]]])
    prototypes, queries = prototypes_and_queries(embeddings, 2)
    assert prototypes.tolist() == [[0], [2]] and queries.tolist() == [[0.5], [3]]
    loss, accuracy = prototypical_loss(embeddings, 2)
    by_hand = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-8))) / 2
    assert math.isclose(loss.item(), by_hand, rel_tol=1e-5) and accuracy == 1


def test_distances_agree_with_differences():
    torch.manual_seed(0)
    query, prototypes = 30 + torch.randn(3, 20, 64), 30 + torch.randn(3, 5, 64)
    expected = (query[:, :, None] - prototypes[:, None]).double().square().sum(-1)
    torch.testing.assert_close(squared_distances(query, prototypes).double(), expected, rtol=1e-5, atol=1e-5)
    assert squared_distances(prototypes, prototypes).diagonal(dim1=1, dim2=2).abs().max() < 1e-4


def test_agrees_with_the_loop_in_value_and_gradient():
    torch.manual_seed(0)
    embeddings = torch.randn(7, 5, 16, requires_grad=True)
    loss, accuracy = prototypical_loss(embeddings, 2)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    expected, expected_accuracy = plain_loss(embeddings, 2)
    (expected_gradient,) = torch.autograd.grad(expected, embeddings)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    assert math.isclose(accuracy.item(), expected_accuracy, rel_tol=1e-6)


def test_a_batch_of_episodes_is_the_mean_of_its_episodes():
    torch.manual_seed(1)
    batch = torch.randn(3, 4, 6, 8)
    loss, accuracy = prototypical_loss(batch, 1)
    single = [prototypical_loss(episode, 1) for episode in batch]
    torch.testing.assert_close(loss, torch.stack([value for value, _ in single]).mean())
    assert accuracy.tolist() == [value.item() for _, value in single]


def test_every_support_is_the_mean_over_the_drawings_in_turn():
    torch.manual_seed(2)
    embeddings = torch.randn(4, 5, 8, requires_grad=True)
    loss, accuracy = prototypical_loss(every_support(embeddings), 2)
    (gradient,) = torch.autograd.grad(loss, embeddings)
    orders = [[(first + i) % 5 for i in range(5)] for first in range(5)]  # each drawing is support twice
    expected, expected_accuracy = zip(*(plain_loss(embeddings[:, order], 2) for order in orders))
    (expected_gradient,) = torch.autograd.grad(sum(expected) / 5, embeddings)
    torch.testing.assert_close(loss, sum(expected) / 5, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(accuracy, torch.tensor(expected_accuracy))


def test_equal_embeddings_give_log_way():
    loss, _ = prototypical_loss(torch.ones(5, 3, 64, dtype=torch.bfloat16), 1)
    assert loss.dtype == torch.float32 and math.isclose(loss.item(), math.log(5), rel_tol=1e-6)
