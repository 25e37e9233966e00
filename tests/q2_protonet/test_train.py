import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint
from q2_protonet import figures
from q2_protonet.measures import embed, run_episodes
from q2_protonet.omniglot_dataset import make_synthetic, prepare
from q2_protonet.protonet import ProtoNet
from q2_protonet.prototypical_batch_sampler import PrototypicalBatchSampler
from q2_protonet.prototypical_loss import prototypical_loss
from q2_protonet.splits import DataOptions, load
from tests.conftest import ENVIRONMENT, ROOT

TRAIN = "q2_protonet/train.py"
TINY = (
    "--dataset synthetic --device cpu --epochs 3 --iterations 6 --classes_per_it_tr 8 --num_support_tr 1 "
    "--validation_episodes 5 --test_episodes 10 --augment --average_weights 0.9"
).split()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    command = [
        sys.executable,
        TRAIN,
        *TINY,
        "--run_name",
        "a",
        "--log_root",
        folder / "logs",
        "--figure_root",
        folder / "figures",
    ]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    return folder


def same_result(one, two):
    assert (one / "metrics.csv").read_text() == (two / "metrics.csv").read_text()
    for name in ("last.pt", "best.pt"):
        first, second = (
            checkpoint.load(folder / "checkpoints" / name, "q2_protonet") for folder in (one, two)
        )
        for key in ("model", "average", "optimizer", "draws", "moves", "position"):
            if key in first:
                torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    rows = [json.loads((folder / "results.json").read_text())["rows"] for folder in (one, two)]
    assert rows[0] == rows[1]


