import csv
import json
import shlex
import shutil
import subprocess
import sys
from math import cos, pi

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint, cli
from common.errors import RunError, UsageError
from q4_darts import train, train_search
from q4_darts.genotype_text import read
from q4_darts.genotypes import DARTS_V2, PRIMITIVES, derive, from_lists, save
from q4_darts.options import SearchOptions, TrainOptions, resolve_search, resolve_training
from tests.conftest import ENVIRONMENT, ROOT

SEARCH, TRAIN, EVALUATE = "q4_darts/train_search.py", "q4_darts/train.py", "q4_darts/evaluate.py"
SMALL = "--device cpu --init_channels 4 --layers 3"
DATA = "--dataset synthetic --device cpu --train_pictures 192 --init_channels 4 --layers 3".split()
DATA += "--batch_size 32 --log_every 2 --precision fp32".split()  # the same on every CPU
TINY_SEARCH = [*DATA, "--epochs", "3", "--order", "second", "--run_name", "s"]
TINY_TRAIN = [*DATA, "--epochs", "3", "--run_name", "t", "--genotype", "random:3"]


def run(script, folder, *words):
    """Runs a training script's `main` in this process; of a flag given twice the last one counts."""
    words = [*words, "--log_root", folder / "logs", "--figure_root", folder / "figures"]
    flags = {}
    for word in map(str, words):
        if word.startswith("--"):
            values = flags[word] = []
        else:
            values.append(word)
    words = [word for flag, values in flags.items() for word in (flag, *values)]
    return script.main(cli.parse(script.Options, "", words))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny search and a tiny training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("q4")
    run(train_search, folder, *TINY_SEARCH)
    run(train, folder, *TINY_TRAIN)
    return folder


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def skips(folder):
    return [int(row["skip_connections"]) for row in rows(folder / "logs/q4_darts/o/metrics.csv")]


def rates(path):
    return [float(row["learning_rate"]) for row in rows(path)]


def test_a_search_leaves_everything(finished):
    folder, figures = finished / "logs/q4_darts/s", finished / "figures/q4_darts/s"
    for name in ("curves.png", "cells.png", "alphas.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20
    with Image.open(figures / "cells.gif") as gif:
        assert gif.n_frames == 3
    genotype = read(str(folder / "genotype.json"))
    results = json.loads((folder / "results.json").read_text())
    assert results["genotype"]["normal"] == [list(edge) for edge in genotype.normal]
    weights = np.array(json.loads((folder / "genotypes/epoch_003.json").read_text())["weights"])
    assert weights.shape == (2, 14, 8) and np.allclose(weights.sum(-1), 1)
    assert derive(*weights) == genotype
    expected = [0.001 + 0.024 * (1 + cos(pi * e / 3)) / 2 for e in range(3)]
    assert np.allclose(rates(folder / "metrics.csv"), expected, rtol=1e-5)
    columns = "train_loss validation_loss train_accuracy validation_accuracy skip_connections".split()
    assert set(columns) <= set(rows(folder / "metrics.csv")[0])


def test_a_training_leaves_everything(finished):
    folder = finished / "logs/q4_darts/t"
    expected = [0.025 * (1 + cos(pi * e / 3)) / 2 for e in range(3)]
    assert np.allclose(rates(folder / "metrics.csv"), expected, rtol=1e-5)
    drops = [float(row["drop_path"]) for row in rows(folder / "metrics.csv")]
    assert np.allclose(drops, [0, 0.2 / 3, 0.4 / 3], rtol=1e-5)
    first = json.loads((folder / "results.json").read_text())["rows"][0]
    assert first["name"] == "test, epoch 3" and first["count"] == 512
    assert "paper" not in first  # not beside synthetic data


PARTIAL = ["--partial_channels", 2, "--warm_up_epochs", 1]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], PARTIAL, ["--order", "second", "--precision", "bf16"]])
def test_other_searches(finished, tmp_path, flags):
    run(train_search, tmp_path, *DATA, "--epochs", 2, "--run_name", "o", *flags)
    folder = tmp_path / "logs/q4_darts/o"
    assert len(rows(folder / "metrics.csv")) == 2
    before, after = (json.loads((folder / f"genotypes/epoch_00{e}.json").read_text()) for e in (1, 2))
    assert before["weights"] != after["weights"]
    assert derive(*(np.array(after["weights"]) * np.array(after["edges"])[..., None])) == from_lists(after)
    losses = [row["alpha_loss"] for row in rows(folder / "steps.csv")]
    assert ("nan" in losses) == (flags == PARTIAL)  # while the alphas wait there is no loss of theirs
    assert losses[0] != rows(finished / "logs/q4_darts/s/steps.csv")[0]["alpha_loss"]  # second order in fp32


