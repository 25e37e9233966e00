import json

import pytest
import torch

from q1_dcgan import figures
from q1_dcgan.synthetic import draw_digits
from tests.conftest import ROOT


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved from here on."""
    canvases = []
    save = figures.plots.save

    def save_and_keep(canvas, path):
        canvases.append(canvas)
        return save(canvas, path)

    monkeypatch.setattr(figures.plots, "save", save_and_keep)
    return canvases


def test_curves_show_the_measures_under_plain_names(drawn, tmp_path):
    metrics = ROOT / "logs/q1_dcgan/mnist/metrics.csv"
    figures.plots.curves(metrics, tmp_path / "curves.png", "DCGAN", figures.CURVES)
    axes = drawn[0].axes
    labels = [(axis.get_xlabel(), axis.get_ylabel()) for axis in axes]
    assert labels == [("epoch", name) for name in figures.CURVES]
    legends = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in axes[1:]]
    assert legends == [["commonest class", "rarest class"], ["mean confidence"]]


def assert_legible(canvas, axis_name, side):
    """Ticks do not overlap, and the title is inside of the figure."""
    labels = getattr(canvas.axes[0], axis_name).get_ticklabels()
    edges = sorted(label.get_window_extent().extents[list(side)].tolist() for label in labels)
    assert all(end <= start for (_, end), (start, _) in zip(edges, edges[1:]))
    title = (canvas._suptitle or canvas.axes[0].title).get_window_extent()
    assert 0 <= title.x0
    assert title.x1 <= canvas.bbox.x1


@pytest.mark.parametrize("count", [60, 200])
def test_many_classes_stay_legible_in_the_histogram(monkeypatch, drawn, tmp_path, count):
    names = [f"a class called {i}" for i in range(count)]
    probabilities = torch.rand(1000, count, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(figures, "judge", lambda *_: (None, probabilities))
    figures.plot_histogram(torch.zeros(1000, 28, 28), None, names, "mine, epoch 2", tmp_path / "classes.png")
    assert_legible(drawn[0], "xaxis", (0, 2))
    title = drawn[0].get_suptitle().replace("\n", " ")
    assert title.startswith("mine, epoch 2: ")
    assert ("40 rarest and 40 commonest of 200" in title) == (count == 200)


def test_many_classes_stay_legible_in_the_samples(drawn, tmp_path):
    names = [f"a class called {i}" for i in range(60)]
    sheet = tmp_path / "samples/epoch_001.png"
    figures.write_sheet(torch.zeros(8 * figures.MOST_ROWS, 28, 28), sheet)
    config = {"classes": names, "options": {"conditional": True}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    figures.plot_samples([sheet], tmp_path, tmp_path, "Conditional DCGAN, fashion_mnist, 28 pixels, seed 0")
    assert_legible(drawn[0], "yaxis", (1, 3))
    labels = drawn[0].axes[0].yaxis.get_ticklabels()
    assert [label.get_text() for label in labels] == names[: figures.MOST_ROWS]
    assert "first 30 of 60 classes" in drawn[0].get_suptitle().replace("\n", " ")


def test_a_finished_run_is_drawn_again_from_its_log_files(drawn, tmp_path):
    figures.redraw(ROOT / "logs/q1_dcgan/mnist-64", tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"curves.png", "losses.png", "samples.png", "samples.gif"}
    assert all(canvas.get_suptitle().startswith("mnist-64: DCGAN") for canvas in drawn)


def test_neighbours_name_the_network_that_drew(drawn, tmp_path):
    digits = draw_digits(20, 0)
    figures.plot_neighbours(digits.images[:4], digits, "mine, epoch 2", tmp_path / "nearest.png")
    assert drawn[0].get_suptitle().startswith("mine, epoch 2: samples")


def test_the_name_of_a_run_is_never_broken_in_a_title(drawn, tmp_path):
    images = torch.zeros(4, 28, 28, dtype=torch.uint8).numpy()
    title = "64 samples of class 4: mnist-conditional-penalised, epoch 15"
    figures.plot_sheet(images, 2, tmp_path / "samples.png", title)
    assert any("mnist-conditional-penalised" in line for line in drawn[0].get_suptitle().splitlines())
