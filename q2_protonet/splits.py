"""Which characters train, validate and test: Omniglot's splits, synthetic characters, a user's folder."""

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from common import archive
from common.cli import at_least
from common.images import find_parts, list_classes, list_images, own_folder
from common.runtime import RunError, UsageError
from q2_protonet.omniglot_dataset import Characters, decode, make_synthetic

PARTS = ("train", "validation", "test")
VINYALS_CHARACTERS = (1028, 172, 423)  # of the 1,623; times four rotations: 4,112 / 688 / 1,692 classes
GITHUB = "https://raw.githubusercontent.com"
LISTS = f"{GITHUB}/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
ARCHIVES = {  # MD5 and number of drawings
    "images_background": ("68d2efa1b9178cc56df9314c21c6e718", 19280),
    "images_evaluation": ("6b91aef0f799c5bb55b94e3f2daec811", 13180),
    "images_background_small1": ("e704a628b5459e08445c13499850abc4", 2720),
    "images_background_small2": ("b75a71a51d3b13f821f212756fe481fd", 3120),
}
WHOLE = ("images_background", "images_evaluation")
LIST_MD5 = {
    "train": "433d1fcc2b20dcee2983ceb524586f7f",
    "val": "78c535fa427b12b6596908376a0b3f34",
    "test": "43534e6d5f9e74acbb7de1b4874abad8",
}


@dataclass
class DataOptions:
    """Which characters, and how they are divided."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Literal["omniglot", "synthetic", "folder"] = "omniglot"
    # of Omniglot; synthetic and folder are split at random
    split: Literal["vinyals", "random", "background", "small", "small1"] = "vinyals"
    # for --dataset folder: a tree <class>/<image>, or train/, validation/ and test/ of such trees
    folder: Path | None = None
    # leave out the drawings turned by 90, 180 and 270 degrees, which are classes of their own
    no_rotations: bool = False
    skip_small: int = 0  # leave out the classes of --dataset folder with fewer images than this; name them


def describe(data: DataOptions) -> str:
    """A data set in words, such as "omniglot, split small"."""
    if data.dataset == "omniglot":
        return f"omniglot, split {data.split}"
    return f"{data.dataset} {data.folder}" if data.folder else data.dataset


def load(data_root: Path, options: DataOptions, seed: int = 0) -> dict[str, Characters]:
    """The parts "train", "validation" and "test" of a data set; no class is in two of them.

    Args:
        data_root: Omniglot is looked for in `data_root/omniglot-py`, and downloaded there when missing.
        options: which data set and split.
        seed: of the random split and of the synthetic drawings.

    Raises:
        RunError: data missing, with what to put where; an image that cannot be read, by name.
        UsageError: --dataset folder without a usable --folder; --folder or --skip_small without it.
    """
    own_folder(options.dataset, options.folder, "a tree <class>/<image>")
    at_least(0, options, "skip_small")
    if options.skip_small and options.dataset != "folder":
        raise UsageError(f"--skip_small needs --dataset folder, not --dataset {options.dataset}")
    if options.dataset == "synthetic":
        parts = split_at_random(make_synthetic(seed), seed)
    elif options.dataset == "folder":
        parts = load_folder(data_root, options.folder, options.skip_small, seed)
    else:
        parts = OMNIGLOT_SPLITS[options.split](data_root, seed)
    return {name: part if options.no_rotations else part.with_rotations() for name, part in parts.items()}


def load_folder(data_root: Path, folder: Path, least: int, seed: int) -> dict[str, Characters]:
    """A user's own tree: <class>/<image>, split at random, or train/, validation/ and test/ of such trees.

    Classes with fewer than `least` images are left out before they are divided.

    Raises:
        UsageError: too few classes to be divided, or one that is in several parts.
    """
    found = find_parts(folder, *PARTS)
    if not found:
        classes = list_classes(folder, least)
        if len(classes) < 5:  # three train, one validates, one tests
            why = "training, validation and test have no class in common, and take 5 or more"
            raise UsageError(f"{folder} has only the classes {', '.join(classes)}: {why}")
        return split_at_random(decode(classes, data_root), seed)
    parts = {part: decode(list_classes(inner, least), data_root) for part, inner in found.items()}
    names = [name for part in parts.values() for name in part.names]
    shared = sorted({name for name in names if names.count(name) > 1})
    if shared:
        raise UsageError(f"these classes are in more than one part of {folder}: {', '.join(shared[:5])}")
    return parts


# Omniglot ---------------------------------------------------------------------------------------------------


def alphabets(data_root: Path, *archives: str) -> Characters:
    """Every character of these archives, in the order of their names "<alphabet>/<character>"."""
    trees = [unpacked(data_root / "omniglot-py", name) for name in archives]
    folders = [folder for tree in trees for folder in sorted(tree.glob("*/*/"))]
    classes = {f"{folder.parent.name}/{folder.name}": list_images(folder) for folder in folders}
    return decode(classes, data_root, invert="no")  # all of Omniglot is dark ink


def split_vinyals(data_root: Path, seed: int) -> dict[str, Characters]:
    """The split of Vinyals et al. 2016, from its lists: 1,028 / 172 / 423 characters."""
    everything = alphabets(data_root, *WHOLE)
    place = {name: i for i, name in enumerate(everything.names)}
    folder = data_root / "omniglot-py" / "splits" / "vinyals"
    parts = {}
    for part, file in zip(PARTS, LIST_MD5):
        fetch(f"{LISTS}/{file}.txt", folder / f"{file}.txt", LIST_MD5[file])
        parts[part] = everything.take([place[name] for name in read_list(folder / f"{file}.txt", place)])
    return parts


def read_list(path: Path, known: Container[str]) -> list[str]:
    """The characters of one of Vinyals's lists, whose lines are "<alphabet>/<character>/rot<degrees>".

    Raises:
        RunError: a line is anything but a rotation of a known character.
    """
    names = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        name, _, turn = line.strip().rpartition("/")
        if name not in known or turn not in ("rot000", "rot090", "rot180", "rot270"):
            raise RunError(f"{path}, line {number}: {line[:80]!r} is no character of Omniglot")
        if turn == "rot000":
            names.append(name)
    return names


def of_alphabets(characters: Characters, *names: str) -> Characters:
    """The characters of these alphabets."""
    return characters.take([i for i, full in enumerate(characters.names) if full.split("/")[0] in names])


def split_background(data_root: Path, seed: int) -> dict[str, Characters]:
    """The Omniglot challenge (Lake et al. 2019): no alphabet is in two parts; 811 / 153 / 659 characters.

    Trains on 25 background alphabets, validates on the other 5, tests on the 20 evaluation alphabets.
    """
    background = alphabets(data_root, "images_background")
    # chosen once at random, of those with 20 characters
    held = {"Anglo-Saxon_Futhorc", "Burmese_(Myanmar)", "Grantha", "Greek", "Syriac_(Estrangelo)"}
    rest = {name.split("/")[0] for name in background.names} - held
    train, validation = of_alphabets(background, *rest), of_alphabets(background, *held)
    return {"train": train, "validation": validation, "test": alphabets(data_root, "images_evaluation")}


def split_small(data_root: Path, seed: int) -> dict[str, Characters]:
    """Train on small1's alphabets, validate on Tagalog, test on katakana and Sanskrit: 136 / 17 / 89."""
    first, second = (alphabets(data_root, f"images_background_small{i}") for i in (1, 2))
    test = of_alphabets(second, "Japanese_(katakana)", "Sanskrit")
    return {"train": first, "validation": of_alphabets(second, "Tagalog"), "test": test}


