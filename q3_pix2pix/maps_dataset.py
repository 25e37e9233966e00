"""Pairs as uint8 tensors on the device: photo and map in the channels, cropped and mirrored as one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.fingerprint import fingerprint
from common.image_cache import cached
from common.image_files import require_folder_option
from common.image_reader import Depth
from common.labelled_images import crop_and_mirror
from q3_pix2pix.ground_scale import ground_scale
from q3_pix2pix.leak_check import check_apart
from q3_pix2pix.maps_files import Files, fetch_maps, list_pairs
from q3_pix2pix.options import LAYOUT, DataOptions
from q3_pix2pix.pair_reader import PairReader
from q3_pix2pix.synthetic import SIDE, draw_town

TOWNS = {"train": 64, "val": 16, "test": 16}  # pairs of --dataset synthetic


@dataclass
class Pairs:
    """Aligned photos and maps.

    images: (n, 6, side, side) uint8, first three channels input, then target.
    names: one per pair.
    scale: factors of width and height from a picture's file to here.
    depths: what deep files of input and target were divided by, 0 for 8 bits.
    """

    images: Tensor
    names: list[str]
    scale: tuple[float, float] = (1.0, 1.0)
    depths: tuple[int, ...] = (0,)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def photos(self) -> Tensor:
        """The inputs, (n, 3, side, side) uint8."""
        return self.images[:, :3]

    @property
    def maps(self) -> Tensor:
        """The targets, (n, 3, side, side) uint8."""
        return self.images[:, 3:]

    def to(self, device: torch.device | str) -> "Pairs":
        """Returns the same pairs on a device."""
        return replace(self, images=self.images.to(device))

    def turned_round(self) -> "Pairs":
        """Returns the same pairs with input and target exchanged."""
        return replace(self, images=self.images.roll(3, 1), depths=self.depths[::-1])

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the pixels and names."""
        return fingerprint(self.images, self.names)


# Loading ----------------------------------------------------------------------------------------------------


def load_side(image_size: int) -> int:
    """Returns the side that training pairs are scaled to before the crop: 286 for 256."""
    return image_size * 286 // 256


def load(
    data_root: Path,
    options: DataOptions,
    image_size: int,
    seed: int = 0,
    test: bool = False,
    device: torch.device | str = "cpu",
) -> dict[str, Pairs]:
    """Loads the parts "train", scaled to 286/256 of the image size, and "val", scaled to it.

    No pair is in both.

    Args:
        data_root: where the data sets and the cache lie.
        seed: of the towns that are drawn.
        test: load the part "test" as well, as "val" is; no training asks for it.
        device: where the pairs go.

    Raises:
        UsageError: --dataset folder without a usable --pairs, or --pairs without it.
        RunError: data missing, with what to put where; a picture that is not a pair or not readable, by name;
            there is no part "test", and it was asked for.
    """
    require_folder_option(options.dataset, options.pairs, LAYOUT, "--pairs")
    sides = {"train": load_side(image_size), "val": image_size}
    if test:
        sides["test"] = image_size
    if options.dataset == "synthetic":
        parts = draw_parts(sides, seed)
    else:
        parts = read_parts(data_root, options, sides)
    if options.direction == "BtoA":
        parts = {part: pairs.turned_round() for part, pairs in parts.items()}
    return {part: pairs.to(device) for part, pairs in parts.items()}


def draw_parts(sides: dict[str, int], seed: int) -> dict[str, Pairs]:
    """Draws the towns of each part, which have seeds of their own."""
    parts = {}
    for place, (part, side) in enumerate(sides.items()):
        parts[part] = draw_towns(TOWNS[part], side, seed + place * 10**6)
    return parts


def draw_towns(count: int, side: int, seed: int) -> Pairs:
    """Draws little towns; each has a random generator of its own."""
    images = np.stack([draw_town(np.random.default_rng([seed, i]), side) for i in range(count)])
    names = [f"town{i:04d}" for i in range(count)]
    return Pairs(torch.from_numpy(images), names, (side / SIDE, side / SIDE))


