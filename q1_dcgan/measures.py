"""Measures of a generator: Frechet distance, classes, confidence, labels, memorisation, nearest neighbours.

Inception features mean little on digits, so the Frechet distance is taken on the penultimate layer of a
pinned classifier, and stands beside its floor: the distance between real training pictures and the test set.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.device import Runtime, no_tf32
from common.errors import RunError
from common.labelled_images import LabelledImages
from common.statistics import share_row
from q1_dcgan.classifier import LEAST_ACCURACY, Classifier, judge, trained_classifier
from q1_dcgan.dcgan import Generator
from q1_dcgan.mnist_dataset import prepare, to_uint8
from q1_dcgan.mnist_files import SIZE
from q1_dcgan.painter import generate
from q1_dcgan.paper import DISTANCE, LABELS, REAL, name_neighbours


@dataclass
class Reference:
    """The real pictures that samples are compared with, and the classifier that sees both.

    classifier, facts: the judge, and what is recorded of it.
    parts: "train" and "test", as samples of this size are seen.
    test_features: (n, 128) of the test part.
    """

    classifier: Classifier
    facts: dict
    parts: dict[str, LabelledImages]
    test_features: Tensor

    @classmethod
    def make(
        cls,
        parts: dict[str, LabelledImages],
        dataset: str,
        image_size: int,
        data_root: Path,
        runtime: Runtime,
    ) -> "Reference":
        """Loads or trains the judge of a data set, and shows it the pictures as samples are seen.

        Raises:
            RunError: the judge of MNIST is not good enough; there are too few test pictures to compare with.
        """
        if len(parts["test"]) < 2:
            raise RunError(
                f"the test part of {dataset} has {len(parts['test'])} picture: samples are compared with the "
                "distribution of two or more, and a thousand or more make a sound measure"
            )
        least = LEAST_ACCURACY if dataset == "mnist" else 0
        classifier, facts = trained_classifier(parts, data_root, runtime, least)
        seen = {name: as_sampled(part, image_size) for name, part in parts.items()}
        return cls(classifier, facts, seen, judge(classifier, seen["test"].images)[0])

    def measure(self, images: Tensor, labels: Tensor | None) -> dict[str, float]:
        """Measures samples (n, 28, 28 [, 3]), as `measure` does."""
        return measure(self.classifier, self.test_features, images, labels)

    def floor(self, samples: int, seed: int) -> dict:
        """Returns the Frechet distance of real training pictures, which perfect samples would get, as a row.

        There are as many of them as samples, or all where the training part has fewer.
        """
        real = random_subset(self.parts["train"], samples, seed)
        distance = frechet_distance(self.test_features, judge(self.classifier, real.images)[0])
        return distance_row(DISTANCE + REAL, distance) | {"count": f"{len(real):,} real pictures"}


def sample(generator: Generator, count: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Draws `count` images; of a conditional generator also the labels requested, the classes in turn."""
    draws = torch.Generator(device).manual_seed(seed + 10**6)  # not the noise that training begins with
    noise = torch.randn(count, generator.latent_size, generator=draws, device=device)
    labels = torch.arange(count, device=device) % generator.classes if generator.classes else None
    return generate(generator, noise, labels), labels


def as_sampled(pictures: LabelledImages, image_size: int, batch: int = 1000) -> LabelledImages:
    """Scales real pictures to `image_size` and back to 28 pixels, as samples of that size are measured.

    Going to 64 pixels and back alone costs a Frechet distance of about 70: samples are compared with reality
    seen the same way.
    """
    if image_size == SIZE:
        return pictures
    images = torch.cat([to_uint8(prepare(piece, image_size)) for piece in pictures.images.split(batch)])
    return replace(pictures, images=images)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features (n, dim): Heusel et al. 2017, eq. 6."""
    m1, c1 = mean_and_covariance(one)
    m2, c2 = mean_and_covariance(other)
    root = torch.linalg.eigvals(c1 @ c2).sqrt().real.sum()  # the trace of (C1 C2)^(1/2)
    return float((m1 - m2).square().sum() + (c1.trace() + c2.trace()) - 2 * root)


def mean_and_covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean (dim,) and the covariance (dim, dim) of features (n, dim), in fp64 on the CPU.

    The eigenvalues need a library that not every CUDA build of torch has.
    """
    features = features.double().cpu()
    count = len(features)
    mean = features.sum(0, keepdim=True) / count  # (1, dim)
    covariance = (features.T @ features - count * (mean.T @ mean)) / (count - 1)
    return mean[0], covariance


