import csv
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from common import checkpoint
from common.cli import command, parse
from common.results import read_table
from common.runtime import RunError, UsageError
from q2_protonet import evaluate, figures, predict, splits, train
from q2_protonet.measures import embed, unknown_distance
from q2_protonet.omniglot_dataset import make_synthetic, read_ink
from q2_protonet.protonet import ProtoNet
from tests.conftest import ENVIRONMENT, ROOT

TRAIN = "q2_protonet/train.py"
TINY = (
    "--dataset synthetic --device cpu --epochs 3 --iterations 6 --classes_per_it_tr 8 --num_support_tr 1 "
    "--validation_episodes 5 --test_episodes 10 --augment --every_support --average_weights 0.9 "
    "--precision fp32"  # the same on every CPU
).split()


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The synthetic characters of a seed are drawn once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "make_synthetic", functools.cache(make_synthetic))
        yield


def run(script, *words):
    """A script's `main` on a command line, in this process, which has torch already."""
    return script.main(parse(script.Options, "", [str(word) for word in words]))


def begin(roots):
    """The tiny run in a process of its own, to be stopped."""
    words = [sys.executable, TRAIN, *TINY, "--run_name", "a", "--overwrite", *roots]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, **pipes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    run(train, *TINY, "--run_name", "a", "--log_root", folder / "logs", "--figure_root", folder / "figures")
    return folder


@pytest.fixture(scope="module")
def best(trained):
    return trained / "logs/q2_protonet/a/checkpoints/best.pt"


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def same_result(one, two):
    assert (one / "metrics.csv").read_text() == (two / "metrics.csv").read_text()
    for name in ("last.pt", "best.pt"):
        first, second = (checkpoint.load(each / "checkpoints" / name, "q2_protonet") for each in (one, two))
        for key in {"model", "average", "optimizer", "draws", "moves", "position"} & first.keys():
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    assert results_of(one)["rows"] == results_of(two)["rows"]