def test_a_run_leaves_everything(trained):
    folder, figures = trained / "logs/q2_protonet/a", trained / "figures/q2_protonet/a"
    for name in (
        "config.json",
        "metrics.csv",
        "steps.csv",
        "results.json",
        "train.log",
        "episode.csv",
        "episode_drawings.png",
        "tensorboard",
    ):
        assert (folder / name).exists(), name
    for name in ("curves.png", "episode.png", "embedding.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20
    results = json.loads((folder / "results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["5-way 5-shot", "5-way 5-shot, untrained network"]
    assert (
        results["parameters"] == 111_936
        and "paper" not in results["rows"][0]
        and results["rows"][0]["interval"] > 0
    )
    with open(folder / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"] and all(
        0 < float(row["validation_accuracy"]) <= 1 for row in rows
    )


@pytest.mark.parametrize(
    "moment", ["before any checkpoint", "after an epoch", "inside an epoch", "while saving"]
)
def test_kill_9_then_resume_is_the_uninterrupted_run(trained, tmp_path, roots, moment):
    folder = tmp_path / "logs/q2_protonet/a"
    command = [sys.executable, TRAIN, *TINY, "--run_name", "a", *roots]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def reached() -> bool:
        if moment == "before any checkpoint":
            return (folder / "metrics.csv").exists()
        if moment == "while saving":
            return any(folder.glob("checkpoints/*.partial"))
        return (folder / "checkpoints/last.pt").exists()

    tries = 0
    while not reached():
        if process.poll() is not None:  # the moment is short and was missed: once more
            tries += 1
            assert process.returncode == 0 and tries < 5
            process = subprocess.Popen(
                [*command, "--overwrite"],
                cwd=ROOT,
                env=ENVIRONMENT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        time.sleep(0.0005)
    if moment == "inside an epoch":
        time.sleep(0.15)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "results.json").exists()
    subprocess.run([*command, "--resume"], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    same_result(folder, trained / "logs/q2_protonet/a")


def test_ctrl_c_saves_inside_the_epoch_and_the_printed_command_goes_on(trained, tmp_path, roots):
    folder = tmp_path / "logs/q2_protonet/a"
    process = subprocess.Popen(
        [sys.executable, TRAIN, *TINY, "--run_name", "a", *roots],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (folder / "checkpoints/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and "Stopped and saved at epoch" in errors and "Traceback" not in errors
    again = errors.strip().splitlines()[-1].split()
    assert again[0] == "python" and again[-1] == "--resume"
    subprocess.run([sys.executable, *again[1:]], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    same_result(folder, trained / "logs/q2_protonet/a")


def test_a_cut_checkpoint_yields_to_the_one_before(trained, tmp_path, roots, script):
    subprocess.run(["cp", "-r", trained / "logs", tmp_path], check=True)
    last = tmp_path / "logs/q2_protonet/a/checkpoints/last.pt"
    os.truncate(last, last.stat().st_size // 2)
    done = script(TRAIN, *TINY, "--run_name", "a", *roots, "--resume")
    assert "resuming from the checkpoint before it" in done.stdout
    same_result(tmp_path / "logs/q2_protonet/a", trained / "logs/q2_protonet/a")


def test_nan_stops_with_the_step_and_advice(script, roots):
    done = script(TRAIN, *TINY, "--run_name", "a", *roots, "--learning_rate", "1e30", status=1)
    assert "the loss is not finite at epoch 1, step 2" in done.stderr and "lower learning rate" in done.stderr


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--classes_per_it_tr", "600"], 2, "600-way episodes need 600 classes"),
        (["--num_query_val", "16"], 2, "5 support + 16 query"),
        (["--learning_rat", "1"], 2, "--learning_rate"),
        (["--dataset", "mnist"], 2, "invalid choice"),
        (["--epochs", "0"], 2, "--epochs must be 1 or more"),
        (["--trainval", "nowhere"], 2, "no finished run"),
        (["--dataset", "folder"], 2, "needs --folder"),
    ],
)
def test_wrong_commands_get_a_clear_line(script, roots, arguments, status, message):
    done = script(TRAIN, *TINY, *roots, *arguments, status=status)
    assert message.split()[0] in done.stderr and message in " ".join(done.stderr.replace("│", " ").split())


def test_smoke_and_trainval(script, roots, tmp_path):
    script(TRAIN, "--smoke", *roots)
    script(TRAIN, "--smoke", *roots)  # a second smoke run replaces the first
    best = json.loads((tmp_path / "logs/q2_protonet/smoke/results.json").read_text())["best_epoch"]
    script(TRAIN, *TINY, "--trainval", "smoke", "--run_name", "both", *roots)
    results = json.loads((tmp_path / "logs/q2_protonet/both/results.json").read_text())
    assert results["epochs"] == results["best_epoch"] == best and results["best_validation_accuracy"] is None
    with open(tmp_path / "logs/q2_protonet/both/metrics.csv") as file:
        assert "validation_loss" not in file.readline()


def test_torchrun_trains_on_two_processes(roots, tmp_path):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        TRAIN,
        *TINY,
        "--run_name",
        "two",
        *roots,
    ]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    results = json.loads((tmp_path / "logs/q2_protonet/two/results.json").read_text())
    assert results["episodes"] == 3 * 6 * 2


def test_one_episode_can_be_learnt_by_heart():
    torch.manual_seed(0)
    part = load(None, DataOptions("synthetic"))["train"]
    sampler = PrototypicalBatchSampler(part, 10, 1, 3, torch.Generator().manual_seed(0))
    images = prepare(part.images[tuple(index[0] for index in sampler.sample(1))])
    model = ProtoNet()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss, accuracy = prototypical_loss(model(images).unflatten(0, (10, 4)), 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 < losses[0] and accuracy == 1


def test_pictures_of_many_classes_stay_legible(tmp_path, monkeypatch):
    part, canvases = make_synthetic(0, 60, 3), []
    part.names[0] = "$5 \udcff"  # neither mathematics nor UTF-8
    figures.record_episode(ProtoNet(4), part, 60, 1, 2, 0, tmp_path)
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: canvases.append(canvas))
    figures.plot_episode(tmp_path, tmp_path)
    (axis,) = canvases[1].axes
    assert len(axis.get_legend().get_texts()) == 20 and "20 of its classes" in axis.get_title()


def test_embedding_once_equals_a_forward_pass_an_episode():
    torch.manual_seed(0)
    part = load(None, DataOptions("synthetic"))["validation"]
    model = ProtoNet()
    model(prepare(part.images[:20]))  # some statistics for BatchNorm
    sampler = PrototypicalBatchSampler(part, 5, 2, 3, torch.Generator().manual_seed(3))
    loss, accuracies = run_episodes(embed(model, part.images), sampler, 4)
    sampler.generator.manual_seed(3)
    classes, drawings = sampler.sample(4)
    with torch.no_grad():
        each = [
            prototypical_loss(model(prepare(part.images[c, d])).unflatten(0, (5, 5)), 2)
            for c, d in zip(classes, drawings)
        ]
    assert accuracies.tolist() == [accuracy.item() for _, accuracy in each]
    assert loss == pytest.approx(sum(value.item() for value, _ in each) / 4, rel=1e-5)


def test_evaluate_many_settings(trained, script):
    best = trained / "logs/q2_protonet/a/checkpoints/best.pt"
    done = script(
        "q2_protonet/evaluate.py", "--checkpoint", best, "--way", 5, 20, "--shot", 1, 5, "--episodes", 20
    )
    for name in ("5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"):
        assert name in done.stdout
    results = json.loads((trained / "logs/q2_protonet/a/results.json").read_text())
    (rows,) = results["evaluations"].values()
    assert len(rows) == 4 and all(0 < row["value"] <= 100 for row in rows) and len(results["rows"]) == 2
    assert "208" in script("q2_protonet/evaluate.py", "--checkpoint", best, "--way", 300, status=2).stderr
    assert (
        "no checkpoint at" in script("q2_protonet/evaluate.py", "--checkpoint", "nowhere.pt", status=1).stderr
    )


def test_predict_finds_the_class_of_hand_made_images(trained, script, tmp_path):
    part = load(None, DataOptions("synthetic", no_rotations=True))["train"]
    (tmp_path / "query").mkdir()
    for i in range(3):
        (tmp_path / "support" / f"class{i}").mkdir(parents=True)
        drawing = Image.fromarray(255 - part.images[i, 0].numpy())
        drawing.resize((90, 90)).save(tmp_path / "support" / f"class{i}" / "a.png")
        Image.fromarray(part.images[i, 0].numpy()).resize((56, 56)).save(
            tmp_path / "query" / f"{i}.jpg"
        )  # light ink on dark
    arguments = [
        "--checkpoint",
        trained / "logs/q2_protonet/a/checkpoints/best.pt",
        "--support",
        tmp_path / "support",
        "--query",
        tmp_path / "query",
    ]
    script("q2_protonet/predict.py", *arguments, "--output", tmp_path / "out" / "p.csv")
    with open(tmp_path / "out" / "p.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == ["class0", "class1", "class2"]
    for row in rows:
        assert sum(float(row[f"p(class{i})"]) for i in range(3)) == pytest.approx(1, abs=1e-4)
    assert (tmp_path / "out" / "p_picture.png").exists()

    # A damaged query is named and the others classified; a name need not be UTF-8; "." is a path too.
    (tmp_path / "query" / "1.jpg").write_bytes(b"")
    os.rename(tmp_path / "query" / "2.jpg", os.fsencode(tmp_path / "query") + b"/\xe9.jpg")
    here = [*arguments[:2], "--support", ".", "--query", tmp_path / "query", "--output", tmp_path / "q.csv"]
    command = [sys.executable, ROOT / "q2_protonet/predict.py", *map(str, here)]
    done = subprocess.run(command, cwd=tmp_path / "support", env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1 and "1.jpg" in done.stderr and "Traceback" not in done.stderr
    with open(tmp_path / "q.csv", errors="surrogateescape") as file:
        rows = [
            (os.path.basename(os.fsencode(row["file"])), row["predicted"]) for row in csv.DictReader(file)
        ]
    assert sorted(rows) == [(b"0.jpg", "class0"), (b"\xe9.jpg", "class2")]

    (tmp_path / "support" / "class1" / "a.png").write_bytes(b"")
    assert "class1/a.png" in script("q2_protonet/predict.py", *arguments, status=1).stderr
    (tmp_path / "support" / "class1" / "a.png").unlink()
    assert "class1" in script("q2_protonet/predict.py", *arguments, status=2).stderr


def test_trains_on_the_real_drawings(real_omniglot, script, roots, tmp_path):
    flags = "--classes_per_it_tr 20 --split small --epochs 2 --iterations 15 --num_support_tr 1".split()
    flags += ["--test_episodes", "50"]
    script(TRAIN, *flags, "--data_root", real_omniglot, "--run_name", "real", *roots)
    trained, untrained = json.loads((tmp_path / "logs/q2_protonet/real/results.json").read_text())["rows"]
    assert trained["value"] > untrained["value"] + 5
