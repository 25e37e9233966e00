"""Pictures and labels as uint8 tensors: MNIST, Fashion-MNIST, a folder, or drawn digits."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from common.errors import RunError, UsageError
from common.image_cache import cached_images
from common.image_reader import Depth, read_image
from common.labelled_images import LabelledImages
from q1_dcgan.folder_division import divide_folder
from q1_dcgan.mnist_files import SIZE, read_mnist
from q1_dcgan.options import DataOptions
from q1_dcgan.synthetic import draw_digits


def load(
    data_root: Path, options: DataOptions, seed: int = 0, device: torch.device | str = "cpu"
) -> dict[str, LabelledImages]:
    """Loads the parts "train" and "test" of a data set: images of 28 x 28 pixels, grey or in colour.

    Args:
        data_root: torchvision's sets are looked for here and downloaded when missing.
        options: which set, checked by `options.check_data`.
        seed: of the synthetic drawings and of the division of a folder.
        device: where the tensors go.

    Raises:
        RunError: data missing or damaged, with what to do; an image that cannot be read, by name.
        UsageError: the images of a folder are not of one shape.
    """
    if options.dataset == "synthetic":
        count = options.synthetic_pictures
        parts = {"train": draw_digits(count, seed), "test": draw_digits(count // 4, seed + 1)}
    elif options.dataset == "folder":
        parts = load_folder(data_root, options.folder, seed, options.channels, options.invert)
    else:
        parts = read_mnist(data_root, options.dataset)
    return {name: part.to(device) for name, part in parts.items()}


def prepare(images: Tensor, size: int = SIZE) -> Tensor:
    """Scales uint8 (n, 28, 28 [, 3]) for the networks: (n, channels, size, size) in [-1, 1], tanh's range."""
    if images.ndim == 3:
        images = images.unsqueeze(-1)  # (n, 28, 28, 1)
    scaled = images.movedim(-1, 1).float() / 127.5 - 1
    return scaled if size == SIZE else F.interpolate(scaled, (size, size), mode="bilinear", antialias=True)


def to_uint8(images: Tensor) -> Tensor:
    """Returns the networks' images as uint8 (n, 28, 28 [, 3]): the inverse of `prepare` at 28 pixels."""
    if images.shape[-1] != SIZE:
        images = F.interpolate(images.float(), (SIZE, SIZE), mode="bilinear", antialias=True)
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return pixels.movedim(1, -1).squeeze(-1).contiguous()  # grey loses its one channel


def load_folder(
    data_root: Path, folder: Path, seed: int, channels: int = 1, invert: bool = False
) -> dict[str, LabelledImages]:
    """Loads a user's own images at 28 x 28 pixels.

    They are divided as the folder is; otherwise a seventh of each class is kept for testing. A folder of
    images without classes gives images all labelled 0, and no names.

    Raises:
        UsageError: the images are not all of one shape: some would be distorted more than others.
        RunError: no images, too few to divide, or one that cannot be read.
    """
    parts, names = divide_folder(folder)
    listed = [pair for part in parts.values() for pair in part]
    files = [file for file, _ in listed]
    labels = torch.tensor([label for _, label in listed])
    pixels = read_pixels(data_root, folder, files, channels)
    whole = LabelledImages(255 - pixels if invert else pixels, labels, names)
    if "test" in parts:
        testing = torch.arange(len(files)) >= len(parts["train"])
    else:
        testing = hold_out(labels, seed)
        if not testing.any():
            raise RunError(f"no class of {folder} has the two images that training and testing need")
    return {"train": whole[~testing], "test": whole[testing]}


def read_pixels(data_root: Path, folder: Path, files: Sequence[Path], channels: int) -> Tensor:
    """Reads images as uint8 (n, 28, 28 [, 3]), by way of the cache in `data_root`.

    Raises:
        UsageError: they are not all of one shape.
        RunError: one cannot be read.
    """
    mode = "L" if channels == 1 else "RGB"
    depth = Depth(files)

    @functools.cache
    def first_size() -> tuple[int, int]:
        return read_image(files[0], mode).size

    def read_one(file: Path) -> np.ndarray:
        image = read_image(file, mode, depth)
        width, height = first_size()
        if abs(image.width * height - image.height * width) > max(width, height):  # rounded to a pixel
            raise UsageError(
                f"the images of {folder} must have one size or one shape: {files[0]} {width} x {height} "
                f"and {file} {image.width} x {image.height} pixels"
            )
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))

    what = "grey" if channels == 1 else "colour"
    shape = (SIZE, SIZE) if channels == 1 else (SIZE, SIZE, 3)
    return cached_images(data_root, f"{what}, Lanczos", files, shape, read_one)


def hold_out(labels: Tensor, seed: int) -> Tensor:
    """Chooses a seventh of each class for testing, at least one image of those that have two.

    Returns:
        (n,) bool, true for testing.
    """
    testing = torch.zeros(len(labels), dtype=torch.bool)
    draws = torch.Generator().manual_seed(seed)
    for label in labels.unique():
        of_class = (labels == label).nonzero()[:, 0]
        count = max(1, round(len(of_class) / 7)) if len(of_class) > 1 else 0
        testing[of_class[torch.randperm(len(of_class), generator=draws)[:count]]] = True
    return testing
