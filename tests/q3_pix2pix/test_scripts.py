import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from common import checkpoint, cli
from common.images import trained_folder
from common.results import read_table
from common.runtime import RunError, Runtime, Stopped, UsageError, start
from q3_pix2pix import evaluate, figures, predict, train
from q3_pix2pix.maps_dataset import DataOptions, load, prepare, random_crop_and_mirror, stack
from q3_pix2pix.measures import load_generator
from q3_pix2pix.pix2pix import PatchGAN, UNet

TRAIN, EVALUATE, PREDICT = "q3_pix2pix/train.py", "q3_pix2pix/evaluate.py", "q3_pix2pix/predict.py"
LAST = "logs/q3_pix2pix/a/checkpoints/last.pt"
TINY = "--dataset synthetic --device cpu --epochs 3 --image_size 32 --base_channels 4 --batch_size 4".split()
TINY += ["--log_every", "2", "--precision", "fp32"]  # the same on every CPU


ADDED = "--turns --average_weights 0.9 --gradient_penalty 1".split()  # all that the paper does not have


def run(folder, *words):
    """Trains in this process."""
    roots = ["--log_root", folder / "logs", "--figure_root", folder / "figures"]
    return train.main(cli.parse(train.Options, "", [str(word) for word in (*TINY, *roots, *words)]))


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
    runtime = start(cli.parse(train.Options, "", TINY))
    pairs = load(tmp_path, DataOptions("synthetic"), 32)["train"].images
    generator, discriminator = UNet(32, 4), PatchGAN(4)
    both = generator, discriminator
    rate = 1e-4  # of 2e-4, in the middle of a fall to zero after one epoch
    adams = [torch.optim.Adam(network.parameters(), rate, (0.5, 0.999), fused=True) for network in both]
    crops = torch.Generator().manual_seed(0)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1000))
    for step, batch in enumerate(order.split(4)):
        photo, real = prepare(random_crop_and_mirror(pairs[batch], 32, crops)).split(3, 1)
        torch.manual_seed(train.dropout_seed(0, 1, step, 0))
        train.train_step(*both, *adams, photo, real, runtime)
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
        weights.append(inputs[-1])
        return step(*inputs)

    monkeypatch.setattr(train, "train_step", recording)
    run(tmp_path, "--epochs", 1, "--gradient_penalty", 0.5)
    assert weights == [2, 0, 0, 0] * 4


def test_averaged_weights_are_what_is_measured_kept_and_used(tmp_path, monkeypatch):
    states = []
    step = train.train_step

    def recording(generator, *inputs):
        losses = step(generator, *inputs)
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
        generator, _ = load_generator(tmp_path / file, Runtime(torch.device("cpu"), "fp32"))
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


def test_smoke(script, roots):
    script(TRAIN, "--smoke", *roots)


@pytest.mark.slow
def test_l1_only_leaves_the_discriminator_alone_and_is_a_control(trained, script, tmp_path):
    run(tmp_path, "--gan_weight", 0, "--run_name", "l1")
    table = read_table(tmp_path / "logs/q3_pix2pix/l1/metrics.csv")
    assert table["g_gan"][0] == table["d_real"][0] == table["d_fake"][0] == 0 < table["g_l1"][0]
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


