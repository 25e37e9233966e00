import csv
import json
import shlex
import subprocess
import sys
from math import cos, pi

import numpy as np
import pytest
from PIL import Image

from q4_darts import train, train_search
from q4_darts.genotypes import derive, parse, read
from tests.conftest import ENVIRONMENT, ROOT

SEARCH, TRAIN = "q4_darts/train_search.py", "q4_darts/train.py"
DATA = "--dataset synthetic --device cpu --train_pictures 192 --init_channels 4 --layers 3".split()
DATA += "--batch_size 32 --log_every 2".split()
TINY_SEARCH = [*DATA, "--epochs", "3", "--order", "second", "--run_name", "s"]
TINY_TRAIN = [*DATA, "--epochs", "3", "--run_name", "t", "--genotype", "random:3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny search and a tiny training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("q4")
    roots = ["--log_root", folder / "logs", "--figure_root", folder / "figures"]
    for command in ([SEARCH, *TINY_SEARCH], [TRAIN, *TINY_TRAIN]):
        subprocess.run(
            [sys.executable, *command, *roots], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True
        )
    return folder


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_search_leaves_everything(finished):
    folder, figures = finished / "logs/q4_darts/s", finished / "figures/q4_darts/s"
    for name in ("curves.png", "cells.png", "alphas.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20
    with Image.open(figures / "cells.gif") as gif:
        assert gif.n_frames == 3
    genotype = read(str(folder / "genotype.json"))
    assert json.loads((folder / "results.json").read_text())["genotype"]["normal"] == [
        list(edge) for edge in genotype.normal
    ]
    weights = np.array(json.loads((folder / "genotypes/epoch_003.json").read_text())["weights"])
    assert weights.shape == (2, 14, 8) and np.allclose(weights.sum(-1), 1)
    assert derive(*weights) == genotype
    metrics = rows(folder / "metrics.csv")
    rates = [float(row["learning_rate"]) for row in metrics]
    assert np.allclose(rates, [0.001 + 0.024 * (1 + cos(pi * e / 3)) / 2 for e in range(3)], rtol=1e-5)
    assert {
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
        "skip_connections",
    } <= set(metrics[0])


def test_a_training_leaves_everything(finished):
    folder = finished / "logs/q4_darts/t"
    metrics = rows(folder / "metrics.csv")
    assert np.allclose(
        [float(row["learning_rate"]) for row in metrics],
        [0.025 * (1 + cos(pi * e / 3)) / 2 for e in range(3)],
        rtol=1e-5,
    )
    assert np.allclose([float(row["drop_path"]) for row in metrics], [0, 0.2 / 3, 0.4 / 3], rtol=1e-5)
    first = json.loads((folder / "results.json").read_text())["rows"][0]
    assert (
        first["name"] == "test, epoch 3" and first["count"] == 512 and "paper" not in first
    )  # not beside synthetic data


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [[], ["--partial_channels", "2", "--warm_up_epochs", "1"], ["--order", "second", "--precision", "bf16"]],
)
def test_other_searches(finished, script, roots, tmp_path, flags):
    script(SEARCH, *DATA, "--epochs", 2, "--run_name", "o", *flags, *roots)
    metrics = rows(tmp_path / "logs/q4_darts/o/metrics.csv")
    assert len(metrics) == 2
    before, after = (
        json.loads((tmp_path / f"logs/q4_darts/o/genotypes/epoch_00{e}.json").read_text()) for e in (1, 2)
    )
    assert before["weights"] != after["weights"]
    mixed = [
        np.array(weights) * np.array(edges)[:, None]
        for weights, edges in zip(after["weights"], after["edges"])
    ]
    assert derive(*mixed) == parse(after)
    losses = [row["alpha_loss"] for row in rows(tmp_path / "logs/q4_darts/o/steps.csv")]
    assert ("nan" in losses) == (
        "--warm_up_epochs" in flags
    )  # while the alphas wait there is no loss of theirs
    assert losses[0] != rows(finished / "logs/q4_darts/s/steps.csv")[0]["alpha_loss"]  # second order in fp32


def test_stop_on_skips(script, roots, tmp_path):
    """With alphas that learn 1,000 times faster, skip connections come within the first epochs."""
    flags = ["--epochs", 6, "--arch_learning_rate", 0.5, "--stop_on_skips", 1, "--run_name", "o", "--seed", 4]
    done = script(SEARCH, *DATA, *flags, *roots)
    metrics = rows(tmp_path / "logs/q4_darts/o/metrics.csv")
    counts = [int(row["skip_connections"]) for row in metrics]
    assert counts[-1] >= 1 and max(counts[:-1], default=0) == 0 and "--stop_on_skips" in done.stdout
    again = script(SEARCH, *DATA, *flags, *roots, "--resume")  # a search that stopped itself stays stopped
    assert (
        len(rows(tmp_path / "logs/q4_darts/o/metrics.csv")) == len(metrics)
        and "--stop_on_skips" in again.stdout
    )


@pytest.mark.slow
def test_from_search_to_test(finished, script, roots, tmp_path):
    genotype = finished / "logs/q4_darts/s/genotype.json"
    done = script(TRAIN, *DATA, "--epochs", 1, "--genotype", genotype, *roots)
    assert (tmp_path / "logs/q4_darts/train-s-1/results.json").exists() and "test, epoch 1 " in done.stdout
    for run in (finished / "logs/q4_darts/s", tmp_path / "logs/q4_darts/train-s-1"):
        done = script(
            "q4_darts/evaluate.py",
            "--checkpoint",
            run / "checkpoints/last.pt",
            "--figure_root",
            tmp_path / "f",
        )
        assert (
            "512 test pictures of synthetic" in done.stdout
            and (tmp_path / "f/q4_darts" / run.name / "confusion.png").exists()
        )
    results = json.loads((tmp_path / "logs/q4_darts/train-s-1/results.json").read_text())
    assert (
        results["evaluations"]["last.pt"]["rows"][0]["value"] == results["rows"][0]["value"]
    )  # the same test


@pytest.mark.slow
def test_skips_of_alphas_that_wait_do_not_end_the_search(script, roots, tmp_path):
    flags = [
        "--partial_channels",
        2,
        "--epochs",
        2,
        "--warm_up_epochs",
        1,
        "--stop_on_skips",
        1,
        "--run_name",
        "o",
    ]
    counts = []
    for seed in range(4):
        script(SEARCH, *DATA, *flags, "--seed", seed, "--overwrite", *roots)
        counts.append(
            [int(row["skip_connections"]) for row in rows(tmp_path / "logs/q4_darts/o/metrics.csv")]
        )
        if counts[-1][0]:
            break
    assert counts[-1][0] >= 1 and len(counts[-1]) == 2


def test_defaults_are_the_papers():
    names = (
        "batch_size",
        "learning_rate",
        "learning_rate_min",
        "arch_learning_rate",
        "warm_up_epochs",
        "epochs",
    )
    first = train_search.check(train_search.Options())
    assert [getattr(first, name) for name in names] == [64, 0.025, 0.001, 3e-4, 0, 50]
    partial = train_search.check(train_search.Options(partial_channels=4))
    assert [getattr(partial, name) for name in names] == [256, 0.1, 0.0, 6e-4, 15, 50]
    options = train.check(train.Options())
    assert [options.batch_size, options.init_channels, options.layers, options.epochs] == [96, 36, 20, 600]
    assert [options.cutout, options.drop_path, options.auxiliary] == [16, 0.2, 0.4]


def test_smoke(script, roots, tmp_path):
    script(SEARCH, "--smoke", "--partial_channels", 4, *roots)
    script(TRAIN, "--smoke", "--genotype", tmp_path / "logs/q4_darts/smoke-search/genotype.json", *roots)
    assert (tmp_path / "logs/q4_darts/smoke-train/results.json").exists()


def test_visualize(script, tmp_path):
    script("q4_darts/visualize.py", "--genotype", "PC_DARTS", "--output", tmp_path / "a" / "c.png")
    with Image.open(tmp_path / "a" / "c.png") as image:
        assert image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 20
    assert ".pdf" in script("q4_darts/visualize.py", "--output", tmp_path / "c.txt", status=2).stderr


@pytest.mark.slow
def test_torchrun(script, roots, tmp_path):
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        TRAIN,
        *TINY_TRAIN,
        "--epochs",
        "1",
    ]
    subprocess.run(
        [sys.executable, *command, "--batch_size", "16", *roots],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
    )
    folder = tmp_path / "logs/q4_darts/t"
    assert json.loads((folder / "config.json").read_text())["legs"][0]["processes"] == 2
    two = rows(folder / "steps.csv")
    assert [row["step"] for row in two] == ["2", "4", "6"]  # 192 pictures, 2 x 16 a step; one writer
    script(TRAIN, *TINY_TRAIN, "--epochs", 1, "--batch_size", 32, "--run_name", "one", *roots)
    one = rows(tmp_path / "logs/q4_darts/one/steps.csv")
    # The same pictures a step. BatchNorm normalises each half by itself, so the losses are only near.
    assert [float(row["train_loss"]) for row in two] == pytest.approx(
        [float(row["train_loss"]) for row in one], rel=0.05
    )
    assert two[0] != one[0]


