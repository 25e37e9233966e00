import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.cli import parse
from common.results import read_table
from common.runtime import UsageError
from q1_dcgan import evaluate, sample, train
from q1_dcgan.dcgan import Discriminator
from q1_dcgan.mnist_dataset import DataOptions, load
from tests.conftest import ENVIRONMENT, ROOT

TRAIN = "q1_dcgan/train.py"
TINY = "--dataset synthetic --device cpu --epochs 2 --batch_size 128 --latent_size 16 --base_channels 16 "
TINY += "--log_every 4 --synthetic_pictures 2048 --quality_samples 200 --test_samples 200"
TINY = [*TINY.split(), "--conditional", "--average_weights", "0.9"]


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A data root with a judge that is trained once for all tests here, and a finished tiny run."""
    folder = tmp_path_factory.mktemp("q1")
    roots = ["--data_root", folder / "data", "--log_root", folder / "logs"]
    command = [sys.executable, TRAIN, *TINY, "--run_name", "a", *roots, "--figure_root", folder / "figures"]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
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


def test_a_longer_run_trains_on_and_says_what_stands_for_its_middle(cached, tmp_path):
    shutil.copytree(cached / "logs/q1_dcgan/a", tmp_path / "q1_dcgan/a")
    roots = {"data_root": cached / "data", "log_root": tmp_path, "figure_root": tmp_path / "figures"}
    options = replace(parse(train.Options, "", [*TINY, "--run_name", "a", "--resume"]), **roots)
    results = train.main(replace(options, epochs=4))
    assert results["epochs"] == 4 and list(results["figures"]) == [1, 2, 4, "raw generator"]
    results = train.main(replace(options, epochs=7))  # of 4 epochs the third was not kept
    assert "Frechet distance after epoch 2" in [row["name"] for row in results["rows"]]
    assert "epoch 3 was not kept: epoch 2" in (tmp_path / "q1_dcgan/a/train.log").read_text()
    assert read_table(tmp_path / "q1_dcgan/a/metrics.csv")["epoch"] == [1, 2, 3, 4, 5, 6, 7]


def make_pictures(folder, names, count=14):
    """Colour pictures, a folder for each name; with the name "" directly in `folder`."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = np.full((28, 28, 3), random.integers(0, 256, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{i}.png")


def test_own_classes_from_a_network_that_is_there_to_samples_by_name(cached, tmp_path, capsys):
    names = [str(i) for i in range(12)]
    make_pictures(tmp_path / "pictures", names)
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    words = "--epochs 1 --batch_size 32 --dataset folder --quality_samples 0 --run_name own".split()
    options = parse(train.Options, "", [*TINY, *words, "--start_from", str(last)])
    roots = {"data_root": tmp_path / "data", "log_root": tmp_path, "figure_root": tmp_path / "figures"}
    options = replace(options, folder=tmp_path / "pictures", **roots)
    train.main(options)
    log = (tmp_path / "q1_dcgan/own/train.log").read_text()
    assert "starts from generator, discriminator" in log
    assert "starts anew: generator embedding.weight, (12, 10)" in log
    with pytest.raises(UsageError, match="they differ in generator"):
        train.main(replace(options, conditional=False, run_name="other"))

    own = tmp_path / "q1_dcgan/own/checkpoints/last.pt"
    drawn = {"checkpoint": own, "device": "cpu", "output": tmp_path / "s.png", "array": tmp_path / "s.npz"}
    for asked, label in (({"digit": 2}, 2), ({"class_name": "10"}, 10), ({"digit": 11}, 11)):
        sample.main(sample.Options(n=3, **asked, **drawn))
        assert np.load(tmp_path / "s.npz")["labels"].tolist() == [label] * 3
        assert f"3 samples of class {label}:" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--class 12: its classes are 0, 1, 2, 3"):
        sample.main(sample.Options(class_name="12", **drawn))
    sample.main(sample.Options(n=36, files=tmp_path / "files", **drawn))
    written = load(tmp_path, DataOptions("folder", tmp_path / "files"))
    assert written["train"].names == names and len(written["train"]) + len(written["test"]) == 36
    with pytest.raises(UsageError, match="--files .* not empty"):
        sample.main(sample.Options(files=tmp_path / "files", **drawn))

    (tmp_path / "pictures").rename(tmp_path / "moved")
    measured = {"checkpoint": own, "device": "cpu", "samples": 200, "nearest_neighbour": 60}
    measured = evaluate.Options(**measured, data_root=tmp_path / "data", figure_root=tmp_path)
    with pytest.raises(UsageError, match="not at .*pictures: --folder DIR says where"):
        evaluate.main(measured)
    rows = evaluate.main(replace(measured, folder=tmp_path / "moved"))["rows"]
    assert [row["name"].split(" of real")[0] for row in rows[-2:]] == ["nearest-neighbour error"] * 2


