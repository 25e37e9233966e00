"""Fetches the drawings' files, and divides the characters into training, validation and test."""

from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

import torch

from common.download import fetch, unpacked
from common.errors import RunError, UsageError
from common.image_files import find_parts, list_classes, list_images

PARTS = ("train", "validation", "test")
VINYALS_CHARACTERS = (1028, 172, 423)  # of the 1,623; times four rotations: 4,112 / 688 / 1,692 classes
# Chosen once at random, of the background alphabets with 20 characters.
VALIDATION_ALPHABETS = {"Anglo-Saxon_Futhorc", "Burmese_(Myanmar)", "Grantha", "Greek", "Syriac_(Estrangelo)"}

GITHUB = "https://raw.githubusercontent.com"
ARCHIVE_URL = f"{GITHUB}/brendenlake/omniglot/master/python"
LIST_URL = f"{GITHUB}/jakesnell/prototypical-networks/master/data/omniglot/splits/vinyals"
ARCHIVES = {  # MD5 and number of drawings
    "images_background": ("68d2efa1b9178cc56df9314c21c6e718", 19280),
    "images_evaluation": ("6b91aef0f799c5bb55b94e3f2daec811", 13180),
    "images_background_small1": ("e704a628b5459e08445c13499850abc4", 2720),
    "images_background_small2": ("b75a71a51d3b13f821f212756fe481fd", 3120),
}
LIST_MD5 = {  # the list of each part
    "train": "433d1fcc2b20dcee2983ceb524586f7f",
    "val": "78c535fa427b12b6596908376a0b3f34",
    "test": "43534e6d5f9e74acbb7de1b4874abad8",
}

Classes = dict[str, list[Path]]  # the drawings of each class, by its name


class Division(NamedTuple):
    """A data set's files, and how its classes are divided.

    classes: the drawings of each class, by its name such as "Greek/character05".
    parts: the names of the classes of "train", "validation" and "test"; no class is in two of them.
    """

    classes: Classes
    parts: dict[str, list[str]]


# Omniglot ---------------------------------------------------------------------------------------------------


def find_omniglot(data_root: Path, split: str, seed: int) -> Division:
    """Finds Omniglot's drawings in `data_root/omniglot-py`, downloads what is missing, and divides them.

    Args:
        split: as --split.
        seed: of the random split.

    Raises:
        RunError: data missing, with what to put where.
    """
    folder = data_root / "omniglot-py"
    if split == "small":
        return divide_small(folder)
    background = list_characters(folder, "images_background")
    evaluation = list_characters(folder, "images_evaluation")
    classes = background | evaluation
    if split == "vinyals":
        parts = read_lists(folder / "splits" / "vinyals", classes)
    elif split == "random":
        parts = divide_at_random(list(classes), seed)
    else:
        parts = divide_background(list(background), list(evaluation))
    return Division(classes, parts)


def list_characters(folder: Path, archive: str) -> Classes:
    """Lists every character of an archive, in the order of their names "<alphabet>/<character>"."""
    md5, drawings = ARCHIVES[archive]
    packed = folder / f"{archive}.zip"
    small = "small" in archive  # the split small takes both small archives, all others take both large ones
    wanted = [f"{name}.zip (MD5 {its})" for name, (its, _) in ARCHIVES.items() if ("small" in name) == small]
    files = f"{', '.join(wanted)}, from {ARCHIVE_URL}"
    tree = unpacked(f"{ARCHIVE_URL}/{packed.name}", packed, md5, drawings, "Omniglot", files)
    classes = {}
    for character in sorted(tree.glob("*/*/")):
        classes[f"{character.parent.name}/{character.name}"] = list_images(character)
    return classes


def read_lists(folder: Path, known: Container[str]) -> dict[str, list[str]]:
    """Reads the split of Vinyals et al. 2016 from its lists: 1,028 / 172 / 423 characters."""
    wanted = ", ".join(f"{name}.txt (MD5 {md5})" for name, md5 in LIST_MD5.items())
    parts = {}
    for part, (name, md5) in zip(PARTS, LIST_MD5.items()):
        path = folder / f"{name}.txt"
        fetch(f"{LIST_URL}/{path.name}", path, md5, "Omniglot", f"{wanted}, from {LIST_URL}")
        parts[part] = read_list(path, known)
    return parts


def read_list(path: Path, known: Container[str]) -> list[str]:
    """Reads the characters of one of Vinyals's lists, whose lines are "<alphabet>/<character>/rot<degrees>".

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


def divide_background(background: list[str], evaluation: list[str]) -> dict[str, list[str]]:
    """Divides for the Omniglot challenge (Lake et al. 2019): no alphabet is in two parts; 811 / 153 / 659.

    Trains on 25 background alphabets, validates on the other 5, tests on the 20 evaluation alphabets.
    """
    held_back = only_alphabets(background, *VALIDATION_ALPHABETS)
    train = [name for name in background if name not in held_back]
    return {"train": train, "validation": held_back, "test": evaluation}


def divide_small(folder: Path) -> Division:
    """Trains on small1's alphabets, validates on Tagalog, tests on katakana and Sanskrit: 136 / 17 / 89.

    The other two alphabets of small2 are small1's too.
    """
    first = list_characters(folder, "images_background_small1")
    second = list_characters(folder, "images_background_small2")
    validation = only_alphabets(second, "Tagalog")
    test = only_alphabets(second, "Japanese_(katakana)", "Sanskrit")
    classes = first | {name: second[name] for name in validation + test}
    return Division(classes, {"train": list(first), "validation": validation, "test": test})


def only_alphabets(characters: Classes | list[str], *alphabets: str) -> list[str]:
    """Returns the names of the characters of these alphabets."""
    return [name for name in characters if name.split("/")[0] in alphabets]


# A user's own folder, and divisions at random ---------------------------------------------------------------


def find_folder(folder: Path, least: int, seed: int) -> Division:
    """Finds a user's own drawings: <class>/<image>, or train/, validation/ and test/ of such trees.

    Args:
        least: classes with fewer images are left out before they are divided.
        seed: of the random division of a tree without parts.

    Raises:
        UsageError: too few classes to be divided, or one that is in several parts.
    """
    trees = find_parts(folder, *PARTS)
    if not trees:
        classes = list_classes(folder, least)
        if len(classes) < 5:  # three train, one validates, one tests
            raise UsageError(
                f"{folder} has only the classes {', '.join(classes)}: "
                "training, validation and test have no class in common, and take 5 or more"
            )
        return Division(classes, divide_at_random(list(classes), seed))
    classes = {}
    parts = {}
    shared = set()
    for part, tree in trees.items():
        own = list_classes(tree, least)
        shared |= own.keys() & classes.keys()
        classes |= own
        parts[part] = list(own)
    if shared:
        named = ", ".join(sorted(shared)[:5])
        raise UsageError(f"these classes are in more than one part of {folder}: {named}")
    return Division(classes, parts)


def divide_at_random(names: list[str], seed: int) -> dict[str, list[str]]:
    """Divides classes in the proportions of Vinyals's split; each part keeps their order."""
    total = sum(VINYALS_CHARACTERS)
    train, validation = (round(len(names) * count / total) for count in VINYALS_CHARACTERS[:2])
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    pieces = order.split([train, validation, len(names) - train - validation])
    return {part: [names[i] for i in sorted(piece.tolist())] for part, piece in zip(PARTS, pieces)}