@pytest.mark.parametrize(
    "name, arguments, status, message",
    [
        (SEARCH, ["--layers", "2"], 2, "--layers must be 3 or more"),
        (
            SEARCH,
            ["--init_channels", "6", "--partial_channels", "4"],
            2,
            "--init_channels must be a multiple of 8",
        ),
        (SEARCH, ["--batch_size", "97"], 2, "more than the 96 there are"),
        (SEARCH, ["--warm_up_epochs", "3"], 2, "leaves none of the 3 epochs"),
        (SEARCH, ["--learning_rate_min", "0.1"], 2, "must lie between 0 and --learning_rate 0.025"),
        (SEARCH, ["--folder", "x"], 2, "--folder needs --dataset folder"),
        (TRAIN, ["--batch_size", "1"], 2, "--batch_size must be 2 or more"),
        (SEARCH, ["--learning_rate", "1e30"], 1, "not finite at epoch 1, step"),
        (SEARCH, ["--train_pictures", "5000"], 2, "more than the 2048"),
        (
            TRAIN,
            ["--genotype", "DARTS_V3"],
            1,
            "the names known are DARTS_V1, DARTS_V2, PC_DARTS and random:SEED",
        ),
        (TRAIN, ["--drop_path", "1"], 2, "--drop_path must be 0 or more and below 1, not 1"),
        (TRAIN, ["--batch_size", "500"], 2, "more than the 192 there are"),
        (TRAIN, ["--learning_rate", "1e30"], 1, "not finite at epoch 1, step"),
    ],
)
def test_wrong_commands_get_a_clear_line(script, roots, name, arguments, status, message):
    assert (
        message
        in script(
            name, *(TINY_SEARCH if name == SEARCH else TINY_TRAIN), *roots, *arguments, status=status
        ).stderr
    )


