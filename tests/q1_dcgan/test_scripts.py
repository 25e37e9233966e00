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
from common.runtime import RunError, UsageError
from q1_dcgan import evaluate, sample, train
from q1_dcgan.mnist_dataset import DataOptions, load
from tests.conftest import ENVIRONMENT, ROOT

TRAIN = "q1_dcgan/train.py"
TINY = "--dataset synthetic --device cpu --epochs 2 --batch_size 128 --latent_size 16 --base_channels 16 "
TINY += "--precision fp32 "  # the same on every CPU
TINY += "--log_every 4 --synthetic_pictures 2048 --quality_samples 200 --test_samples 200"
TINY = [*TINY.split(), *"--conditional --average_weights 0.9 --gradient_penalty 0.01".split()]


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
    files = "config.json metrics.csv steps.csv results.json samples/epoch_002.png checkpoints/epoch_1.pt"
    for name in files.split():
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


def test_a_finished_run_measures_the_same_again(cached):
    folder = cached / "logs/q1_dcgan/a"
    before = json.loads((folder / "results.json").read_text())["rows"]
    train.main(options_of(cached, cached / "logs", *TINY, "--run_name", "a", "--resume"))
    assert json.loads((folder / "results.json").read_text())["rows"] == before


def test_a_longer_run_trains_on_and_says_what_stands_for_its_middle(cached, tmp_path):
    shutil.copytree(cached / "logs/q1_dcgan/a", tmp_path / "q1_dcgan/a")
    options = options_of(cached, tmp_path, *TINY, "--run_name", "a", "--resume")
    results = train.main(replace(options, epochs=4))
    assert results["epochs"] == 4 and list(results["figures"]) == [1, 2, 4, "raw generator"]
    results = train.main(replace(options, epochs=7))  # of 4 epochs the third was not kept
    assert "Frechet distance after epoch 2" in [row["name"] for row in results["rows"]]
    assert "epoch 3 was not kept: epoch 2" in (tmp_path / "q1_dcgan/a/train.log").read_text()
    assert read_table(tmp_path / "q1_dcgan/a/metrics.csv")["epoch"] == [1, 2, 3, 4, 5, 6, 7]


def run(script, *words):
    """A script's `main` on a command line, in this process."""
    return script.main(parse(script.Options, "", [str(word) for word in words]))


def options_of(cached, target, *words, **more):
    """Options of a training whose logs and figures go to `target`."""
    roots = {"data_root": cached / "data", "log_root": target, "figure_root": target / "figures"}
    return replace(parse(train.Options, "", [str(word) for word in words]), **roots, **more)


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
    pictures = {"folder": tmp_path / "pictures"}
    options = options_of(cached, tmp_path, *TINY, *words, "--start_from", last, **pictures)
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
    measured = evaluate.Options(**measured, data_root=cached / "data", figure_root=tmp_path)
    with pytest.raises(UsageError, match="no longer in .*pictures: give their place with --folder DIR"):
        evaluate.main(measured)
    rows = evaluate.main(replace(measured, folder=tmp_path / "moved"))["rows"]
    assert [row["name"].split(" of real")[0] for row in rows[-2:]] == ["nearest-neighbour error among 60"] * 2


def test_colour_pictures_without_classes(cached, tmp_path):
    make_pictures(tmp_path / "pictures", [""], 60)
    words = "--epochs 1 --batch_size 32 --channels 3 --dataset folder --base_channels 4 --latent_size 8 "
    words += "--quality_samples 0 --test_samples 200 --device cpu --run_name flat"
    options = options_of(cached, tmp_path, *words.split(), folder=tmp_path / "pictures")
    with pytest.raises(UsageError, match="--conditional needs classes"):
        train.main(replace(options, conditional=True))
    names = [row["name"] for row in train.main(options)["rows"]]
    assert names == ["Frechet distance", "Frechet distance of real training pictures (floor)"]
    assert not (tmp_path / "figures/q1_dcgan/flat/curves.png").exists()  # nothing was measured by epoch
    last, output = tmp_path / "q1_dcgan/flat/checkpoints/last.pt", tmp_path / "samples.png"
    images = sample.main(sample.Options(checkpoint=last, n=9, output=output, files=tmp_path / "files"))
    for i, image in enumerate(images, 1):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"files/{i}.png")), image)
    measured = {"checkpoint": last, "samples": 200, "data_root": cached / "data", "figure_root": tmp_path}
    measured = evaluate.Options(**measured)
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


@pytest.mark.slow
def test_smoke(script, roots, cached):
    script(TRAIN, "--smoke", "--data_root", cached / "data", *roots)


def test_sample_grid_array_digit_and_walk(cached, tmp_path, capsys):
    last = ["--checkpoint", cached / "logs/q1_dcgan/a/checkpoints/last.pt"]
    words = [*last, "--n", 12, "--output", tmp_path / "grid.png", "--array", tmp_path / "samples.npz"]
    for flag in ("--digit", "--class"):
        run(sample, *words, flag, 4)
        assert "12 samples of class 4:" in capsys.readouterr().out
    saved = np.load(tmp_path / "samples.npz")
    assert saved["images"].shape == (12, 28, 28) and saved["images"].dtype == np.uint8
    assert saved["labels"].tolist() == [4] * 12
    run(sample, *words)
    assert np.load(tmp_path / "samples.npz")["labels"].tolist() == [*range(10), 0, 1]
    walks = run(sample, *last, "--interpolate", "--output", tmp_path / "walk.png", *words[-2:])
    labels = np.load(tmp_path / "samples.npz")["labels"]
    assert len(walks) == 80 and labels.tolist() == np.repeat(np.arange(10), 8).tolist()
    for name in ("grid.png", "walk.png"):
        assert Image.open(tmp_path / name).width > 100
    with pytest.raises(UsageError, match="--digit 12"):
        run(sample, *words, "--digit", 12)
    with pytest.raises(RunError, match="no checkpoint at"):
        run(sample, "--checkpoint", tmp_path / "none.pt")


def test_evaluate(cached, tmp_path, capsys):
    last = cached / "logs/q1_dcgan/a/checkpoints/last.pt"
    roots = ["--data_root", cached / "data", "--figure_root", tmp_path]
    run(evaluate, "--checkpoint", last, "--samples", 200, *roots)
    shown = capsys.readouterr().out
    assert "label accuracy by class" in shown and "(floor)" in shown
    assert (tmp_path / "q1_dcgan/a/nearest.png").exists() and (tmp_path / "q1_dcgan/a/classes.png").exists()


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ("--batch_size 0", UsageError, "--batch_size must be 1 or more"),
        ("--batch_size 9000", UsageError, "more than the 2048"),
        ("--image_size 32", UsageError, "--image_size must be 28 or 64"),
        ("--smoke --dataset folder", UsageError, "--smoke draws its own small data"),
        ("--channels 3", UsageError, "--channels 3 needs --dataset folder"),
        ("--learning_rate 1e30", RunError, "not finite at epoch 1, step"),
    ],
)
def test_wrong_commands_get_a_clear_line(cached, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        train.main(options_of(cached, tmp_path, *TINY, *arguments.split()))