def split_small1(data_root: Path, seed: int) -> dict[str, Characters]:
    """As `small`, but validated on one character in ten of small1, which is held back: 122 / 14 / 89."""
    parts = split_small(data_root, seed)
    first = parts["train"]
    validation, train = divide(first, seed, round(len(first) / 10))
    return parts | {"train": train, "validation": validation}


OMNIGLOT_SPLITS = {
    "vinyals": split_vinyals,
    "random": lambda data_root, seed: split_at_random(alphabets(data_root, *WHOLE), seed),
    "background": split_background,
    "small": split_small,
    "small1": split_small1,
}


def split_at_random(characters: Characters, seed: int) -> dict[str, Characters]:
    """Divides characters in the proportions of Vinyals's split."""
    counts = [round(len(characters) * n / sum(VINYALS_CHARACTERS)) for n in VINYALS_CHARACTERS[:2]]
    return dict(zip(PARTS, divide(characters, seed, *counts)))


def divide(characters: Characters, seed: int, *counts: int) -> list[Characters]:
    """Random pieces of these numbers of characters, and the rest; each keeps the characters' order."""
    order = torch.randperm(len(characters), generator=torch.Generator().manual_seed(seed))
    pieces = order.split([*counts, len(characters) - sum(counts)])
    return [characters.take(sorted(piece.tolist())) for piece in pieces]


def fetch(url: str, path: Path, md5: str) -> None:
    """Downloads a file unless it is there whole; a partial or foreign one is fetched again.

    Raises:
        RunError: there is no network, or what came has another MD5.
    """
    from torchvision.datasets import utils  # takes a second to import, and is rarely needed

    if utils.check_integrity(str(path), md5):
        return
    needed = LIST_MD5
    if path.suffix == ".zip":  # every split but the small ones takes both of the large archives
        needed = {k: its for k, (its, _) in ARCHIVES.items() if ("small" in k) == ("small" in path.name)}
    files = ", ".join(f"{name}{path.suffix} (MD5 {its})" for name, its in needed.items())
    files += f", from {url.rpartition('/')[0]}"
    with archive.downloading("Omniglot", "q2_protonet/train.py", path.parent, files):
        utils.download_url(url, str(path.parent), path.name, md5)


def unpacked(folder: Path, name: str) -> Path:
    """The folder of an archive's drawings, downloaded and extracted whole if it is not there."""
    md5, drawings = ARCHIVES[name]
    target = folder / name
    if sum(1 for _ in target.glob("*/*/*.png")) == drawings:
        return target
    packed = folder / f"{name}.zip"
    fetch(f"{GITHUB}/brendenlake/omniglot/master/python/{name}.zip", packed, md5)
    archive.extract(packed, name, target)
    return target
