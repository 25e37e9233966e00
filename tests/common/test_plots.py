"""Figures: any name can stand in them, a user's settings do not reach them, GIFs keep to their limit."""

import warnings

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from common import gif, plots
from common.rows import write_rows


@pytest.mark.parametrize("most, size", [(10**6, (200, 120)), (30_000, None)])
def test_a_gif_keeps_its_size_limit_and_its_frames(tmp_path, most, size):
    noise = np.random.default_rng(0).integers(0, 256, (4, 120, 200, 3), dtype=np.uint8)
    path = gif.write_gif([Image.fromarray(image) for image in noise], tmp_path / "new" / "a.gif", 300, most)
    assert path.stat().st_size <= most
    with Image.open(path) as animation:
        assert animation.n_frames == 4
        assert size is None or animation.size == size


@pytest.mark.parametrize(
    "epochs, kept", [(1, [1]), (4, [1, 2, 3, 4]), (5, [1, 3, 5]), (12, [3, 6, 9, 12]), (13, [1, 5, 9, 13])]
)
def test_frames_are_thinned_to_at_most_four_with_the_last(epochs, kept):
    assert list(gif.thin(range(1, epochs + 1), 4)) == kept


@pytest.fixture
def canvases(monkeypatch):
    """The figures that are saved."""
    saved = []
    save = plots.save
    monkeypatch.setattr(plots, "save", lambda canvas, path: saved.append(canvas) or save(canvas, path))
    return saved


def assert_all_inside(canvas):
    """Checks that nothing of a figure lies outside of it."""
    box = canvas.get_tightbbox()  # in inches
    assert box.x0 > -0.2
    assert box.x1 < canvas.get_figwidth() + 0.2


NAMES = pytest.mark.parametrize("name", ["_hidden", "$x^2 \\frac{", "a long name " * 18, "\udcff"], ids=ascii)


@NAMES
def test_any_class_can_stand_in_a_confusion_matrix(tmp_path, canvases, name):
    warnings.filterwarnings("error", "constrained_layout not applied")
    few = torch.arange(12)
    plots.confusion(few, few, [f"{name}{i}" for i in range(12)], tmp_path / "a.png")
    assert_all_inside(canvases[0])


@NAMES
def test_any_name_can_stand_in_a_title(tmp_path, canvases, name):
    write_rows(tmp_path / "metrics.csv", [{"epoch": i, "loss": i / 3} for i in range(1, 4)])
    plots.curves(tmp_path / "metrics.csv", tmp_path / "a.png", f"run {name}", {"loss": {"loss": ""}})
    assert_all_inside(canvases[0])


@NAMES
def test_any_name_can_stand_over_a_grid_of_images(tmp_path, canvases, name):
    images = np.zeros((2, 6, 8, 8))
    plots.image_grid(images, tmp_path / "a.png", f"run {name}", [plots.short(name)] * 2)
    assert_all_inside(canvases[0])


def test_characters_that_the_font_lacks_are_named_once(tmp_path, capsys):
    plots.image_grid(np.zeros((1, 2, 8, 8)), tmp_path / "a.png", "漢", column_names=["漢", "字"])
    assert capsys.readouterr().err == f"note: {tmp_path}/a.png has boxes for '字漢': not in its font\n"


@pytest.mark.parametrize(
    "setting", [{"image.origin": "lower"}, {"font.size": 40}, {"text.usetex": True}], ids=str
)
def test_a_users_settings_do_not_reach_a_figure(tmp_path, setting):
    image = np.arange(64).reshape(8, 8) / 64
    plain = plots.image_grid([[image]], tmp_path / "plain.png", "title")
    with matplotlib.rc_context(setting):
        other = plots.image_grid([[image]], tmp_path / "other.png", "title")
    assert other.read_bytes() == plain.read_bytes()


