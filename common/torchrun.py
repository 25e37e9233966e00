"""The processes of torchrun: means over them, rank 0 first, ending together. Without it there is one."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from common import locks
from common.errors import UsageError

LONGEST_DOWNLOAD = timedelta(hours=3)  # that other ranks wait for
SAID_AFTER = 30  # seconds of waiting for the other processes


def read_environment() -> tuple[int, int]:
    """Returns the rank and the number of processes that torchrun gave this one; 0 and 1 without torchrun.

    Raises:
        UsageError: WORLD_SIZE was left over by something else than torchrun.
    """
    text = os.environ.get("WORLD_SIZE") or "1"
    if text == "1":
        return 0, 1
    advice = "unset WORLD_SIZE to train in one process; torchrun sets all that several need"
    if not text.isdecimal() or not os.environ.get("RANK", "0").isdecimal():
        raise UsageError(f"WORLD_SIZE={text} in the environment is no number of processes: {advice}")
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if lacking:
        raise UsageError(f"the environment has WORLD_SIZE={text} and no {', '.join(lacking)}: {advice}")
    return int(os.environ["RANK"]), int(text)


def join(device: torch.device, rank: int, world: int) -> None:
    """Joins the group of torchrun's processes, where there are several and this one has not yet."""
    if world == 1 or dist.is_initialized():
        return
    with _saying_what_for(world):
        # torchrun keeps its store over a restart; a prefix per attempt hides the addresses of the one before
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(attempt, next(rendezvous("env://"))[0])
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=LONGEST_DOWNLOAD)


@contextlib.contextmanager
def _saying_what_for(world: int) -> Iterator[None]:
    """Says what is waited for, and why, where the other processes do not come soon."""
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    text = (
        f"waiting for {world} processes to meet at {where}, since the environment has WORLD_SIZE={world}: "
        "torchrun starts them; unset WORLD_SIZE to train in one process"
    )
    notice = threading.Timer(SAID_AFTER, lambda: print(text, file=sys.stderr, flush=True))
    notice.daemon = True
    notice.start()
    try:
        yield
    finally:
        notice.cancel()


def leave() -> None:
    """Leaves the group of torchrun's processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass
class Processes:
    """This process among those of torchrun.

    device: where its tensors are.
    rank, world: its number, from 0, and how many there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    def parallel(self, model: nn.Module) -> nn.Module:
        """Returns the model with gradients averaged over the processes; itself when there is one process."""
        if self.world == 1:
            return model
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, devices)

    def average_gradients(self, model: nn.Module) -> None:
        """Averages gradients over the processes by hand, for steps with several forward passes (GANs)."""
        if self.world == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        for gradient, mean in zip(gradients, self.means(gradients)):
            gradient.copy_(mean)

    def mean(self, values: Tensor) -> Tensor:
        """Returns the mean of a tensor over the processes."""
        if self.world == 1:
            return values
        total = values.clone()
        dist.all_reduce(total)
        return total / self.world

    def means(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """Returns the mean of each tensor over the processes, in one message."""
        if self.world == 1:
            return tensors
        together = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        parts = together.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors)]

    def on_any_rank(self, flag: bool) -> bool:
        """Returns True on every process if the flag is true on one; all must call it."""
        if self.world == 1:
            return flag
        return bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)

    def from_rank_0(self, value: float) -> float:
        """Returns rank 0's number on every process; all must call it."""
        if self.world == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(told, 0)
        return float(told)

    def barrier(self) -> None:
        """Waits until every process has come this far."""
        if self.world > 1:
            dist.barrier()

    @contextlib.contextmanager
    def one_first(self, data_root: Path, dataset: str) -> Iterator[None]:
        """Lets rank 0 go first: only one process downloads a data set and fills its cache in `data_root`.

        Others wait, those of other runs too.
        """
        if self.rank > 0:
            self._follow_rank_0(0)
            yield
            return
        with self.ending_together():
            work = f"prepares {dataset} in {data_root}"
            with locks.one_after_another(data_root / f".{dataset}.lock", work):
                yield

    @contextlib.contextmanager
    def ending_together(self) -> Iterator[None]:
        """Encloses what rank 0 alone does: where it raises, the others end as well, with its status.

        All ranks wait for rank 0 at the end.
        """
        try:
            yield
        except Exception as error:
            self._follow_rank_0(2 if isinstance(error, UsageError) else 1)
            raise
        self._follow_rank_0(0)

    def _follow_rank_0(self, status: int) -> None:
        """Sends rank 0's exit status to the others, which end by it unless it is 0."""
        if self.world == 1:
            return
        told = torch.tensor(status, device=self.device)
        dist.broadcast(told, 0)
        if self.rank > 0 and told > 0:
            sys.exit(int(told))
