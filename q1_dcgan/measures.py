"""Measures of a generator: Frechet distance, classes, confidence, labels, memorisation, nearest neighbours.

Inception features mean little on digits, so the Frechet distance is taken on the penultimate layer of a
pinned classifier, and stands beside its floor: the distance between real training pictures and the test set.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoint
from common.pictures import Pictures
from common.results import share_row
from common.run import Run
from common.runtime import Runtime, no_tf32
from q1_dcgan.classifier import Classifier, judge
from q1_dcgan.dcgan import Generator
from q1_dcgan.mnist_dataset import SIZE, prepare, to_uint8
from q1_dcgan.paper import DISTANCE, QUESTION, REAL


@torch.inference_mode()
@no_tf32()
def generate(generator: Generator, noise: Tensor, labels: Tensor | None = None, batch: int = 1000) -> Tensor:
    """uint8 pictures (n, 28, 28 [, 3]) from noise (n, latent_size) and labels (n,) or None; in eval mode."""
    training = generator.training
    generator.eval()
    pieces = noise.split(batch)
    requested = labels.split(batch) if labels is not None else [None] * len(pieces)
    # forward: what --compile compiled is for training's shapes
    images = torch.cat([to_uint8(generator.forward(z, y)) for z, y in zip(pieces, requested)])
    generator.train(training)
    return images


def sample(generator: Generator, count: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """`count` pictures, and the labels requested of a conditional generator: the classes in turn."""
    draws = torch.Generator(device).manual_seed(seed + 10**6)  # not the noise that training begins with
    noise = torch.randn(count, generator.latent_size, generator=draws, device=device)
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
    # on the CPU: its eigenvalues need a library that not every CUDA build of torch has
    distance.update(one.double().cpu(), real=True)
    distance.update(other.double().cpu(), real=False)
    return float(distance.compute())


def measure(
    classifier: Classifier, test_features: Tensor, images: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """The measures of a set of samples (n, 28, 28 [, 3]).

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
        figures |= {f"label_accuracy_{c}": float(right[labels == c].mean()) for c in range(classes)}
    return figures


def random_subset(pictures: Pictures, count: int, seed: int) -> Pictures:
    """At most `count` of the pictures, chosen at random by the seed."""
    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))[:count]
    return pictures[order.to(pictures.images.device)]


def floor(classifier: Classifier, train: Pictures, test_features: Tensor, samples: int, seed: int) -> float:
    """The Frechet distance that perfect samples would get: of real training pictures to the test set."""
    return frechet_distance(test_features, judge(classifier, random_subset(train, samples, seed).images)[0])


@no_tf32()
def nearest(images: Tensor, known: Tensor, batch: int = 500) -> tuple[Tensor, Tensor]:
    """For each of n pictures: which known one has the nearest pixels, and its RMS distance in grey levels.

    Of |a - b|^2 = |a|^2 - 2 ab + |b|^2 the first term is the same for all known pictures b: it is left out.
    """
    pixels = known.flatten(1).float()  # (known, pixels)
    centre = pixels.mean(0)  # smaller numbers, of which fp32 keeps more digits
    centred, found = pixels - centre, []
    lengths = centred.square().sum(1)
    for piece in images.flatten(1).float().split(batch):
        found.append((lengths - 2 * (piece - centre) @ centred.T).argmin(1))  # (batch,)
    index = torch.cat(found)
    return index, (images.flatten(1) - pixels[index]).square().mean(1).sqrt()


def nearest_neighbour_rows(
    generator: Generator, parts: dict[str, Pictures], count: int, seed: int, which: str
) -> list[dict]:
    """The paper's measure of a conditional generator (supplement, table 3), as rows of results.json.

    A 1-nearest-neighbour classifier knows `count` generated pictures and the labels they were drawn for; its
    error on the test set stands beside that of as many real training pictures.
    """
    train, test, rows = parts["train"], parts["test"], []
    drawn = Pictures(*sample(generator, count, seed, train.images.device), train.names)
    for known, of, what in (
        (drawn, "", f"samples known, {which}"),
        (random_subset(train, count, seed), REAL, "real pictures known"),
    ):
        errors = int((known.labels[nearest(test.images, known.images)[0]] != test.labels).sum())
        counted = {"count": f"{len(known):,} {what}"}
        name = f"nearest-neighbour error among {count:,}{of}"
        rows.append(share_row(name, errors, len(test)) | counted)
    return rows