@pytest.mark.slow
def test_the_choice_of_dense_convolutions_belongs_to_the_run(tmp_path, monkeypatch):
    chosen = []
    words = [*DATA, "--epochs", 1, "--train_pictures", 64, "--run_name", "o"]
    monkeypatch.setattr(train_search.Supernet, "run_dense", lambda self, up_to: chosen.append(up_to))
    run(train_search, tmp_path, *words)
    last = tmp_path / "logs/q4_darts/o/checkpoints/last.pt"
    state = checkpoint.read(last)
    state["position"]["dense_up_to"] = 5
    torch.save(state, last)
    run(train_search, tmp_path, *words, "--resume")
    assert chosen == [8, 5]


@pytest.mark.slow
def test_stop_on_skips(tmp_path, monkeypatch, capsys):
    """With alphas that are moved to convolutions first, and to skip connections after the second epoch."""
    make_row = train_search.search_row

    def collapsing(epoch, model, *rest):
        chosen = {1: "sep_conv_3x3", 2: "skip_connect"}[epoch]
        with torch.no_grad():
            model.alphas[:, :, PRIMITIVES.index(chosen)] += 10 * epoch
        return make_row(epoch, model, *rest)

    monkeypatch.setattr(train_search, "search_row", collapsing)
    flags = ["--epochs", 4, "--stop_on_skips", 1, "--run_name", "o"]
    run(train_search, tmp_path, *DATA, *flags)
    assert skips(tmp_path) == [0, 8]
    assert "--stop_on_skips" in capsys.readouterr().out
    run(train_search, tmp_path, *DATA, *flags, "--resume")  # a search that stopped itself stays stopped
    assert skips(tmp_path) == [0, 8] and "--stop_on_skips" in capsys.readouterr().out


@pytest.mark.slow
def test_from_search_to_test(finished, script, tmp_path, capsys):
    genotype = finished / "logs/q4_darts/s/genotype.json"
    run(train, tmp_path, *DATA, "--epochs", 1, "--genotype", genotype)
    found = tmp_path / "logs/q4_darts/train-s-1"
    assert (found / "results.json").exists() and "test, epoch 1 " in capsys.readouterr().out
    for folder in (finished / "logs/q4_darts/s", found):
        last = folder / "checkpoints/last.pt"
        done = script(EVALUATE, "--checkpoint", last, "--figure_root", tmp_path / "f")
        assert "512 test pictures of synthetic" in done.stdout
        assert (tmp_path / "f/q4_darts" / folder.name / "confusion.png").exists()
    results = json.loads((found / "results.json").read_text())
    again = results["evaluations"]["last.pt"]["rows"][0]
    assert again["value"] == results["rows"][0]["value"]  # the same test


@pytest.mark.slow
def test_skips_of_alphas_that_wait_do_not_end_the_search(tmp_path):
    flags = [*PARTIAL, "--epochs", 2, "--stop_on_skips", 1, "--run_name", "o", "--overwrite"]
    for seed in range(4):
        run(train_search, tmp_path, *DATA, *flags, "--seed", seed)
        if skips(tmp_path)[0]:
            break
    assert skips(tmp_path)[0] >= 1 and len(skips(tmp_path)) == 2