def measure(
    classifier: Classifier, test_features: Tensor, images: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Measures a set of samples (n, 28, 28 [, 3]).

    Returns (of pictures without classes only the first):
        frechet_distance: to the test set, on the classifier's features.
        kl_to_uniform: of the histogram of predicted classes, in nats; 0 when all are equally frequent.
        rarest_class, commonest_class: share of the samples, times the number of classes; 1 is uniform.
        confidence: mean probability of the predicted class, 0 to 1.
        label_accuracy: share classified as the requested label, 0 to 1 (conditional), also per class.
    """
    features, probabilities = judge(classifier, images)
    figures = {"frechet_distance": frechet_distance(test_features, features)}
    classes = classifier.classes
    if classes < 2:
        return figures
    predicted = probabilities.argmax(1)
    shares = torch.bincount(predicted, minlength=classes).double() / len(images)
    figures |= {
        "kl_to_uniform": float(torch.special.xlogy(shares, shares * classes).sum()),
        "rarest_class": float(shares.min() * classes),
        "commonest_class": float(shares.max() * classes),
        "confidence": float(probabilities.max(1).values.mean()),
    }
    if labels is not None:
        right = (predicted == labels).double()
        figures["label_accuracy"] = float(right.mean())
        drawn = labels.unique().tolist()  # fewer samples than classes do not have them all
        figures |= {f"label_accuracy_{c}": float(right[labels == c].mean()) for c in drawn}
    return figures


def random_subset(pictures: LabelledImages, count: int, seed: int) -> LabelledImages:
    """Returns at most `count` of the pictures, chosen at random by the seed."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:count]
    return pictures[order.to(pictures.images.device)]


@no_tf32()
def nearest(images: Tensor, known: Tensor, batch: int = 500) -> tuple[Tensor, Tensor]:
    """Finds for each of n pictures the known one with the nearest pixels.

    Of |a - b|^2 = |a|^2 - 2 ab + |b|^2 the first term is the same for all known pictures b: it is left out.

    Returns:
        Its index (n,), and its RMS distance (n,) in grey levels.
    """
    pixels = known.flatten(1).float()  # (known, pixels)
    centre = pixels.mean(0)  # smaller numbers, of which fp32 keeps more digits
    centred = pixels - centre
    lengths = centred.square().sum(1)
    found = []
    for piece in images.flatten(1).float().split(batch):
        found.append((lengths - 2 * (piece - centre) @ centred.T).argmin(1))  # (batch,)
    index = torch.cat(found)
    return index, (images.flatten(1) - pixels[index]).square().mean(1).sqrt()


def nearest_neighbour_rows(
    generator: Generator, parts: dict[str, LabelledImages], count: int, seed: int, epoch: str
) -> list[dict]:
    """Measures a conditional generator as the paper does (supplement, table 3): rows of results.json.

    A 1-nearest-neighbour classifier knows `count` generated pictures and the labels they were drawn for; its
    error on the test set stands beside that of as many real training pictures.

    Args:
        epoch: which weights drew the samples, in words.
    """
    train = parts["train"]
    drawn = LabelledImages(*sample(generator, count, seed, train.images.device), train.names)
    real = random_subset(train, count, seed)
    name = name_neighbours(count)
    return [
        _neighbour_row(name, drawn, parts["test"], f"samples known, {epoch}"),
        _neighbour_row(name + REAL, real, parts["test"], "real pictures known"),
    ]


def _neighbour_row(name: str, known: LabelledImages, test: LabelledImages, what: str) -> dict:
    """Returns the error of a 1-nearest-neighbour classifier that knows `known`, as a row."""
    return share_row(name, neighbour_errors(known, test), len(test)) | {"count": f"{len(known):,} {what}"}


def neighbour_errors(known: LabelledImages, test: LabelledImages) -> int:
    """Returns how many pictures of `test` a 1-nearest-neighbour classifier that knows `known` gets wrong."""
    index, _ = nearest(test.images, known.images)
    return int((known.labels[index] != test.labels).sum())


def distance_row(name: str, value: float) -> dict:
    """Returns a Frechet distance as a row of results.json."""
    return {"name": name, "value": round(value, 3), "unit": "to the test set"}


def as_rows(figures: dict[str, float], floor: dict, samples: int, epoch: str) -> list[dict]:
    """Returns measures as rows of results.json.

    Args:
        figures: what `measure` returned.
        floor: what `Reference.floor` returned.
        samples: how many were measured.
        epoch: which weights drew the samples, in words.
    """
    rows = [distance_row(DISTANCE, figures["frechet_distance"]), floor]
    for name, key, factor, digits, unit in (
        ("class histogram, KL to uniform", "kl_to_uniform", 1, 5, "nats"),
        ("rarest class", "rarest_class", 1, 3, "times uniform"),
        ("commonest class", "commonest_class", 1, 3, "times uniform"),
        ("confidence of the classifier", "confidence", 100, 2, "%"),
    ):
        if key in figures:
            rows.append({"name": name, "value": round(factor * figures[key], digits), "unit": unit})
    if "label_accuracy" in figures:
        rows.append(share_row(LABELS, round(figures["label_accuracy"] * samples), samples))
    measured_on = {"count": f"{samples:,} samples, {epoch}"}
    return [row if row is floor else row | measured_on for row in rows]
