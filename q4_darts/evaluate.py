"""Tests a checkpoint of train.py, or the supernet of train_search.py, on the test pictures.

python q4_darts/evaluate.py --checkpoint logs/q4_darts/RUN/checkpoints/last.pt
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common import checkpoint, plots
from common.cli import command
from common.results import write_json
from common.runtime import Runtime, ScriptOptions, UsageError, start
from q4_darts.cifar10_dataset import DataOptions, augment, load, normalise
from q4_darts.genotypes import parse
from q4_darts.model import Network
from q4_darts.model_search import Supernet

QUESTION = "q4_darts"


@dataclass
class Options(ScriptOptions):
    """Test a derived network, or a supernet."""

    checkpoint: Path = (
        Path()
    )  # a checkpoint of train.py or train_search.py, such as logs/q4_darts/RUN/checkpoints/last.pt
    data_root: Path = Path("data")  # folder of the data sets
    figure_root: Path = Path("figures")  # folder of the pictures


@torch.inference_mode()
def predict(
    model: nn.Module, images: Tensor, runtime: Runtime, draws: torch.Generator | None = None, batch: int = 500
) -> Tensor:
    """Logits (n, classes) in fp32 of uint8 pictures (n, 32, 32, 3), in eval mode; cropped and mirrored by `draws` if given."""
    training = model.training
    model.eval()
    logits = []
    for piece in images.split(batch):
        with runtime.autocast():
            out = model.forward(augment(piece, draws) if draws else normalise(piece))  # without torch.compile
        logits.append((out[0] if isinstance(out, tuple) else out).float())
    model.train(training)
    return torch.cat(logits)


def accuracy_row(name: str, share: float, count: int, **more: object) -> dict:
    """A row of results.json: a share of `count` pictures as a percentage with its 95% interval."""
    interval = 196 * (share * (1 - share) / count) ** 0.5
    return {
        "name": name,
        "value": round(100 * share, 2),
        "interval": round(interval, 2),
        "unit": "% accuracy",
        "count": count,
        **more,
    }


def multiply_adds(model: Network, device: torch.device) -> int:
    """Multiplications of the convolutions and the last layer for one picture, in eval mode."""
    training = model.training
    model.eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros(1, 3, 32, 32, device=device))
    model.train(training)
    return counter.get_total_flops() // 2


def load_model(path: Path, runtime: Runtime) -> tuple[nn.Module, dict]:
    """The network of a checkpoint on the device, and the checkpoint's contents."""
    state = checkpoint.load(path, QUESTION, device=runtime.device)
    numbers = dict(state["architecture"])
    if "genotype" in numbers:
        numbers["genotype"] = parse(numbers["genotype"])
        model = Network(**numbers)
    else:
        model = Supernet(**numbers)
    model.load_state_dict(state["model"])
    return model.to(runtime.device), state


def draw_confusion(predicted: Tensor, labels: Tensor, names: list[str], path: Path) -> None:
    """Which classes are taken for which: a row a true class, in percent of it."""
    classes = len(names)
    table = (
        torch.bincount(labels * classes + predicted, minlength=classes**2)
        .view(classes, classes)
        .cpu()
        .double()
    )
    table = 100 * table / table.sum(1, keepdim=True)
    canvas, ((axis,),) = plots.figure(size=(6.4, 5.4))
    image = axis.imshow(table.sqrt(), cmap="Blues", vmin=0, vmax=10)
    for row in range(classes):
        for column in range(classes):
            if table[row, column] >= 0.05:
                color = "white" if table[row, column] > 40 else "black"
                axis.text(
                    column,
                    row,
                    f"{table[row, column]:.1f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color=color,
                )
    axis.grid(False)
    axis.set_xticks(range(classes), names, rotation=45, ha="right")
    axis.set_yticks(range(classes), names)
    axis.set(
        xlabel="read as",
        ylabel="true class",
        title=f"Confusion on {len(labels):,} test pictures (% of the true class)",
    )
    bar = canvas.colorbar(image, ax=axis, label="% (square-root scale)", ticks=[0, 1, 3.1623, 7.0711, 10])
    bar.set_ticklabels(["0", "1", "10", "50", "100"])
    plots.save(canvas, path)


def main(options: Options) -> dict:
    if options.checkpoint == Path():
        raise UsageError("--checkpoint FILE is needed, such as logs/q4_darts/RUN/checkpoints/last.pt")
    runtime = start(options)
    model, state = load_model(options.checkpoint, runtime)
    trained = state["options"]
    data = DataOptions(trained["dataset"], Path(trained["folder"]) if trained["folder"] else None)
    test = load(options.data_root, data, trained["seed"])["test"].to(runtime.device)
    predicted = predict(model, test.images, runtime).argmax(1)
    right = predicted == test.labels
    row = accuracy_row(f"test, epoch {state['epoch']}", right.double().mean().item(), len(test))
    by_class = {name: right[test.labels == c].double().mean().item() for c, name in enumerate(test.names)}
    parameters = sum(
        p.numel()
        for name, p in model.named_parameters()
        if not name.startswith(("auxiliary", "alphas", "betas"))
    )
    run = (
        options.checkpoint.parent.parent
        if options.checkpoint.parent.name == "checkpoints"
        else options.checkpoint.parent
    )
    figure = options.figure_root / QUESTION / run.name / "confusion.png"
    draw_confusion(predicted, test.labels, test.names, figure)
    result = {"rows": [row], "by_class": by_class, "parameters": parameters}
    size = f"{parameters:,} parameters"
    if isinstance(model, Network):  # the supernet's number would be of how it is computed
        result["multiply_adds"] = multiply_adds(model, runtime.device)
        size += f", {result['multiply_adds'] / 1e6:.1f} million multiply-adds a picture"
    print(
        f"{row['name']}: {row['value']:.2f} ± {row['interval']:.2f} % of {len(test):,} pictures of {trained['dataset']}"
    )
    print("by class: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in by_class.items()))
    print(f"{size}; confusion in {figure}")
    if (run / "results.json").exists():
        before = json.loads((run / "results.json").read_text())
        before.setdefault("evaluations", {})[options.checkpoint.name] = result
        write_json(run / "results.json", before)
    return result


if __name__ == "__main__":
    command(main, Options, __doc__)
