"""A trained prototypical network ready for use: classes given by a few drawings each, and a query's class."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from common import trained_network
from common.device import Runtime
from common.errors import UsageError
from common.trained_network import Loaded
from q2_protonet.measures import embed
from q2_protonet.options import QUESTION
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_loss import squared_distances

PARTS = ("average", "model")  # of last.pt, which has both where the weights are averaged


class Support(NamedTuple):
    """Classes by their examples.

    names: one per class.
    embeddings: (m, dim) of all examples, class by class.
    labels: (m,) int64, the class of each example.
    shots: (way,) int64, examples per class.
    prototypes: (way, dim).
    """

    names: list[str]
    embeddings: Tensor
    labels: Tensor
    shots: Tensor
    prototypes: Tensor


class Answers(NamedTuple):
    """The classes of n queries.

    probabilities: (n, way), of the classes of the support.
    predicted: (n,) int64, the most probable class.
    nearest: (n,) int64, the nearest example among all of the support.
    farness: (n,) distance from the nearest prototype as a share of the limit: above 1 the query belongs to
        none of the classes. None of a network without a limit.
    """

    probabilities: Tensor
    predicted: Tensor
    nearest: Tensor
    farness: Tensor | None


class FewShot:
    """Classifies drawings by a few examples of each class (Snell et al. 2017, eq. 1 and 2).

    Args:
        loaded: the network of a checkpoint, and what its training recorded.
        device: of the network. Drawings may lie anywhere, and results are on the CPU.
    """

    def __init__(self, loaded: Loaded, device: torch.device):
        self.network: ProtoNet = loaded.network
        self.architecture = loaded.architecture
        self.options = loaded.options  # of its training
        self.facts = loaded.facts
        self.epoch = loaded.epoch
        self.name = loaded.name
        self.device = device
        # The limit of "none of these", as `measures.calibrate_unknown`; None of a network without one.
        self.unknown_distance: float | None = loaded.facts.get("unknown_distance")

    @classmethod
    def load(cls, checkpoint: Path | str, runtime: Runtime) -> "FewShot":
        """Reads a checkpoint file, or a network of pretrained/.

        Raises:
            RunError: as `trained_network.load`.
        """
        loaded = trained_network.load(checkpoint, QUESTION, ProtoNet, runtime.device, PARTS)
        return cls(loaded, runtime.device)

    @property
    def title(self) -> str:
        """The network in words: its run, its data, and the epoch."""
        return f"{self.name}, {self.options['dataset']} data, epoch {self.epoch}"

    def require_unknown(self) -> float:
        """Returns the limit of "none of these".

        Raises:
            UsageError: the network has none.
        """
        if self.unknown_distance is not None:
            return self.unknown_distance
        if self.options["trainval"]:
            raise UsageError("--unknown: with --trainval no validation classes were left to calibrate it on")
        raise UsageError(
            f"--unknown: the network {self.name} was saved before the end of its training, where it is "
            "calibrated: take best.pt of the finished run"
        )

    def embed(self, drawings: Tensor) -> Tensor:
        """Embeds drawings, uint8 with ink 255 on 0: (..., 28, 28) -> (..., dim)."""
        return embed(self.network, drawings.to(self.device)).cpu()

    def learn(self, examples: Mapping[str, Tensor]) -> Support:
        """Embeds the examples of each class, and averages them to its prototype (eq. 1).

        Args:
            examples: class -> its drawings (shot, 28, 28) uint8.
        """
        counts = [len(drawings) for drawings in examples.values()]
        embeddings = self.embed(torch.cat(list(examples.values())))
        prototypes = torch.stack([of_class.mean(0) for of_class in embeddings.split(counts)])  # eq. 1
        shots = torch.tensor(counts)
        labels = torch.arange(len(counts)).repeat_interleave(shots)
        return Support(list(examples), embeddings, labels, shots, prototypes)

    def classify(self, queries: Tensor, support: Support) -> Answers:
        """Classifies drawings (n, 28, 28) uint8 by their distances to the prototypes (eq. 2)."""
        embeddings = self.embed(queries)
        distances = squared_distances(embeddings, support.prototypes)  # (n, way)
        farness = None
        if self.unknown_distance is not None:
            farness = (distances / self.unknown_distance / (1 + 1 / support.shots)).amin(-1)
        return Answers(
            probabilities=(-distances).softmax(-1),  # eq. 2
            predicted=distances.argmin(-1),
            nearest=squared_distances(embeddings, support.embeddings).argmin(-1),
            farness=farness,
        )
