"""Repeats every convolution of a training step in bf16 in fp32 too, forward and backward, for all networks.

`bf16_gradients.py networks`, or `bf16_gradients.py dilated`, the known bad case. The networks have their real
sides, and batches of training. tests/test_bf16_gradients starts it with memory that the C library fills with
large numbers, so that a kernel which reads what it did not write is told from rounding.
"""

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from q1_dcgan.classifier import Classifier
from q1_dcgan.dcgan import Discriminator, Generator
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_loss import prototypical_loss
from q3_pix2pix.pix2pix import PatchGAN, UNet
from q4_darts.genotypes import DARTS_V2, Genotype
from q4_darts.model import Network
from q4_darts.model_search import Supernet

Step = tuple[nn.Module, Callable[[], Tensor]]  # a network, and the loss of its training step

FORWARD = torch.ops.aten.convolution.default
BACKWARD = torch.ops.aten.convolution_backward.default
TOLERANCE = 0.01  # of the result's length; bf16 rounds to 1 / 256 of a value
DILATED = Genotype(
    normal=(("dil_conv_3x3", 0), ("dil_conv_5x5", 1)) * 4,
    reduce=(("dil_conv_5x5", 0), ("dil_conv_3x3", 1)) * 4,
)


def dcgan(image_size: int) -> Step:
    """Makes both networks of question 1 with the generator's loss, which reaches all weights."""
    generator = Generator(image_size=image_size)
    networks = nn.ModuleList([generator, Discriminator(image_size=image_size)])
    noise = torch.randn(64, 256)
    return networks, lambda: F.softplus(-networks[1](generator(noise)).float()).mean()


def classifier() -> Step:
    """Makes the classifier that judges question 1."""
    network = Classifier(10)
    images = torch.rand(64, 1, 28, 28)
    labels = torch.arange(64) % 10
    return network, lambda: F.cross_entropy(network(images).float(), labels)


def protonet(residual_convs: int) -> Step:
    """Makes the network of question 2 and an episode of 20 ways, 1 shot and 5 queries."""
    network = ProtoNet(residual_convs=residual_convs)
    images = torch.rand(20, 1, 1, 28, 28).expand(20, 6, 1, 28, 28)
    images = (images + 0.3 * torch.rand(20, 6, 1, 28, 28)).flatten(0, 1)
    return network, lambda: prototypical_loss(network(images).unflatten(0, (20, 6)), 1)[0]


def pix2pix(image_size: int, batch: int) -> Step:
    """Makes both networks of question 3 with the generator's loss, which reaches all weights."""
    networks = nn.ModuleList([UNet(image_size), PatchGAN()])
    photo = torch.rand(batch, 3, image_size, image_size) * 2 - 1
    real = torch.rand(batch, 3, image_size, image_size) * 2 - 1

    def loss() -> Tensor:
        fake = networks[0](photo)
        judged = networks[1](photo, fake)
        return F.softplus(-judged.float()).mean() + 100 * (fake.float() - real).abs().mean()

    return networks, loss


def pictures(batch: int) -> tuple[Tensor, Tensor]:
    """Draws normalised pictures of 32 x 32 and their labels."""
    return torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10


def darts(genotype: Genotype, channels: int) -> Step:
    """Makes the network of a genotype, of three cells, with the auxiliary head."""
    network = Network(genotype, channels, 3, auxiliary=True)
    images, labels = pictures(64)

    def loss() -> Tensor:
        logits, extra = network(images)
        return F.cross_entropy(logits.float(), labels) + 0.4 * F.cross_entropy(extra.float(), labels)

    return network, loss


def supernet(partial: int) -> Step:
    """Makes a supernet of three cells."""
    network = Supernet(16, 3, partial=partial)
    images, labels = pictures(32)
    return network, lambda: F.cross_entropy(network(images).float(), labels)


STEPS: dict[str, Callable[[], Step]] = {
    "dcgan of 28 pixels": lambda: dcgan(28),
    "dcgan of 64 pixels": lambda: dcgan(64),
    "classifier": classifier,
    "protonet": lambda: protonet(0),
    "residual protonet": lambda: protonet(1),
    "pix2pix of 256 pixels": lambda: pix2pix(256, 1),
    "pix2pix of 128 pixels": lambda: pix2pix(128, 4),
    "darts, DARTS_V2": lambda: darts(DARTS_V2, 16),
    "darts, dilated": lambda: darts(DILATED, 16),
    "darts, dilated, narrow": lambda: darts(DILATED, 4),
    "supernet": lambda: supernet(1),
    "partial supernet": lambda: supernet(4),
}


def dilated() -> Step:
    """Makes a dilated depthwise convolution, whose weights' gradient is wrong on CPUs with AVX512_BF16."""
    network = nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4).to(memory_format=torch.channels_last)
    images = torch.randn(2, 4, 32, 32).contiguous(memory_format=torch.channels_last)
    return network, lambda: network(images).float().square().mean()


class Repeated(TorchDispatchMode):
    """Runs each convolution in bf16 in fp32 too; `calls` are their descriptions and largest differences."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[str, float]] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        found = operator(*args, **(kwargs or {}))
        if operator in (FORWARD, BACKWARD) and args[0].dtype == torch.bfloat16:
            right = operator(*[as_fp32(value) for value in args])
            pairs = [(found, right)] if operator is FORWARD else zip(found, right)
            largest = max(difference(*pair) for pair in pairs if pair[0] is not None)
            tensors = [value for value in args if isinstance(value, Tensor)]
            shapes = ", ".join(f"{tuple(value.shape)} strides {value.stride()}" for value in tensors)
            rest = [value for value in args if not isinstance(value, Tensor)]
            self.calls.append((f"{operator} {shapes}, {rest}", largest))
        return found


def as_fp32(value: object) -> object:
    """Returns a tensor in fp32, and anything else as it is."""
    return value.float() if isinstance(value, Tensor) else value


def difference(found: Tensor, right: Tensor) -> float:
    """Returns the length of the difference, as a part of the right value's."""
    part = (found.double() - right.double()).norm() / right.double().norm().clamp(min=1e-30)
    return part.nan_to_num(float("inf")).item()


def wrong_calls(network: nn.Module, loss: Callable[[], Tensor]) -> tuple[int, float, set[str]]:
    """Takes one step in bf16; returns how many convolutions it has, the largest difference, and the wrong."""
    with Repeated() as repeated:
        with torch.autocast("cpu", torch.bfloat16):
            value = loss()
        value.backward()
    assert repeated.calls  # or this would pass without having seen any
    wrong = {f"{name}: differs by {part:.1e}" for name, part in repeated.calls if part > TOLERANCE}
    return len(repeated.calls), max(part for _, part in repeated.calls), wrong


def main(which: str) -> None:
    steps = STEPS if which == "networks" else {"dilated": dilated}
    everything = set()
    for name, make in steps.items():
        torch.manual_seed(0)
        count, largest, wrong = wrong_calls(*make())
        print(f"{name}: {count} convolutions in bf16, {len(wrong)} wrong, {largest:.1e} at most", flush=True)
        everything |= {f"{name}: {call}" for call in wrong}
    if everything:
        sys.exit("\n".join(sorted(everything)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
