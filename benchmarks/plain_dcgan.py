"""A training step of DCGAN as tutorials write it, and its race against ours.

The plain version is in NCHW and fp32, with a DataLoader of PIL images and their transforms, gradients for
the discriminator in the generator's step too, an optimiser of small kernels, and losses that are read with
.item() at every step. The last two rows of the race are the original layout of 64 x 64 pixels.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim import Adam, Optimizer
from torch.utils.data import DataLoader
from torchvision import transforms

from benchmarks.options import DcganOptions
from benchmarks.versions import Fast, Setup, in_modes, ours
from common.device import Runtime
from q1_dcgan.dcgan import Discriminator, Generator
from q1_dcgan.mnist_dataset import prepare
from q1_dcgan.options import TrainOptions
from q1_dcgan.synthetic import draw_digits
from q1_dcgan.train import build, train_step

LATENT_SIZE = 256


def plain_step(
    networks: tuple[Generator, Discriminator],
    optimizers: tuple[Optimizer, Optimizer],
    real: Tensor,
    noise: Tensor,
) -> tuple[float, ...]:
    """Trains the discriminator, then the generator; returns what `train_step` does.

    Args:
        networks, optimizers: the generator's first, then the discriminator's.
        real: pictures (n, 1, size, size) in [-1, 1].
        noise: (n, LATENT_SIZE).
    """
    generator, discriminator = networks
    optimizer_g, optimizer_d = optimizers
    criterion = F.binary_cross_entropy_with_logits
    ones = torch.ones(len(real), device=real.device)
    zeros = torch.zeros(len(real), device=real.device)

    # The discriminator.
    fake = generator(noise)
    optimizer_d.zero_grad()
    on_real = discriminator(real)
    real_loss = criterion(on_real, ones)
    real_loss.backward()
    on_fake = discriminator(fake.detach())
    fake_loss = criterion(on_fake, zeros)
    fake_loss.backward()
    optimizer_d.step()

    # The generator.
    optimizer_g.zero_grad()
    on_fake_after = discriminator(fake)
    g_loss = criterion(on_fake_after, ones)
    g_loss.backward()
    optimizer_g.step()

    beliefs = [logits.sigmoid().mean().item() for logits in (on_real, on_fake, on_fake_after)]
    return (real_loss + fake_loss).item(), g_loss.item(), *beliefs


def plain(images: Tensor, size: int, batch_size: int, runtime: Runtime) -> Iterator[tuple[float, ...]]:
    """Takes one step at every next()."""
    torch.manual_seed(0)
    networks = (Generator(LATENT_SIZE, 0, size), Discriminator(0, size))
    for network in networks:
        network.to(runtime.device, memory_format=torch.contiguous_format)
    optimizers = tuple(Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in networks)

    steps = [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
    transform = transforms.Compose(steps)

    def collate(chosen: Sequence[Image.Image]) -> Tensor:
        return torch.stack([transform(each) for each in chosen])

    pictures = [Image.fromarray(image.numpy()) for image in images.cpu()]
    loader = DataLoader(pictures, batch_size, shuffle=True, drop_last=True, collate_fn=collate)
    while True:
        for real in loader:
            noise = torch.randn(batch_size, LATENT_SIZE, device=runtime.device)
            yield plain_step(networks, optimizers, real.to(runtime.device), noise)


def fast(images: Tensor, size: int, batch_size: int, runtime: Runtime, **training: object) -> Fast:
    """Builds our version, as train.py does."""
    options = TrainOptions(image_size=size, latent_size=LATENT_SIZE, **training)
    gan = build(options, 0, runtime)
    networks = (gan.generator, gan.discriminator)
    optimizers = (gan.optimizer_g, gan.optimizer_d)
    unconditional = {"labels": None, "requested": None, "penalty": 0}
    step = partial(train_step, networks, optimizers, **unconditional, runtime=runtime)
    return Fast(options, optimizers, step, batches(images, size, batch_size))


def batches(images: Tensor, size: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields real pictures and noise, without end."""
    while True:
        for index in torch.randperm(len(images), device=images.device).split(batch_size):
            noise = torch.randn(batch_size, LATENT_SIZE, device=images.device)
            yield prepare(images[index], size), noise


def set_up(options: DcganOptions, runtime: Runtime) -> Setup:
    """Draws the data and names the versions."""
    batch_size = options.batch_size
    images = draw_digits(40 * batch_size, 0).images.to(runtime.device)
    versions: dict[str, Iterator] = {"plain fp32": plain(images, 28, batch_size, runtime)}
    versions |= in_modes(partial(fast, images, 28, batch_size), options.compile, runtime)
    versions["plain fp32, 64x64 layout"] = plain(images, 64, batch_size, runtime)
    versions["ours bf16, 64x64 layout"] = ours(partial(fast, images, 64, batch_size), runtime, "bf16")
    return Setup(f"28x28, batch {batch_size}", versions)