def row(name: str, value: float, digits: int = 3, unit: str = "to the test set") -> dict:
    """A measure as a row of results.json."""
    return {"name": name, "value": round(value, digits), "unit": unit}


def as_rows(figures: dict[str, float], floor_value: float, samples: int, which: str) -> list[dict]:
    """Measures as rows of results.json."""

    rows = [row(DISTANCE, figures["frechet_distance"]), row(DISTANCE + REAL, floor_value)]
    if "kl_to_uniform" in figures:
        rows += [
            row("class histogram, KL to uniform", figures["kl_to_uniform"], 5, "nats"),
            row("rarest class", figures["rarest_class"], 3, "times uniform"),
            row("commonest class", figures["commonest_class"], 3, "times uniform"),
            row("confidence of the classifier", 100 * figures["confidence"], 2, "%"),
        ]
    if "label_accuracy" in figures:
        rows.append(share_row("label accuracy", round(figures["label_accuracy"] * samples), samples))
    return [row | {"count": f"{samples} samples, {which}"} for row in rows]


def measure_run(
    run: Run,
    kept: Generator,
    generator: Generator,
    classifier: Classifier,
    seen: dict[str, Pictures],
    test_features: Tensor,
) -> dict:
    """Title and rows of results.json: the measures after the first, middle and last epoch of a finished run.

    Args:
        kept: the network that draws samples; its weights become those of the last epoch.
        generator: the trained one, another than `kept` if that is its moving average.
        seen: the data set as `as_sampled` gives it.
    """
    options = run.options

    def measure_now(network: Generator) -> dict[str, float]:
        drawn = sample(network, options.test_samples, options.seed, run.runtime.device)
        return measure(classifier, test_features, *drawn)

    least = floor(classifier, seen["train"], test_features, options.test_samples, options.seed)
    run.runtime.barrier()  # until rank 0 has written the last network
    saved = sorted(int(path.stem[6:]) for path in run.last.parent.glob("epoch_*.pt"))
    middle = min(saved, key=lambda epoch: abs(epoch - options.epochs // 2))
    if middle != max(1, options.epochs // 2):  # a run that was made longer
        run.log(f"epoch {options.epochs // 2} was not kept: epoch {middle} stands for the middle")
    measured = {}
    for epoch in sorted({1, middle, saved[-1]}):
        run.load_network(f"epoch_{epoch}", kept)
        measured[epoch] = measure_now(kept)
    rows = as_rows(measured[saved[-1]], least, options.test_samples, f"epoch {saved[-1]}")
    extra = {f"after epoch {epoch}": measured[epoch] for epoch in measured if epoch != saved[-1]}
    if kept is not generator:
        measured["raw generator"] = extra["without averaging the weights"] = measure_now(generator)
    rows += [row(f"{DISTANCE} {which}", its["frechet_distance"]) for which, its in extra.items()]
    title = f"{'Conditional ' if options.conditional else ''}DCGAN, {options.dataset}, "
    title += f"{options.image_size} pixels, seed {options.seed}"
    return {"title": title, "rows": rows, "figures": measured, "epochs": saved[-1]}


def class_names(state: dict) -> list[str]:
    """The names of a generator's classes; for an earlier checkpoint, without any, its data set's."""
    count = state["architecture"]["classes"]
    names = state.get("facts", {}).get("classes", [])
    if not names and state["options"]["dataset"] == "fashion_mnist":
        from torchvision.datasets import FashionMNIST  # takes a second to import

        names = FashionMNIST.classes
    return names if len(names) == count else [str(number) for number in range(count)]


def load_generator(path: Path | str, runtime: Runtime) -> tuple[Generator, dict]:
    """The generator of a checkpoint (its moving average where there is one) and the checkpoint's contents."""
    parts = "average", "model", "generator"
    generator, state = checkpoint.load_network(path, QUESTION, Generator, runtime.device, parts)
    return generator.eval(), state
