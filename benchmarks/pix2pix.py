"""Seconds per pix2pix training step at batch 1: ours against a plain implementation of the same networks.

python benchmarks/pix2pix.py [--image_size 256] [--device cuda --compile]

The plain version: NCHW fp32, each pair read, resized and cropped with PIL, an optimiser of small kernels,
gradients computed for the discriminator in the generator's step too, losses read with .item() every step.
"""

import random
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.race import RaceOptions, in_modes, replays, run
from common.cli import command
from common.replay import Replayed
from common.runtime import Runtime, start
from q3_pix2pix.maps_dataset import draw_towns, load_side, prepare, random_crop_and_mirror
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q3_pix2pix.pix2pix_loss import L1_WEIGHT
from q3_pix2pix.train import dropout_seed, train_step


@dataclass
class Options(RaceOptions):
    """Time pix2pix's training steps."""

    image_size: int = 256  # as in train.py
    base_channels: int = 64  # as in train.py
    steps: int = 8  # timed steps of each version, ten times as many on a GPU


def networks(runtime: Runtime, options: Options) -> tuple[UNet, PatchGAN]:
    torch.manual_seed(0)
    networks = UNet(options.image_size, options.base_channels), PatchGAN(options.base_channels)
    return tuple(network.to(runtime.device) for network in networks)


def plain(files: list[Path], runtime: Runtime, options: Options) -> Iterator[float]:
    """Trains one step per next()."""
    both = [network.to(memory_format=torch.contiguous_format) for network in networks(runtime, options)]
    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in both)
    generator, discriminator = both
    bce, size, side = F.binary_cross_entropy_with_logits, options.image_size, load_side(options.image_size)
    while True:
        pair = Image.open(random.choice(files)).convert("RGB")
        y, x, mirror = random.randint(0, side - size), random.randint(0, side - size), random.random() < 0.5
        halves = []
        for half in (0, 1):
            box = (half * pair.height, 0, (half + 1) * pair.height, pair.height)
            image = pair.crop(box).resize((side, side), Image.Resampling.BICUBIC)
            image = image.crop((x, y, x + size, y + size))
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].contiguous()
            halves.append((pixels.float() / 127.5 - 1).to(runtime.device))
        photo, real = halves
        fake = generator(photo)
        adam_d.zero_grad()
        on_fake, on_real = discriminator(photo, fake.detach()), discriminator(photo, real)
        d_fake, d_real = bce(on_fake, torch.zeros_like(on_fake)), bce(on_real, torch.ones_like(on_real))
        ((d_fake + d_real) / 2).backward()
        adam_d.step()
        adam_g.zero_grad()
        on_fake = discriminator(photo, fake)
        g_gan, g_l1 = bce(on_fake, torch.ones_like(on_fake)), F.l1_loss(fake, real)
        (g_gan + L1_WEIGHT * g_l1).backward()
        adam_g.step()
        yield sum(value.item() for value in (d_fake, d_real, g_gan, g_l1))


def ours(
    pairs: torch.Tensor, runtime: Runtime, options: Options, precision: str, mode: str
) -> Iterator[torch.Tensor]:
    """Trains one step per next(), with train.py's own step."""
    both, runtime = networks(runtime, options), Runtime(runtime.device, precision)
    if mode == "compiled":
        for network in both:
            network.compile()
    adams = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), fused=True) for n in both]
    bound = partial(train_step, *both, *adams, runtime=runtime)
    replayed_step = Replayed(bound, adams, replays(mode, runtime))
    draws = torch.Generator(runtime.device).manual_seed(0)
    while True:
        for index in torch.randperm(len(pairs), device=pairs.device).split(1):
            photo, real = prepare(random_crop_and_mirror(pairs[index], options.image_size, draws)).split(3, 1)
            torch.manual_seed(dropout_seed(0, 0, 0, 0))
            yield torch.stack([loss.detach() for loss in replayed_step(photo, real)])


def main(options: Options) -> None:
    runtime = start(options)
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for i, pair in enumerate(draw_towns(8, options.image_size, 0).images):
            files.append(Path(folder, f"{i}.jpg"))
            halves = [half.permute(1, 2, 0).numpy() for half in pair.split(3)]
            Image.fromarray(np.concatenate(halves, 1)).save(files[-1])
        pairs = draw_towns(8, load_side(options.image_size), 0).images.to(runtime.device)
        versions: dict[str, Iterator] = {"plain fp32": plain(files, runtime, options)}
        versions |= in_modes(partial(ours, pairs, runtime, options), options.compile, runtime.device)
        run(f"{options.image_size} pixels, batch 1", versions, options, runtime)


if __name__ == "__main__":
    command(main, Options, __doc__)
