import numpy as np
import pytest
import torch
from PIL import Image

from common import plots
from q4_darts import figures
from q4_darts.cell_figure import place_labels, plot_cells, to_curves
from q4_darts.figures import plot_cells_gif
from q4_darts.genotypes import NAMED, random_genotype, save
from tests.conftest import ROOT


def test_a_confusion_matrix_of_many_classes_shows_those_with_the_lowest_accuracy(tmp_path, monkeypatch):
    labels = torch.arange(60).repeat(4)
    predicted = torch.where(labels < 50, labels, 0)  # the last ten are always wrong
    shown = []
    ticks = "matplotlib.axes.Axes.set_yticks"
    monkeypatch.setattr(ticks, lambda self, places, names, **_: shown.extend(names))
    path = plots.confusion(predicted, labels, [f"${n}" for n in range(60)], tmp_path / "c.png")
    assert len(shown) == 40 and set(shown) >= {f"${n}" for n in range(50, 60)}
    with Image.open(path) as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_gif_of_many_epochs_stays_small(tmp_path):
    (tmp_path / "genotypes").mkdir()
    for epoch in range(1, 13):
        save(random_genotype(epoch), tmp_path / "genotypes" / f"epoch_{epoch:03d}.json", epoch=epoch)
    path = plot_cells_gif(tmp_path, tmp_path / "a" / "cells.gif", frames=4)
    with Image.open(path) as gif:
        assert gif.n_frames == 4 and path.stat().st_size <= 500_000


def test_no_label_of_the_published_cells_lies_on_another():
    for genotype in NAMED.values():
        canvas = plot_cells(genotype, "cells")
        canvas.draw_without_rendering()
        for axis in canvas.axes:
            boxes = [text.get_window_extent() for text in axis.texts if " " in text.get_text()]
            for place, box in enumerate(boxes):
                assert box.count_overlaps(boxes[place + 1 :]) == 0


@pytest.mark.parametrize("name", NAMED)
def test_no_arc_crosses_a_label_of_another_in_the_published_cells(name):
    line = np.linspace(0, 180, 1801)
    for edges in NAMED[name]:
        curves = to_curves(edges)
        for curve, box in place_labels(curves, 5.5):
            inside = [box.holds(*other.points(line)) for other in curves if other is not curve]
            assert max(inside) <= 4  # a corner at most


def test_a_finished_search_is_drawn_again_from_its_log_files(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(figures.plots, "write_title", lambda canvas, title: titles.append(title))
    figures.redraw(ROOT / "logs/q4_darts/search-pc-20", tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"curves.png", "alphas.png", "cells.png", "cells.gif"}
    assert "search-pc-20: PC-DARTS search on 1/4 of the channels" in titles[0]
    assert all(title.startswith("search-pc-20") for title in titles)


def test_a_finished_training_is_drawn_again_from_its_log_files(tmp_path):
    figures.redraw(ROOT / "logs/q4_darts/pc-20-darts-v2", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"curves.png", "cells.png"}


def test_the_scale_of_the_alphas_shows_only_weights_that_there_are(tmp_path, monkeypatch):
    (tmp_path / "genotypes").mkdir()
    weights = np.full((2, 14, 8), 0.02)
    weights[:, :, 3] = 0.86  # farther above 1/8 than 0 is below it
    genotype = random_genotype(0)
    save(genotype, tmp_path / "genotypes" / "epoch_001.json", epoch=1, weights=weights.tolist())
    drawn = []
    monkeypatch.setattr(figures.plots, "save", lambda canvas, path: drawn.append(canvas))
    figures.plot_alphas(tmp_path, tmp_path / "alphas.png", "a search")
    bar = drawn[0].axes[-1]
    assert bar.get_ylim() == (0.02, 0.86)
