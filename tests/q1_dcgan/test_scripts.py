import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.cli import parse
from common.errors import RunError, UsageError
from common.rows import read_table
from q1_dcgan import evaluate, sample, train
from q1_dcgan.mnist_dataset import load
from q1_dcgan.options import DataOptions
from q1_dcgan.painter import DRAWN_AT_ONCE, Painter
from tests.conftest import ROOT, python

TRAIN = "q1_dcgan/train.py"
TINY = (
    "--dataset synthetic --device cpu --epochs 2 --batch_size 128 --latent_size 16 --base_channels 16 "
    "--log_every 4 --synthetic_pictures 2048 --quality_samples 200 --test_samples 200 "
    "--conditional --average_weights 0.9 --gradient_penalty 0.01 "
    "--precision fp32"  # the same on every CPU
).split()


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    """A data root with a judge that is trained once for all tests here, and a finished tiny run."""
    folder = tmp_path_factory.mktemp("q1")
    roots = [f"--data_root={folder}/data", f"--log_root={folder}/logs", f"--figure_root={folder}/figures"]
    python(TRAIN, *TINY, "--run_name", "a", *roots)
    return folder


@pytest.fixture(scope="module")
def last(cached):
    """The last checkpoint of that run."""
    return cached / "logs/q1_dcgan/a/checkpoints/last.pt"


def run(script, *words):
    """Calls a script's `main` on a command line, in this process."""
    return script.main(parse(script.Options, "", [str(word) for word in words]))


def options_of(cached, target, *words, **more):
    """Returns options of a training whose logs and figures go to `target`."""
    roots = {"data_root": cached / "data", "log_root": target, "figure_root": target / "figures"}
    return replace(parse(train.Options, "", [str(word) for word in words]), **roots, **more)


def make_pictures(folder, names, count=14):
    """Writes colour pictures, a folder for each name; with the name "" directly into `folder`."""
    random = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            image = np.full((28, 28, 3), random.integers(0, 256, 3), np.uint8)
            Image.fromarray(image).save(folder / name / f"{i}.png")


# Training ---------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_files(cached):
    folder = cached / "logs/q1_dcgan/a"
    files = "config.json metrics.csv steps.csv results.json samples/epoch_002.png checkpoints/epoch_1.pt"
    assert [name for name in files.split() if not (folder / name).exists()] == []


def test_a_run_draws_its_figures(cached):
    figures = cached / "figures/q1_dcgan/a"
    for name in ("curves.png", "losses.png", "samples.png", "samples.gif"):
        with Image.open(figures / name) as image:
            assert image.width >= 400
            assert len(np.unique(np.asarray(image.convert("L")))) > 10
    with Image.open(figures / "samples.gif") as gif:
        assert gif.n_frames >= 2