def test_a_run_leaves_everything(trained):
    folder, figures = trained / "logs/q2_protonet/a", trained / "figures/q2_protonet/a"
    files = "config.json metrics.csv steps.csv results.json train.log episode.csv episode_drawings.png"
    for name in [*files.split(), "tensorboard"]:
        assert (folder / name).exists(), name
    for name in ("curves.png", "episode.png", "embedding.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20
    results = results_of(folder)
    assert [row["name"] for row in results["rows"]] == ["5-way 5-shot", "5-way 5-shot, untrained network"]
    assert results["parameters"] == 111_936
    assert "paper" not in results["rows"][0] and results["rows"][0]["interval"] > 0
    table = read_table(folder / "metrics.csv")
    assert table["epoch"] == [1, 2, 3] and all(0 < share <= 1 for share in table["validation_accuracy"])


def kill_and_resume(moment, trained, tmp_path, roots):
    folder = tmp_path / "logs/q2_protonet/a"

    sign = {"before any checkpoint": "metrics.csv", "while saving": "checkpoints/*.partial"}
    sign = sign.get(moment, "checkpoints/last.pt")  # what is there by then

    process, tries = begin(roots), 0
    while not any(folder.glob(sign)):
        if process.poll() is not None:  # the moment is short and was missed: once more
            tries += 1
            assert process.returncode == 0 and tries < 5
            process = begin(roots)
        time.sleep(0.0005)
    if moment == "inside an epoch":
        time.sleep(0.15)
    process.kill()
    process.communicate()
    assert not (folder / "results.json").exists()
    run(train, *TINY, "--run_name", "a", *roots, "--resume")
    same_result(folder, trained / "logs/q2_protonet/a")


def test_kill_9_then_resume_is_the_uninterrupted_run(trained, tmp_path, roots):
    kill_and_resume("inside an epoch", trained, tmp_path, roots)  # other moments: tests/soak


def test_ctrl_c_saves_inside_the_epoch_and_the_printed_command_goes_on(trained, tmp_path, roots):
    folder = tmp_path / "logs/q2_protonet/a"
    process = begin(roots)
    while not (folder / "checkpoints/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and "Stopped and saved at epoch" in errors and "Traceback" not in errors
    again = shlex.split(errors.strip().splitlines()[-1])
    assert again[:2] == ["python", TRAIN] and again[-1] == "--resume"
    run(train, *again[2:])
    same_result(folder, trained / "logs/q2_protonet/a")


def test_a_cut_checkpoint_yields_to_the_one_before(trained, tmp_path, roots, capsys):
    shutil.copytree(trained / "logs", tmp_path / "logs")
    last = tmp_path / "logs/q2_protonet/a/checkpoints/last.pt"
    os.truncate(last, last.stat().st_size // 2)
    run(train, *TINY, "--run_name", "a", *roots, "--resume")
    assert "resuming from the checkpoint before it" in capsys.readouterr().out
    same_result(tmp_path / "logs/q2_protonet/a", trained / "logs/q2_protonet/a")


def test_nan_stops_with_the_step_and_advice(roots):
    with pytest.raises(RunError, match="the loss is not finite at epoch 1, step 2.*lower learning rate"):
        run(train, *TINY, "--run_name", "a", *roots, "--learning_rate", "1e30")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--classes_per_it_tr", "600"], "600-way episodes need 600 classes"),
        (["--num_query_val", "16"], "5 support + 16 query"),
        (["--epochs", "0"], "--epochs must be 1 or more"),
        (["--trainval", "nowhere"], "no finished run"),
        (["--dataset", "folder"], "needs --folder"),
        (["--learning_rat", "1"], "--learning_rate"),
        (["--dataset", "mnist"], "invalid choice"),
    ],
)
def test_wrong_commands_get_a_clear_line(roots, arguments, message, capsys):
    with pytest.raises((UsageError, SystemExit)) as stop:
        run(train, *TINY, *roots, *arguments)
    shown = str(stop.value) + capsys.readouterr().err.replace("│", " ")
    assert message.split()[0] in shown and message in " ".join(shown.split())
    assert stop.type is UsageError or stop.value.code == 2


def test_smoke_and_trainval(trained, roots, tmp_path):
    shutil.copytree(trained / "logs/q2_protonet/a", tmp_path / "logs/q2_protonet/smoke")
    config = tmp_path / "logs/q2_protonet/smoke/config.json"
    config.write_text(config.read_text().replace('"smoke": false', '"smoke": true'))
    run(train, "--smoke", *roots)  # a second smoke run replaces the first
    best = results_of(tmp_path / "logs/q2_protonet/smoke")["best_epoch"]
    run(train, *TINY, "--trainval", "smoke", "--run_name", "both", *roots)
    both = tmp_path / "logs/q2_protonet/both"
    results = results_of(both)
    assert results["epochs"] == results["best_epoch"] == best and results["best_validation_accuracy"] is None
    assert "validation_loss" not in read_table(both / "metrics.csv")
    state = checkpoint.load(both / "checkpoints/best.pt", "q2_protonet")
    with pytest.raises(UsageError, match="no validation classes were left"):
        unknown_distance(None, state, None, None)


def test_pictures_of_many_classes_stay_legible(tmp_path, monkeypatch):
    part, canvases = make_synthetic(0, 60, 3), []
    part.names[0] = "$5 \udcff"  # neither mathematics nor UTF-8
    figures.record_episode(ProtoNet(4), part, 60, 1, 2, 0, tmp_path)
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: canvases.append(canvas))
    figures.plot_episode(tmp_path, tmp_path)
    (axis,) = canvases[1].axes
    assert len(axis.get_legend().get_texts()) == 20 and "20 of its classes" in axis.get_title()


