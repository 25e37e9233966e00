"""Prototypes and the loss on distances to them (Snell et al. 2017, equations 1 and 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from common.device import no_tf32


def prototypes_and_queries(embeddings: Tensor, shot: int) -> tuple[Tensor, Tensor]:
    """Splits an episode into prototypes and queries.

    Args:
        embeddings: (..., way, shot + query, dim); the first `shot` of every class are its support.
        shot: support examples per class.

    Returns:
        Prototypes (..., way, dim), the mean of each class's support (eq. 1), and queries (..., way * query,
        dim).
    """
    support, query = embeddings.float().split([shot, embeddings.shape[-2] - shot], dim=-2)
    prototypes = support.mean(-2)  # eq. 1: (..., way, shot, dim) -> (..., way, dim)
    return prototypes, query.flatten(-3, -2)  # (..., way, query, dim) -> (..., way * query, dim)


@no_tf32()
def squared_distances(query: Tensor, prototypes: Tensor) -> Tensor:
    """Returns squared Euclidean distances in fp32: (..., n, dim) and (..., way, dim) -> (..., n, way).

    As |q|^2 - 2 qp + |p|^2, without the differences (..., n, way, dim). Both are centred on the prototypes'
    mean first, because fp32 rounds small numbers less.
    """
    centre = prototypes.mean(-2, keepdim=True)  # (..., 1, dim)
    query = query - centre
    prototypes = prototypes - centre
    lengths = query.square().sum(-1, keepdim=True) + prototypes.square().sum(-1).unsqueeze(-2)
    return (lengths - 2 * query @ prototypes.mT).clamp(min=0)


def every_support(embeddings: Tensor) -> Tensor:
    """Gives every drawing its turn as support, in episodes of their own: (way, n, dim) -> (n, way, n, dim).

    In the i-th of them each class's support begins at its i-th drawing, and what comes before goes to the
    end. All are as likely as the one that was sampled, and the network embeds their drawings once. Learning
    from all pairs of a batch is the idea of Laenen and Bertinetto 2021; it is not in the paper.
    """
    return torch.stack([embeddings.roll(-first, -2) for first in range(embeddings.shape[-2])])


def prototypical_loss(embeddings: Tensor, shot: int) -> tuple[Tensor, Tensor]:
    """Computes the cross-entropy of a softmax over negative squared distances to the prototypes (eq. 2), with
    no temperature.

    Args:
        embeddings: (..., way, shot + query, dim), one episode or a batch of them.
        shot: support examples per class, the first of every row.

    Returns:
        Loss, a scalar in nats, the mean over all queries of all episodes; and the accuracy of each episode,
        (...,) in 0..1.
    """
    prototypes, query = prototypes_and_queries(embeddings, shot)
    logits = -squared_distances(query, prototypes)  # (..., way * query, way): d(f(x), c_k) of eq. 2
    way = prototypes.shape[-2]
    target = torch.arange(way, device=logits.device).repeat_interleave(query.shape[-2] // way)
    target = target.expand(logits.shape[:-1])  # (..., way * query)
    loss = F.cross_entropy(logits.flatten(0, -2), target.flatten())  # -log p(y = k | x), eq. 2
    return loss, (logits.argmax(-1) == target).float().mean(-1)
