"""Pairs of aligned pictures as a uint8 tensor: photo and map in the channels, cropped and mirrored as one."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor

from common import archive
from common.cache import cached_images
from common.images import Depth, contents, find_parts, list_folders, list_images, own_folder, read_image
from common.pictures import crop_and_mirror, fingerprint
from common.runtime import RunError

MAPS_URL = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/maps.tar.gz"
MAPS_BYTES = 250_242_400
MAPS_PAIRS = {"train": 1096, "val": 1098}
Files = tuple[Path, ...]  # a side-by-side pair, or (A, B) of two parallel folders


@dataclass
class DataOptions:
    """Which pairs, and which half is the input."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Literal["maps", "aerial_maps", "synthetic", "folder"] = "maps"
    # for --dataset folder: train/ and val/ of side-by-side pairs, or trainA/ trainB/ valA/ valB/
    pairs: Path | None = None
    # how pictures that are not square become square: distorted, with a white border, or cut to the middle
    resize: Literal["stretch", "fit", "crop"] | None = None
    direction: Literal["AtoB", "BtoA"] = "AtoB"  # A is the left half (the photo), B the right one (the map)


@dataclass
class Pairs:
    """images: (n, 6, side, side) uint8, first three channels input, then target; names: one per pair.

    scale: factors of width and height from a picture's file to here.
    depths: what deep files of input and target were divided by, 0 for 8 bits.
    """

    images: Tensor
    names: list[str]
    scale: tuple[float, float] = (1.0, 1.0)
    depths: tuple[int, ...] = (0, 0)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Pairs":
        return replace(self, images=self.images.to(device))

    def fingerprint(self) -> str:
        """SHA-256 of the pixels and names."""
        return fingerprint(self.images, self.names)


def load_side(image_size: int) -> int:
    """The side that training pairs are scaled to before the crop: 286 for 256."""
    return image_size * 286 // 256


def load(
    data_root: Path, options: DataOptions, image_size: int, seed: int = 0, test: bool = False
) -> dict[str, Pairs]:
    """The parts "train", scaled to 286/256 of the image size, and "val", scaled to it. No pair is in both.

    Args:
        test: read the part "test" as well, as "val" is; no training asks for it.

    Raises:
        RunError: there is no part "test", and it was asked for.
        RunError: data missing, with what to put where; a picture that is not a pair or not readable, by name.
        UsageError: --dataset folder without a usable --pairs, or --pairs without it.
    """
    layout = "train/ and val/ of side-by-side pairs (or trainA/, trainB/, valA/, valB/)"
    own_folder(options.dataset, options.pairs, f"with {layout}", "--pairs")
    sides = {"train": load_side(image_size), "val": image_size, "test": image_size}
    if options.dataset == "synthetic":
        parts = {"train": draw_towns(64, sides["train"], seed)}
        parts["val"] = draw_towns(16, sides["val"], seed + 10**6)
        if test:
            parts["test"] = draw_towns(16, sides["test"], seed + 2 * 10**6)
    else:
        if options.dataset == "maps":
            fetch_maps(data_root)
        files = list_pairs(options.pairs or data_root / options.dataset, test)
        known = {part: files[part] for part in ("train", "val")}
        parts = decode(known, sides, data_root, options.resize)
        if test:  # by itself: what is read for the training stays the same, and is divided by the same
            apart = {"test": files["test"]}
            parts |= decode(apart, sides, data_root, options.resize, parts["train"].depths)
        if options.dataset == "folder":
            check_apart(files, parts)
    if options.direction == "BtoA":
        for part, pairs in parts.items():
            parts[part] = replace(pairs, images=pairs.images.roll(3, 1), depths=pairs.depths[::-1])
    return parts