def test_colour_pictures_without_classes(tmp_path):
    make_pictures(tmp_path / "pictures", [""], 60)
    options = parse(train.Options, "", "--epochs 1 --batch_size 32 --channels 3 --dataset folder".split())
    roots = {"data_root": tmp_path / "data", "log_root": tmp_path, "figure_root": tmp_path / "figures"}
    tiny = {"base_channels": 4, "latent_size": 8, "quality_samples": 0, "test_samples": 200, "device": "cpu"}
    options = replace(options, folder=tmp_path / "pictures", run_name="flat", **tiny, **roots)
    with pytest.raises(UsageError, match="--conditional needs classes"):
        train.main(replace(options, conditional=True))
    assert [row["name"] for row in train.main(options)["rows"]] == [
        "Frechet distance",
        "Frechet distance of real training pictures (floor)",
    ]
    last, output = tmp_path / "q1_dcgan/flat/checkpoints/last.pt", tmp_path / "samples.png"
    images = sample.main(sample.Options(checkpoint=last, n=9, output=output, files=tmp_path / "files"))
    for i, image in enumerate(images, 1):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"files/{i}.png")), image)
    measured = evaluate.Options(
        checkpoint=last, samples=200, data_root=tmp_path / "data", figure_root=tmp_path
    )
    evaluate.main(measured)
    with pytest.raises(UsageError, match="--nearest_neighbour needs a conditional generator"):
        evaluate.main(replace(measured, nearest_neighbour=60))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"output": Path("noext")}, "--output must be a file that ends in one of .png"),
        ({"array": Path("a.txt")}, "--array must be a file that ends in .npz"),
        ({"files": ROOT}, "--files .* not empty"),
        ({"class_name": "a", "digit": 1}, "give only one"),
        ({"seed": 10**20}, "--seed must be 0 or more and below"),
    ],
)
def test_sample_refuses_before_any_work(options, message):
    with pytest.raises(UsageError, match=message):
        sample.main(sample.Options(checkpoint=Path("none.pt"), **options))


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


@pytest.mark.slow
def test_smoke(script, roots, cached):
    script(TRAIN, "--smoke", "--data_root", cached / "data", *roots)


def test_sample_grid_array_digit_and_walk(cached, script, tmp_path):
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    arguments = ["--checkpoint", last, "--n", 12, "--output", tmp_path / "grid.png"]
    arguments += ["--array", tmp_path / "samples.npz"]
    for flag in ("--digit", "--class"):
        assert "12 samples of class 4:" in script("q1_dcgan/sample.py", *arguments, flag, 4).stdout
    saved = np.load(tmp_path / "samples.npz")
    assert saved["images"].shape == (12, 28, 28) and saved["images"].dtype == np.uint8
    assert saved["labels"].tolist() == [4] * 12
    script("q1_dcgan/sample.py", *arguments)
    assert np.load(tmp_path / "samples.npz")["labels"].tolist() == [*range(10), 0, 1]
    script("q1_dcgan/sample.py", *arguments[:2], "--interpolate", "--output", tmp_path / "walk.png")
    for name in ("grid.png", "walk.png"):
        assert Image.open(tmp_path / name).width > 100
    assert "--digit 12" in script("q1_dcgan/sample.py", *arguments, "--digit", 12, status=2).stderr
    script("q1_dcgan/sample.py", "--checkpoint", tmp_path / "none.pt", status=1)


def test_evaluate(cached, script, tmp_path):
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    arguments = ["--checkpoint", last, "--samples", 200, "--data_root", cached / "data"]
    arguments += ["--figure_root", tmp_path]
    done = script("q1_dcgan/evaluate.py", *arguments)
    assert "label accuracy by class" in done.stdout and "(floor)" in done.stdout
    assert (tmp_path / "q1_dcgan/a/nearest.png").exists() and (tmp_path / "q1_dcgan/a/classes.png").exists()


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--batch_size", "0"], 2, "--batch_size must be 1 or more"),
        (["--batch_size", "9000"], 2, "more than the 2048"),
        (["--image_size", "32"], 2, "--image_size must be 28 or 64"),
        (["--smoke", "--dataset", "folder"], 2, "--smoke draws its own small data"),
        (["--channels", "3"], 2, "--channels 3 needs --dataset folder"),
        (["--learning_rate", "1e30"], 1, "not finite at epoch 1, step"),
    ],
)
def test_wrong_commands_get_a_clear_line(script, roots, cached, arguments, status, message):
    done = script(TRAIN, *TINY, "--data_root", cached / "data", *roots, *arguments, status=status)
    assert message in done.stderr
