"""No pair of the validation or the test is a training pair, not even one saved again in another format."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import RunError
from common.fingerprint import fingerprint
from common.image_cache import content_hash, read_cache, write_cache
from q3_pix2pix.maps_files import Files
from q3_pix2pix.pair_reader import open_rgb

SMALL = 16  # pixels of the side at which all pairs are compared


def check_apart(files: dict[str, list[Files]], images: dict[str, Tensor], data_root: Path) -> None:
    """Checks that no pair of another part is a training pair; a set that was found clean is not read again.

    The training pair that is nearest at 16 x 16 pixels is compared in full when it is similar there.

    Args:
        files: part -> the files of each pair.
        images: part -> the pairs, (n, 6, side, side) uint8.

    Raises:
        RunError: one is.
    """
    everything = [file for pairs in files.values() for pair in pairs for file in pair]
    counts = [f"{part} {tuple(images[part].shape)}" for part in files]
    name = fingerprint(["apart", *counts, content_hash(everything, data_root)])[:32]
    memo = data_root / "cache" / f"apart-{name}.pt"
    if read_cache(memo).get("apart"):
        return
    train = to_small(images["train"])
    for part in files:
        if part == "train":
            continue
        for i, nearest in find_similar(to_small(images[part]), train):
            if are_same(files[part][i], files["train"][nearest]):
                raise RunError(
                    f"{files[part][i][0]} is the training picture {files['train'][nearest][0]}: "
                    "a validation on what was trained on says nothing"
                )
    write_cache(memo, {"apart": True})


def to_small(images: Tensor) -> Tensor:
    """Scales pairs down, (n, 6, side, side) -> (n, 6 * 16 * 16)."""
    pieces = []
    for some in images.split(64):
        pieces.append(F.interpolate(some.float(), (SMALL, SMALL), mode="bilinear", antialias=True))
    return torch.cat(pieces).flatten(1)


def find_similar(small: Tensor, train: Tensor) -> list[tuple[int, int]]:
    """Lists the pairs that are similar to a training pair, each with the nearest one.

    Args:
        small, train: as `to_small` gives them.
    """
    spread = (train.view(-1, 6, SMALL**2).var(2, correction=0).sum(1) * SMALL**2).sqrt()
    distances, nearest = torch.cdist(small, train).min(1)
    similar = distances <= 0.3 * spread[nearest] + 5  # which is the error of torch.cdist
    return [(i, int(nearest[i])) for i in similar.nonzero().flatten().tolist()]


def are_same(one: Files, other: Files) -> bool:
    """Returns whether two pairs are equal up to what saving them again changes."""
    for file, other_file in zip(one, other):
        first = np.asarray(open_rgb(file), np.float32)
        second = np.asarray(open_rgb(other_file), np.float32)
        if first.shape != second.shape:
            return False
        if np.square(first - second).mean() > 0.04 * second.var((0, 1)).mean() + 1:
            return False
    return True