def test_a_users_settings_are_theirs_again_after_a_figure(tmp_path):
    with matplotlib.rc_context({"image.origin": "lower", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        plots.image_grid(np.zeros((1, 1, 8, 8)), tmp_path / "a.png", "title")
        assert dict(matplotlib.rcParams) == before


def test_a_figure_that_fails_leaves_a_users_settings_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    with pytest.raises(TypeError):
        plots.image_grid(None, tmp_path / "a.png", "title")
    assert dict(matplotlib.rcParams) == before


# Curves -----------------------------------------------------------------------------------------------------


def write_metrics(path):
    rows = [
        {"epoch": 1, "train_accuracy": 0.5, "validation_accuracy": 0.25, "learning_rate": 0.1, "kept": 3},
        {"epoch": 2, "train_accuracy": 0.75, "validation_accuracy": 0.5, "learning_rate": 0.01, "kept": 4},
    ]
    write_rows(path, rows)
    return path


PANELS = {
    "accuracy (%)": {"train_accuracy": "train", "validation_accuracy": "validation"},
    plots.LEARNING_RATE: {"learning_rate": ""},
    "kept": {"kept": ""},
}


def test_curves_of_the_parts_share_a_panel_and_shares_are_in_percent(tmp_path, canvases):
    plots.curves(write_metrics(tmp_path / "metrics.csv"), tmp_path / "a.png", "a run", PANELS, best_epoch=2)
    accuracy, rate, kept = canvases[0].axes
    assert [axis.get_ylabel() for axis in canvases[0].axes] == ["accuracy (%)", "learning rate", "kept"]
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "train",
        "validation",
        "best: epoch 2",
    ]
    assert accuracy.lines[0].get_ydata().tolist() == [50, 75]
    assert rate.get_yscale() == "log"
    assert all(tick == int(tick) for tick in kept.get_yticks())


def test_panels_choose_the_columns_that_are_there(tmp_path, canvases):
    panels = {"pictures": {"kept": "", "lost": ""}, "nothing": {"absent": ""}}
    plots.curves(write_metrics(tmp_path / "metrics.csv"), tmp_path / "a.png", "a run", panels)
    assert [axis.get_ylabel() for axis in canvases[0].axes] == ["pictures"]


@pytest.mark.parametrize("content", ["", "epoch\n1\n"])
def test_metrics_without_anything_to_draw_make_no_figure(tmp_path, content):
    (tmp_path / "metrics.csv").write_text(content)
    plots.curves(tmp_path / "metrics.csv", tmp_path / "a.png", "a run", PANELS)
    assert not (tmp_path / "a.png").exists()


def test_steps_are_smoothed_over_a_part_of_the_run(tmp_path):
    write_rows(tmp_path / "steps.csv", [{"step": i, "loss": i % 2} for i in range(20)])
    table, smooth = plots.read_steps(tmp_path / "steps.csv", points=10)
    assert table["loss"].tolist() == [0, 1] * 10
    assert smooth["loss"].tolist() == [0.5] * 19


def test_a_confusion_table_against_counting_one_by_one():
    predicted = torch.tensor([0, 1, 1, 0])
    labels = torch.tensor([0, 0, 1, 0])
    table = plots.confusion_table(predicted, labels, 3)
    torch.testing.assert_close(table[0], torch.tensor([200 / 3, 100 / 3, 0]).double())
    assert table[1:].tolist() == [[0, 100, 0], [0, 0, 0]]


def test_of_many_classes_the_worst_are_shown(tmp_path, canvases):
    labels = torch.arange(50)
    predicted = torch.where(labels < 10, labels, labels.roll(1))
    plots.confusion(predicted, labels, [str(i) for i in range(50)], tmp_path / "a.png")
    shown = [label.get_text() for label in canvases[0].axes[0].get_yticklabels()]
    assert shown == [str(i) for i in range(10, 50)]


@pytest.mark.parametrize(
    "name, expected", [("short", "short"), ("a" * 12 + "b" * 12, "a" * 10 + "…" + "b" * 9)]
)
def test_a_long_name_keeps_its_beginning_and_its_end(name, expected):
    assert plots.short(name) == expected


def test_a_title_has_lines_of_one_length_rather_than_a_last_word_alone():
    canvas, _ = plots.figure(size=(4, 1))
    plots.write_title(canvas, "80 samples of the network in pretrained, epoch 15")
    lines = canvas.get_suptitle().splitlines()
    assert [len(line) for line in lines] == [25, 23]


def test_a_figure_may_have_no_title():
    canvas, _ = plots.figure(size=(4, 1))
    plots.write_title(canvas, "")
    assert canvas.get_suptitle() == ""
