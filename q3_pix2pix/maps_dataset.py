"""Pairs of aligned pictures as one uint8 tensor: photo and map side by side in the channels, cropped and mirrored as one."""

import hashlib
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor

from common import archive, checkpoint
from common.images import open_image
from common.runtime import RunError, UsageError

MAPS_URL = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/maps.tar.gz"
MAPS_BYTES = 250_242_400
MAPS_PAIRS = {"train": 1096, "val": 1098}
IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass
class DataOptions:
    """Which pairs, and which half is the input."""

    dataset: Literal["maps", "aerial_maps", "synthetic", "folder"] = (
        "maps"  # synthetic is drawn on the spot, folder is your own
    )
    pairs: Path | None = (
        None  # for --dataset folder: train/ and val/ of side-by-side pairs, or trainA/ trainB/ valA/ valB/
    )
    direction: Literal["AtoB", "BtoA"] = "AtoB"  # A is the left half (the photo), B the right one (the map)


@dataclass
class Pairs:
    """images: (n, 6, side, side) uint8, input in the first three channels and target in the last; names: one a pair."""

    images: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Pairs":
        return Pairs(self.images.to(device), self.names)

    def fingerprint(self) -> str:
        """SHA-256 of the pixels and names."""
        digest = hashlib.sha256(self.images.cpu().numpy().tobytes())
        digest.update("\n".join(self.names).encode())
        return digest.hexdigest()


def load_side(image_size: int) -> int:
    """The side that training pairs are scaled to before the crop: 286 for 256."""
    return image_size * 286 // 256


def load(data_root: Path, options: DataOptions, image_size: int, seed: int = 0) -> dict[str, Pairs]:
    """The parts "train", scaled to 286/256 of the image size, and "val", scaled to the image size. No pair is in both.

    Raises:
        RunError: data missing and not to be had, with what to put where; a picture that is not a pair or not readable, by name.
        UsageError: --dataset folder without a usable --pairs.
    """
    sides = {"train": load_side(image_size), "val": image_size}
    if options.dataset == "synthetic":
        parts = {
            part: draw_towns(count, sides[part], seed + offset)
            for part, count, offset in (("train", 64, 0), ("val", 16, 10**6))
        }
    else:
        if options.dataset == "folder":
            if options.pairs is None or not options.pairs.is_dir():
                raise UsageError(
                    "--dataset folder needs --pairs DIR with train/ and val/ of side-by-side pairs (or trainA/, trainB/, valA/, valB/)"
                )
            folder = options.pairs
        else:
            folder = data_root / options.dataset
            if options.dataset == "maps":
                fetch_maps(data_root)
        files = {part: list_pairs(folder, part) for part in ("train", "val")}
        if options.dataset == "folder":
            check_apart(files["train"], files["val"])
        parts = {part: decode(files[part], sides[part], data_root) for part in files}
    if options.direction == "BtoA":
        parts = {part: Pairs(pairs.images.roll(3, 1), pairs.names) for part, pairs in parts.items()}
    return parts