def test_a_run_measures_its_samples(cached):
    results = json.loads((cached / "logs/q1_dcgan/a/results.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert {"Frechet distance", "Frechet distance after epoch 1", "label accuracy"} <= set(names)
    assert "Frechet distance without averaging the weights" in names


def test_steps_are_averaged_into_rows(cached):
    steps = (cached / "logs/q1_dcgan/a/steps.csv").read_text().splitlines()
    assert steps[0] == "step,d_loss,g_loss,d_real,d_fake,d_fake_after"
    assert len(steps) == 1 + 2 * (16 // 4)


def test_a_checkpoint_names_every_field_of_the_architecture(cached):
    painter = Painter.load(cached / "logs/q1_dcgan/a/checkpoints/last.pt", train.start(train.Options()))
    config = json.loads((cached / "logs/q1_dcgan/a/config.json").read_text())
    assert painter.classes == config["classes"] == [str(digit) for digit in range(10)]
    built = train.build(options_of(cached, cached, *TINY), 10, train.start(train.Options()))
    fields = {"latent_size": 16, "classes": 10, "image_size": 28, "base_channels": 16, "channels": 1}
    assert built.architecture == fields


def test_a_finished_run_measures_the_same_again(cached):
    folder = cached / "logs/q1_dcgan/a"
    before = json.loads((folder / "results.json").read_text())["rows"]
    options = options_of(cached, cached / "logs", *TINY, "--run_name", "a", "--resume")
    train.main(replace(options, figure_root=cached / "figures"))
    assert json.loads((folder / "results.json").read_text())["rows"] == before


@pytest.mark.slow
def test_a_longer_run_trains_on_and_says_what_stands_for_its_middle(cached, tmp_path):
    shutil.copytree(cached / "logs/q1_dcgan/a", tmp_path / "q1_dcgan/a")
    options = options_of(cached, tmp_path, *TINY, "--run_name", "a", "--resume")
    results = train.main(replace(options, epochs=4))
    assert results["epochs"] == 4
    assert list(results["figures"]) == [1, 2, 4, "raw generator"]
    checkpoints = tmp_path / "q1_dcgan/a/checkpoints"
    (checkpoints / "epoch_4.pt").unlink()  # as of a run of more epochs that is stopped here
    assert train.main(replace(options, epochs=4))["rows"] == results["rows"]
    assert (checkpoints / "epoch_4.pt").exists()
    results = train.main(replace(options, epochs=7))  # of 4 epochs the third was not kept
    assert "Frechet distance after epoch 2" in [row["name"] for row in results["rows"]]
    assert "epoch 3 was not kept: epoch 2" in (tmp_path / "q1_dcgan/a/train.log").read_text()
    assert read_table(tmp_path / "q1_dcgan/a/metrics.csv")["epoch"] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ("--batch_size 9000", UsageError, "more than the 2048"),
        ("--image_size 32", UsageError, "--image_size must be 28 or 64"),
        ("--quality_samples 100", UsageError, "--quality_samples must be 0, or 200 or more"),
        ("--test_samples 1000000000", UsageError, "--test_samples 1000000000: .*; give a smaller number$"),
        ("--learning_rate 1e30", RunError, "not finite at epoch 1, step"),
    ],
)
def test_wrong_commands_get_a_clear_line(cached, tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        train.main(options_of(cached, tmp_path, *replaced(TINY, *arguments.split())))


def replaced(words, flag, value):
    """Returns a command line in which a flag has another value."""
    if flag not in words:
        return [*words, flag, value]
    place = words.index(flag)
    return [*words[:place], flag, value, *words[place + 2 :]]


@pytest.mark.slow
def test_smoke(roots, cached):
    python(TRAIN, "--smoke", "--data_root", cached / "data", *roots)


# Pictures of one's own --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(cached, last, tmp_path_factory):
    """A run on twelve classes of a folder that starts from the tiny run, and that folder."""
    folder = tmp_path_factory.mktemp("own")
    make_pictures(folder / "pictures", [str(i) for i in range(12)])
    words = TINY
    for flag, value in (("--epochs", 1), ("--batch_size", 32), ("--dataset", "folder")):
        words = replaced(words, flag, value)
    words = [*replaced(words, "--quality_samples", 0), "--run_name", "own", "--start_from", last]
    options = options_of(cached, folder, *words, folder=folder / "pictures")
    train.main(options)
    return options


def checkpoint_of(options):
    return options.log_root / "q1_dcgan" / options.run_name / "checkpoints/last.pt"


def test_other_classes_start_from_a_network_that_is_there(own):
    log = (own.log_root / "q1_dcgan/own/train.log").read_text()
    assert "starts from generator, discriminator" in log
    assert "starts anew: generator embedding.weight, (12, 10)" in log


def test_a_network_of_another_shape_is_refused(own):
    with pytest.raises(UsageError, match="they differ in generator"):
        train.main(replace(own, conditional=False, run_name="other"))


def test_classes_are_asked_for_by_name_or_number(own, tmp_path, capsys):
    drawn = {"checkpoint": checkpoint_of(own), "output": tmp_path / "s.png", "array": tmp_path / "s.npz"}
    for asked, label in (({"digit": 2}, 2), ({"class_name": "10"}, 10), ({"digit": 11}, 11)):
        sample.main(sample.Options(n=3, **asked, **drawn))
        assert np.load(tmp_path / "s.npz")["labels"].tolist() == [label] * 3
        assert f"3 samples of class {label}:" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--class 12: the network's classes are 0, 1, 2, 3"):
        sample.main(sample.Options(class_name="12", **drawn))


def test_files_are_what_folder_reads(own, tmp_path):
    drawn = {"checkpoint": checkpoint_of(own), "output": tmp_path / "s.png", "files": tmp_path / "files"}
    sample.main(sample.Options(n=36, **drawn))
    written = load(tmp_path, DataOptions("folder", tmp_path / "files"))
    assert written["train"].names == [str(i) for i in range(12)]
    assert len(written["train"]) + len(written["test"]) == 36
    with pytest.raises(UsageError, match="--files .* not empty"):
        sample.main(sample.Options(**drawn))


def test_pictures_that_moved_are_found_by_folder(own, cached, tmp_path):
    moved = own.folder.with_name("moved")
    own.folder.rename(moved)
    measured = evaluate.Options(checkpoint=checkpoint_of(own), samples=200, nearest_neighbour=60)
    measured = replace(measured, data_root=cached / "data", figure_root=tmp_path)
    with pytest.raises(UsageError, match="no longer in .*pictures: give their place with --folder DIR"):
        evaluate.main(measured)
    rows = evaluate.main(replace(measured, folder=moved))["rows"]
    moved.rename(own.folder)
    assert [row["name"].split(" of real")[0] for row in rows[-2:]] == ["nearest-neighbour error among 60"] * 2


@pytest.fixture(scope="module")
def flat(cached, tmp_path_factory):
    """A run on a folder of colour pictures without classes."""
    folder = tmp_path_factory.mktemp("flat")
    make_pictures(folder / "pictures", [""], 60)
    words = (
        "--epochs 1 --batch_size 32 --channels 3 --dataset folder --base_channels 4 --latent_size 8 "
        "--quality_samples 0 --test_samples 200 --device cpu --run_name flat"
    )
    options = options_of(cached, folder, *words.split(), folder=folder / "pictures")
    train.main(options)
    return options


def test_only_the_distance_is_measured_without_classes(flat):
    results = json.loads((flat.log_root / "q1_dcgan/flat/results.json").read_text())
    names = [row["name"] for row in results["rows"]]
    assert names == ["Frechet distance", "Frechet distance of real training pictures (floor)"]
    assert not (flat.figure_root / "q1_dcgan/flat/curves.png").exists()  # nothing was measured by epoch


def test_conditional_needs_classes(flat):
    with pytest.raises(UsageError, match="--conditional needs classes"):
        train.main(replace(flat, conditional=True, run_name="labelled"))


def test_files_without_classes_lie_side_by_side(flat, tmp_path):
    drawn = {"output": tmp_path / "samples.png", "files": tmp_path / "files"}
    images = sample.main(sample.Options(checkpoint=checkpoint_of(flat), n=9, **drawn))
    for i, image in enumerate(images, 1):
        assert np.array_equal(np.asarray(Image.open(tmp_path / f"files/{i}.png")), image)


def test_nearest_neighbours_need_labels(flat, cached, tmp_path):
    measured = evaluate.Options(checkpoint=checkpoint_of(flat), samples=200)
    measured = replace(measured, data_root=cached / "data", figure_root=tmp_path)
    evaluate.main(measured)
    with pytest.raises(UsageError, match="--nearest_neighbour needs a conditional generator"):
        evaluate.main(replace(measured, nearest_neighbour=60))


# Sampling and evaluating ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"output": Path("noext")}, "--output must be a file that ends in one of .png"),
        ({"array": Path("a.txt")}, "--array must be a file that ends in .npz"),
        ({"files": ROOT}, "--files .* not empty"),
        ({"class_name": "a", "digit": 1}, "give only one"),
        ({"class_name": "ten"}, "--class ten: the network's classes are 0, 1"),
        ({"n": 10**9}, "memory for --n 1000000000: .*; draw them in several calls, each with another"),
        ({"n": 0}, "--n must be 1 or more"),
        ({"seed": 10**20}, "--seed must be 0 or more and below"),
    ],
)
def test_sample_refuses_before_any_work(monkeypatch, options, message):
    monkeypatch.setattr(sample, "start", lambda *_: pytest.fail("it began"))
    with pytest.raises(UsageError, match=message):
        sample.main(sample.Options(**options))


