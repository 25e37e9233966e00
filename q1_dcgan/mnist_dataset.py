"""Pictures and labels as uint8 tensors on the device: MNIST, Fashion-MNIST, a folder, or drawn digits."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from common import archive
from common.cache import cached_images
from common.images import Depth, find_parts, list_folders, list_images, list_labelled, own_folder, read_image
from common.pictures import Pictures
from common.runtime import RunError, UsageError

SIZE = 28
MD5 = {  # of the unpacked files
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


@dataclass
class DataOptions:
    """Which pictures."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Literal["mnist", "fashion_mnist", "synthetic", "folder"] = "mnist"
    # for --dataset folder: images of one shape, such as squares, in one folder per class or without classes;
    # it may be divided into train/ and test/
    folder: Path | None = None
    channels: int = 1  # for --dataset folder: 1 for grey, 3 for colour
    synthetic_pictures: int = 8192  # for --dataset synthetic: how many training pictures to draw
    # for --dataset folder: dark ink on paper becomes light on dark, as the digits of MNIST are
    invert: bool = False


def load(data_root: Path, options: DataOptions, seed: int = 0) -> dict[str, Pictures]:
    """The parts "train" and "test" of a data set: pictures of 28 x 28 pixels, grey or in colour.

    Args:
        data_root: torchvision's sets are looked for here and downloaded when missing.
        options: which set.
        seed: of the synthetic drawings and of the division of a folder.

    Raises:
        RunError: data missing or damaged, with what to do; an image that cannot be read, by name.
        UsageError: --dataset folder without a usable --folder, or --folder without it.
    """
    own_folder(options.dataset, options.folder, "a tree <class>/<image> or a folder of images")
    if options.dataset == "synthetic":
        count = options.synthetic_pictures
        return {"train": draw_digits(count, seed), "test": draw_digits(count // 4, seed + 1)}
    if options.dataset == "folder":
        return load_folder(data_root, options.folder, seed, options.channels, options.invert)
    from torchvision import datasets  # takes a second to import

    kind = datasets.MNIST if options.dataset == "mnist" else datasets.FashionMNIST
    folder, md5 = data_root / kind.__name__ / "raw", MD5[kind.__name__]
    if not all((folder / name).exists() for name in md5):
        files = f"{', '.join(name for name, _ in kind.resources)}, from {kind.mirrors[0]}"
        with archive.downloading(kind.__name__, "q1_dcgan/train.py", folder, files):
            kind(str(data_root), download=True)
    parts, names = {}, [name.split(" - ")[0] for name in kind.classes]
    for part, prefix, count in (("train", "train", 60_000), ("test", "t10k", 10_000)):
        files = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
        shapes = (count, SIZE, SIZE), (count,)
        images, labels = (read_idx(folder / file, md5[file], shape) for file, shape in zip(files, shapes))
        parts[part] = Pictures(images, labels.long(), names)
    return parts


def read_idx(path: Path, md5: str, shape: tuple[int, ...]) -> Tensor:
    """The uint8 tensor of an IDX file, MNIST's format: four bytes of type, four for each size, the values.

    Raises:
        RunError: the file is missing, or not the one with this MD5.
    """
    from torchvision.datasets.utils import check_integrity

    header = 4 + 4 * len(shape)
    whole = path.is_file() and path.stat().st_size == header + math.prod(shape)
    if not whole or not check_integrity(str(path), md5):
        what = f"{path} is damaged, or another file (its MD5 must be {md5})"
        raise RunError(f"{what}: delete it, and it is downloaded again")
    return torch.from_numpy(np.fromfile(path, np.uint8, offset=header)).view(shape)


def prepare(images: Tensor, size: int = SIZE) -> Tensor:
    """uint8 (n, 28, 28 [, 3]) as the networks take it: (n, channels, size, size) in [-1, 1], tanh's range."""
    images = images.unsqueeze(-1) if images.ndim == 3 else images  # (n, 28, 28, channels)
    scaled = images.movedim(-1, 1).float() / 127.5 - 1
    return scaled if size == SIZE else F.interpolate(scaled, (size, size), mode="bilinear", antialias=True)


def to_uint8(images: Tensor) -> Tensor:
    """The networks' pictures as uint8 (n, 28, 28 [, 3]): the inverse of `prepare` at 28 pixels."""
    if images.shape[-1] != SIZE:
        images = F.interpolate(images.float(), (SIZE, SIZE), mode="bilinear", antialias=True)
    pixels = ((images.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return pixels.movedim(1, -1).squeeze(-1).contiguous()  # grey loses its one channel


def load_folder(
    data_root: Path, folder: Path, seed: int, channels: int = 1, invert: bool = False
) -> dict[str, Pictures]:
    """A user's own images at 28 x 28 pixels: divided as the folder is, or a seventh of a class for testing.

    A folder of images without classes gives pictures all labelled 0, and no names.

    Raises:
        UsageError: the images are not all of one shape: some would be distorted more than others.
        RunError: no images, too few to divide, or one that cannot be read.
    """
    trees = find_parts(folder, "train", "test") or {"train": folder}
    flat = {part: [(file, 0) for file in list_images(tree)] for part, tree in trees.items()}
    parts, names = flat, []
    if not all(flat.values()) or any(list_folders(tree) for tree in trees.values()):
        parts, names = list_labelled(folder, trees)
    files, labels = zip(*sum(parts.values(), []))
    mode, what = ("L", "grey") if channels == 1 else ("RGB", "colour")
    depth, first = Depth(files), read_image(files[0], mode).size

    def read_one(file: Path) -> np.ndarray:
        image = read_image(file, mode, depth)
        if abs(image.width * first[1] - image.height * first[0]) > max(first):  # rounded to a pixel
            sizes = " and ".join(f"{f} {w} x {h}" for f, (w, h) in ((files[0], first), (file, image.size)))
            raise UsageError(f"the images of {folder} must have one size or one shape: {sizes} pixels")
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.LANCZOS))

    shape = (SIZE, SIZE) if channels == 1 else (SIZE, SIZE, 3)
    pixels = cached_images(data_root, f"{what}, Lanczos", files, shape, read_one)
    labels, testing = torch.tensor(labels), torch.zeros(len(files), dtype=torch.bool)
    testing[len(parts["train"]) :] = True
    if "test" not in parts:
        draws = torch.Generator().manual_seed(seed)
        for label in labels.unique():
            own = (labels == label).nonzero()[:, 0]
            count = max(1, round(len(own) / 7)) if len(own) > 1 else 0
            testing[own[torch.randperm(len(own), generator=draws)[:count]]] = True
        if not testing.any():
            raise RunError(f"no class of {folder} has the two images that training and testing need")
    whole = Pictures(255 - pixels if invert else pixels, labels, names)
    return {"train": whole[~testing], "test": whole[testing]}


def draw_digits(count: int, seed: int) -> Pictures:
    """Digits in Pillow's own font, each with its own size, stroke, turn, shear and place."""
    random = np.random.default_rng(seed)
    images = np.zeros((count, SIZE, SIZE), np.uint8)
    labels = random.integers(0, 10, count)
    fonts = [ImageFont.load_default(size) for size in (44, 48, 52, 56)]
    for i, digit in enumerate(labels):
        canvas = Image.new("L", (2 * SIZE, 2 * SIZE))
        stroke = int(random.integers(0, 3))
        font = fonts[random.integers(len(fonts))]
        ImageDraw.Draw(canvas).text((SIZE, SIZE), str(digit), 255, font, anchor="mm", stroke_width=stroke)
        turn, shear = random.normal(0, 0.15, 2)
        matrix = np.array([[np.cos(turn), -np.sin(turn) + shear], [np.sin(turn), np.cos(turn)]])
        move = SIZE - matrix @ (SIZE + random.normal(0, 3, 2))
        affine = (*matrix[0], move[0], *matrix[1], move[1])
        canvas = canvas.transform(canvas.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        images[i] = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return Pictures(torch.from_numpy(images), torch.from_numpy(labels), [str(digit) for digit in range(10)])
