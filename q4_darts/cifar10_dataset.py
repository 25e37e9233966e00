"""CIFAR-10, a folder of images or drawn shapes: uint8 on the device, augmented there a batch at a time."""

import functools
import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from common.errors import UsageError
from common.image_cache import cached_images
from common.image_reader import Depth, read_image
from common.labelled_images import LabelledImages, crop_and_mirror
from q4_darts.cifar10_files import fetch_cifar10, list_cifar10_tree, list_tree
from q4_darts.options import SIZE, DataOptions, check_data
from q4_darts.synthetic import draw_shapes

# Of CIFAR-10's training pictures: red, green, blue, 0..1.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


# Reading ----------------------------------------------------------------------------------------------------


def load(data_root: Path, options: DataOptions, seed: int = 0) -> dict[str, LabelledImages]:
    """Loads the parts "train" and "test".

    CIFAR-10 keeps its own order, which is mixed already; a tree of image files is mixed once by a fixed
    permutation, because the search cuts the training pictures in the middle.

    Args:
        options: which pictures.
        seed: of what --dataset synthetic draws.

    Raises:
        RunError: data missing or damaged, with what to put where; an image that cannot be read, by name.
        UsageError: as `options.check_data`; too few pictures, or only one class.
    """
    check_data(options)
    if options.dataset == "synthetic":
        parts = {"train": draw_shapes(2048, seed), "test": draw_shapes(512, seed + 1)}
    elif options.dataset == "cifar10":
        parts = {}
        for part, (images, labels, names) in fetch_cifar10(data_root).items():
            parts[part] = LabelledImages(torch.from_numpy(images), torch.tensor(labels), names)
    elif options.dataset == "cifar10_images":
        parts = decode_tree(*list_cifar10_tree(data_root), data_root)
    else:
        parts = decode_tree(*list_tree(options.folder), data_root, options.image_size)

    train = parts["train"]
    if options.train_pictures > len(train):
        raise UsageError(f"--train_pictures {options.train_pictures} is more than the {len(train)} there are")
    if len(train.names) < 2:
        raise UsageError(f"there is only the class {train.names[0]}: two or more are needed to tell apart")
    parts["train"] = train[: options.train_pictures or None]
    return parts


def decode_tree(
    parts: dict[str, list[tuple[Path, int]]], names: list[str], data_root: Path, size: int = SIZE
) -> dict[str, LabelledImages]:
    """Decodes the parts of a tree, or takes them from the cache; each is mixed by a fixed permutation.

    Args:
        parts, names: as `list_tree` returns them.
        data_root: where the cache is.
        size: side that the pictures are scaled to.

    Raises:
        RunError: an image cannot be read.
    """
    files, labels = zip(*parts["train"], *parts["test"])
    depth = Depth(files)
    read_one = functools.partial(read_rgb, size=size, depth=depth)
    images = cached_images(data_root, "RGB, bicubic", files, (size, size, 3), read_one, depths=[depth])
    both = LabelledImages(images, torch.tensor(labels), names, depth.found)
    first = 0
    mixed = {}
    for part in ("train", "test"):
        count = len(parts[part])
        order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
        mixed[part] = both[first + order]
        first += count
    return mixed


def read_rgb(file: Path, size: int = SIZE, depth: Depth | None = None) -> np.ndarray:
    """Reads any image file, scaled to (size, size, 3) uint8.

    Raises:
        RunError: the file is not a readable image.
    """
    return fit(read_image(file, "RGB", depth), size)


def fit(image: Image.Image, size: int) -> np.ndarray:
    """Scales a picture to (size, size, 3) uint8; one of that size stays as it is."""
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image)


class Halves(NamedTuple):
    """The training pictures of a search: those that the weights learn from, and those for the alphas."""

    weights: LabelledImages
    alphas: LabelledImages


def search_halves(train: LabelledImages) -> Halves:
    """Returns the first half of the training pictures, for the weights, and the last for the alphas (A.1)."""
    half = len(train) // 2
    return Halves(train[:half], train[half:])


def count_shared(train: LabelledImages, test: LabelledImages) -> int:
    """Counts the test pictures whose pixels are those of a training picture: a test on them says nothing."""
    known = {hashlib.sha256(image).digest() for image in train.images.cpu().numpy()}
    return sum(hashlib.sha256(image).digest() in known for image in test.images.cpu().numpy())


def warn_of_shared(shared: int, count: int) -> str:
    """Returns the warning that `shared` of `count` test pictures are training pictures."""
    return (
        f"warning: {shared:,} of the {count:,} test pictures are training pictures, to the last pixel: "
        "of what was trained on, a test says nothing"
    )


# On the device ----------------------------------------------------------------------------------------------


@functools.cache
def colors(device: torch.device) -> tuple[Tensor, Tensor]:
    """Returns mean and deviation of the three colours, 0..255, on the device; copied there once."""
    return 255 * torch.tensor(MEAN, device=device), 255 * torch.tensor(STD, device=device)


def normalise(images: Tensor) -> Tensor:
    """Scales uint8 (n, h, w, 3) to float (n, 3, h, w) of mean 0 and deviation 1 per colour, channels last."""
    mean, std = colors(images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def augment(images: Tensor, generator: torch.Generator, cutout: int = 0, padding: int = 4) -> Tensor:
    """Crops each padded picture at random, mirrors it or not, and cuts a square out: each picture's own.

    uint8 (n, h, w, 3) -> normalised float (n, 3, h, w).

    Args:
        images: on the device of `generator`.
        cutout: side of a square set to the mean, cut at the border (DeVries & Taylor 2017).
        padding: black pixels round the picture before the crop.
    """
    n = len(images)
    size = images.shape[1]
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))  # (n, size + 8, size + 8, 3)
    x = normalise(crop_and_mirror(padded, size, generator))
    if cutout:
        middle = torch.randint(0, size, (2, n, 1), generator=generator, device=images.device)
        first = middle - cutout // 2
        pixel = torch.arange(size, device=images.device)
        rows, columns = (pixel >= first) & (pixel < first + cutout)  # (n, size) each
        x = x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
    return x


def draw_batch(
    images: LabelledImages, index: Tensor, own: slice, draws: torch.Generator, cutout: int = 0
) -> tuple[Tensor, Tensor]:
    """Augments a global batch and returns this process's pictures (n, 3, h, w) and labels (n,).

    It is augmented as a whole and then sliced, so that any number of processes draws the same.

    Args:
        index: of the global batch.
        own: this process's part of it.
        draws, cutout: as in `augment`.
    """
    return augment(images.images[index], draws, cutout)[own], images.labels[index][own]