def test_a_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(RunError, match="no checkpoint at"):
        run(sample, "--checkpoint", tmp_path / "none.pt")


@pytest.mark.parametrize("flag", ["--digit", "--class"])
def test_a_requested_digit_fills_the_array(last, tmp_path, capsys, flag):
    words = ["--checkpoint", last, "--n", 12, "--output", tmp_path / "a.png", "--array", tmp_path / "a.npz"]
    run(sample, *words, flag, 4)
    assert "12 samples of class 4:" in capsys.readouterr().out
    saved = np.load(tmp_path / "a.npz")
    assert (saved["images"].shape, saved["images"].dtype) == ((12, 28, 28), np.uint8)
    assert saved["labels"].tolist() == [4] * 12


def test_classes_are_drawn_in_turn(last, tmp_path):
    words = ["--checkpoint", last, "--n", 12, "--output", tmp_path / "a.png", "--array", tmp_path / "a.npz"]
    run(sample, *words)
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == [*range(10), 0, 1]
    assert Image.open(tmp_path / "a.png").width > 100


def test_a_walk_for_each_class(last, tmp_path):
    words = ["--checkpoint", last, "--output", tmp_path / "a.png", "--array", tmp_path / "a.npz"]
    walks = run(sample, *words, "--interpolate")
    assert len(walks) == 80
    assert np.load(tmp_path / "a.npz")["labels"].tolist() == np.repeat(np.arange(10), 8).tolist()


