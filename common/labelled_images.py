"""Data sets as uint8 tensors: images with their classes, what identifies them, and their random crops."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from common.fingerprint import fingerprint


@dataclass
class LabelledImages:
    """Images of classes.

    images: (n, height, width) uint8 for grey, (n, height, width, 3) for colour.
    labels: (n,) int64.
    names: one per class; none where the images have no classes.
    depth: what deep files were divided by, 0 for 8 bits.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    depth: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> "LabelledImages":
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "LabelledImages":
        """Returns the same images on a device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def fingerprint(self) -> str:
        """Returns the SHA-256 of pixels and labels."""
        return fingerprint(self.images, self.labels)


def crop_and_mirror(images: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Crops each image (n, side, side, channels) to `size` at its own place and mirrors half of them."""
    n = len(images)
    side = images.shape[1]
    device = images.device
    top, left = torch.randint(0, side - size + 1, (2, n, 1), generator=generator, device=device)
    mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
    along = torch.arange(size, device=device)
    rows = top + along  # (n, size)
    columns = left + torch.where(mirrored, size - 1 - along, along)  # (n, size)
    which = torch.arange(n, device=device)[:, None, None]
    return images[which, rows[:, :, None], columns[:, None, :]]  # (n, size, size, channels)