def test_defaults_are_the_papers():
    names = ["batch_size", "learning_rate", "learning_rate_min", "arch_learning_rate", "warm_up_epochs"]
    for partial, values in ((1, [64, 0.025, 0.001, 3e-4, 0]), (4, [256, 0.1, 0.0, 6e-4, 15])):
        search = resolve_search(SearchOptions(partial_channels=partial))
        assert [getattr(search, name) for name in names] == values and search.epochs == 50
    options = resolve_training(TrainOptions())
    assert [options.batch_size, options.init_channels, options.layers, options.epochs] == [96, 36, 20, 600]
    assert [options.cutout, options.drop_path, options.auxiliary] == [16, 0.2, 0.4]


@pytest.mark.slow
def test_smoke(script, roots, tmp_path):
    script(SEARCH, "--smoke", "--partial_channels", 4, *roots)
    script(TRAIN, "--smoke", "--genotype", tmp_path / "logs/q4_darts/smoke-search/genotype.json", *roots)
    assert (tmp_path / "logs/q4_darts/smoke-train/results.json").exists()


def test_visualize(script, tmp_path):
    script("q4_darts/visualize.py", "--genotype", "PC_DARTS", "--output", tmp_path / "a" / "c.png")
    with Image.open(tmp_path / "a" / "c.png") as image:
        assert image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 20
    assert ".pdf" in script("q4_darts/visualize.py", "--output", tmp_path / "c.txt", status=2).stderr


NAMES = "the names known are DARTS_V1, DARTS_V2, PC_DARTS and random:SEED"
WRONG = [
    (train_search, "--init_channels 6 --partial_channels 4", UsageError, "must be a multiple of 8"),
    (train_search, "--batch_size 97", UsageError, "more than the 96 there are"),
    (train_search, "--warm_up_epochs 3", UsageError, "leaves none of the 3 epochs"),
    (train_search, "--learning_rate_min 0.1", UsageError, "between 0 and --learning_rate 0.025"),
    (train_search, "--folder x", UsageError, "--folder needs --dataset folder"),
    (train_search, "--image_size 48", UsageError, "--image_size 48 needs --dataset folder"),
    (train_search, "--learning_rate 1e30", RunError, "not finite at epoch 1, step"),
    (train_search, "--train_pictures 5000", UsageError, "more than the 2048"),
    (train, "--init_channels 5", UsageError, "--init_channels must be even, not 5"),
    (train, "--genotype DARTS_V3", RunError, NAMES),
    (train, "--batch_size 500", UsageError, "more than the 192 there are"),
    (train, "--learning_rate 1e30", RunError, "not finite at epoch 1, step"),
]


@pytest.mark.parametrize("module, words, error, message", WRONG)
def test_wrong_commands_get_a_clear_line(tmp_path, module, words, error, message):
    with pytest.raises(error, match=message):
        run(module, tmp_path, *(TINY_SEARCH if module is train_search else TINY_TRAIN), *words.split())


@pytest.mark.parametrize(
    "flag, value, message",
    [
        ("--genotype", "random:4", "--genotype was 'random:3', now 'random:4'"),
        ("--epochs", 5, "--epochs was 3, now 5 .*--start_from"),
    ],
)
def test_another_genotype_or_number_of_epochs_cannot_be_resumed_into(finished, flag, value, message):
    with pytest.raises(UsageError, match=message):
        run(train, finished, *TINY_TRAIN, flag, value, "--resume")


def test_an_evaluation_without_a_checkpoint(script):
    assert "no checkpoint at" in script(EVALUATE, "--checkpoint", "nowhere.pt", status=1).stderr


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