def test_a_class_called_dot_dot_stays_inside_of_files(tmp_path, capsys):
    given = hostile_checkpoint(tmp_path, ["..", "a/b", "a_b", *"3456789"])
    (tmp_path / "album").mkdir()
    (tmp_path / "album/01.png").write_text("mine")
    output = {"output": tmp_path / "s.png", "files": tmp_path / "album/new"}
    sample.main(sample.Options(checkpoint=given, n=10, **output))
    assert (tmp_path / "album/01.png").read_text() == "mine"
    assert [path.name for path in (tmp_path / "album").iterdir() if path.is_file()] == ["01.png"]
    assert len([path for path in (tmp_path / "album/new").iterdir() if any(path.iterdir())]) == 10


def hostile_checkpoint(folder, names):
    """Writes the network of pretrained/ with other names for its classes."""
    from common import pretrained

    state = pretrained.read(ROOT / "pretrained/dcgan-conditional.safetensors")
    state["facts"]["classes"] = names
    path = folder / "given.safetensors"
    pretrained.write(path, state, state["model"], [], half=True)
    return path


def test_latents_of_many_samples_are_drawn_in_pieces(last, monkeypatch):
    painter = Painter.load(last, train.start(train.Options()))
    whole, labels = painter.samples(40, seed=3)
    assert DRAWN_AT_ONCE > 40
    monkeypatch.setattr("q1_dcgan.painter.DRAWN_AT_ONCE", 16)
    pieces, _ = painter.samples(40, seed=3)
    assert pieces.shape == whole.shape
    assert np.array_equal(pieces[:16], painter.samples(16, seed=3)[0])
    assert labels.tolist() == [i % 10 for i in range(40)]


def test_evaluate(cached, last, tmp_path, capsys):
    roots = ["--data_root", cached / "data", "--figure_root", tmp_path]
    run(evaluate, "--checkpoint", last, "--samples", 200, *roots)
    shown = capsys.readouterr().out
    assert "label accuracy by class" in shown
    assert "(floor)" in shown
    assert (tmp_path / "q1_dcgan/a/nearest.png").exists()
    assert (tmp_path / "q1_dcgan/a/classes.png").exists()
