"""Our version of a training step in each of its modes, made ready for a race."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from common.device import Runtime
from common.options import TrainingOptions
from common.replay import Replayed, replays

PRECISIONS = ("fp32", "bf16")


class Fast(NamedTuple):
    """A question's own training step, with all it needs.

    options: of the training, which say whether a GPU replays the step.
    optimizers: those that it steps.
    step: takes a batch.
    batches: inputs of `step`, without end.
    """

    options: TrainingOptions
    optimizers: Sequence[torch.optim.Optimizer]
    step: Callable[..., tuple[Tensor | None, ...]]
    batches: Iterator[tuple]


class Setup(NamedTuple):
    """A race.

    what: its sizes in words.
    versions: name -> a generator, each next() of which is a step; the first is what others are compared with.
        They build their networks at the first next(), so that the memory of each can be measured alone.
    """

    what: str
    versions: dict[str, Iterator]


def in_modes(build: Callable[..., Fast], also_compiled: bool, runtime: Runtime) -> dict[str, Iterator]:
    """Returns our versions in both precisions: as trained (a GPU replays it), launched each time, compiled.

    Args:
        build: takes a Runtime and options of the training.
        also_compiled: with torch.compile too.
        runtime: on a GPU alone there is a difference between the first and the second.
    """
    modes: dict[str, dict] = {"": {}}
    if runtime.device.type == "cuda":
        modes[", no CUDA graph"] = {"no_cuda_graphs": True}
    if also_compiled:
        import torch._dynamo  # takes seconds

        # Of all versions of a race together; beyond it a version would silently run uncompiled.
        torch._dynamo.config.cache_size_limit = 64
        modes[", compiled"] = {"compile": True}
    versions = {}
    for name, training in modes.items():
        for precision in PRECISIONS:
            versions[f"ours {precision}{name}"] = ours(build, runtime, precision, **training)
    return versions


def ours(
    build: Callable[..., Fast], runtime: Runtime, precision: str, **training: object
) -> Iterator[tuple[Tensor | None, ...]]:
    """Takes one step of our version at every next().

    Args:
        build, runtime: as `in_modes` takes them.
        training: options of the training.
    """
    torch.manual_seed(0)
    runtime = Runtime(runtime.device, precision=precision)
    fast = build(runtime, **training)
    replayed_step = Replayed(fast.step, fast.optimizers, replays(fast.options, runtime))
    for batch in fast.batches:
        yield replayed_step(*batch)
