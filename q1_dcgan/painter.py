"""A trained generator ready for use: `Painter` draws images, of a requested class where it knows classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common import trained_network
from common.device import Runtime, no_tf32
from q1_dcgan.class_names import class_names
from q1_dcgan.dcgan import Generator
from q1_dcgan.mnist_dataset import to_uint8
from q1_dcgan.options import QUESTION

DRAWN_AT_ONCE = 50_000  # latents in memory


@torch.inference_mode()
@no_tf32()
def generate(generator: Generator, noise: Tensor, labels: Tensor | None = None, batch: int = 1000) -> Tensor:
    """Draws uint8 images (n, 28, 28 [, 3]) from noise (n, latent_size) and labels (n,), in eval mode."""
    training = generator.training
    generator.eval()
    pieces = noise.split(batch)
    requested = labels.split(batch) if labels is not None else [None] * len(pieces)
    # forward: what --compile compiled is for training's shapes
    images = torch.cat([to_uint8(generator.forward(z, y)) for z, y in zip(pieces, requested)])
    generator.train(training)
    return images


def walk(noise: Tensor, steps: int = 8) -> Tensor:
    """Walks along great circles between consecutive latents: (rows + 1, dim) -> (rows * steps, dim).

    A straight line would pass through lengths that Gaussian noise never has.
    """
    begin = noise[:-1, None]  # (rows, 1, dim)
    end = noise[1:, None]
    cosine = F.cosine_similarity(begin, end, dim=-1, eps=1e-8).clamp(-0.9999, 0.9999)
    angle = cosine.acos()[..., None]  # (rows, 1, 1)
    t = torch.linspace(0, 1, steps, device=noise.device)[None, :, None]  # (1, steps, 1)
    return ((((1 - t) * angle).sin() * begin + (t * angle).sin() * end) / angle.sin()).flatten(0, 1)


@dataclass
class Painter:
    """A trained generator, and what its checkpoint says of it.

    generator: the moving average where training kept one.
    classes: their names; none of an unconditional generator.
    image_size: 28 or 64, of the pictures it was trained on; drawn images have 28 pixels.
    options: of its training.
    epoch: after which it was saved.
    name: of its run, or of the network in pretrained/.
    device: where it computes.
    """

    generator: Generator
    classes: list[str]
    image_size: int
    options: dict
    epoch: int
    name: str
    device: torch.device

    @classmethod
    def load(cls, checkpoint: Path | str, runtime: Runtime) -> "Painter":
        """Loads the generator of a checkpoint, or the one of this name in pretrained/.

        Raises:
            RunError: there is none, or it is damaged, another question's, or does not name its classes.
        """
        parts = ("average", "model", "generator")
        loaded = trained_network.load(checkpoint, QUESTION, Generator, runtime.device, parts)
        return cls(
            generator=loaded.network,
            classes=class_names(Path(checkpoint), loaded.architecture, loaded.facts),
            image_size=loaded.architecture["image_size"],
            options=loaded.options,
            epoch=loaded.epoch,
            name=loaded.name,
            device=runtime.device,
        )

    @property
    def title(self) -> str:
        """The run and the epoch, for a figure."""
        return f"{self.name}, epoch {self.epoch}"

    def latents(self, count: int, draws: torch.Generator) -> Tensor:
        """Draws noise (count, latent_size)."""
        shape = (count, self.generator.latent_size)
        return torch.randn(shape, generator=draws, device=draws.device).to(self.device)

    def labels(self, count: int, label: int | None = None, each: int = 1) -> Tensor | None:
        """Returns labels (count,): all `label`, or the classes in turn, `each` times in a row.

        Without classes it returns None.
        """
        if not self.classes:
            return None
        if label is not None:
            return torch.full((count,), label, device=self.device)
        return torch.arange(count, device=self.device) // each % len(self.classes)

    def draw(self, noise: Tensor, labels: Tensor | None = None) -> np.ndarray:
        """Draws uint8 images (n, 28, 28 [, 3]) from noise (n, latent_size) and labels (n,) or None."""
        return generate(self.generator, noise, labels).cpu().numpy()

    def samples(self, count: int, seed: int, label: int | None = None) -> tuple[np.ndarray, Tensor | None]:
        """Draws `count` images of one class, or of all in turn, and returns them with their labels.

        Raises:
            MemoryError: so many do not fit.
        """
        draws = torch.Generator(self.device).manual_seed(seed)
        labels = self.labels(count, label)
        colours = (3,) if self.generator.channels == 3 else ()
        images = np.empty((count, 28, 28, *colours), np.uint8)
        with tqdm(total=count, desc="drawing", leave=False, disable=None) as bar:
            for first in range(0, count, DRAWN_AT_ONCE):
                piece = slice(first, min(first + DRAWN_AT_ONCE, count))
                noise = self.latents(piece.stop - first, draws)
                images[piece] = self.draw(noise, labels[piece] if labels is not None else None)
                bar.update(len(noise))
        return images, labels

    def walks(
        self, rows: int, seed: int, label: int | None = None, steps: int = 8
    ) -> tuple[np.ndarray, Tensor | None]:
        """Draws `rows` walks of `steps` images, each from the latent at which the one before ended.

        Each is of the next class, or all are of `label`. Images and labels are returned row by row.
        """
        draws = torch.Generator(self.device).manual_seed(seed)
        noise = walk(self.latents(rows + 1, draws), steps)
        labels = self.labels(len(noise), label, each=steps)
        return self.draw(noise, labels), labels