def read_parts(data_root: Path, options: DataOptions, sides: dict[str, int]) -> dict[str, Pairs]:
    """Reads the parts of a data set of files, or takes them from the cache.

    Raises:
        RunError: as `load`.
    """
    if options.dataset == "maps":
        fetch_maps(data_root)
    files = list_pairs(options.pairs or data_root / options.dataset, "test" in sides)
    known = {part: files[part] for part in ("train", "val")}
    parts = decode(known, sides, data_root, options.resize)
    if "test" in sides:  # by itself: what is read for the training stays the same, and is divided by the same
        apart = {"test": files["test"]}
        parts |= decode(apart, sides, data_root, options.resize, parts["train"].depths)
    if options.dataset == "folder":
        check_apart(files, {part: pairs.images for part, pairs in parts.items()}, data_root)
    return parts


def decode(
    files: dict[str, list[Files]],
    sides: dict[str, int],
    data_root: Path,
    resize: str | None = None,
    least: Sequence[int] = (0, 0),
) -> dict[str, Pairs]:
    """Reads each part's pairs, scaled to its side, from the cache in `data_root` where they were read before.

    A and B have a depth of their own each: a satellite's 12 bits say nothing about the map's 8.

    Args:
        least: what deep files of A and B, or of the pairs, are divided by at least.
    """
    all_pairs = [pair for pairs in files.values() for pair in pairs]
    columns = list(zip(*all_pairs))  # all of A and all of B, or the pairs
    everything = [file for column in columns for file in column]
    depths = [Depth(column, limit) for column, limit in zip(columns, least)]
    recipe = f"pairs, bicubic, {resize}" if resize else "pairs, bicubic"
    parts = {}
    for part, pairs in files.items():
        reader = PairReader(sides[part], depths, resize)

        def find_facts(pairs: list[Files] = pairs, reader: PairReader = reader) -> dict:
            return {"scale": ground_scale([reader.sizes[pair] for pair in pairs], reader.side, resize)}

        shape = (6, reader.side, reader.side)
        found = cached(data_root, f"{part} {recipe}", everything, shape, reader, pairs, depths, find_facts)
        parts[part] = Pairs(
            images=found.images,
            names=[pair[0].stem for pair in pairs],
            scale=tuple(found.facts["scale"]),
            depths=tuple(depth.found for depth in depths),
        )
    return parts


# Batches ----------------------------------------------------------------------------------------------------


def random_crop_and_mirror(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops each pair (n, 6, side, side) to `size` at its own place and mirrors half of them."""
    return crop_and_mirror(images.permute(0, 2, 3, 1), size, generator).permute(0, 3, 1, 2)


def random_crop_and_turn(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops each pair (n, 6, side, side) to `size` at its own place and turns or mirrors it at random.

    Three coins make the eight symmetries of the square, each as likely: upside down, left to right, and rows
    for columns. A photo taken from straight above has no top.
    """
    n = len(images)
    side = images.shape[-1]
    device = images.device
    top, left = torch.randint(0, side - size + 1, (2, n, 1), generator=generator, device=device)
    flipped, mirrored, transposed = torch.rand(3, n, 1, generator=generator, device=device) < 0.5
    along = torch.arange(size, device=device)
    rows = top + torch.where(flipped, size - 1 - along, along)  # (n, size)
    columns = left + torch.where(mirrored, size - 1 - along, along)  # (n, size)
    which = torch.arange(n, device=device)[:, None, None]
    # channels last: advanced indices with a slice between them put their own dimensions first
    crops = images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.where(transposed[:, :, None, None], crops.mT, crops)


def prepare(images: Tensor) -> Tensor:
    """Scales uint8 to [-1, 1], the range of tanh, in the memory order the networks like."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_uint8(images: Tensor) -> Tensor:
    """Scales [-1, 1] to whole grey levels, as an image file holds them."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()
