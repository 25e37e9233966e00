"""Seconds per DCGAN training step: ours against a plain implementation of the same networks, in one run.

python benchmarks/dcgan.py [--device cuda --compile]

The plain version is what tutorials do: NCHW fp32, a DataLoader of PIL images with transforms,
separate passes, gradients for the discriminator in the generator's step too, an optimiser of small kernels,
losses read with .item() every step. The last two rows are the original 64x64 layout.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.race import RaceOptions, in_modes, replays, run
from common.cli import command
from common.replay import Replayed
from common.runtime import Runtime, start
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.mnist_dataset import draw_digits, prepare
from q1_dcgan.train import train_step


@dataclass
class Options(RaceOptions):
    """Time DCGAN's training steps."""

    batch_size: int = 64  # pictures per step
    steps: int = 15  # timed steps of each version, ten times as many on a GPU


def networks(device: torch.device, size: int) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(256, 0, size).to(device), Discriminator(0, size).to(device)


def plain(images: torch.Tensor, runtime: Runtime, batch: int, size: int) -> Iterator[tuple[float, ...]]:
    """One training step at every next()."""
    both = [network.to(memory_format=torch.contiguous_format) for network in networks(runtime.device, size)]
    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in both)
    generator, discriminator = both
    steps = transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)
    transform, pictures = transforms.Compose(steps), [Image.fromarray(i.numpy()) for i in images.cpu()]
    how = dict(drop_last=True, collate_fn=lambda chosen: torch.stack([transform(each) for each in chosen]))
    loader = DataLoader(pictures, batch, shuffle=True, **how)
    ones, zeros = torch.ones(batch, device=runtime.device), torch.zeros(batch, device=runtime.device)
    loss = F.binary_cross_entropy_with_logits
    while True:
        for real in loader:
            real = real.to(runtime.device)
            fake = generator(torch.randn(batch, 256, device=runtime.device))
            adam_d.zero_grad()
            on_real = discriminator(real)
            real_loss = loss(on_real, ones)
            real_loss.backward()
            on_fake = discriminator(fake.detach())
            fake_loss = loss(on_fake, zeros)
            fake_loss.backward()
            adam_d.step()
            adam_g.zero_grad()
            after = discriminator(fake)
            g_loss = loss(after, ones)
            g_loss.backward()
            adam_g.step()
            beliefs = [logits.sigmoid().mean().item() for logits in (on_real, on_fake, after)]
            yield (real_loss + fake_loss).item(), g_loss.item(), *beliefs


def ours(
    images: torch.Tensor, runtime: Runtime, batch: int, size: int, precision: str, mode: str = "replayed"
) -> Iterator[tuple[torch.Tensor, ...]]:
    """One step of train.py at every next()."""
    pair, runtime = networks(runtime.device, size), Runtime(runtime.device, precision)
    optimizers = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), fused=True) for n in pair]
    if mode == "compiled":
        for network in pair:
            network.compile()
    bound = partial(train_step, pair, optimizers, labels=None, requested=None, runtime=runtime)
    replayed_step = Replayed(bound, optimizers, replays(mode, runtime))
    while True:
        for index in torch.randperm(len(images), device=images.device).split(batch):
            noise = torch.randn(batch, 256, device=images.device)
            yield replayed_step(prepare(images[index], size), noise)


def main(options: Options) -> None:
    runtime = start(options)
    images = draw_digits(40 * options.batch_size, 0).images.to(runtime.device)
    batch = options.batch_size
    versions: dict[str, Iterator] = {"plain fp32": plain(images, runtime, batch, 28)}
    versions |= in_modes(partial(ours, images, runtime, batch, 28), options.compile, runtime.device)
    larger = (images, runtime, batch, 64)
    versions |= {"plain fp32, 64x64 layout": plain(*larger), "ours bf16, 64x64 layout": ours(*larger, "bf16")}
    run(f"28x28, batch {batch}", versions, options, runtime)


if __name__ == "__main__":
    command(main, Options, __doc__)
