"""A trained network that names what a picture shows, ready for use."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import trained_network
from common.device import Runtime
from common.image_reader import Depth
from q4_darts.cifar10_dataset import fit, read_rgb
from q4_darts.genotypes import Genotype, from_lists
from q4_darts.measures import predict
from q4_darts.model import Network
from q4_darts.model_search import Supernet
from q4_darts.options import QUESTION


@dataclass
class Namer:
    """The network of a checkpoint, with the names of its classes.

    network: in eval mode, on `device`.
    classes: their names, in the order of the logits.
    image_size: side of the pictures it was trained on, in pixels.
    depth: what deep files were divided by in its training, 0 for 8 bits.
    options: of its training.
    epoch: after which it was saved.
    name: of its run, or of the network in pretrained/.
    device: where it computes.
    """

    network: Network | Supernet
    classes: list[str]
    image_size: int
    depth: int
    options: dict[str, Any]
    epoch: int
    name: str
    device: torch.device

    @classmethod
    def load(cls, checkpoint: Path | str, runtime: Runtime) -> "Namer":
        """Reads the network of a checkpoint of train.py or train_search.py, or of pretrained/.

        Raises:
            RunError: as `trained_network.load`.
        """
        loaded = trained_network.load(checkpoint, QUESTION, rebuild, runtime.device)
        return cls(
            network=loaded.network,
            classes=loaded.facts["classes"],
            image_size=loaded.options["image_size"],
            depth=loaded.facts["depth"],
            options=loaded.options,
            epoch=loaded.epoch,
            name=loaded.name,
            device=runtime.device,
        )

    @property
    def title(self) -> str:
        """The run, its data and its epochs, for a figure or a page."""
        return f"{self.name}, trained on {self.options['dataset']}, epoch {self.epoch}"

    @property
    def genotype(self) -> Genotype:
        """The cells of the network; of a supernet the ones that its alphas stand for."""
        if isinstance(self.network, Supernet):
            return self.network.genotype()
        return self.network.genotype

    def depth_of(self, files: list[Path]) -> Depth:
        """Returns what deep files among these are divided by: no less than in training."""
        return Depth(files, self.depth)

    def read(self, file: Path, depth: Depth | None = None) -> np.ndarray:
        """Reads an image file as the network sees it, (image_size, image_size, 3) uint8.

        Raises:
            RunError: the file is not a readable image.
        """
        return read_rgb(file, self.image_size, depth or self.depth_of([file]))

    def logits(self, images: Tensor) -> Tensor:
        """Returns the logits (n, classes) in fp32 of uint8 pictures (n, image_size, image_size, 3)."""
        return predict(self.network, images.to(self.device))

    def rank(self, files: list[Path], probabilities: Tensor, most: int) -> list[dict[str, str]]:
        """Returns a table's rows: the likeliest classes of each file, at most `most`, with probabilities.

        Args:
            probabilities: (n, classes).
        """
        shares, labels = probabilities.topk(min(most, len(self.classes)))  # (n, most) each
        rows = []
        for place, file in enumerate(files):
            row = {"file": str(file)}
            for rank, (share, label) in enumerate(zip(shares[place].tolist(), labels[place].tolist()), 1):
                row[f"class_{rank}"] = self.classes[label]
                row[f"probability_{rank}"] = f"{share:.4f}"
            rows.append(row)
        return rows

    def probabilities(self, image: Image.Image | np.ndarray) -> dict[str, float]:
        """Returns each class's probability for one picture: an image of any size, or what `read` gave."""
        if isinstance(image, Image.Image):
            image = fit(image.convert("RGB"), self.image_size)
        logits = self.logits(torch.from_numpy(image.copy())[None])
        return dict(zip(self.classes, logits[0].softmax(0).tolist()))


def rebuild(**architecture: Any) -> Network | Supernet:
    """Builds the network of a checkpoint's numbers: with a genotype a derived one, else a supernet."""
    if "genotype" not in architecture:
        return Supernet(**architecture)
    genotype = from_lists(architecture.pop("genotype"))
    return Network(genotype, **architecture)
