import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint
from common.device import Runtime
from common.errors import RunError, UsageError
from common.rows import read_table
from q2_protonet import figures, train
from q2_protonet.few_shot import FewShot
from q2_protonet.omniglot_dataset import synthetic_characters
from q2_protonet.options import Episode
from q2_protonet.protonet import ProtoNet
from tests.conftest import ENVIRONMENT, ROOT
from tests.q2_protonet.conftest import TINY, TRAIN, results_of, run


def begin(roots):
    """The tiny run in a process of its own, to be stopped."""
    words = [sys.executable, TRAIN, *TINY, "--run_name", "a", "--overwrite", *roots]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, **pipes)


def same_result(one, two):
    assert (one / "metrics.csv").read_text() == (two / "metrics.csv").read_text()
    for name in ("last.pt", "best.pt"):
        first, second = (checkpoint.load(each / "checkpoints" / name, "q2_protonet") for each in (one, two))
        for key in {"model", "average", "optimizer", "draws", "moves", "position"} & first.keys():
            torch.testing.assert_close(first[key], second[key], rtol=0, atol=0)
    assert results_of(one)["rows"] == results_of(two)["rows"]


def test_a_run_leaves_everything(trained):
    folder = trained / "logs/q2_protonet/a"
    figures = trained / "figures/q2_protonet/a"
    files = "config.json metrics.csv steps.csv results.json train.log episode.csv episode_drawings.png"
    for name in [*files.split(), "tensorboard"]:
        assert (folder / name).exists(), name
    for name in ("curves.png", "episode.png", "embedding.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_results_of_a_run(trained):
    results = results_of(trained / "logs/q2_protonet/a")
    assert [row["name"] for row in results["rows"]] == ["5-way 5-shot", "5-way 5-shot, untrained network"]
    assert results["parameters"] == 111_936
    assert "paper" not in results["rows"][0]
    assert results["rows"][0]["interval"] > 0


def test_the_metrics_of_a_run(trained):
    table = read_table(trained / "logs/q2_protonet/a/metrics.csv")
    assert table["epoch"] == [1, 2, 3]
    assert all(0 < share <= 1 for share in table["validation_accuracy"])


@pytest.mark.slow
def test_kill_9_then_resume_is_the_uninterrupted_run(trained, tmp_path, roots):
    folder = tmp_path / "logs/q2_protonet/a"
    process = begin(roots)
    while not (folder / "checkpoints/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.0005)
    time.sleep(0.15)  # inside an epoch
    process.kill()
    process.communicate()
    assert not (folder / "results.json").exists()
    run(train, *TINY, "--run_name", "a", *roots, "--resume")
    same_result(folder, trained / "logs/q2_protonet/a")


def test_ctrl_c_saves_inside_the_epoch_and_the_printed_command_goes_on(trained, tmp_path, roots):
    folder = tmp_path / "logs/q2_protonet/a"
    process = begin(roots)
    while not (folder / "checkpoints/last.pt").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Stopped and saved at epoch" in errors
    assert "Traceback" not in errors
    again = shlex.split(errors.strip().splitlines()[-1])
    assert again[:2] == ["python", TRAIN]
    assert again[-1] == "--resume"
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
        (["--dataset", "synthetic", "--classes_per_it_tr", "600"], "600-way episodes need 600 classes"),
        (["--dataset", "synthetic", "--num_query_val", "16"], "5 support + 16 query"),
        (["--trainval", "nowhere"], "no finished run"),
        (["--dataset", "folder"], "needs --folder"),
        (["--learning_rat", "1"], "--learning_rate"),
        (["--dataset", "mnist"], "invalid choice"),
    ],
)
def test_wrong_commands_get_a_clear_line(roots, arguments, message, capsys):
    with pytest.raises((UsageError, SystemExit)) as stop:
        run(train, "--device", "cpu", *roots, *arguments)
    shown = str(stop.value) + capsys.readouterr().err.replace("│", " ")
    assert message in " ".join(shown.split())
    assert stop.type is UsageError or stop.value.code == 2


