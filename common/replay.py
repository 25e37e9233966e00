"""A training step that a CUDA GPU replays.

A step here is hundreds to thousands of small operations, and Python takes longer to launch them than the GPU
to do them. So the step is recorded once, as a CUDA graph, and then replayed by a single launch: the same
operations on the same memory, and thus the same numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from common.device import Runtime
from common.options import TrainingOptions

WARM_UP = 2  # calls as they are, in which cuDNN chooses its kernels and the optimisers make their state


def replays(options: TrainingOptions, runtime: Runtime) -> bool:
    """Returns whether training steps are recorded and replayed: on a single GPU, unless told otherwise."""
    if options.no_cuda_graphs or options.compile:
        return False
    return runtime.device.type == "cuda" and runtime.world == 1


class Recording(NamedTuple):
    """A recorded step.

    graph: its operations.
    inputs: the leaves of its inputs, whose tensors are overwritten before a replay.
    outputs: what it returns, which a replay overwrites.
    """

    graph: torch.cuda.CUDAGraph
    inputs: list
    outputs: Sequence[Tensor | None]


class Replayed:
    """Calls `step`, and from the third call on replays it.

    New sizes or values of what is not a tensor, and another learning rate, make a new recording.

    Args:
        step: takes tensors, None and numbers, also in tuples, and returns tensors and None. Whatever else it
            reads must stay at the same address, and it must never synchronise with the GPU.
        optimizers: those that it steps.
        active: False calls `step` as it is.
    """

    def __init__(self, step: Callable, optimizers: Sequence[torch.optim.Optimizer], active: bool):
        self.step = step
        self.optimizers = optimizers
        self.stream = torch.cuda.Stream() if active else None
        self.calls: Counter = Counter()
        self.recordings: dict[tuple, Recording] = {}
        self.rates: list[float] = []

    def __call__(self, *inputs: object, **named: object) -> tuple[Tensor | None, ...]:
        """Does as `step`."""
        if self.stream is None:
            return self.step(*inputs, **named)
        self._forget_other_rates()
        leaves = tree_leaves((inputs, named))
        key = tuple((x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else x for x in leaves)
        self.calls[key] += 1
        outside = torch.cuda.current_stream()
        self.stream.wait_stream(outside)
        with torch.cuda.stream(self.stream):
            if self.calls[key] <= WARM_UP:
                outputs = self.step(*inputs, **named)
            else:
                if key not in self.recordings:
                    self.recordings[key] = self._record(inputs, named)
                outputs = _replay(self.recordings[key], leaves)
        outside.wait_stream(self.stream)
        return tuple(out if out is None else out.detach() for out in outputs)

    def _forget_other_rates(self) -> None:
        """Drops the recordings when a learning rate has changed, which is part of them."""
        rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        if rates != self.rates:
            self.rates = rates
            self.recordings.clear()

    def _record(self, inputs: tuple, named: dict) -> Recording:
        """Records a step on copies of its inputs; nothing is computed yet."""
        inputs, named = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, (inputs, named))
        for optimizer in self.optimizers:
            optimizer.zero_grad()  # the gradients of the warm-up lie outside the graph's memory
        graph = torch.cuda.CUDAGraph()
        try:
            with capturable(self.optimizers), torch.cuda.graph(graph, stream=self.stream):
                outputs = self.step(*inputs, **named)
        except RuntimeError as error:
            # leaving a recording that ran out of memory can fail in turn, and would hide why
            cause = error.__context__
            raise cause if isinstance(cause, torch.OutOfMemoryError) else error  # noqa: B904
        kept = [out if out is None else out.detach() for out in outputs]
        return Recording(graph, tree_leaves((inputs, named)), kept)


def _replay(recording: Recording, leaves: list) -> list[Tensor | None]:
    """Replays a step on these inputs, and returns copies of its outputs."""
    for place, now in zip(recording.inputs, leaves):
        if isinstance(place, Tensor):
            place.copy_(now)
    recording.graph.replay()
    return [out if out is None else out.clone() for out in recording.outputs]


@contextmanager
def capturable(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
    """Lets Adam be recorded, and only then: a launched step warns about it, and checkpoints need not know."""
    groups = [group for each in optimizers for group in each.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