def test_evaluate_many_settings(best, trained, capsys):
    words = "--way 5 20 --shot 1 5 --episodes 20 --unknown".split()
    run(evaluate, "--checkpoint", best, *words)
    results = results_of(trained / "logs/q2_protonet/a")
    (rows,) = results["evaluations"].values()
    names = [row["name"] for row in rows]
    assert names[::3] == ["5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"]
    assert names[1:3] == ["5-way 1-shot, wrongly called unknown", "5-way 1-shot, other class accepted"]
    assert all(name in capsys.readouterr().out for name in names[:1]) and len(results["rows"]) == 2
    assert all(0 < row["value"] <= 100 for row in rows[::3])
    run(evaluate, "--checkpoint", best, *words[:-1], "--part", "validation", "--shifts", 1)
    results = results_of(trained / "logs/q2_protonet/a")
    shifted = [row["name"] for rows in results["evaluations"].values() for row in rows][len(names) :]
    assert shifted == [f"{name}, validation part, shifts 1" for name in names[::3]]
    with pytest.raises(UsageError, match="208"):
        run(evaluate, "--checkpoint", best, "--way", 300)
    with pytest.raises(RunError, match="no checkpoint at"):
        run(evaluate, "--checkpoint", "nowhere.pt")
    with pytest.raises(UsageError, match="--unknown goes with --way"):
        run(evaluate, "--checkpoint", best, "--unknown", "--within_alphabet")


def test_the_untrained_control_is_of_the_run(best, trained):
    folder = trained / "logs/q2_protonet/a"
    asked = json.loads((folder / "config.json").read_text())["options"]
    words = ["--way", asked["classes_per_it_val"], "--shot", asked["num_support_val"], "--query"]
    words += [asked["num_query_val"], "--episodes", asked["test_episodes"], "--seed", asked["seed"]]
    run(evaluate, "--checkpoint", best, "--untrained", *words)
    results = results_of(folder)
    own = results["rows"][1]
    again = [row for rows in results["evaluations"].values() for row in rows if row["name"] == own["name"]]
    assert own["name"].endswith("untrained network") and again == [own]


@pytest.fixture
def pictures(tmp_path):
    """support/ and query/ with one folder per class: class1, class2, class10, and in query/ also class3."""
    part = make_synthetic(0, 4, 4)
    for i, number in enumerate((1, 2, 10, 3)):
        for j, folder in enumerate(("support", "query", "query", "query")):
            path = tmp_path / folder / f"class{number}" / f"{j}.png"
            if number != 3 or folder == "query":
                path.parent.mkdir(parents=True, exist_ok=True)  # light ink on dark in query/
                image = Image.fromarray(255 - part.images[i, j].numpy())
                (image if folder == "support" else ImageOps.invert(image)).resize((90, 90)).save(path)
    return tmp_path