def test_a_second_smoke_run_replaces_the_first(trained, roots, tmp_path):
    shutil.copytree(trained / "logs/q2_protonet/a", tmp_path / "logs/q2_protonet/smoke")
    config = tmp_path / "logs/q2_protonet/smoke/config.json"
    config.write_text(config.read_text().replace('"smoke": false', '"smoke": true'))
    run(train, "--smoke", *roots)
    assert results_of(tmp_path / "logs/q2_protonet/smoke")["epochs"] == 2


def test_trainval_trains_for_the_best_number_of_epochs(trained, roots, tmp_path):
    shutil.copytree(trained / "logs", tmp_path / "logs")
    best = results_of(tmp_path / "logs/q2_protonet/a")["best_epoch"]
    where = TINY.index("--epochs")
    words = [*TINY[:where], *TINY[where + 2 :], "--trainval", "a", "--run_name", "both", *roots]
    with pytest.raises(UsageError, match=f"--trainval a trains for {best} epochs.*leave --epochs 10 out"):
        run(train, *words, "--epochs", "10")
    run(train, *words)
    both = tmp_path / "logs/q2_protonet/both"
    results = results_of(both)
    assert results["epochs"] == results["best_epoch"] == best
    assert results["best_validation_accuracy"] is None
    assert "validation_loss" not in read_table(both / "metrics.csv")
    few_shot = FewShot.load(both / "checkpoints/best.pt", Runtime(torch.device("cpu")))
    with pytest.raises(UsageError, match="no validation classes were left"):
        few_shot.require_unknown()


def test_the_last_checkpoint_of_a_run_has_no_limit_of_unknown(trained):
    last = trained / "logs/q2_protonet/a/checkpoints/last.pt"
    with pytest.raises(UsageError, match="take best.pt of the finished run"):
        FewShot.load(last, Runtime(torch.device("cpu"))).require_unknown()


def test_pictures_of_many_classes_stay_legible(tmp_path, monkeypatch):
    part = synthetic_characters(0, 60, 3)
    canvases = []
    part.names[0] = "$5 \udcff"  # neither mathematics nor UTF-8
    figures.record_episode(ProtoNet(4), part, Episode(60, 1, 2), 0, tmp_path)
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: canvases.append(canvas))
    figures.plot_episode(tmp_path, tmp_path)
    (axis,) = canvases[1].axes
    assert len(axis.get_legend().get_texts()) == 20
    assert "20 of its classes" in axis.get_title()


def test_classes_with_names_like_formulas_keep_them(tmp_path, monkeypatch):
    part = synthetic_characters(0, 3, 3)
    part.names[:] = ["=1+1", "-a", "'b"]
    figures.record_episode(ProtoNet(4), part, Episode(3, 1, 2), 0, tmp_path)
    canvases = []
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: canvases.append(canvas))
    figures.plot_episode(tmp_path, tmp_path)
    (axis,) = canvases[1].axes
    assert {text.get_text() for text in axis.get_legend().get_texts()} == {"=1+1", "-a", "'b"}


def test_a_finished_run_is_drawn_again_from_its_log_files(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(figures.plots, "write_title", lambda canvas, title: titles.append(title))
    figures.redraw(ROOT / "logs/q2_protonet/omniglot-5w1s", tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"curves.png", "episode.png", "embedding.png"}
    assert all(title.startswith("omniglot-5w1s: ") for title in titles)


@pytest.mark.slow
def test_trains_on_the_real_drawings(real_omniglot, roots, tmp_path):
    flags = "--classes_per_it_tr 20 --split small --epochs 2 --iterations 15 --num_support_tr 1".split()
    flags += ["--test_episodes", "50"]
    run(train, *flags, "--data_root", real_omniglot, "--run_name", "real", *roots)
    trained, untrained = results_of(tmp_path / "logs/q2_protonet/real")["rows"]
    assert trained["value"] > untrained["value"] + 5
