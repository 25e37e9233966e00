"""Seconds per training episode: ours against a plain implementation of the same mathematics, in one run.

    python benchmarks/protonet.py [--way 60 --shot 5 --query 5] [--device cuda]

The plain version is what the popular ports do: NCHW fp32, ReLU before the pool, a Python loop over classes to choose the
drawings and to average the prototypes, embeddings moved to the CPU for the loss, loss and accuracy read every step. Both start
from the same weights and see the same episodes; their losses are printed side by side.
"""

import copy
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.race import save
from common.runtime import Runtime, ScriptOptions, command, start
from q2_protonet.omniglot_dataset import Characters, DataOptions, load, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss


@dataclass
class Options(ScriptOptions):
    """Time training episodes."""

    way: int = 60  # classes an episode
    shot: int = 5  # support drawings a class
    query: int = 5  # query drawings a class
    episodes: int = 20  # timed episodes of each version; the versions take turns
    compile: bool = False  # also time ours with torch.compile
    save: bool = False  # also write the table to logs/benchmarks/, for the report


class Plain:
    """The plain version."""

    def __init__(self, model: ProtoNet, part: Characters, runtime: Runtime, shot: int):
        layers = [layer for b in model.blocks for layer in (copy.deepcopy(b.conv), copy.deepcopy(b.norm), nn.ReLU(), nn.MaxPool2d(2))]
        self.model = nn.Sequential(*layers, nn.Flatten()).to(runtime.device, memory_format=torch.contiguous_format)
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, foreach=False)
        self.images = (part.images.float() / 255).unsqueeze(2).cpu()  # the whole data set as fp32 on the CPU
        self.device, self.shot = runtime.device, shot

    def step(self, classes: torch.Tensor, drawings: torch.Tensor) -> float:
        batch = torch.cat([self.images[c][d] for c, d in zip(classes.flatten().tolist(), drawings.cpu())]).to(self.device)
        output = self.model(batch).cpu()
        per_class = output.view(len(classes), -1, output.shape[-1])
        prototypes = torch.stack([per_class[c][: self.shot].mean(0) for c in range(len(classes))])
        losses, right = [], []
        for c in range(len(classes)):
            distances = torch.pow(per_class[c][self.shot :].unsqueeze(1) - prototypes.unsqueeze(0), 2).sum(2)
            scores = F.log_softmax(-distances, dim=1)
            losses.append(-scores[:, c])
            right.append(scores.argmax(1) == c)
        loss = torch.cat(losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        torch.cat(right).float().mean().item()
        return loss.item()


class Ours:
    """What train.py does."""

    def __init__(self, model: ProtoNet, part: Characters, runtime: Runtime, shot: int, precision: str, compile: bool = False):
        self.model = copy.deepcopy(model)
        if compile:
            self.model.compile()
        self.optimizer = torch.optim.Adam(self.model.parameters(), 1e-3, fused=True)
        self.images, self.shot = part.images, shot
        self.runtime = Runtime(runtime.device, precision)

    def step(self, classes: torch.Tensor, drawings: torch.Tensor) -> torch.Tensor:
        with self.runtime.autocast():
            embeddings = self.model(prepare(self.images[classes, drawings]))
        loss, _ = prototypical_loss(embeddings.unflatten(0, (len(classes), -1)), self.shot)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


def main(options: Options) -> dict:
    runtime = start(options)
    cuda = runtime.device.type == "cuda"
    part = load(Path("data"), DataOptions("synthetic"))["train"].to(runtime.device)
    generator = torch.Generator(runtime.device).manual_seed(options.seed)
    sampler = PrototypicalBatchSampler(part.counts, options.way, options.shot, options.query, generator)
    model = ProtoNet().to(runtime.device)
    versions = {"plain fp32": Plain(model, part, runtime, options.shot)}
    versions |= {f"ours {p}": Ours(model, part, runtime, options.shot, p) for p in ("fp32", "bf16")}
    if options.compile:
        versions |= {f"ours {p} compiled": Ours(model, part, runtime, options.shot, p, True) for p in ("fp32", "bf16")}
    seconds, losses, memory = ({name: [] for name in versions} for _ in range(3))
    for episode in range(options.episodes + 3):  # the first three warm up
        classes, drawings = (index[0] for index in sampler.draw(1))
        for name, version in versions.items():
            if cuda:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
            began = time.perf_counter()
            loss = version.step(classes, drawings)
            if cuda:
                torch.cuda.synchronize()
                memory[name].append(torch.cuda.max_memory_allocated() / 2**20)
            seconds[name] += [time.perf_counter() - began] if episode >= 3 else []
            losses[name].append(float(loss))
    plain = 1000 * statistics.median(seconds["plain fp32"])
    rows = {}
    what = f"{options.way}-way {options.shot}-shot, {options.query} queries"
    print(f"{what}, {runtime.device_name}, torch {torch.__version__}")
    print(f"{'version':22}{'ms/episode':>12}{'times faster':>14}{'loss 1':>9}{'loss 5':>9}{'last loss':>11}{'peak MiB':>10}")
    for name, curve in losses.items():
        ms = 1000 * statistics.median(seconds[name])
        peak = f"{max(memory[name]):.0f}" if cuda else ""
        print(f"{name:22}{ms:12.1f}{plain / ms:14.2f}{curve[0]:9.4f}{curve[4]:9.4f}{curve[-1]:11.4f}{peak:>10}")
        rows[name] = {"ms": ms, "times_faster": plain / ms, "memory": max(memory[name], default=None), "losses": curve}
    if options.save:
        print(f"saved to {save(what, rows, runtime)}")
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
