"""A first-order search step of DARTS as it was published, and its race against ours.

A step is the alphas' pass on one batch and the weights' pass on another. In the plain version every edge
runs its eight operations by itself, in NCHW and fp32 (never TF32), the alphas' pass computes gradients of all
weights too, the optimisers launch one small kernel per tensor, and losses are read with .item() at every
step. The rows below it change only memory format and precision.
"""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam

from benchmarks.options import DartsOptions
from benchmarks.plain_supernet import PlainSupernet
from benchmarks.versions import PRECISIONS, Fast, Setup, in_modes, ours
from common.device import Runtime
from q4_darts.cifar10_dataset import augment
from q4_darts.options import SearchOptions
from q4_darts.synthetic import draw_shapes
from q4_darts.train_search import build, train_step

Batch = tuple[Tensor, Tensor]  # normalised pictures (n, 3, 32, 32) and their labels (n,)


def plain_optimizers(model: PlainSupernet) -> tuple[SGD, Adam]:
    """Returns the optimisers of the weights and of the alphas."""
    weights = [parameter for name, parameter in model.named_parameters() if name != "alphas"]
    sgd = SGD(weights, 0.025, 0.9, weight_decay=3e-4, foreach=False)
    adam = Adam([model.alphas], 3e-4, (0.5, 0.999), weight_decay=1e-3, foreach=False)
    return sgd, adam


def plain_step(
    model: PlainSupernet,
    optimizers: tuple[SGD, Adam],
    batch: Batch,
    batch_a: Batch,
    memory_format: torch.memory_format,
    runtime: Runtime,
) -> tuple[float, float]:
    """Trains the alphas on `batch_a`, then the weights on `batch`; returns the losses on `batch`, `batch_a`.

    Args:
        optimizers: of the weights and of the alphas.
    """
    sgd, adam = optimizers

    def loss_on(images: Tensor, labels: Tensor) -> Tensor:
        with runtime.autocast():
            logits = model(images.contiguous(memory_format=memory_format))
        return F.cross_entropy(logits.float(), labels)

    adam.zero_grad()
    alpha_loss = loss_on(*batch_a)
    alpha_loss.backward()
    adam.step()
    sgd.zero_grad()
    loss = loss_on(*batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(sgd.param_groups[0]["params"], 5, foreach=False)
    sgd.step()
    return loss.item(), alpha_loss.item()


def plain(
    options: DartsOptions,
    batch_size: int,
    runtime: Runtime,
    memory_format: torch.memory_format = torch.contiguous_format,
    precision: str = "fp32",
) -> Iterator[tuple[float, float]]:
    """Takes one step at every next()."""
    torch.manual_seed(0)
    runtime = Runtime(runtime.device, precision=precision)
    model = PlainSupernet(options.init_channels, options.layers)
    model.to(runtime.device, memory_format=memory_format)
    optimizers = plain_optimizers(model)
    for batch, batch_a in batches(batch_size, runtime):
        yield plain_step(model, optimizers, batch, batch_a, memory_format, runtime)


def fast(
    options: DartsOptions, batch_size: int, runtime: Runtime, order: str = "first", **training: object
) -> Fast:
    """Builds our version, as train_search.py does."""
    sizes = {"init_channels": options.init_channels, "layers": options.layers}
    rates = {"learning_rate": 0.025, "arch_learning_rate": 3e-4}
    search_options = SearchOptions(**sizes, **rates, **training)
    search = build(10, search_options, runtime)
    search.model.run_dense(search.model.best_dense())
    if search_options.compile:
        search.model.compile()
    optimizers = (search.optimizer, search.optimizer_a)
    step = partial(train_step, search.model, optimizers, order=order, runtime=runtime)
    return Fast(search_options, optimizers, step, batches(batch_size, runtime))


def batches(batch_size: int, runtime: Runtime) -> Iterator[tuple[Batch, Batch]]:
    """Yields pairs of batches, without end."""
    shapes = draw_shapes(4 * batch_size, 0).to(runtime.device)
    draws = torch.Generator(runtime.device).manual_seed(0)
    while True:
        order = torch.randperm(len(shapes), device=runtime.device)
        first, second, *_ = order.split(batch_size)
        batch = (augment(shapes.images[first], draws), shapes.labels[first])
        yield batch, (augment(shapes.images[second], draws), shapes.labels[second])


def set_up(options: DartsOptions, runtime: Runtime) -> Setup:
    """Names the versions."""
    batch_size = options.batch_size or (64 if runtime.device.type == "cuda" else 16)
    from_edges = partial(plain, options, batch_size, runtime)
    build_ours = partial(fast, options, batch_size)
    versions: dict[str, Iterator] = {
        "plain fp32": from_edges(),
        "plain fp32, channels_last": from_edges(torch.channels_last),
        "plain bf16, channels_last": from_edges(torch.channels_last, "bf16"),
    }
    versions |= in_modes(build_ours, options.compile, runtime)
    for precision in PRECISIONS:
        if options.second:
            versions[f"ours {precision}, second order"] = ours(build_ours, runtime, precision, order="second")
        if options.partial_channels:
            quarter = ours(build_ours, runtime, precision, partial_channels=4)
            versions[f"ours {precision}, 1/4 of the channels"] = quarter
    what = f"{options.init_channels} channels, {options.layers} cells, batch {batch_size}"
    return Setup(what, versions)
