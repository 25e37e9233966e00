"""Tests a checkpoint on many few-shot settings at once.

    python q2_protonet/evaluate.py --checkpoint logs/q2_protonet/5w1s/checkpoints/best.pt --way 5 20 --shot 1 5

In eval mode an embedding depends on its image alone, so every drawing passes the network once; the episodes are then drawn
from the embeddings. That gives the numbers of one forward pass an episode, and 1,000 episodes take about a second.
"""

import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
from torch import Tensor

from common import checkpoint
from common.cli import at_least, command
from common.results import write_json
from common.runtime import Runtime, ScriptOptions, UsageError, no_tf32, start
from q2_protonet.omniglot_dataset import Characters, DataOptions, load, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss

QUESTION = "q2_protonet"
PAPER = {
    (5, 1): 98.8,
    (5, 5): 99.7,
    (20, 1): 96.0,
    (20, 5): 98.9,
}  # Snell et al. 2017, table 1: full Omniglot
REPORT = {(5, 1): 97.06, (5, 5): 99.31, (20, 1): 91.47, (20, 5): 97.61}  # the first report: full Omniglot


@dataclass
class Options(ScriptOptions):
    """Test a checkpoint of a prototypical network."""

    checkpoint: Path = Path()  # the checkpoint to test, such as logs/q2_protonet/RUN/checkpoints/best.pt
    way: tuple[int, ...] = (5, 20)  # classes an episode, one setting for each
    shot: tuple[int, ...] = (1, 5)  # support examples a class, one setting for each
    query: int = 15  # query examples a class
    episodes: int = 1000  # episodes a setting
    part: Literal["test", "validation", "train"] = "test"  # which part of the split
    data_root: Path = Path("data")  # folder of the data sets
    dataset: Literal["", "omniglot", "synthetic", "folder"] = (
        ""  # default: what the checkpoint was trained on
    )
    split: Literal["", "vinyals", "random", "small", "small1"] = (
        ""  # default: what the checkpoint was trained on
    )
    folder: Path | None = None  # for --dataset folder


@torch.inference_mode()
@no_tf32()
def embed(model: ProtoNet, images: Tensor, batch: int = 1000) -> Tensor:
    """Embeddings of uint8 drawings in eval mode and fp32: (..., 28, 28) -> (..., dim)."""
    model.eval()
    flat = images.flatten(0, -3)  # (n, 28, 28), through forward: without torch.compile
    return torch.cat([model.forward(prepare(piece)) for piece in flat.split(batch)]).view(
        *images.shape[:-2], -1
    )