def random_crop_and_mirror(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops each pair (n, 6, side, side) to `size` at its own place and mirrors half of them."""
    return crop_and_mirror(images.permute(0, 2, 3, 1), size, generator).permute(0, 3, 1, 2)


def random_crop_and_turn(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops each pair (n, 6, side, side) to `size` at its own place and turns or mirrors it at random.

    Three coins make the eight symmetries of the square, each as likely: upside down, left to right, and rows
    for columns. A photo taken from straight above has no top.
    """
    n, side, device = len(images), images.shape[-1], images.device
    top, left = torch.randint(0, side - size + 1, (2, n, 1), generator=generator, device=device)
    flipped, mirrored, transposed = torch.rand(3, n, 1, generator=generator, device=device) < 0.5
    along = torch.arange(size, device=device)
    rows = top + torch.where(flipped, size - 1 - along, along)  # (n, size)
    columns = left + torch.where(mirrored, size - 1 - along, along)
    picture = torch.arange(n, device=device)[:, None, None]
    # channels last: advanced indices with a slice between them put their own dimensions first
    crops = images[picture, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return torch.where(transposed[:, :, None, None], crops.mT, crops)


def prepare(images: Tensor) -> Tensor:
    """uint8 to [-1, 1], the range of tanh, in the memory order the networks like."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_unit(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], in whole grey levels as an image file would hold them."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255) / 255


# Files ------------------------------------------------------------------------------------------------------


def fetch_maps(data_root: Path) -> None:
    """Downloads pix2pix's maps (240 MB) unless they are there; extraction is whole or not at all."""
    target = data_root / "maps"
    if target.exists():
        counts = {part: sum(1 for _ in (target / part).glob("*.jpg")) for part in ("train", "val")}
        if counts != MAPS_PAIRS:
            what = f"{target} holds {counts} pairs instead of {MAPS_PAIRS}"
            raise RunError(f"{what}: move it away, and it is downloaded again")
        return
    packed = data_root / "maps.tar.gz"
    if not packed.exists() or packed.stat().st_size != MAPS_BYTES:
        from torchvision.datasets.utils import download_url

        files = f"{packed.name}, from {MAPS_URL}"
        with archive.downloading("pix2pix's maps", "q3_pix2pix/train.py", data_root, files):
            packed.unlink(missing_ok=True)
            download_url(MAPS_URL, str(data_root), packed.name)
        if packed.stat().st_size != MAPS_BYTES:
            what = f"{packed} has {packed.stat().st_size:,} bytes instead of {MAPS_BYTES:,}"
            raise RunError(f"{what}: run again to download it once more")
    archive.extract(packed, "maps", target)


def list_pairs(folder: Path, test: bool = False) -> dict[str, list[Files]]:
    """The pairs of each part, in plain order of their names, which is the order of the published runs.

    Args:
        test: list the part "test" beside "train" and "val".

    Raises:
        RunError: folders are missing or empty, or a picture of A or B has no partner or two of them.
    """
    together = find_parts(folder, "train", "val")
    apart = [find_parts(folder, "train", "val", suffix=side) for side in "AB"]
    if test and together:
        together["test"] = find_test(folder, together["val"])
    elif test and all(apart):
        for found, side in zip(apart, "AB"):
            found["test"] = find_test(folder, found["val"], side)
    if together:
        pairs = {part: [(file,) for file in sorted(list_images(inner))] for part, inner in together.items()}
    elif all(apart):
        pairs = {part: match(*(side[part] for side in apart)) for part in apart[0]}
    else:
        advice = "; data/README.md says how to make it" if folder.name == "aerial_maps" else ""
        needed = f"{folder}/train and {folder}/val, or trainA, trainB, valA and valB"
        raise RunError(f"no images of pairs in {needed}: {folder} holds {contents(folder)}{advice}")
    for part, listed in pairs.items():
        if not listed:
            inner = together.get(part) or apart[0][part]
            raise RunError(f"no images (.png, .jpg, ...) in {inner}, which holds {contents(inner)}")
    return pairs


def find_test(folder: Path, validation: Path, side: str = "") -> Path:
    """The folder of the part "test", or testA or testB.

    Raises:
        RunError: there is none, or it already serves as the validation part, as it does without a val/.
    """
    there = {inner.name.lower(): inner for inner in list_folders(folder)}
    test = there.get(f"test{side}".lower())
    if test is None or test == validation:
        needed = f"{folder} has no test{side}/ beside the validation pairs in {validation.name}/"
        raise RunError(f"{needed}: it holds {contents(folder)}")
    return test


def match(first: Path, second: Path) -> list[Files]:
    """The pictures of two folders by name, whatever their endings."""
    sides: list[dict[str, Path]] = [{}, {}]
    for folder, files in zip((first, second), sides):
        for file in sorted(list_images(folder)):
            if file.stem in files:
                both = f"{files[file.stem]} and {file}"
                raise RunError(f"{both} have one name: which of them belongs to the pair?")
            files[file.stem] = file
    alone = [str(sides[stem not in sides[0]][stem]) for stem in sorted(sides[0].keys() ^ sides[1].keys())]
    if alone:
        raise RunError(f"no partner of the same name for {', '.join(alone[:5])}")
    return [(file, sides[1][stem]) for stem, file in sides[0].items()]


def check_apart(files: dict[str, list[Files]], parts: dict[str, Pairs]) -> None:
    """Raises RunError if a pair of another part is a training pair, even one saved again in another format.

    The training pair that is nearest at 16 x 16 pixels is compared in full when it is similar there.
    """

    def small(images: Tensor) -> Tensor:
        """(n, 6, side, side) -> (n, 6 * 16 * 16)"""
        scale = functools.partial(F.interpolate, size=(16, 16), mode="bilinear", antialias=True)
        return torch.cat([scale(some.float()) for some in images.split(64)]).flatten(1)

    train = small(parts["train"].images)
    spread = (train.view(-1, 6, 16 * 16).var(2, correction=0).sum(1) * 16 * 16).sqrt()
    for part in parts.keys() - {"train"}:
        distances, nearest = torch.cdist(small(parts[part].images), train).min(1)
        similar = distances <= 0.3 * spread[nearest] + 5  # which is the error of torch.cdist
        for i in similar.nonzero().flatten().tolist():
            pairs = files[part][i], files["train"][nearest[i]]
            sides = zip(*([np.asarray(open_rgb(file), np.float32) for file in pair] for pair in pairs))
            if all(
                a.shape == b.shape and np.square(a - b).mean() <= 0.04 * b.var((0, 1)).mean() + 1
                for a, b in sides
            ):
                why = "a validation on what was trained on says nothing"
                raise RunError(f"{pairs[0][0]} is the training picture {pairs[1][0]}: {why}")


def open_rgb(path: Path, depth: Depth | None = None) -> Image.Image:
    """Any image file as RGB.

    Raises:
        RunError: the file is not a readable image, or smaller than 16 pixels.
    """
    rgb = read_image(path, "RGB", depth)
    if min(rgb.size) < 16:
        raise RunError(f"{path} is only {rgb.width} x {rgb.height} pixels")
    return rgb


def open_pair(
    files: Files, depths: Sequence[Depth | None] = (None, None), resize: str | None = None
) -> list[Image.Image]:
    """Both pictures of a pair, which have the same size."""
    halves = [open_rgb(file, depth) for file, depth in zip(files, depths)]
    if len(files) == 1:
        (both,) = halves
        size, width = f"{both.width} x {both.height}", both.width // 2
        if resize is None and both.width != 2 * both.height:
            advice = "--resize stretch, fit or crop takes halves that are not square"
            raise RunError(f"{files[0]} is {size}: a side-by-side pair is twice as wide as high; {advice}")
        if both.width % 2:
            raise RunError(f"{files[0]} is {size}: its two halves need an even width")
        halves = [both.crop((left, 0, left + width, both.height)) for left in (0, width)]
    elif halves[0].size != halves[1].size:
        raise RunError(f"{files[0]} is {halves[0].size} and its partner {files[1]} is {halves[1].size}")
    return halves


def read_pair(
    files: Files, side: int, depths: Sequence[Depth | None] = (None, None), resize: str | None = None
) -> np.ndarray:
    """One pair as (6, side, side) uint8."""
    return stack(open_pair(files, depths, resize), side, resize)


def stack(halves: Sequence[Image.Image], side: int, resize: str | None = None) -> np.ndarray:
    """Two RGB pictures as (6, side, side) uint8."""
    size, bicubic = (side, side), Image.Resampling.BICUBIC
    if resize == "fit":
        scaled = [ImageOps.pad(half, size, bicubic, "white") for half in halves]
    elif resize == "crop":
        scaled = [ImageOps.fit(half, size, bicubic) for half in halves]
    else:
        scaled = [half.resize(size, bicubic) for half in halves]
    return np.concatenate([np.asarray(half) for half in scaled], 2).transpose(2, 0, 1)


def find_scale(pairs: list[Files], side: int, resize: str | None) -> tuple[float, float]:
    """The factors of width and height by which `read_pair` scales: the median of up to 20 pairs."""
    sizes = [open_pair(pair, resize=resize or "stretch")[0].size for pair in pairs[:: -(-len(pairs) // 20)]]
    if resize in ("fit", "crop"):
        sizes = [[max(size) if resize == "fit" else min(size)] * 2 for size in sizes]
    width, height = np.median(sizes, 0)
    return side / float(width), side / float(height)


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
    columns = list(zip(*sum(files.values(), [])))  # all of A and all of B, or the pairs
    depths = [Depth(column, limit) for column, limit in zip(columns, least)]
    everything, parts = sum(columns, ()), {}
    recipe = "pairs, bicubic" + (f", {resize}" if resize else "")
    for part, pairs in files.items():
        read_one = functools.partial(read_pair, side=sides[part], depths=depths, resize=resize)
        shape = (6, sides[part], sides[part])
        images = cached_images(data_root, f"{part} {recipe}", everything, shape, read_one, pairs, depths)
        scale, limits = find_scale(pairs, sides[part], resize), tuple(depth.found for depth in depths)
        parts[part] = Pairs(images, [first.stem for first, *_ in pairs], scale, limits)
    return parts


# Synthetic --------------------------------------------------------------------------------------------------

COLORS = [  # on the map, and in the photo
    ((242, 239, 233), (134, 122, 96)),  # ground
    ((200, 250, 204), (62, 92, 48)),  # park
    ((170, 211, 223), (38, 62, 84)),  # water
    ((255, 255, 255), (108, 108, 110)),  # road
    ((217, 208, 201), (160, 92, 74)),  # house
]


def draw_towns(count: int, side: int, seed: int) -> Pairs:
    """Little towns: a flat map of roads, houses, parks and water, and a photo with texture and shadows."""
    images = np.stack([draw_town(np.random.default_rng([seed, i]), side) for i in range(count)])
    return Pairs(torch.from_numpy(images), [f"town{i:04d}" for i in range(count)], (side / 256, side / 256))


def draw_town(random: np.random.Generator, side: int) -> np.ndarray:
    """One town as a pair (6, side, side) uint8, photo first."""
    full = 256
    layers = Image.new("L", (full, full), 0)  # an index into the colours
    pen = ImageDraw.Draw(layers)
    for kind in (1, 1, 2):  # parks, and a pond
        x, y, w, h = random.uniform(-20, full), random.uniform(-20, full), *random.uniform(30, 110, 2)
        pen.ellipse((x, y, x + w, y + h), fill=kind)
    lines = [np.cumsum(random.uniform(38, 80, 8)) - 30 for _ in range(2)]
    for x0, x1 in zip(lines[0], lines[0][1:]):
        for y0, y1 in zip(lines[1], lines[1][1:]):
            for _ in range(random.integers(0, 4)):
                w, h = random.uniform(8, 22, 2)
                x = random.uniform(x0 + 6, max(x0 + 7, x1 - w - 6))
                y = random.uniform(y0 + 6, max(y0 + 7, y1 - h - 6))
                if layers.getpixel((int(np.clip(x, 0, full - 1)), int(np.clip(y, 0, full - 1)))) != 2:
                    pen.rectangle((x, y, x + w, y + h), fill=4)
    for x, y in zip(*lines):
        width = int(random.integers(4, 9))
        pen.line((x, 0, x + random.uniform(-8, 8), full), fill=3, width=width)
        pen.line((0, y, full, y + random.uniform(-8, 8)), fill=3, width=width)
    kinds = np.asarray(layers)
    flat, photo = np.array(COLORS)[kinds].transpose(2, 0, 1, 3)  # (256, 256, 3) each
    houses = (kinds == 4).astype(np.float32)
    shadow = np.clip(np.roll(houses, (4, 4), (0, 1)) - houses, 0, 1)[..., None]
    coarse = Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8))
    coarse = coarse.resize((full, full), Image.Resampling.BICUBIC)
    texture = (np.asarray(coarse, np.float32)[..., None] - 127) * 0.15 + random.normal(0, 7, (full, full, 1))
    photo = photo.astype(np.float32) * (1 - 0.45 * shadow) + texture * np.where(kinds == 2, 0.3, 1)[..., None]
    seen = Image.fromarray(photo.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    return stack([seen, Image.fromarray(flat.astype(np.uint8))], side)
