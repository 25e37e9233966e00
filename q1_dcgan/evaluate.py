"""Measures a generator with the pinned classifier: Frechet distance, classes, confidence, labels, memorisation.

    python q1_dcgan/evaluate.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt

Inception features mean little on digits, so the Frechet distance here is taken on the classifier's penultimate layer, and stands
beside its floor: the same distance between real training pictures and the test set.
"""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
from torch import Tensor, nn

from common import checkpoint, plots
from common.cli import at_least, command
from common.results import write_json
from common.runtime import Runtime, ScriptOptions, UsageError, no_tf32, start
from q1_dcgan.classifier import LEAST_ACCURACY, Classifier, judge, trained_classifier
from q1_dcgan.dcgan import Generator
from q1_dcgan.mnist_dataset import SIZE, DataOptions, Pictures, load, prepare, to_uint8

QUESTION = "q1_dcgan"


@dataclass
class Options(ScriptOptions):
    """Measure the samples of a generator."""

    checkpoint: Path = Path()  # a checkpoint of train.py, such as logs/q1_dcgan/RUN/checkpoints/last.pt
    samples: int = 10000  # samples to draw; 1,000 a class when the generator is conditional
    data_root: Path = Path("data")  # folder of the data sets
    figure_root: Path = Path("figures")  # folder of the pictures


@torch.inference_mode()
@no_tf32()
def generate(generator: Generator, noise: Tensor, labels: Tensor | None = None, batch: int = 1000) -> Tensor:
    """uint8 pictures (n, 28, 28) of noise (n, latent_size), and labels (n,) when conditional, in eval mode."""
    training = generator.training
    generator.eval()
    pieces = (
        noise.split(batch),
        labels.split(batch) if labels is not None else [None] * len(noise.split(batch)),
    )
    images = torch.cat([to_uint8(generator.forward(z, y)) for z, y in zip(*pieces)])  # without torch.compile
    generator.train(training)
    return images


def draw_samples(
    generator: Generator, count: int, seed: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """`count` pictures, and the labels asked of a conditional generator: as many of each class as `count` allows."""
    draws = torch.Generator(device).manual_seed(seed + 10**6)  # not the noise that training begins with
    noise = torch.randn(count, generator.latent_size, generator=draws, device=device)
    labels = torch.arange(count, device=device) % generator.classes if generator.classes else None
    return generate(generator, noise, labels), labels


def as_drawn(pictures: Pictures, image_size: int, batch: int = 1000) -> Pictures:
    """Real pictures as samples of `image_size` are measured: scaled to it and back to 28, which is nothing at 28.

    Going to 64 pixels and back alone would cost a Frechet distance of about 70: samples are compared with reality seen the same way.
    """
    if image_size == SIZE:
        return pictures
    images = torch.cat([to_uint8(prepare(piece, image_size)) for piece in pictures.images.split(batch)])
    return replace(pictures, images=images)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (n, dim) (Heusel et al. 2017, eq. 6)."""
    from torchmetrics.image.fid import FrechetInceptionDistance  # takes seconds to import

    features = nn.Identity()
    features.num_features = one.shape[1]
    distance = FrechetInceptionDistance(feature=features, sync_on_compute=False).set_dtype(torch.float64)
    distance.update(
        one.double().cpu(), real=True
    )  # its eigenvalues want a library that not every CUDA torch has
    distance.update(other.double().cpu(), real=False)
    return float(distance.compute())


def measure(
    classifier: Classifier, test_features: Tensor, images: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """The figures of a set of samples (n, 28, 28).

    Returns:
        frechet_distance: to the test set, on the classifier's features.
        kl_to_uniform: of the histogram of predicted classes, in nats; 0 when all classes come equally often.
        rarest_class, commonest_class: share of the samples, times the number of classes; 1 is uniform.
        confidence: mean probability of the predicted class, 0..1.
        label_accuracy: share read as the label asked, 0..1 (conditional only), and its parts by class.
    """
    features, probabilities = judge(classifier, images)
    predicted = probabilities.argmax(1)
    classes = probabilities.shape[1]
    shares = torch.bincount(predicted, minlength=classes).double() / len(images)
    figures = {
        "frechet_distance": frechet_distance(test_features, features),
        "kl_to_uniform": float(torch.special.xlogy(shares, shares * classes).sum()),
        "rarest_class": float(shares.min() * classes),
        "commonest_class": float(shares.max() * classes),
        "confidence": float(probabilities.max(1).values.mean()),
    }
    if labels is not None:
        right = (predicted == labels).double()
        figures["label_accuracy"] = float(right.mean())
        figures |= {f"label_accuracy_{c}": float(right[labels == c].mean()) for c in range(classes)}
    return figures


def floor(classifier: Classifier, train: Pictures, test_features: Tensor, samples: int, seed: int) -> float:
    """The Frechet distance that perfect samples would get: of real training pictures to the test set."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:samples].to(
        train.images.device
    )
    return frechet_distance(test_features, judge(classifier, train.images[order])[0])


@no_tf32()
def nearest_training(images: Tensor, train: Tensor, batch: int = 10000) -> tuple[Tensor, Tensor]:
    """For pictures (n, 28, 28): index of the nearest training picture and its distance in root mean square grey levels."""
    flat = images.flatten(1).float()
    distances = torch.cat([torch.cdist(flat, piece.flatten(1).float()) for piece in train.split(batch)], 1)
    nearest = distances.min(1)
    return nearest.indices, nearest.values / images[0].numel() ** 0.5