def random_crop_and_mirror(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Crops each pair (n, 6, side, side) to `size` at its own place and mirrors half of them: the same for input and target."""
    n, _, side, _ = images.shape
    device = images.device
    top, left = torch.randint(0, side - size + 1, (2, n, 1), generator=generator, device=device)
    mirrored = torch.rand(n, 1, generator=generator, device=device) < 0.5
    along = torch.arange(size, device=device)
    rows = top + along  # (n, size)
    columns = left + torch.where(mirrored, size - 1 - along, along)  # (n, size)
    pair = torch.arange(n, device=device)[:, None, None]
    return images.permute(0, 2, 3, 1)[pair, rows[:, :, None], columns[:, None, :]].permute(
        0, 3, 1, 2
    )  # (n, 6, size, size)


def prepare(images: Tensor) -> Tensor:
    """uint8 to [-1, 1], the range of tanh, in the memory order the networks like."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def to_unit(images: Tensor) -> Tensor:
    """[-1, 1] to [0, 1], in whole grey levels as an image file would hold them."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255) / 255


# Files ----------------------------------------------------------------------------------------------------------------


def fetch_maps(data_root: Path) -> None:
    """Downloads pix2pix's maps (240 MB) unless they are there; extraction is whole or not at all."""
    target = data_root / "maps"
    if target.exists():
        counts = {part: sum(1 for _ in (target / part).glob("*.jpg")) for part in ("train", "val")}
        if counts != MAPS_PAIRS:
            raise RunError(
                f"{target} holds {counts} pairs instead of {MAPS_PAIRS}: move it away, and it is made anew"
            )
        return
    packed = data_root / "maps.tar.gz"
    if not packed.exists() or packed.stat().st_size != MAPS_BYTES:
        from torchvision.datasets.utils import download_url

        try:
            packed.unlink(missing_ok=True)
            download_url(MAPS_URL, str(data_root), packed.name)
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise RunError(
                f"{target} is missing and could not be downloaded ({error}): put {MAPS_URL} in {data_root}, or try --dataset synthetic"
            ) from error
        if packed.stat().st_size != MAPS_BYTES:
            raise RunError(
                f"{packed} has {packed.stat().st_size:,} bytes instead of {MAPS_BYTES:,}: run again to download it once more"
            )
    archive.extract(packed, "maps", target)


def list_pairs(folder: Path, part: str) -> list[tuple[Path, Path | None]]:
    """The files of a part: (side-by-side pair, None), or (A, B) of two parallel folders.

    Raises:
        RunError: the folders are missing or empty, or a picture of one has no partner in the other.
    """

    def pictures(inside: Path) -> list[Path]:
        return sorted(file for file in inside.iterdir() if file.suffix.lower() in IMAGE_ENDINGS)

    if (folder / part).is_dir():
        files = [(file, None) for file in pictures(folder / part)]
    elif (folder / f"{part}A").is_dir() and (folder / f"{part}B").is_dir():
        partners = {file.stem: file for file in pictures(folder / f"{part}B")}
        files = [(file, partners.pop(file.stem, None)) for file in pictures(folder / f"{part}A")]
        alone = [str(file) for file, partner in files if partner is None] + [
            str(file) for file in partners.values()
        ]
        if alone:
            raise RunError(f"no partner of the same name for {', '.join(alone[:5])}")
    else:
        raise RunError(
            f"no {folder / part}: pairs are looked for in {folder}/train and {folder}/val, or trainA, trainB, valA and valB"
        )
    if not files:
        raise RunError(f"no images (.png, .jpg, ...) in {folder / part}")
    return files


def check_apart(train: list[tuple[Path, Path | None]], validation: list[tuple[Path, Path | None]]) -> None:
    """Raises RunError if a validation picture is, byte for byte, a training picture as well."""

    def digests(pairs: list[tuple[Path, Path | None]]) -> dict[bytes, Path]:
        return {hashlib.sha256(first.read_bytes()).digest(): first for first, _ in pairs}

    known = digests(train)
    for digest, file in digests(validation).items():
        if digest in known:
            raise RunError(
                f"{file} is the training picture {known[digest]}: a validation on what was trained on says nothing"
            )


def open_rgb(path: Path) -> Image.Image:
    """Any image file as RGB; grey is repeated, transparency laid on white.

    Raises:
        RunError: the file is not a readable image, or smaller than 16 pixels.
    """
    with open_image(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits
            image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).astype(np.uint8))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        rgb = image.convert("RGB")
    if min(rgb.size) < 16:
        raise RunError(f"{path} is only {rgb.width} x {rgb.height} pixels")
    return rgb


