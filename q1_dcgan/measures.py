"""Measures of a generator: Frechet distance, classes, confidence, labels, memorisation.

Inception features mean little on digits, so the Frechet distance is taken on the penultimate layer of a
pinned classifier, and stands beside its floor: the distance between real training pictures and the test set.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoint
from common.results import share_row
from common.runtime import Runtime, no_tf32
from q1_dcgan.classifier import Classifier, judge
from q1_dcgan.dcgan import Generator
from q1_dcgan.mnist_dataset import SIZE, Pictures, prepare, to_uint8
from q1_dcgan.paper import QUESTION


@torch.inference_mode()
@no_tf32()
def generate(generator: Generator, noise: Tensor, labels: Tensor | None = None, batch: int = 1000) -> Tensor:
    """uint8 pictures (n, 28, 28) of noise (n, latent_size) and, when conditional, labels (n,); eval mode."""
    training = generator.training
    generator.eval()
    pieces = (
        noise.split(batch),
        labels.split(batch) if labels is not None else [None] * len(noise.split(batch)),
    )
    images = torch.cat([to_uint8(generator.forward(z, y)) for z, y in zip(*pieces)])  # forward: not compiled
    generator.train(training)
    return images


def sample(generator: Generator, count: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """`count` pictures, and the labels requested of a conditional generator: the classes in turn."""
    noise_generator = torch.Generator(device).manual_seed(
        seed + 10**6
    )  # not the noise that training begins with
    noise = torch.randn(count, generator.latent_size, generator=noise_generator, device=device)
    labels = torch.arange(count, device=device) % generator.classes if generator.classes else None
    return generate(generator, noise, labels), labels


def as_sampled(pictures: Pictures, image_size: int, batch: int = 1000) -> Pictures:
    """Real pictures scaled to `image_size` and back to 28 pixels, as samples of that size are measured.

    Going to 64 pixels and back alone costs a Frechet distance of about 70: samples are compared with reality
    seen the same way.
    """
    if image_size == SIZE:
        return pictures
    images = torch.cat([to_uint8(prepare(piece, image_size)) for piece in pictures.images.split(batch)])
    return replace(pictures, images=images)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features (n, dim) (Heusel et al. 2017, eq. 6)."""
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
    """The measures of a set of samples (n, 28, 28).

    Returns:
        frechet_distance: to the test set, on the classifier's features.
        kl_to_uniform: of the histogram of predicted classes, in nats; 0 when all are equally frequent.
        rarest_class, commonest_class: share of the samples, times the number of classes; 1 is uniform.
        confidence: mean probability of the predicted class, 0 to 1.
        label_accuracy: share classified as the requested label, 0 to 1 (conditional), also per class.
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
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:samples]
    return frechet_distance(test_features, judge(classifier, train.images[order.to(train.images.device)])[0])


@no_tf32()
def nearest_training(images: Tensor, train: Tensor, batch: int = 10000) -> tuple[Tensor, Tensor]:
    """For pictures (n, 28, 28): index of the nearest training picture and its RMS grey-level distance."""
    flat = images.flatten(1).float()
    distances = torch.cat([torch.cdist(flat, piece.flatten(1).float()) for piece in train.split(batch)], 1)
    nearest = distances.min(1)
    return nearest.indices, nearest.values / images[0].numel() ** 0.5


def as_rows(figures: dict[str, float], floor_value: float, samples: int, which: str) -> list[dict]:
    """Measures as rows of results.json."""
    distance = {"unit": "to the test set"}
    rows = [
        {"name": "Frechet distance", "value": round(figures["frechet_distance"], 3)} | distance,
        {"name": "Frechet distance of real training pictures (floor)", "value": round(floor_value, 3)}
        | distance,
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
        rows.append(share_row("label accuracy", round(figures["label_accuracy"] * samples), samples))
    return [row | {"count": f"{samples} samples, {which}"} for row in rows]


def load_generator(path: Path, runtime: Runtime) -> tuple[Generator, dict]:
    """The generator of a checkpoint (its moving average where there is one) and the checkpoint's contents."""
    state = checkpoint.load(path, QUESTION, device=runtime.device)
    generator = Generator(**state["architecture"]).to(runtime.device)
    weights = state.get("model", state.get("generator"))
    if "average" in state:
        average = state["average"].items()
        weights = {
            name.removeprefix("module."): value for name, value in average if name.startswith("module.")
        }
    generator.load_state_dict(weights)
    return generator.eval(), state
