"""A training step of pix2pix at batch 1 as tutorials write it, and its race against ours.

The plain version is in NCHW and fp32, reads, resizes and crops each pair with PIL, has an optimiser of small
kernels, computes gradients for the discriminator in the generator's step too, and reads losses with .item()
at every step.
"""

import random
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim import Adam, Optimizer

from benchmarks.options import Pix2pixOptions
from benchmarks.versions import Fast, Setup, in_modes
from common.device import Runtime
from q3_pix2pix.maps_dataset import draw_towns, load_side, prepare, random_crop_and_mirror
from q3_pix2pix.options import TrainOptions
from q3_pix2pix.pix2pix import PatchGAN, UNet, seed_dropout
from q3_pix2pix.pix2pix_loss import L1_WEIGHT
from q3_pix2pix.train import build, train_step

PAIRS = 8


def plain_step(
    networks: tuple[UNet, PatchGAN], optimizers: tuple[Optimizer, Optimizer], photo: Tensor, real: Tensor
) -> tuple[float, ...]:
    """Trains the discriminator, then the generator; returns what `train_step` does.

    Args:
        networks, optimizers: the generator's first, then the discriminator's.
        photo, real: inputs and their true maps, (n, 3, size, size) in [-1, 1].
    """
    generator, discriminator = networks
    optimizer_g, optimizer_d = optimizers
    criterion = F.binary_cross_entropy_with_logits
    fake = generator(photo)

    # The discriminator.
    optimizer_d.zero_grad()
    on_fake = discriminator(photo, fake.detach())
    on_real = discriminator(photo, real)
    d_fake = criterion(on_fake, torch.zeros_like(on_fake)) / 2
    d_real = criterion(on_real, torch.ones_like(on_real)) / 2
    (d_fake + d_real).backward()
    optimizer_d.step()

    # The generator.
    optimizer_g.zero_grad()
    on_fake = discriminator(photo, fake)
    g_gan = criterion(on_fake, torch.ones_like(on_fake))
    g_l1 = F.l1_loss(fake, real)
    (g_gan + L1_WEIGHT * g_l1).backward()
    optimizer_g.step()
    return g_gan.item(), g_l1.item(), d_real.item(), d_fake.item()


def plain(options: Pix2pixOptions, runtime: Runtime) -> Iterator[tuple[float, ...]]:
    """Takes one step at every next()."""
    torch.manual_seed(0)
    networks = (UNet(options.image_size, options.base_channels), PatchGAN(options.base_channels))
    for network in networks:
        network.to(runtime.device, memory_format=torch.contiguous_format)
    optimizers = tuple(Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in networks)
    with tempfile.TemporaryDirectory() as folder:
        files = write_pairs(Path(folder), options.image_size)
        while True:
            photo, real = read_pair(random.choice(files), options.image_size)
            yield plain_step(networks, optimizers, photo.to(runtime.device), real.to(runtime.device))


def write_pairs(folder: Path, size: int) -> list[Path]:
    """Writes pairs as the data set has them, photo and map side by side in a JPEG."""
    files = []
    for i, pair in enumerate(draw_towns(PAIRS, size, 0).images):
        halves = [half.permute(1, 2, 0).numpy() for half in pair.split(3)]
        files.append(folder / f"{i}.jpg")
        Image.fromarray(np.concatenate(halves, 1)).save(files[-1])
    return files


def read_pair(file: Path, size: int) -> list[Tensor]:
    """Reads photo and map (1, 3, size, size) in [-1, 1], both enlarged, cropped and mirrored alike."""
    side = load_side(size)
    x = random.randint(0, side - size)
    y = random.randint(0, side - size)
    mirror = random.random() < 0.5
    pair = Image.open(file).convert("RGB")
    halves = []
    for half in (0, 1):
        box = (half * pair.height, 0, (half + 1) * pair.height, pair.height)
        image = pair.crop(box).resize((side, side), Image.Resampling.BICUBIC)
        image = image.crop((x, y, x + size, y + size))
        if mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous()
        halves.append(pixels.float() / 127.5 - 1)
    return halves


def fast(pairs: Tensor, options: Pix2pixOptions, runtime: Runtime, **training: object) -> Fast:
    """Builds our version, as train.py does."""
    sizes = {"image_size": options.image_size, "base_channels": options.base_channels}
    train_options = TrainOptions(**sizes, **training)
    gan = build(train_options, runtime)
    networks = (gan.generator, gan.discriminator)
    step = partial(train_step, networks, gan.optimizers, gan_weight=1.0, penalty=0, runtime=runtime)
    return Fast(train_options, gan.optimizers, step, batches(pairs, options.image_size))


def batches(pairs: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields photo and map (1, 3, size, size), without end, and seeds dropout before each."""
    draws = torch.Generator(pairs.device).manual_seed(0)
    while True:
        for index in torch.randperm(len(pairs), device=pairs.device).split(1):
            photo, real = prepare(random_crop_and_mirror(pairs[index], size, draws)).split(3, 1)
            seed_dropout(0, 0, 0, 0)
            yield photo, real


def set_up(options: Pix2pixOptions, runtime: Runtime) -> Setup:
    """Draws the data and names the versions."""
    pairs = draw_towns(PAIRS, load_side(options.image_size), 0).images.to(runtime.device)
    versions: dict[str, Iterator] = {"plain fp32": plain(options, runtime)}
    versions |= in_modes(partial(fast, pairs, options), options.compile, runtime)
    return Setup(f"{options.image_size} pixels, batch 1", versions)