def read_pair(files: tuple[Path, Path | None], side: int) -> np.ndarray:
    """One pair as (6, side, side) uint8."""
    first, second = files
    if second is None:
        both = open_rgb(first)
        if both.width != 2 * both.height:
            raise RunError(
                f"{first} is {both.width} x {both.height}: a side-by-side pair is twice as wide as high"
            )
        halves = [
            both.crop((half * both.height, 0, (half + 1) * both.height, both.height)) for half in (0, 1)
        ]
    else:
        halves = [open_rgb(first), open_rgb(second)]
        if halves[0].size != halves[1].size:
            raise RunError(f"{first} is {halves[0].size} and its partner {second} is {halves[1].size}")
    return np.concatenate(
        [
            np.asarray(half.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            for half in halves
        ]
    )


def decode(files: list[tuple[Path, Path | None]], side: int, data_root: Path) -> Pairs:
    """Reads pairs once; the tensor is kept in `data_root/cache` under the files' fingerprint, with its own SHA-256."""
    digest = hashlib.sha256(f"{side} bicubic 1".encode())
    for pair in files:
        for file in filter(None, pair):
            digest.update(f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    cache = data_root / "cache" / f"pairs-{digest.hexdigest()[:16]}.pt"
    blank = Pairs(torch.empty(len(files), 6, side, side, dtype=torch.uint8), [file.stem for file, _ in files])
    return checkpoint.cached_images(
        cache, blank, dict(enumerate(files)), lambda pair: read_pair(pair, side), "pairs"
    )


# Synthetic ------------------------------------------------------------------------------------------------------------

PAPER_COLORS = {
    "ground": (242, 239, 233),
    "park": (200, 250, 204),
    "water": (170, 211, 223),
    "road": (255, 255, 255),
    "house": (217, 208, 201),
}
PHOTO_COLORS = {
    "ground": (134, 122, 96),
    "park": (62, 92, 48),
    "water": (38, 62, 84),
    "road": (108, 108, 110),
    "house": (160, 92, 74),
}


def draw_towns(count: int, side: int, seed: int) -> Pairs:
    """Little towns: a flat map of roads, houses, parks and water, and a photo of it with texture, shadow and noise."""
    images = np.stack([draw_town(np.random.default_rng([seed, i]), side) for i in range(count)])
    return Pairs(torch.from_numpy(images), [f"town{i:04d}" for i in range(count)])


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
                x, y = (
                    random.uniform(x0 + 6, max(x0 + 7, x1 - w - 6)),
                    random.uniform(y0 + 6, max(y0 + 7, y1 - h - 6)),
                )
                if layers.getpixel((int(np.clip(x, 0, full - 1)), int(np.clip(y, 0, full - 1)))) != 2:
                    pen.rectangle((x, y, x + w, y + h), fill=4)
    for x, y in zip(*lines):
        width = int(random.integers(4, 9))
        pen.line((x, 0, x + random.uniform(-8, 8), full), fill=3, width=width)
        pen.line((0, y, full, y + random.uniform(-8, 8)), fill=3, width=width)
    kinds = np.asarray(layers)
    flat = np.array(list(PAPER_COLORS.values()), np.uint8)[kinds]
    photo = np.array(list(PHOTO_COLORS.values()), np.float32)[kinds]
    houses = (kinds == 4).astype(np.float32)
    shadow = np.clip(np.roll(houses, (4, 4), (0, 1)) - houses, 0, 1)[..., None]
    coarse = Image.fromarray(random.integers(0, 255, (32, 32), dtype=np.uint8)).resize(
        (full, full), Image.Resampling.BICUBIC
    )
    texture = (np.asarray(coarse, np.float32)[..., None] - 127) * 0.15 + random.normal(0, 7, (full, full, 1))
    photo = np.clip(
        photo * (1 - 0.45 * shadow) + texture * np.where(kinds == 2, 0.3, 1)[..., None], 0, 255
    ).astype(np.uint8)
    halves = (Image.fromarray(photo).filter(ImageFilter.GaussianBlur(0.6)), Image.fromarray(flat))
    return np.concatenate(
        [
            np.asarray(half.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
            for half in halves
        ]
    )
