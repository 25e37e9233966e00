"""The judge of the samples: a small classifier, trained on real pictures by a fixed recipe and cached."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from common.device import Runtime, no_tf32
from common.errors import RunError
from common.fingerprint import fingerprint
from common.image_cache import read_cache, write_cache
from common.labelled_images import LabelledImages
from q1_dcgan.mnist_dataset import prepare
from q1_dcgan.mnist_files import SIZE

EPOCHS = 8
BATCH = 128
FEATURES = 128
LEAST_ACCURACY = 0.993  # on MNIST's test set
RECIPE = (
    f"conv16-32-64-fc{FEATURES}, {EPOCHS} epochs of {BATCH}, one-cycle AdamW 4e-3, shifts of 2, seed 0, "
    "version 1"
)


class Classifier(nn.Module):
    """Pictures (n, channels, 28, 28) in [-1, 1] -> logits; `features` gives the penultimate layer, (n, 128).

    Args:
        classes: how many the pictures have. With fewer than two it learns which of four ways up a picture
            is (Gidaris et al. 2018), for the sake of its features.
        channels: 1 or 3.
    """

    def __init__(self, classes: int = 10, channels: int = 1):
        super().__init__()
        self.classes = classes
        layers: list[nn.Module] = []
        for before, after in ((channels, 16), (16, 32), (32, 64)):  # 28 -> 14 -> 7 -> 3
            conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(after), nn.MaxPool2d(2), nn.ReLU()]
        dense = nn.Linear(64 * 9, FEATURES)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2), dense, nn.ReLU())
        self.score = nn.Linear(FEATURES, classes if classes > 1 else 4)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.features(images))


@torch.inference_mode()
@no_tf32()
def judge(classifier: Classifier, images: Tensor, batch: int = 1000) -> tuple[Tensor, Tensor]:
    """Returns features (n, 128) and probabilities (n, classes) of uint8 pictures (n, 28, 28 [, 3])."""
    classifier.eval()
    found = []
    for piece in images.split(batch):
        found.append(classifier.features(prepare(piece).contiguous(memory_format=torch.channels_last)))
    features = torch.cat(found)
    return features, classifier.score(features).softmax(1)


def trained_classifier(
    parts: dict[str, LabelledImages], data_root: Path, runtime: Runtime, least: float = 0
) -> tuple[Classifier, dict]:
    """Returns the judge of these pictures: from `data_root/cache` if its hash is right, or trained now.

    Args:
        parts: "train" and "test".
        least: its accuracy on the test part must reach this.

    Returns:
        The classifier on the device, and facts on it: {"recipe", "sha256" of the weights, "test_accuracy",
        "file" below `data_root` that keeps it}.

    Raises:
        RunError: its test accuracy is below `least`.
    """
    train = parts["train"]
    test = parts["test"]
    classes = len(train.names)
    channels = prepare(train.images[:1]).shape[1]
    if classes < 2:
        train = four_ways_up(train)
        test = four_ways_up(test)
    classifier = Classifier(classes, channels).to(runtime.device)

    # The weights that were trained before.
    name = f"cache/classifier-{fingerprint([RECIPE + train.fingerprint()])[:16]}.pt"
    cache = data_root / name
    saved = read_cache(cache)
    try:
        classifier.load_state_dict(saved["model"])
        if saved["facts"] == describe(classifier, float(saved["facts"]["test_accuracy"])):
            return classifier, saved["facts"] | {"file": name}
    except Exception:  # missing or damaged: train it again
        pass

    # Train, and check that it can judge.
    train_judge(classifier, train, runtime)
    accuracy = float((judge(classifier, test.images)[1].argmax(1) == test.labels).float().mean())
    if accuracy < least:
        raise RunError(
            f"the classifier that judges the samples recognises {accuracy:.2%} of the test pictures, "
            f"less than {least:.2%}"
        )
    facts = describe(classifier, accuracy)
    write_cache(cache, {"model": classifier.state_dict(), "facts": facts})
    return classifier, facts | {"file": name}


def describe(classifier: Classifier, test_accuracy: float) -> dict:
    """Returns what is recorded of a judge."""
    sha256 = fingerprint(*classifier.state_dict().values())
    return {"recipe": RECIPE, "sha256": sha256, "test_accuracy": test_accuracy}


def four_ways_up(pictures: LabelledImages) -> LabelledImages:
    """Returns every picture turned by 0, 90, 180 and 270 degrees; which of the four it is, is the label."""
    turned = [pictures.images.rot90(turns, (1, 2)) for turns in range(4)]
    labels = torch.arange(4, device=pictures.labels.device).repeat_interleave(len(pictures))
    return LabelledImages(torch.cat(turned), labels, ["0", "90", "180", "270"])


@no_tf32()
def train_judge(classifier: Classifier, train: LabelledImages, runtime: Runtime) -> None:
    """Trains from scratch by the recipe, in fp32, whatever the seed and precision of the run are."""
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
                order = torch.randperm(len(train), generator=draws, device=runtime.device)
                for index in order.split(BATCH):
                    # The same shift of up to 2 pixels for the whole batch.
                    images = F.pad(prepare(train.images[index]), (2, 2, 2, 2), value=-1)
                    x, y = torch.randint(0, 5, (2,), generator=draws, device=runtime.device).tolist()
                    images = images[:, :, y : y + SIZE, x : x + SIZE]

                    logits = classifier(images.contiguous(memory_format=torch.channels_last))
                    loss = F.cross_entropy(logits, train.labels[index])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                    bar.update()
