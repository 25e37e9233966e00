"""Runs all convolutions and pools of the networks beside torch without oneDNN, each named before it starts.

`convolutions.py networks`, or `convolutions.py strided_reduce`, the known bad case. tests/test_convolutions
starts it under the C library's heap checks, so that the last name before a crash is the layer at fault.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from q1_dcgan import classifier, dcgan
from q2_protonet import protonet
from q3_pix2pix import pix2pix
from q4_darts import genotypes, model, model_search, operations

ROOT = Path(__file__).resolve().parent.parent.parent
QUESTIONS = ("q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts")
WIDTHS = (*range(1, 18), 24, 31, 32, 33, 48, 63, 64)
MOST_PIXELS = 9
FORMATS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
    "slice of channels_last": torch.channels_last,  # where a network takes a part of its channels or pixels
}
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2}  # of the largest value of the reference
CONVOLUTION = torch.ops.aten.convolution.default
POOLS = {
    torch.ops.aten.max_pool2d_with_indices.default,
    torch.ops.aten.avg_pool2d.default,
    torch.ops.aten._adaptive_avg_pool2d.default,
    torch.ops.aten.mean.dim,  # F.adaptive_avg_pool2d(x, 1)
}


class Call(NamedTuple):
    """One convolution or pool as a network ran it.

    Args:
        operator: the operator of torch.
        side: height of its input.
        sliced: whether its input has gaps in memory.
        sizes: groups, then rows and columns of the weights per group; for a pool the channels.
        kernel: height and width of the weights; for a pool nothing.
        bias: whether it adds one.
        rest: the operator's other arguments, without the groups.
    """

    operator: Callable
    side: int
    sliced: bool
    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    bias: bool
    rest: tuple


class Recorder(TorchDispatchMode):
    """Records the convolutions and pools that run under it, from modules and functions alike, as `calls`."""

    def __init__(self):
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = str(operator)
        if operator is CONVOLUTION:
            self.calls.append(self.convolution(*args))
        elif operator in POOLS and args[0].dim() == 4:
            x, *rest = args
            call = Call(operator, x.shape[2], is_sliced(x), (x.shape[1],), (), False, freeze(rest))
            self.calls.append(call)
        elif "conv" in name or "pool" in name:
            raise NotImplementedError(f"the sweep cannot repeat {name} yet: teach it to Recorder")
        return operator(*args, **(kwargs or {}))

    @staticmethod
    def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *rest: object) -> Call:
        """Describes a call of aten.convolution, whose last argument is the number of groups."""
        *rest, groups = rest
        sizes = (groups, weight.shape[0] // groups, weight.shape[1])
        place = (CONVOLUTION, x.shape[2], is_sliced(x))
        return Call(*place, sizes, tuple(weight.shape[2:]), bias is not None, freeze(rest))


def is_sliced(x: Tensor) -> bool:
    """Says whether x is neither contiguous nor channels_last."""
    return not any(x.is_contiguous(memory_format=layout) for layout in FORMATS.values())


def freeze(arguments: Iterable) -> tuple:
    """Returns the arguments as a tuple that a set can hold."""
    return tuple(tuple(value) if isinstance(value, list) else value for value in arguments)


class Form(NamedTuple):
    """A kind of call, whatever its sizes; the fields are a Call's."""

    operator: Callable
    kernel: tuple[int, ...]
    bias: bool
    rest: tuple