def as_rows(figures: dict[str, float], floor_value: float, samples: int, which: str) -> list[dict]:
    """Figures as rows of results.json."""
    count = f"{samples} samples, {which}"
    rows = [
        {
            "name": "Frechet distance",
            "value": round(figures["frechet_distance"], 3),
            "unit": "to the test set",
        },
        {
            "name": "Frechet distance of real training pictures (floor)",
            "value": round(floor_value, 3),
            "unit": "to the test set",
        },
        {
            "name": "class histogram, KL to uniform",
            "value": round(figures["kl_to_uniform"], 5),
            "unit": "nats",
        },
        {"name": "rarest class", "value": round(figures["rarest_class"], 3), "unit": "times uniform"},
        {"name": "commonest class", "value": round(figures["commonest_class"], 3), "unit": "times uniform"},
        {"name": "confidence of the classifier", "value": round(100 * figures["confidence"], 2), "unit": "%"},
    ]
    if "label_accuracy" in figures:
        interval = 196 * (figures["label_accuracy"] * (1 - figures["label_accuracy"]) / samples) ** 0.5
        rows.append(
            {
                "name": "label accuracy",
                "value": round(100 * figures["label_accuracy"], 2),
                "interval": round(interval, 2),
                "unit": "%",
            }
        )
    return [row | {"count": count} for row in rows]


def load_generator(path: Path, runtime: Runtime) -> tuple[Generator, dict]:
    """The generator of a checkpoint (the averaged one where there is one), on the device, and the checkpoint's contents."""
    state = checkpoint.load(path, QUESTION, device=runtime.device)
    generator = Generator(**state["architecture"]).to(runtime.device)
    weights = state.get("model", state.get("generator"))
    if "average" in state:
        weights = {
            name.removeprefix("module."): value
            for name, value in state["average"].items()
            if name.startswith("module.")
        }
    generator.load_state_dict(weights)
    return generator.eval(), state


def draw_neighbours(images: Tensor, train: Pictures, path: Path) -> list[float]:
    """Ten samples above their nearest training pictures; returns the distances in grey levels."""
    index, distance = nearest_training(images, train.images)
    rows = [list(images.cpu().numpy() / 255), list(train.images[index].cpu().numpy() / 255)]
    columns = [f"{value:.0f}" for value in distance.tolist()]
    plots.image_grid(
        rows,
        path,
        "Samples and their nearest training pictures (RMS distance in grey levels)",
        ["sample", "nearest"],
        columns,
    )
    return distance.tolist()


def draw_histogram(images: Tensor, classifier: Classifier, names: list[str], path: Path) -> None:
    """How often the classifier reads each class in the samples."""
    predicted = judge(classifier, images)[1].argmax(1)
    shares = torch.bincount(predicted, minlength=len(names)).cpu().numpy() / len(images) * 100
    canvas, ((axis,),) = plots.figure(size=(6, 3.4))
    axis.bar(names, shares, color=plots.COLORS["train"])
    axis.axhline(100 / len(names), color="black", linestyle="--", linewidth=1, label="uniform")
    axis.set(
        xlabel="class read by the classifier",
        ylabel="share of the samples (%)",
        title=f"Classes of {len(images):,} samples",
    )
    axis.tick_params(axis="x", labelrotation=0 if max(map(len, names)) < 4 else 45)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # above the axes, where no bar is
    plots.save(canvas, path)


def main(options: Options) -> dict:
    if options.checkpoint == Path():
        raise UsageError("--checkpoint FILE is needed, such as logs/q1_dcgan/RUN/checkpoints/last.pt")
    at_least(200, options, "samples")
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    trained = state["options"]
    folder = Path(trained["folder"]) if trained["folder"] else None
    data = DataOptions(trained["dataset"], folder, trained["synthetic_pictures"])
    parts = {
        name: part.to(runtime.device) for name, part in load(options.data_root, data, trained["seed"]).items()
    }
    classifier, facts = trained_classifier(
        parts, options.data_root, runtime, LEAST_ACCURACY if data.dataset == "mnist" else 0
    )
    drawn = {name: as_drawn(part, state["architecture"]["image_size"]) for name, part in parts.items()}
    test_features = judge(classifier, drawn["test"].images)[0]
    images, labels = draw_samples(generator, options.samples, options.seed, runtime.device)
    figures = measure(classifier, test_features, images, labels)
    rows = as_rows(
        figures,
        floor(classifier, drawn["train"], test_features, options.samples, options.seed),
        options.samples,
        f"epoch {state['epoch']}",
    )
    run = (
        options.checkpoint.parent.parent
        if options.checkpoint.parent.name == "checkpoints"
        else options.checkpoint.parent
    )
    folder = options.figure_root / QUESTION / run.name
    distances = draw_neighbours(images[:10], drawn["train"], folder / "nearest.png")
    draw_histogram(images, classifier, parts["train"].names, folder / "classes.png")
    for row in rows:
        print(f"{row['name']:52}{row['value']:>10} {row['unit']}")
    if "label_accuracy" in figures:
        print(
            "label accuracy by class: "
            + ", ".join(
                f"{n} {100 * figures[f'label_accuracy_{c}']:.1f} %"
                for c, n in enumerate(parts["train"].names)
            )
        )
    print(
        f"nearest training picture of ten samples: {np.mean(distances):.1f} grey levels away on average; figures in {folder}"
    )
    result = {"classifier": facts, "figures": figures, "rows": rows, "nearest_training_rms": distances}
    if (run / "results.json").exists():
        before = json.loads((run / "results.json").read_text())
        before.setdefault("evaluations", {})[
            f"{options.checkpoint.name}, {options.samples} samples, seed {options.seed}"
        ] = result
        write_json(run / "results.json", before)
    return result


if __name__ == "__main__":
    command(main, Options, __doc__)