@torch.inference_mode()
def run_episodes(
    embeddings: Tensor, sampler: PrototypicalBatchSampler, episodes: int
) -> tuple[float, Tensor]:
    """Classifies the queries of many episodes, a batch of episodes at a time.

    Args:
        embeddings: (class, drawing, dim) of a whole part.
        sampler: draws the episodes.
        episodes: how many.

    Returns:
        Mean loss in nats, and the accuracy of each episode (episodes,) in 0..1.
    """
    distances = sampler.way * sampler.query * sampler.way * embeddings.shape[-1]  # numbers an episode
    batch = max(1, 2**24 // distances)
    losses, accuracies = [], []
    for first in range(0, episodes, batch):
        count = min(batch, episodes - first)
        loss, accuracy = prototypical_loss(embeddings[sampler.draw(count)], sampler.shot)
        losses.append(loss * count)
        accuracies.append(accuracy)
    return float(sum(losses)) / episodes, torch.cat(accuracies)


def test(
    model: ProtoNet,
    part: Characters,
    settings: list[tuple[int, int]],
    query: int,
    episodes: int,
    seed: int,
    note: str = "",
    beside_paper: bool = True,
) -> list[dict]:
    """Rows of results.json, one a (way, shot) setting: mean accuracy in % and its 95% interval, 1.96 sd / sqrt(episodes).

    Args:
        note: what is added to the names, for a control.
        beside_paper: with the paper's and the first report's numbers, which are of Omniglot.
    """
    embeddings = embed(model, part.images)
    rows = []
    for way, shot in settings:
        generator = torch.Generator(embeddings.device).manual_seed(seed)
        sampler = PrototypicalBatchSampler(part.counts, way, shot, query, generator)
        _, accuracy = run_episodes(embeddings, sampler, episodes)
        rows.append(
            {
                "name": f"{way}-way {shot}-shot{note}",
                "value": round(100 * float(accuracy.mean()), 3),
                "interval": round(100 * 1.96 * float(accuracy.std()) / episodes**0.5, 3),
                "unit": "% accuracy",
                "count": f"{episodes} episodes, {query} queries a class, {len(part)} classes",
            }
        )
        if not note and beside_paper:
            rows[-1] |= {"paper": PAPER.get((way, shot)), "report": REPORT.get((way, shot))}
    return rows


def load_model(path: Path, runtime: Runtime) -> tuple[ProtoNet, dict]:
    """The network of a checkpoint, on the device, and the checkpoint's other contents."""
    state = checkpoint.load(path, QUESTION, device=runtime.device)
    model = ProtoNet(**state["architecture"]).to(runtime.device)
    model.load_state_dict(state["model"])
    return model, state


def data_options(trained: dict, options: Options) -> DataOptions:
    """The data a checkpoint was trained on, with what the command line changes."""
    chosen = {field.name: trained[field.name] for field in fields(DataOptions)}
    chosen |= {name: value for name in ("dataset", "split", "folder") if (value := getattr(options, name))}
    return DataOptions(**chosen | {"folder": Path(chosen["folder"]) if chosen["folder"] else None})


def print_table(rows: list[dict]) -> None:
    """Rows of results.json on the screen."""
    print(f"{'setting':34}{'accuracy':>18}{'paper':>8}{'report':>8}")
    for row in rows:
        reference = "".join(f"{row.get(key) or '':>8}" for key in ("paper", "report"))
        print(f"{row['name']:34}{row['value']:>9.2f} ± {row['interval']:.2f} %{reference}")


def main(options: Options) -> list[dict]:
    if options.checkpoint == Path():
        raise UsageError("--checkpoint FILE is needed, such as logs/q2_protonet/RUN/checkpoints/best.pt")
    if min(*options.way, *options.shot) < 1:
        raise UsageError(f"--way and --shot must be 1 or more, not {min(*options.way, *options.shot)}")
    at_least(1, options, "query")
    at_least(2, options, "episodes")
    runtime = start(options)
    model, state = load_model(options.checkpoint, runtime)
    data = data_options(state["options"], options)
    part = load(options.data_root, data, state["options"]["seed"])[options.part].to(runtime.device)
    settings = [(way, shot) for way in options.way for shot in options.shot]
    rows = test(
        model,
        part,
        settings,
        options.query,
        options.episodes,
        options.seed,
        beside_paper=data.dataset == "omniglot",
    )
    print(f"{options.checkpoint}: epoch {state['epoch']}, {options.part} part of {describe(data)}")
    print_table(rows)
    results = options.checkpoint.parent.parent / "results.json"
    if options.checkpoint.parent.name == "checkpoints" and results.exists():
        before = json.loads(results.read_text())
        key = f"evaluate.py, {options.checkpoint.name}, {options.part} part of {describe(data)}, seed {options.seed}"
        merged = {row["name"]: row for row in before.setdefault("evaluations", {}).get(key, []) + rows}
        before["evaluations"][key] = list(merged.values())
        write_json(results, before)
        print(f"added to {results}")
    return rows


def describe(data: DataOptions) -> str:
    """A data set in words: "omniglot, split small"."""
    return (
        f"omniglot, split {data.split}"
        if data.dataset == "omniglot"
        else f"{data.dataset}{f' {data.folder}' if data.folder else ''}"
    )


if __name__ == "__main__":
    command(main, Options, __doc__)