def all_sizes(fixed: tuple[int, ...], rise: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Returns the sizes `fixed + rise * t` to try: each that rises takes all WIDTHS, others in proportion."""
    if not any(rise):
        return [fixed]
    found = []
    for anchor, width in product(filter(None, rise), WIDTHS):
        grown = [max(1, round(width * each / anchor)) if each else 0 for each in rise]
        found.append(tuple(start + size for start, size in zip(fixed, grown)))
    return found


class Case(NamedTuple):
    """A Form at one width, side and memory format."""

    form: Form
    sizes: tuple[int, ...]
    side: int
    layout: str

    def __str__(self) -> str:
        name = str(self.form.operator).removeprefix("aten.")
        if self.form.kernel:
            groups, rows, columns = self.sizes
            height, width = self.form.kernel
            name += f" {height}x{width} weights {groups * rows} x {columns} groups {groups}"
            name += " with bias" if self.form.bias else ""
        else:
            name += f" channels {self.sizes[0]}"
        return f"{name} arguments {self.form.rest} side {self.side} {self.layout}"


def networks(width: int) -> Iterator[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Yields the networks of all questions at a width, each with tiny inputs of two samples."""
    labels = torch.zeros(2, dtype=torch.long)
    for size in dcgan.LAYOUTS:
        for channels in (1, 3):
            picture = torch.rand(2, channels, size, size)
            yield dcgan.Generator(16, 0, size, width, channels), (torch.randn(2, 16),)
            yield dcgan.Generator(16, 10, size, width, channels), (torch.randn(2, 16), labels)
            yield dcgan.Discriminator(0, size, "projection", width, channels), (picture,)
            yield dcgan.Discriminator(10, size, "plane", width, channels), (picture, labels)
    for channels in (1, 3):
        yield classifier.Classifier(10, channels), (torch.rand(2, channels, 28, 28),)
    embedding = protonet.ProtoNet(width, residual_convs=1)
    yield embedding, (torch.rand(2, 1, 28, 28),)
    yield protonet.ShiftAveraged(embedding.eval(), 1), (torch.rand(2, 1, 28, 28),)
    photo = torch.rand(2, 3, 256, 256)
    yield pix2pix.UNet(256, width), (photo,)
    yield pix2pix.PatchGAN(width), (photo, photo)
    image = torch.rand(2, 3, 32, 32)
    for genotype in genotypes.NAMED.values():
        yield model.Network(genotype, width, 3, auxiliary=True), (image,)
    for stride in (1, 2):
        for make in operations.OPERATIONS.values():
            yield make(width, stride, True), (torch.rand(2, width, 16, 16),)
    for partial in (1, 4):
        for dense_up_to in (0, 10**6):
            supernet = model_search.Supernet(width, 3, partial=partial)
            supernet.run_dense(dense_up_to)
            yield supernet, (image,)


class StridedReduce(nn.Module):
    """FactorizedReduce as it was: conv1x1 of stride 2, whose backward pass breaks the heap on AVX2."""

    def __init__(self, channels: int):
        super().__init__()
        self.even = nn.Conv2d(channels, channels // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels, channels - channels // 2, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1)


def strided_reduce(width: int) -> Iterator[tuple[nn.Module, tuple[Tensor, ...]]]:
    """Yields the known bad case alone, as `networks` does."""
    yield StridedReduce(width), (torch.rand(2, width, 16, 16),)


def recorded(make: Callable[[int], Iterator], width: int) -> list[Call]:
    """Returns the calls of these networks at a width, in order."""
    with torch.no_grad(), Recorder() as recorder:
        for network, inputs in make(width):
            network(*inputs)
    return recorder.calls


def cases(make: Callable[[int], Iterator]) -> list[Case]:
    """Returns all distinct cases of these networks: what depends on the width is seen from two of them."""
    small, large = recorded(make, 8), recorded(make, 16)
    assert len(small) == len(large)
    found = set()
    for one, two in zip(small, large):
        assert one._replace(sizes=()) == two._replace(sizes=())
        fixed = tuple(2 * a - b for a, b in zip(one.sizes, two.sizes))
        rise = tuple(b - a for a, b in zip(one.sizes, two.sizes))
        form = Form(one.operator, one.kernel, one.bias, one.rest)
        sides = (one.side,) if one.side <= MOST_PIXELS else (MOST_PIXELS - 1, MOST_PIXELS)
        layouts = [name for name in FORMATS if one.sliced or "slice" not in name]
        found.update(Case(form, *rest) for rest in product(all_sizes(fixed, rise), sides, layouts))
    return sorted(found, key=str)


def tensors(case: Case, dtype: torch.dtype) -> list[Tensor]:
    """Draws the input and, for a convolution, the weights and the bias."""
    generator = torch.Generator().manual_seed(0)
    if not case.form.kernel:
        shapes = [(2, case.sizes[0], case.side, case.side)]
    else:
        groups, rows, columns = case.sizes
        transposed = case.form.rest[3]
        channels_in = groups * (rows if transposed else columns)
        channels_out = groups * (columns if transposed else rows)
        shapes = [(2, channels_in, case.side, case.side), (groups * rows, columns, *case.form.kernel)]
        shapes += [(channels_out,)] if case.form.bias else []
    drawn = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    layout = FORMATS[case.layout]
    drawn = [value.contiguous(memory_format=layout) if value.dim() == 4 else value for value in drawn]
    if "slice" in case.layout:
        wide = drawn[0].repeat(1, 2, 2, 2).contiguous(memory_format=layout)
        drawn[0] = wide[:, : wide.shape[1] // 2, ::2, ::2]
    return drawn


def run(case: Case, values: list[Tensor]) -> list[Tensor]:
    """Returns the output and the gradients of all values."""
    values = [value.detach().requires_grad_() for value in values]
    if case.form.kernel:
        x, weight, *bias = values
        out = case.form.operator(x, weight, *(bias or [None]), *case.form.rest, case.sizes[0])
    else:
        out = case.form.operator(values[0], *case.form.rest)
    out = out[0] if isinstance(out, tuple) else out
    slope = torch.arange(out.numel()).double().sin().bfloat16()  # the same numbers in every precision
    return [out.detach(), *torch.autograd.grad(out, values, slope.view_as(out).to(out.dtype))]


def difference(case: Case, dtype: torch.dtype) -> float:
    """Returns the largest difference from fp64 without oneDNN, as a part of the largest value there."""
    values = tensors(case, dtype)
    found = run(case, values)
    with torch.backends.mkldnn.flags(enabled=False):
        expected = run(case, [value.double() for value in values])
    largest = 0.0
    for value, right in zip(found, expected):
        part = (value.double() - right).abs().max() / right.abs().max().clamp(min=1e-3)
        largest = max(largest, part.nan_to_num(float("inf")).item())
    return largest


def sweep(make: Callable[[int], Iterator]) -> None:
    """Runs all cases, each named before it starts, and exits with those whose numbers are wrong."""
    wrong = []
    everything = cases(make)
    print(f"{len(everything)} cases", flush=True)
    for case in everything:
        for dtype, tolerance in TOLERANCES.items():
            print(f"{case} {dtype}", flush=True)
            found = difference(case, dtype)
            if found > tolerance:
                wrong.append(f"{case} {dtype}: differs by {found:.1e} of the largest value")
    print(f"{len(everything)} cases, {len(wrong)} of them wrong", flush=True)
    if wrong:
        sys.exit("\n".join(wrong))


def check_layers() -> None:
    """Ends the process if a layer of the four questions is in none of the networks."""
    known = {type(part) for network, _ in networks(8) for part in network.modules()}
    for question in QUESTIONS:
        for file in pkgutil.iter_modules([str(ROOT / question)], f"{question}."):
            for name, value in vars(importlib.import_module(file.name)).items():
                layer = isinstance(value, type) and issubclass(value, nn.Module)
                if layer and value.__module__ == file.name and value not in known:
                    sys.exit(f"{file.name}.{name} is in none of the networks: add one that has it")


if __name__ == "__main__":
    torch.set_num_threads(1)
    check_layers()
    sweep({"networks": networks, "strided_reduce": strided_reduce}[sys.argv[1]])
