import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from q1_dcgan import train
from q1_dcgan.dcgan import Discriminator
from tests.conftest import ENVIRONMENT, ROOT

TRAIN = "q1_dcgan/train.py"
TINY = "--dataset synthetic --device cpu --epochs 2 --batch_size 128 --latent_size 16 --base_channels 16 "
TINY += "--log_every 4 --synthetic_pictures 2048 --quality_samples 200 --test_samples 200"
TINY = [*TINY.split(), "--conditional", "--average_weights", "0.9"]


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A data root with a judge that is trained once for all tests here, and a finished tiny run."""
    folder = tmp_path_factory.mktemp("q1")
    command = [
        sys.executable,
        TRAIN,
        *TINY,
        "--run_name",
        "a",
        "--data_root",
        folder / "data",
        "--log_root",
        folder / "logs",
    ]
    subprocess.run(
        [*command, "--figure_root", folder / "figures"],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    return folder


def test_a_run_leaves_everything(cached):
    folder, figures = cached / "logs/q1_dcgan/a", cached / "figures/q1_dcgan/a"
    for name in (
        "config.json",
        "metrics.csv",
        "steps.csv",
        "results.json",
        "samples/epoch_002.png",
        "checkpoints/epoch_1.pt",
    ):
        assert (folder / name).exists(), name
    for name in ("curves.png", "losses.png", "samples.png", "samples.gif"):
        with Image.open(figures / name) as image:
            assert image.width >= 400 and len(np.unique(np.asarray(image.convert("L")))) > 10
    with Image.open(figures / "samples.gif") as gif:
        assert gif.n_frames >= 2
    results = json.loads((folder / "results.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert {"Frechet distance", "Frechet distance after epoch 1", "label accuracy"} <= set(names)
    steps = (folder / "steps.csv").read_text().splitlines()
    assert steps[0] == "step,d_loss,g_loss,d_real,d_fake,d_fake_after" and len(steps) == 1 + 2 * (16 // 4)


def test_a_finished_run_measures_the_same_again(cached, script):
    folder = cached / "logs/q1_dcgan/a"
    before = json.loads((folder / "results.json").read_text())["rows"]
    roots = [
        "--data_root",
        cached / "data",
        "--log_root",
        cached / "logs",
        "--figure_root",
        cached / "figures",
    ]
    script(TRAIN, *TINY, "--run_name", "a", *roots, "--resume")
    assert json.loads((folder / "results.json").read_text())["rows"] == before


def test_the_discriminators_step_sees_detached_pictures(cached, monkeypatch):
    """In the order of a step: real, generated for its own step, generated for the generator's."""
    seen = []

    class Recording(Discriminator):
        def forward(self, images, labels=None):
            seen.append((images.requires_grad, self.score.weight.requires_grad))
            return super().forward(images, labels)

    monkeypatch.setattr(train, "Discriminator", Recording)
    roots = {"data_root": cached / "data", "log_root": cached / "detach", "figure_root": cached / "detach"}
    tiny = {
        "synthetic_pictures": 2048,
        "batch_size": 512,
        "latent_size": 8,
        "epochs": 1,
        "quality_samples": 0,
        "test_samples": 200,
    }
    train.main(train.Options(dataset="synthetic", device="cpu", **tiny, **roots))
    assert seen == [(False, True), (False, True), (True, False)] * 4


def test_smoke(script, roots, cached):
    script(TRAIN, "--smoke", "--data_root", cached / "data", *roots)


def test_sample_grid_array_digit_and_walk(cached, script, tmp_path):
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    arguments = [
        "--checkpoint",
        last,
        "--n",
        12,
        "--output",
        tmp_path / "grid.png",
        "--array",
        tmp_path / "samples.npz",
    ]
    script("q1_dcgan/sample.py", *arguments, "--digit", 4)
    saved = np.load(tmp_path / "samples.npz")
    assert (
        saved["images"].shape == (12, 28, 28)
        and saved["images"].dtype == np.uint8
        and saved["labels"].tolist() == [4] * 12
    )
    script("q1_dcgan/sample.py", *arguments)
    assert np.load(tmp_path / "samples.npz")["labels"].tolist() == [*range(10), 0, 1]
    script("q1_dcgan/sample.py", *arguments[:2], "--interpolate", "--output", tmp_path / "walk.png")
    for name in ("grid.png", "walk.png"):
        assert Image.open(tmp_path / name).width > 100
    assert "--digit 12" in script("q1_dcgan/sample.py", *arguments, "--digit", 12, status=2).stderr
    script("q1_dcgan/sample.py", "--checkpoint", tmp_path / "none.pt", status=1)


def test_evaluate(cached, script, tmp_path):
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    arguments = [
        "--checkpoint",
        last,
        "--samples",
        200,
        "--data_root",
        cached / "data",
        "--figure_root",
        tmp_path,
    ]
    done = script("q1_dcgan/evaluate.py", *arguments)
    assert "label accuracy by class" in done.stdout and "(floor)" in done.stdout
    assert (tmp_path / "q1_dcgan/a/nearest.png").exists() and (tmp_path / "q1_dcgan/a/classes.png").exists()


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--batch_size", "0"], 2, "--batch_size must be 1 or more"),
        (["--batch_size", "9000"], 2, "more than the 2048"),
        (["--image_size", "32"], 2, "--image_size must be 28 or 64"),
        (["--learning_rate", "1e30"], 1, "not finite at epoch 1, step"),
    ],
)
def test_wrong_commands_get_a_clear_line(script, roots, cached, arguments, status, message):
    done = script(TRAIN, *TINY, "--data_root", cached / "data", *roots, *arguments, status=status)
    assert message in done.stderr
