import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from common import checkpoint, cli
from common.device import Runtime, start
from common.errors import RunError, Stopped, UsageError
from common.evaluations import trained_folder
from common.rows import read_table
from q3_pix2pix import evaluate, figures, train
from q3_pix2pix.legend import find_colors
from q3_pix2pix.mapper import Mapper
from q3_pix2pix.maps_dataset import draw_towns, load, prepare, random_crop_and_mirror
from q3_pix2pix.options import DataOptions
from q3_pix2pix.pix2pix import PatchGAN, UNet, seed_dropout
from tests.conftest import ROOT

TRAIN, EVALUATE, PREDICT = "q3_pix2pix/train.py", "q3_pix2pix/evaluate.py", "q3_pix2pix/predict.py"
LAST = "logs/q3_pix2pix/a/checkpoints/last.pt"
TINY = {
    "--dataset": "synthetic",
    "--device": "cpu",
    "--epochs": 3,
    "--image_size": 32,
    "--base_channels": 4,
    "--batch_size": 4,
    "--log_every": 2,
    "--precision": "fp32",  # the same on every CPU
}
ADDED = "--turns --average_weights 0.9 --gradient_penalty 1".split()  # all that the paper does not have


def parse(*words):
    """Options of a tiny run, but for these words."""
    for flag, value in TINY.items():
        if flag not in words:
            words += (flag, value)
    return cli.parse(train.Options, "", [str(word) for word in words])