def test_results_have_distinct_names_and_never_replace_a_photo(tmp_path, monkeypatch):
    for name in ("x/a.jpg", "x/a.png", "x/a-png.png", "x/b.png", "y/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    options = predict.Options(input=(tmp_path / "x", tmp_path / "y", tmp_path / "y/b.png"), output=Path("o"))
    results = {str(k.relative_to(tmp_path)): v.name for k, v in predict.find_photos(options).items()}
    expected = {"x/a.jpg": "a-jpg.png", "x/a.png": "a-png-2.png", "x/a-png.png": "a-png.png"}
    assert results == expected | {"x/b.png": "b-png.png", "y/b.png": "b-png-2.png"}
    monkeypatch.chdir(tmp_path / "y")
    here = predict.Options(input=(Path("."),), output=Path("o"))
    assert list(predict.find_photos(here).values()) == [Path("o/b.png")]
    single = predict.Options(input=(tmp_path / "x/a.jpg",), output=tmp_path / "map.webp")
    assert list(predict.find_photos(single).values()) == [tmp_path / "map.webp"]
    for sources, output, message in (
        (["x"], "map.png", "one file, and there are 4 photos"),
        (["y"], "y", "would replace the photo .*/y/b.png"),
        (["x/a.jpg"], "x/a.jpg", "would replace the photo"),
        (["z"], "o", "z does not exist"),
    ):
        options = predict.Options(input=tuple(tmp_path / s for s in sources), output=tmp_path / output)
        with pytest.raises(UsageError, match=message):
            predict.find_photos(options)


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
        ("--constant_epochs", 3, "--constant_epochs was 1, now 3"),
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


class Discs(torch.nn.Module):
    """Paints discs red that hold a square of 7 pixels, and smaller ones blue."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        ink = (x.amax(1, keepdim=True) > 0).float()
        opened = F.max_pool2d(-F.max_pool2d(-ink, 7, 1, 3), 7, 1, 3)
        return 2 * torch.cat([opened, 0 * ink, ink * (1 - opened)], 1) - 1


@pytest.mark.parametrize("scale, small", [(None, "blue"), (1.0, "red")])
def test_a_photo_is_taken_at_the_scale_of_the_training(tmp_path, monkeypatch, scale, small):
    """Trained at 64 pixels on pairs of 256: discs of 24 pixels are red, of 8 pixels blue."""
    state = {"architecture": {"image_size": 64}, "facts": {"scale": [0.25, 0.25]}}
    monkeypatch.setattr(predict, "load_generator", lambda *_: (Discs(), state))
    photo = Image.new("RGB", (300, 256))
    for x, y, radius in ((60, 60, 24), (220, 180, 8)):
        ImageDraw.Draw(photo).ellipse((x - radius, y - radius, x + radius, y + radius), "white")
    file = tmp_path / os.fsdecode(b"caf\xe9.png")  # a name that is not UTF-8
    photo.save(file)
    paths = {"checkpoint": Path("stub"), "input": (file,), "output": tmp_path / "map.png"}
    assert predict.main(predict.Options(**paths, scale=scale, device="cpu")) == [tmp_path / "map.png"]
    with Image.open(tmp_path / "map.png") as result:
        assert result.size == photo.size
        colors = [np.argmax(result.getpixel(at)) for at in ((60, 60), (220, 180))]
    assert colors == [0, {"red": 0, "blue": 2}[small]]


@pytest.mark.parametrize("sides", [(60, 35), (25, 64), (32, 32)])
def test_a_photo_is_fitted_as_the_pairs_of_the_training_were(monkeypatch, sides):
    random, seen = np.random.default_rng(0), []
    photo = Image.fromarray(random.integers(0, 256, (*sides[::-1], 3), np.uint8))

    def copy(generator, tiles, mode):
        seen.append(tiles)
        return tiles.float() / 255

    monkeypatch.setattr(predict, "translate", copy)
    scale = [32 / max(sides)] * 2
    result = predict.translate_photo(Discs(), photo, 32, scale, predict.Options(), fitted=True)
    [tiles] = seen
    assert np.array_equal(tiles[0].numpy(), stack([photo], 32, "fit")) and result.size == photo.size
    small = photo.resize([round(side * scale[0]) for side in sides], Image.Resampling.BICUBIC)
    assert np.array_equal(result, small.resize(photo.size, Image.Resampling.BICUBIC))


def test_a_photo_too_large_at_the_scale_of_the_training_is_refused():
    photo = Image.new("RGB", (3000, 17))
    with pytest.raises(RunError, match="3,000 x 17 pixels would have 3,000,000 x 17,000.*--scale"):
        predict.translate_photo(Discs(), photo, 64, [1000.0, 1000.0], predict.Options())


def test_an_evaluation_looks_before_it_works(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "logs/q3_pix2pix/a", tmp_path / "a")
    last = tmp_path / "a/checkpoints/last.pt"
    monkeypatch.setattr(evaluate, "load_generator", lambda *_: pytest.fail("worked already"))
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


def test_losses_without_a_discriminator_show_one_panel(tmp_path):
    (tmp_path / "steps.csv").write_text("step,g_gan,g_l1,d_real,d_fake\n1,0,0.5,0,0\n2,0,0.4,0,0\n")
    with Image.open(figures.plot_losses(tmp_path, tmp_path, "L1 only")) as image:
        assert image.size == (676, 390)  # 5.2 x 3 inches at 130 dots
