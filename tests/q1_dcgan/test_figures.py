import json

import pytest
import torch

from q1_dcgan import figures
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
    figures.plots.curves(metrics, tmp_path / "curves.png", "DCGAN", panels=figures.CURVES)
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
    figures.plot_histogram(torch.zeros(1000, 28, 28), None, names, tmp_path / "classes.png")
    assert_legible(drawn[0], "xaxis", (0, 2))
    said = "40 rarest and 40 commonest of 200" in drawn[0].axes[0].get_title(loc="left")
    assert said == (count == 200)


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