def predict_table(best, folder, *words):
    run(predict, "--checkpoint", best, "--support", folder / "support", "--output", folder / "p.csv", *words)
    with open(folder / "p.csv", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_predict_finds_the_class_of_hand_made_images(best, pictures, capsys, monkeypatch):
    flat = [pictures / "query" / f"class{number}" for number in (1, 2, 10)]
    for folder in flat:  # the support itself, among others
        Image.open(pictures / "support" / folder.name / "0.png").save(folder / "same.png")
    rows = predict_table(best, pictures, "--query", *flat)
    same = [row["predicted"] for row in rows if "same" in row["file"]]
    assert same == ["class1", "class2", "class10"] and len(rows) == 12
    assert list(rows[0]) == ["file", "predicted", "p(class1)", "p(class2)", "p(class10)"]  # natural order
    for row in rows:
        probabilities = [float(value) for name, value in row.items() if name[:2] == "p("]
        assert sum(probabilities) == pytest.approx(1, abs=1e-4)
    assert (pictures / "p_picture.png").exists() and not (pictures / "p_confusion.png").exists()

    # A damaged query is named and the others classified; a name need not be UTF-8; "." is a path too.
    (flat[0] / "1.png").write_bytes(b"")
    os.rename(flat[0] / "same.png", os.fsencode(flat[0]) + b"/\xe9.png")
    words = ["--checkpoint", best, "--support", ".", "--query", flat[0], "--output", "../q.csv"]
    monkeypatch.chdir(pictures / "support")
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        command(predict.main, predict.Options, "")
    assert stop.value.code == 1 and "class1/1.png" in capsys.readouterr().err
    with open(pictures / "q.csv", errors="surrogateescape") as file:
        names = {os.path.basename(os.fsencode(row["file"])): row["predicted"] for row in csv.DictReader(file)}
    assert names.keys() == {b"2.png", b"3.png", b"\xe9.png"} and names[b"\xe9.png"] == "class1"

    (pictures / "support" / "class1" / "0.png").write_bytes(b"")
    with pytest.raises(RunError, match="class1/0.png"):
        predict_table(best, pictures, "--query", flat[1])
    (pictures / "support" / "class1" / "0.png").unlink()
    with pytest.raises(UsageError, match="class1"):
        predict_table(best, pictures, "--query", flat[1])
    rows = predict_table(best, pictures, "--query", flat[1], "--skip_small", 1)
    assert "p(class1)" not in rows[0]
    assert "left out, with fewer than 1 images: class1 (0)" in capsys.readouterr().err


def test_predict_measures_folders_of_classes_and_calls_queries_unknown(best, pictures, capsys, monkeypatch):
    rows = predict_table(best, pictures, "--query", pictures / "query")
    shown, right = capsys.readouterr(), sum(row["class"] == row["predicted"] for row in rows)
    assert [row["class"] for row in rows] == [f"class{n}" for n in (1, 1, 1, 2, 2, 2, 10, 10, 10)]
    assert f"accuracy  {round(100 * right / 9, 2)}" in shown.out and "query/class3, no class" in shown.err
    with Image.open(pictures / "p_confusion.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20

    rows = predict_table(best, pictures, "--query", pictures / "query", "--unknown")
    far = [row["predicted"] == "unknown" for row in rows]
    assert far == [float(row["distance"]) > 1 for row in rows] and len(rows) == 12
    assert [row["class"] for row in rows if row["class"] == "unknown"] == ["unknown"] * 3

    # The distances are those of the checkpoint's own limit, which is the one of its validation classes.
    state = checkpoint.load(best, "q2_protonet")
    limit, model = state["facts"].pop("unknown_distance"), ProtoNet()
    model.load_state_dict(state["model"])
    assert unknown_distance(model, state, None, torch.device("cpu")) == pytest.approx(limit, rel=1e-5)
    files = [Path(rows[0]["file"]), *sorted((pictures / "support").glob("*/*.png"))]
    query, *support = embed(model, torch.from_numpy(np.stack([read_ink(file) for file in files])))
    nearest = min(float(((query - other) ** 2).sum()) for other in support)
    assert float(rows[0]["distance"]) == pytest.approx(nearest / (2 * limit), rel=1e-3)

    monkeypatch.setattr(predict, "unknown_distance", lambda *_: 1e-9)
    rows = predict_table(best, pictures, "--query", pictures / "query", "--unknown")
    shown = " ".join(capsys.readouterr().out.split())
    assert {row["predicted"] for row in rows} == {"unknown"} and "accuracy 25" in shown
    assert "called unknown 100.0" in shown and "accepted 0.0" in shown
    (pictures / "support" / "class1").rename(pictures / "support" / "unknown")
    with pytest.raises(UsageError, match="rename the class 'unknown'"):
        predict_table(best, pictures, "--query", pictures / "query", "--unknown")


@pytest.mark.slow
def test_trains_on_the_real_drawings(real_omniglot, roots, tmp_path):
    flags = "--classes_per_it_tr 20 --split small --epochs 2 --iterations 15 --num_support_tr 1".split()
    flags += ["--test_episodes", "50"]
    run(train, *flags, "--data_root", real_omniglot, "--run_name", "real", *roots)
    trained, untrained = results_of(tmp_path / "logs/q2_protonet/real")["rows"]
    assert trained["value"] > untrained["value"] + 5