def test_another_genotype_cannot_be_resumed_into(finished, script):
    roots = ["--log_root", finished / "logs", "--figure_root", finished / "figures"]
    assert (
        "--genotype was 'random:3', now 'random:4'"
        in script(TRAIN, *TINY_TRAIN, *roots, "--genotype", "random:4", "--resume", status=2).stderr
    )
    assert "no checkpoint at" in script("q4_darts/evaluate.py", "--checkpoint", "nowhere.pt", status=1).stderr


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Three classes of one's own at 60 x 48 pixels, and a network trained on them at 48."""
    folder, random = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 4)):
        for name in ("cup $", "plate 2", "plate 10"):
            (folder / "data" / part / name).mkdir(parents=True)
            for place in range(count):
                pixels = random.integers(0, 256, (48, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "data" / part / name / f"{place}.png")
    roots = ["--log_root", "logs", "--figure_root", "figures", "--data_root", "cache"]
    size = "--init_channels 4 --layers 3 --batch_size 8 --image_size 48 --epochs 1 --run_name a".split()
    command = [ROOT / TRAIN, "--dataset", "folder", "--folder", "data", *size, *roots]  # a relative path
    subprocess.run([sys.executable, *command], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def test_ones_own_pictures_are_classified_and_named(own, script, tmp_path):
    checkpoint, output = own / "logs/q4_darts/a/checkpoints/last.pt", tmp_path / "out" / "p.csv"
    words = ["--checkpoint", checkpoint, "--output", output, "--top_k", 2]
    (own / "data/test/damaged.png").write_bytes(b"no picture")
    done = script("q4_darts/predict.py", *words, "--input", own / "data/test", status=1)
    (own / "data/test/damaged.png").unlink()
    table = rows(output)
    assert len(table) == 12 and list(table[0])[1:] == ["class_1", "probability_1", "class_2", "probability_2"]
    assert {row["class_1"] for row in table} <= {"cup $", "plate 2", "plate 10"}
    assert "damaged.png" in done.stderr and output.with_suffix(".png").exists()
    assert "pictures in the folder of their class" in done.stdout
    assert output.with_name("p-confusion.png").exists()


def test_after_the_data_moved(own, script, tmp_path):
    words = ["--checkpoint", own / "logs/q4_darts/a/checkpoints/last.pt", "--figure_root", tmp_path]
    words += ["--data_root", tmp_path / "cache"]
    command = [sys.executable, ROOT / "q4_darts/evaluate.py", *words]  # "data" was relative to another folder
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 2 and f"{tmp_path / 'data'}: give their place with --folder" in done.stderr
    assert "12 test pictures" in script("q4_darts/evaluate.py", *words, "--folder", own / "data").stdout
    results = own / "logs/q4_darts/a/results.json"
    before = results.read_text()
    results.write_text(json.dumps(json.loads(before) | {"question": "q1_dcgan"}))
    said = script("q4_darts/evaluate.py", *words, "--folder", own / "data", status=1).stderr
    assert "belongs to a run of q1_dcgan" in said
    results.write_text(before)


def test_resume_notices_other_test_pictures(own):
    picture = own / "data/test/cup $/0.png"
    before = picture.read_bytes()
    picture.write_bytes((own / "data/test/cup $/1.png").read_bytes())
    words = json.loads((own / "logs/q4_darts/a/config.json").read_text())["legs"][0]["command"]
    command = [sys.executable, ROOT / TRAIN, *shlex.split(words)[2:], "--resume"]
    done = subprocess.run(command, cwd=own, env=ENVIRONMENT, capture_output=True, text=True)
    picture.write_bytes(before)
    assert done.returncode == 2 and "its test_data changed" in done.stderr
    assert (own / "logs/q4_darts/a/results.json").exists()


@pytest.mark.slow
def test_start_from_remakes_the_head(finished, own, script, roots):
    words = ["--start_from", own / "logs/q4_darts/a/checkpoints/last.pt", "--epochs", 1]
    done = script(TRAIN, *DATA, "--genotype", "DARTS_V2", *words, *roots)
    assert "starts from model" in done.stdout and "starts anew: model score.weight, (10, 64)" in done.stdout
    said = script(TRAIN, *DATA, "--genotype", "random:1", *words, *roots, status=2).stderr
    assert "they differ in" in said


def test_longer_epochs_cannot_be_resumed_into(finished, script):
    roots = ["--log_root", finished / "logs", "--figure_root", finished / "figures"]
    said = script(TRAIN, *TINY_TRAIN, *roots, "--epochs", "5", "--resume", status=2).stderr
    assert "--epochs was 3, now 5" in said and "--start_from" in said
