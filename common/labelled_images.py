"""Data sets as uint8 tensors: pictures with their classes, what identifies them, and their random crops."""

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass
class Pictures:
    """Pictures of classes.

    images: (n, height, width) uint8 for grey, (n, height, width, 3) for colour.
    labels: (n,) int64.
    names: one per class; none where the pictures have no classes.
    depth: what deep files were divided by, 0 for 8 bits.
    """

    images: Tensor
    labels: Tensor
    names: list[str]
    depth: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor | slice) -> "Pictures":
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "Pictures":
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def fingerprint(self) -> str:
        """SHA-256 of pixels and labels."""
        return fingerprint(self.images, self.labels)


def fingerprint(*parts: Tensor | list[str]) -> str:
    """SHA-256 of tensors' values and of names, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            digest.update(part.cpu().numpy().tobytes())
        else:
            digest.update("\n".join(part).encode(errors="surrogateescape"))
    return digest.hexdigest()


def crop_and_mirror(images: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Crops each picture (n, side, side, channels) to `size` at its own place and mirrors half of them."""
    n, side, device = len(images), images.shape[1], images.device
    top, left = torch.randint(0, side - size + 1, (2, n, 1), generator=generator, device=device)
    mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
    along = torch.arange(size, device=device)
    rows, columns = top + along, left + torch.where(mirrored, size - 1 - along, along)  # (n, size) each
    picture = torch.arange(n, device=device)[:, None, None]
    return images[picture, rows[:, :, None], columns[:, None, :]]  # (n, size, size, channels)
