"""Omniglot as a uint8 tensor (class, drawing, 28, 28), ink 255 on 0; each rotation is a class of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from common.fingerprint import fingerprint
from common.image_cache import cached_images
from q2_protonet import omniglot_files
from q2_protonet.drawings import Invert, read_ink
from q2_protonet.options import SIZE, DataOptions
from q2_protonet.synthetic import draw_characters


@dataclass
class Characters:
    """Drawings of a set of classes.

    images: (class, drawing, 28, 28) uint8, ink 255 on 0; classes with fewer drawings are padded with blanks.
    counts: (class,) int64, how many drawings of each class are real.
    names: one per class, such as "Greek/character05/rot090".
    """

    images: Tensor
    counts: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, names: Sequence[str]) -> "Characters":
        """Returns only these classes, in this order."""
        place = {name: i for i, name in enumerate(self.names)}
        index = torch.tensor([place[name] for name in names], dtype=torch.long)
        return Characters(self.images[index], self.counts[index], list(names))

    def with_rotations(self) -> "Characters":
        """Returns four classes for each: turned counterclockwise by 0, 90, 180 and 270 degrees."""
        turned = torch.stack([self.images.rot90(quarter, (-2, -1)) for quarter in range(4)], 1)
        names = [f"{name}/rot{90 * quarter:03d}" for name in self.names for quarter in range(4)]
        return Characters(turned.flatten(0, 1), self.counts.repeat_interleave(4), names)  # (4 * class, ...)

    def to(self, device: torch.device | str) -> "Characters":
        """Returns the same drawings on a device."""
        return Characters(self.images.to(device), self.counts.to(device), self.names)

    def facts(self) -> dict:
        """Returns what a run records of its data: the number of classes, and a hash of pixels and names."""
        return {"classes": len(self), "sha256": fingerprint(self.images, self.names)}


# Loading ----------------------------------------------------------------------------------------------------


def load(data_root: Path, data: DataOptions, seed: int = 0) -> dict[str, Characters]:
    """Loads the parts "train", "validation" and "test" of a data set; no class is in two of them.

    Args:
        data_root: Omniglot is looked for in `data_root/omniglot-py`, and downloaded there when missing.
        data: which data set and split.
        seed: of the random split and of the synthetic drawings.

    Raises:
        RunError: data missing, with what to put where; an image that cannot be read, by name.
        UsageError: a --folder with too few classes, or with one in several parts.
    """
    if data.dataset == "synthetic":
        characters = synthetic_characters(seed)
        names_of_parts = omniglot_files.divide_at_random(characters.names, seed)
    elif data.dataset == "folder":
        classes, names_of_parts = omniglot_files.find_folder(data.folder, data.skip_small, seed)
        characters = decode(classes, data_root)
    else:
        classes, names_of_parts = omniglot_files.find_omniglot(data_root, data.split, seed)
        characters = decode(classes, data_root, "no")  # all of Omniglot is dark ink
    parts = {part: characters.take(names) for part, names in names_of_parts.items()}
    if data.no_rotations:
        return parts
    return {name: part.with_rotations() for name, part in parts.items()}


def decode(classes: dict[str, list[Path]], data_root: Path, invert: Invert = "auto") -> Characters:
    """Reads the drawings of each class, from the cache in `data_root` where they were read before."""
    files = [file for of_class in classes.values() for file in of_class]
    read = partial(read_ink, invert=invert)
    images = cached_images(data_root, f"ink 2, {invert}, bilinear", files, (SIZE, SIZE), read)
    counts = torch.tensor([len(of_class) for of_class in classes.values()])
    real = torch.arange(int(counts.max())) < counts[:, None]  # (class, drawing)
    padded = torch.zeros(*real.shape, SIZE, SIZE, dtype=torch.uint8)
    padded[real] = images
    return Characters(padded, counts, list(classes))


def synthetic_characters(seed: int, characters: int = 200, drawings: int = 20) -> Characters:
    """Draws invented characters, without rotations."""
    images, names = draw_characters(seed, characters, drawings)
    return Characters(torch.from_numpy(images), torch.full((characters,), drawings), names)


def merge(parts: Sequence[Characters]) -> Characters:
    """Returns the classes of several parts as one."""
    most = max(part.images.shape[1] for part in parts)
    images = [F.pad(part.images, (0, 0, 0, 0, 0, most - part.images.shape[1])) for part in parts]
    counts = torch.cat([part.counts for part in parts])
    names = [name for part in parts for name in part.names]
    return Characters(torch.cat(images), counts, names)


# Batches ----------------------------------------------------------------------------------------------------


def prepare(images: Tensor) -> Tensor:
    """Turns uint8 drawings (..., 28, 28) into what the network takes: (n, 1, 28, 28) float, ink 1 on 0."""
    return images.reshape(-1, 1, SIZE, SIZE).float() / 255


def jitter(images: Tensor, generator: torch.Generator, rank: int = 0, world: int = 1) -> Tensor:
    """Moves each drawing (n, 1, 28, 28) a little: turned within 10 degrees, scaled and sheared within 15 %,
    shifted within 2 pixels.
    """
    # Every rank draws for all.
    chance = torch.rand(6, world, len(images), generator=generator, device=images.device) * 2 - 1
    turn, grow_x, grow_y, shear, x, y = chance[:, rank].unbind()

    # Each drawing's affine map, in which the image reaches from -1 to 1.
    cos = (turn * 0.175).cos()
    sin = (turn * 0.175).sin()
    grow_x = 1 + grow_x * 0.15
    grow_y = 1 + grow_y * 0.15
    shear = shear * 0.15
    x = x * 4 / SIZE
    y = y * 4 / SIZE
    numbers = [cos * grow_x, -sin * grow_y + shear, x, sin * grow_x, cos * grow_y, y]
    maps = torch.stack(numbers, 1).view(-1, 2, 3)

    grid = F.affine_grid(maps, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