@pytest.mark.slow
def test_after_the_data_moved(own, script, tmp_path):
    words = [ROOT / EVALUATE, "--checkpoint", own / "logs/q4_darts/a/checkpoints/last.pt"]
    words += ["--figure_root", tmp_path, "--data_root", tmp_path / "cache"]
    said = script(*words, status=2, cwd=tmp_path).stderr  # "data" was relative to another folder
    assert f"{tmp_path / 'data'}: give their place with --folder" in said
    assert "12 test pictures" in script(*words, "--folder", own / "data").stdout
    results = own / "logs/q4_darts/a/results.json"
    before = results.read_text()
    results.write_text(json.dumps(json.loads(before) | {"question": "q1_dcgan"}))
    said = script(*words, "--folder", own / "data", status=1).stderr
    assert "belongs to a run of q1_dcgan" in said
    results.write_text(before)


def test_resume_notices_other_test_pictures(own, script):
    picture = own / "data/test/cup $/0.png"
    before = picture.read_bytes()
    picture.write_bytes((own / "data/test/cup $/1.png").read_bytes())
    command = json.loads((own / "logs/q4_darts/a/config.json").read_text())["legs"][0]["command"]
    said = script(ROOT / TRAIN, *shlex.split(command)[2:], "--resume", status=2, cwd=own).stderr
    picture.write_bytes(before)
    assert "its test_data changed" in said and (own / "logs/q4_darts/a/results.json").exists()


def test_predict_never_writes_over_a_picture_that_it_reads(own, script, tmp_path):
    """The table's and the figures' names are compared with the pictures, links followed."""
    picture = own / "data/test/cup $/0.png"
    before = picture.read_bytes()
    (tmp_path / "symbolic.png").symlink_to(picture)
    (tmp_path / "hard.png").hardlink_to(picture)
    (tmp_path / "any-confusion.png").hardlink_to(picture)
    for name in ("symbolic", "hard", "any"):
        words = ["--input", picture, "--output", tmp_path / f"{name}.csv"]
        assert "would replace" in script("q4_darts/predict.py", *words, status=2).stderr
    words = ["--input", picture, "--output", picture.with_suffix(".csv")]
    assert "would replace" in script("q4_darts/predict.py", *words, status=2).stderr
    assert picture.read_bytes() == before


def test_test_pictures_from_the_training_are_told(own, tmp_path):
    shutil.copytree(own / "data", tmp_path / "data")
    for picture in (tmp_path / "data/test/cup $").iterdir():
        shutil.copy(tmp_path / "data/train/cup $" / picture.name, picture)
    words = f"--dataset folder --image_size 16 {SMALL} --batch_size 8 --epochs 1 --run_name o".split()
    run(train, tmp_path, *words, "--folder", tmp_path / "data", "--data_root", tmp_path / "cache")
    log = (tmp_path / "logs/q4_darts/o/train.log").read_text()
    assert "4 of the 12 test pictures are training pictures" in log


def test_the_results_tell_of_the_genotype_that_was_trained(tmp_path, monkeypatch):
    """Whatever happens to the file meanwhile, as when the search goes on."""
    file = tmp_path / "genotype.json"
    save(DARTS_V2, file)
    monkeypatch.setattr(train, "train", lambda *_: file.unlink())
    words = f"--dataset synthetic {SMALL} --train_pictures 96 --epochs 1 --run_name o".split()
    results = run(train, tmp_path, *words, "--genotype", file)
    assert results["genotype"] == DARTS_V2._asdict()


@pytest.mark.slow
def test_start_from_remakes_the_head(own, tmp_path, capsys):
    words = [*DATA, "--start_from", own / "logs/q4_darts/a/checkpoints/last.pt", "--epochs", 1]
    run(train, tmp_path, *words, "--genotype", "DARTS_V2")
    said = capsys.readouterr().out
    assert "starts from model" in said and "starts anew: model score.weight, (10, 64)" in said
    with pytest.raises(UsageError, match="they differ in"):
        run(train, tmp_path, *words, "--genotype", "random:1")
