"""The judge of the samples: a small classifier, trained once on real pictures with a fixed recipe and kept with its hash."""

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from common import checkpoint
from common.cache import write_cache
from common.runtime import RunError, Runtime, no_tf32
from q1_dcgan.mnist_dataset import Pictures, prepare

EPOCHS, BATCH, FEATURES = 8, 128, 128
LEAST_ACCURACY = 0.993  # on MNIST's test set
RECIPE = f"conv16-32-64-fc{FEATURES}, {EPOCHS} epochs of {BATCH}, one-cycle AdamW 4e-3, shifts of 2, seed 0, version 1"


class Classifier(nn.Module):
    """Pictures (n, 1, 28, 28) in [-1, 1] -> logits (n, classes); `features` gives the penultimate layer, (n, 128)."""

    def __init__(self, classes: int = 10):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 16), (16, 32), (32, 64)):  # 28 -> 14 -> 7 -> 3
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.MaxPool2d(2),
                nn.ReLU(),
            ]
        self.features = nn.Sequential(
            *layers, nn.Flatten(), nn.Dropout(0.2), nn.Linear(64 * 9, FEATURES), nn.ReLU()
        )
        self.score = nn.Linear(FEATURES, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.features(images))


@torch.inference_mode()
@no_tf32()
def judge(classifier: Classifier, images: Tensor, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Features (n, 128) and class probabilities (n, classes) of uint8 pictures (n, 28, 28), in eval mode and fp32."""
    classifier.eval()
    features = torch.cat(
        [
            classifier.features(prepare(piece).contiguous(memory_format=torch.channels_last))
            for piece in images.split(batch)
        ]
    )
    return features, classifier.score(features).softmax(1)


def accuracy(classifier: Classifier, pictures: Pictures) -> float:
    """Share of the pictures whose label it reads."""
    return float((judge(classifier, pictures.images)[1].argmax(1) == pictures.labels).float().mean())


def trained_classifier(
    parts: dict[str, Pictures], data_root: Path, runtime: Runtime, least: float = 0
) -> tuple[Classifier, dict]:
    """The judge for these pictures: from `data_root/cache` when it is there and its hash is right, trained otherwise.

    Raises:
        RunError: its test accuracy is below `least`.

    Returns:
        The classifier on the device, and what to say of it: {"recipe", "sha256" of the weights, "test_accuracy"}.
    """
    train, test = parts["train"], parts["test"]
    classifier = Classifier(len(train.names)).to(runtime.device)
    key = hashlib.sha256((RECIPE + train.fingerprint()).encode()).hexdigest()[:16]
    cache = data_root / "cache" / f"classifier-{key}.pt"
    try:
        saved = checkpoint.read(cache, runtime.device)
        classifier.load_state_dict(saved["model"])
        facts = {
            "recipe": RECIPE,
            "sha256": weights_hash(classifier),
            "test_accuracy": float(saved["facts"]["test_accuracy"]),
        }
        if facts == saved["facts"]:
            return classifier, facts
    except Exception:  # missing or damaged: train it again
        pass
    fit(classifier, train, runtime)
    facts = {
        "recipe": RECIPE,
        "sha256": weights_hash(classifier),
        "test_accuracy": accuracy(classifier, test),
    }
    if facts["test_accuracy"] < least:
        raise RunError(
            f"the classifier that judges reads {facts['test_accuracy']:.2%} of the test pictures, less than {least:.2%}"
        )
    write_cache(cache, {"model": classifier.state_dict(), "facts": facts})
    return classifier, facts


@no_tf32()
def fit(classifier: Classifier, train: Pictures, runtime: Runtime) -> None:
    """Trains from scratch by the recipe, in fp32, whatever the seed and precision of the run."""
    devices = [runtime.device] if runtime.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        for module in classifier.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        steps = -(-len(train) // BATCH)
        optimizer = torch.optim.AdamW(classifier.parameters(), fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, EPOCHS * steps)
        draws = torch.Generator(runtime.device).manual_seed(0)
        classifier.train()
        with tqdm(total=EPOCHS * steps, desc="training the judge", leave=False, disable=None) as bar:
            for _ in range(EPOCHS):
                for index in torch.randperm(len(train), generator=draws, device=runtime.device).split(BATCH):
                    x, y = torch.randint(
                        0, 5, (2,), generator=draws, device=runtime.device
                    ).tolist()  # shifted by up to 2 pixels
                    images = F.pad(prepare(train.images[index]), (2, 2, 2, 2), value=-1)[
                        :, :, y : y + 28, x : x + 28
                    ]
                    loss = F.cross_entropy(
                        classifier(images.contiguous(memory_format=torch.channels_last)), train.labels[index]
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.update()


def weights_hash(classifier: Classifier) -> str:
    """SHA-256 of the weights."""
    return hashlib.sha256(
        b"".join(value.cpu().numpy().tobytes() for value in classifier.state_dict().values())
    ).hexdigest()
