"""The files of MNIST and Fashion-MNIST: where they come from, their checksums, and their format."""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.download import downloading
from common.errors import RunError
from common.labelled_images import LabelledImages

SIZE = 28
COUNTS = {"train": 60_000, "test": 10_000}
PREFIXES = {"train": "train", "test": "t10k"}  # of the files' names
# --dataset -> its name in torchvision, which is also its folder's
NAMES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
CLASSES = {
    "mnist": [str(digit) for digit in range(10)],
    "fashion_mnist": [
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
}
MD5 = {  # of the unpacked files
    "mnist": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


def read_mnist(data_root: Path, dataset: str) -> dict[str, LabelledImages]:
    """Reads the parts "train" and "test", 60,000 and 10,000 images; they are downloaded when missing.

    Args:
        data_root: the files lie in MNIST/raw or FashionMNIST/raw of it.
        dataset: "mnist" or "fashion_mnist".

    Raises:
        RunError: a file is missing and cannot be downloaded, or is damaged.
    """
    folder = data_root / NAMES[dataset] / "raw"
    md5 = MD5[dataset]
    if not all((folder / name).exists() for name in md5):
        download(data_root, dataset)
    parts = {}
    for part, count in COUNTS.items():
        images = f"{PREFIXES[part]}-images-idx3-ubyte"
        labels = f"{PREFIXES[part]}-labels-idx1-ubyte"
        parts[part] = LabelledImages(
            read_idx(folder / images, md5[images], (count, SIZE, SIZE)),
            read_idx(folder / labels, md5[labels], (count,)).long(),
            CLASSES[dataset],
        )
    return parts


def download(data_root: Path, dataset: str) -> None:
    """Downloads and unpacks a data set by torchvision.

    Raises:
        RunError: that fails; the message says what to do without the data set.
    """
    from torchvision import datasets  # takes a second to import

    name = NAMES[dataset]
    kind = getattr(datasets, name)
    packed = ", ".join(file for file, _ in kind.resources)
    with downloading(name, data_root / name / "raw", f"{packed}, from {kind.mirrors[0]}"):
        kind(str(data_root), download=True)


def read_idx(path: Path, md5: str, shape: tuple[int, ...]) -> Tensor:
    """Reads an IDX file, MNIST's format: four bytes of type, four for each size, and the values, uint8.

    Raises:
        RunError: the file is missing, or not the one with this MD5.
    """
    header = 4 + 4 * len(shape)
    whole = path.is_file() and path.stat().st_size == header + math.prod(shape)
    if not whole or hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
        raise RunError(
            f"{path} is damaged, or another file (its MD5 must be {md5}): delete it, and it is downloaded "
            "again"
        )
    return torch.from_numpy(np.fromfile(path, np.uint8, offset=header)).view(shape)