def run(folder, *words):
    """Trains in this process."""
    return train.main(parse(*words, "--log_root", folder / "logs", "--figure_root", folder / "figures"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run, "a", that nothing interrupted."""
    folder = tmp_path_factory.mktemp("q3")
    run(folder, "--run_name", "a")
    return folder


def test_a_run_leaves_everything(trained):
    folder, figures = trained / "logs/q3_pix2pix/a", trained / "figures/q3_pix2pix/a"
    names = "config.json metrics.csv steps.csv results.json samples/epoch_003.jpg checkpoints/best.pt"
    for name in names.split():
        assert (folder / name).exists(), name
    for name in ("curves.png", "losses.png", "triplets.png"):
        with Image.open(figures / name) as image:
            assert image.width > 400 and len(np.unique(np.asarray(image.convert("L")))) > 20
    with Image.open(figures / "samples.gif") as gif:
        assert gif.n_frames >= 3
    names = {row["name"] for row in json.loads((folder / "results.json").read_text())["rows"]}
    made = {"L1, train-mode inference (the paper's)", "L1, eval mode"}
    assert made | {"L1, mean training map", "L1, nearest training pair's map"} <= names


def test_a_finished_run_measures_the_same_again(trained):
    results = trained / "logs/q3_pix2pix/a/results.json"
    before = json.loads(results.read_text())["rows"]
    run(trained, "--run_name", "a", "--resume")
    assert json.loads(results.read_text())["rows"] == before


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A tiny run, "a", with every addition."""
    folder = tmp_path_factory.mktemp("q3-added")
    run(folder, "--run_name", "a", *ADDED)
    return folder


def same(one, other):
    """Whether two states, of tensors and plain values in dicts and lists, are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


STATES = "generator", "discriminator", "optimizer_g", "optimizer_d", "crops"


def test_without_additions_a_run_is_the_plain_loop(tmp_path):
    """One epoch, written out: crops and mirrors, dropout's seed and the two steps; nothing else is drawn."""
    run(tmp_path, "--run_name", "a", "--epochs", 1)
    saved = checkpoint.load(tmp_path / LAST, "q3_pix2pix")
    assert "average" not in saved
    runtime = start(parse())
    pairs = load(tmp_path, DataOptions("synthetic"), 32)["train"].images
    generator, discriminator = UNet(32, 4), PatchGAN(4)
    both = generator, discriminator
    rate = 1e-4  # of 2e-4, in the middle of a fall to zero after one epoch
    adams = tuple(torch.optim.Adam(each.parameters(), rate, (0.5, 0.999), fused=True) for each in both)
    crops = torch.Generator().manual_seed(0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1000))
    for step, batch in enumerate(order.split(4)):
        photo, real = prepare(random_crop_and_mirror(pairs[batch], 32, crops)).split(3, 1)
        seed_dropout(0, 1, step, 0)
        train.train_step(both, adams, photo, real, 1.0, 0, runtime)
    for name, network in zip(STATES, both):
        assert same(saved[name], network.state_dict())
    assert torch.equal(saved["crops"], crops.get_state())


@pytest.mark.parametrize("stop_at", [5, 16, 23])
def test_a_stop_resumes_exactly_with_every_addition(added, tmp_path, monkeypatch, stop_at):
    calls = []
    step = train.train_step

    def stopping(*inputs):
        calls.append(1)
        if len(calls) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        return step(*inputs)

    monkeypatch.setattr(train, "train_step", stopping)
    with pytest.raises(Stopped):
        run(tmp_path, "--run_name", "a", *ADDED)
    run(tmp_path, "--run_name", "a", *ADDED, "--resume")
    assert len(calls) == 3 * 16
    whole, resumed = (checkpoint.load(folder / LAST, "q3_pix2pix") for folder in (added, tmp_path))
    for name in (*STATES, "average"):
        assert same(whole[name], resumed[name]), name
    for name in ("metrics.csv", "steps.csv"):
        one, other = ((folder / "logs/q3_pix2pix/a" / name).read_bytes() for folder in (added, tmp_path))
        assert one == other, name


def test_the_penalty_is_taken_every_fourth_step_four_times_as_heavy(tmp_path, monkeypatch):
    weights = []
    step = train.train_step

    def recording(*inputs):
        weights.append(inputs[-2])
        return step(*inputs)

    monkeypatch.setattr(train, "train_step", recording)
    run(tmp_path, "--epochs", 1, "--gradient_penalty", 0.5)
    assert weights == [2, 0, 0, 0] * 4


def test_averaged_weights_are_what_is_measured_kept_and_used(tmp_path, monkeypatch):
    states = []
    step = train.train_step

    def recording(networks, *inputs):
        generator, _ = networks
        losses = step(networks, *inputs)
        states.append({name: value.clone() for name, value in generator.state_dict().items()})
        return losses

    monkeypatch.setattr(train, "train_step", recording)
    run(tmp_path, "--run_name", "a", "--epochs", 1, "--average_weights", 0.9)
    average = dict(states[0])
    for t, state in enumerate(states[1:], 1):
        keep = min(0.9, (1 + t) / (10 + t))
        for name, value in state.items():
            if value.is_floating_point():  # weights, and the running statistics of BatchNorm
                average[name] = keep * average[name] + (1 - keep) * value
            else:
                average[name] = value
    for file in (LAST, LAST.replace("last", "best")):
        generator = Mapper.load(tmp_path / file, Runtime(torch.device("cpu"))).generator
        for name, value in generator.state_dict().items():
            torch.testing.assert_close(value, average[name], rtol=1e-4, atol=1e-6)
    saved = checkpoint.load(tmp_path / LAST, "q3_pix2pix")
    assert same(saved["generator"], states[-1])
    folder = tmp_path / "logs/q3_pix2pix/a"
    rows = {row["name"]: row["value"] for row in json.loads((folder / "results.json").read_text())["rows"]}
    measured = read_table(folder / "metrics.csv")["validation_l1"][-1]
    assert rows["L1, train-mode inference (the paper's)"] == pytest.approx(measured, abs=1e-3)
    assert rows["L1, without averaging the weights"] != pytest.approx(measured, abs=1e-3)


def test_every_epoch_records_what_a_choice_is_made_by(added):
    folder = added / "logs/q3_pix2pix/a"
    table = read_table(folder / "metrics.csv")
    rows = {row["name"]: row["value"] for row in json.loads((folder / "results.json").read_text())["rows"]}
    for column, name in (
        ("pixel_accuracy", "pixel accuracy"),
        ("sharpness", "sharpness"),
        ("on_legend", "on the legend"),
    ):
        values = table[f"validation_{column}"]
        assert len(values) == 3
        assert values[-1] == pytest.approx(rows[f"{name}, train-mode inference (the paper's)"], rel=1e-3)


def test_an_evaluation_of_the_test_names_the_part_and_leaves_the_validations_pictures(added, tmp_path):
    shutil.copytree(added / "logs/q3_pix2pix/a", tmp_path / "a")
    last = tmp_path / "a/checkpoints/last.pt"
    options = {"checkpoint": last, "device": "cpu", "figure_root": tmp_path / "f", "triplets": 2}
    for part in ("val", "test"):
        evaluate.main(evaluate.Options(**options, part=part))
    found = json.loads((tmp_path / "a/results.json").read_text())["evaluations"]
    assert found.keys() == {"last.pt", "last.pt-test"}
    test = {row["name"]: row for row in found["last.pt-test"]}
    assert {row["count"] for row in test.values()} == {"16 test pairs"}
    assert all(name.endswith(", part test") for name in test)
    validation = {row["name"]: row["value"] for row in found["last.pt"]}
    for name in ("L1, train-mode inference (the paper's)", "L1, nearest training pair's map"):
        assert test[f"{name}, part test"]["value"] != validation[name]
    drawn = {file.name for file in (tmp_path / "f/q3_pix2pix/a").iterdir()}
    assert drawn == {"triplets.png", "worst.png", "triplets-test.png", "worst-test.png"}


def test_the_discriminators_step_sees_detached_pictures(tmp_path, monkeypatch):
    """In the order of a step: real, generated for its own step, generated for the generator's."""
    seen = []

    class Recording(PatchGAN):
        def forward(self, photo, target):
            seen.append((target.requires_grad, self.layers[0].weight.requires_grad))
            return super().forward(photo, target)

    monkeypatch.setattr(train, "PatchGAN", Recording)
    run(tmp_path, "--epochs", 1, "--batch_size", 32)
    assert seen == [(False, True), (False, True), (True, False)] * 2


@pytest.mark.slow
def test_smoke(script, roots):
    script(TRAIN, "--smoke", *roots)


@pytest.mark.parametrize("name", ["metrics.csv", "steps.csv"])
def test_l1_only_has_no_losses_of_a_discriminator(tmp_path, name):
    run(tmp_path, "--gan_weight", 0, "--run_name", "l1", "--epochs", 1)
    table = read_table(tmp_path / "logs/q3_pix2pix/l1" / name)
    assert not {"g_gan", "d_real", "d_fake"} & table.keys()
    assert table["g_l1"][0] > 0


@pytest.mark.slow
def test_l1_only_is_a_control(trained, script, tmp_path):
    run(tmp_path, "--gan_weight", 0, "--run_name", "l1")
    words = ["--figure_root", tmp_path / "f", "--triplets", 4, "--choose", "best"]
    words += ["--l1_checkpoint", tmp_path / "logs/q3_pix2pix/l1/checkpoints/last.pt"]
    done = script(EVALUATE, "--checkpoint", trained / LAST, *words)
    assert "SSIM, L1-only network" in done.stdout and "SSIM, minus L1-only network" in done.stdout
    assert all((tmp_path / "f/q3_pix2pix/a" / name).exists() for name in ("triplets.png", "worst.png"))


def test_predict_any_size_and_names(trained, script, tmp_path):
    photos, maps = tmp_path / "photos", tmp_path / "maps"
    photos.mkdir()
    Image.new("RGB", (32, 32), "green").save(photos / "small.jpg")
    Image.new("L", (90, 41)).save(photos / "large.png")
    words = [PREDICT, "--checkpoint", trained / LAST, "--input", photos, "--output", maps]
    script(*words)
    assert [Image.open(maps / f"{name}.png").size for name in ("small", "large")] == [(32, 32), (90, 41)]
    script(*words, "--side_by_side")
    assert Image.open(maps / "large.png").size == (180, 41)
    (photos / "bad.png").write_bytes(b"")
    done = script(*words, status=1)
    assert "bad.png" in done.stderr and "2 of 3 photos" in done.stdout


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (["--image_size", "48"], UsageError, "--image_size must be a power of two"),
        (["--batch_size", "90"], UsageError, "more than the 64"),
        (["--constant_epochs", "9"], UsageError, "--constant_epochs 9 is more than --epochs 3"),
        (["--gan_weight", "0", "--gradient_penalty", "1"], UsageError, "--gan_weight 0 trains without one"),
        (["--learning_rate", "1e30"], RunError, "not finite at epoch 1, step"),
        (["--dataset", "folder"], UsageError, "needs --pairs"),
        (["--pairs", "x"], UsageError, "--pairs needs --dataset folder"),
    ],
)
def test_wrong_commands_get_a_clear_line(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        run(tmp_path, *arguments)


def test_checkpoint_of_another_size_direction_or_schedule(trained):
    folder = trained / "logs/q3_pix2pix/a"
    before = [(folder / name).read_bytes() for name in ("config.json", "metrics.csv", "results.json")]
    for flag, value, message in (
        ("--image_size", 64, "--image_size was 32, now 64"),
        ("--direction", "BtoA", "--direction was 'AtoB', now 'BtoA'"),
        ("--epochs", 2, "3 epochs are done, more than --epochs 2"),
        ("--constant_epochs", 3, "--constant_epochs was -1, now 3"),
    ):
        with pytest.raises(UsageError, match=message):
            run(trained, "--run_name", "a", "--resume", flag, value)
        now = [(folder / name).read_bytes() for name in ("config.json", "metrics.csv", "results.json")]
        assert now == before


def test_added_epochs_run_at_a_constant_rate_and_config_says_so(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    for epochs in (4, 5):
        run(tmp_path, "--run_name", "a", "--resume", "--epochs", epochs)
    folder = tmp_path / "logs/q3_pix2pix/a"
    rates = read_table(folder / "metrics.csv")["learning_rate"]
    assert rates == pytest.approx([2e-4, 2e-4 * 2 / 3, 2e-4 / 3, 2e-4, 2e-4], rel=1e-5)
    words = json.loads((folder / "config.json").read_text())["schedule"]
    assert words == "3 epochs as planned, then 2 at a constant rate: not the one schedule"
    assert checkpoint.load(folder / "checkpoints/last.pt", "q3_pix2pix")["facts"]["schedule"] == words


def test_start_from_a_checkpoint(trained, tmp_path, capsys):
    last = trained / LAST
    run(tmp_path, "--run_name", "b", "--epochs", 1, "--learning_rate", 1e-9, "--start_from", last)
    assert f"starts from generator, discriminator of {last}" in capsys.readouterr().out
    folders = last.parents[1], tmp_path / "logs/q3_pix2pix/b"
    before, after = (read_table(folder / "metrics.csv")["validation_l1"] for folder in folders)
    assert after[0] == pytest.approx(before[-1], abs=0.1)
    with pytest.raises(UsageError, match="holds the network {'image_size': 32, 'base_channels': 4"):
        run(tmp_path, "--run_name", "c", "--base_channels", 8, "--start_from", last)


def test_an_evaluation_looks_before_it_works(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "logs/q3_pix2pix/a", tmp_path / "a")
    last = tmp_path / "a/checkpoints/last.pt"
    monkeypatch.setattr(Mapper, "load", lambda *_: pytest.fail("worked already"))
    for text, message in (("{", "damaged"), ('{"question": "q1_dcgan"}', "belongs to a run of q1_dcgan")):
        (tmp_path / "a/results.json").write_text(text)
        with pytest.raises(RunError, match=message):
            evaluate.main(evaluate.Options(checkpoint=last))
        assert (tmp_path / "a/results.json").read_text() == text


def test_an_evaluation_finds_data_that_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = {"dataset": "folder", "pairs": "my/pairs", "direction": "AtoB"}
    with pytest.raises(UsageError, match=f"no longer in {tmp_path}/my/pairs.*--pairs DIR"):
        trained_folder(trained, None, "--pairs")
    assert trained_folder(trained, Path("."), "--pairs") == Path(".")
    trained |= {"dataset": "maps", "pairs": None}
    with pytest.raises(UsageError, match="--pairs needs --dataset folder"):
        load(tmp_path, DataOptions("maps", trained_folder(trained, tmp_path, "--pairs")), 32)


ZEROS = "g_gan,g_l1,d_real,d_fake\n1,0,0.5,0,0\n2,0,0.4,0,0\n"  # as the first runs wrote them


@pytest.mark.parametrize("table", ["step,g_l1\n1,0.5\n2,0.4\n", f"step,{ZEROS}"])
def test_losses_without_a_discriminator_show_one_panel(tmp_path, table):
    (tmp_path / "steps.csv").write_text(table)
    with Image.open(figures.plot_losses(tmp_path, tmp_path, "L1 only")) as image:
        assert image.size == (676, 390)  # 5.2 x 3 inches at 130 dots


@pytest.mark.parametrize("table", ["epoch,g_l1\n1,0.5\n2,0.4\n", f"epoch,{ZEROS}"])
def test_curves_have_no_empty_panels_and_no_best_epoch(tmp_path, monkeypatch, table):
    drawn = []
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: drawn.append(canvas))
    (tmp_path / "metrics.csv").write_text(table)
    figures.plot_curves(tmp_path, tmp_path, "L1 only")
    [axis] = drawn[0].axes
    assert axis.get_ylabel() == "generator, L1 (scale of [-1, 1])"
    assert len(axis.lines) == 1


@pytest.mark.slow
def test_a_finished_run_is_drawn_again_from_its_log_files(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(figures.plots, "write_title", lambda canvas, title: titles.append(title))
    figures.redraw(ROOT / "logs/q3_pix2pix/aerial-128-100", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "losses.png", "samples.gif"}
    assert titles == ["aerial-128-100: pix2pix, aerial_maps, 128 pixels, GAN + L1"] * 2


def legend_texts(monkeypatch, tmp_path, dataset):
    """The title and labels of the legend below a triplet."""
    drawn = []
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: drawn.append(canvas))
    pairs = draw_towns(4, 64, 0)
    legend = find_colors(pairs, dataset).legend
    figures.plot_triplets(tmp_path / "t.png", "run", [0], pairs, pairs.maps, legend)
    [below] = drawn[0].legends
    return below.get_title().get_text(), [text.get_text() for text in below.get_texts()]


def test_triplets_name_the_colours_of_the_map(tmp_path, monkeypatch):
    title, labels = legend_texts(monkeypatch, tmp_path, "synthetic")
    assert "no names" not in title
    assert {label.partition(",")[0] for label in labels} == {"ground", "park", "water", "road", "house"}


def test_triplets_say_where_a_data_set_names_no_colours(tmp_path, monkeypatch):
    title, labels = legend_texts(monkeypatch, tmp_path, "folder")
    assert "the data set has no names for them" in title
    assert all(label.endswith(" %") for label in labels)
