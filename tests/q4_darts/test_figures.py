import numpy as np
import torch
from PIL import Image

from common import plots
from q4_darts.figures import plot_cells, plot_cells_gif
from q4_darts.genotypes import NAMED, random_genotype, save


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
        assert gif.n_frames == 5 and path.stat().st_size <= 500_000


def test_no_label_of_the_published_cells_lies_on_another():
    for genotype in NAMED.values():
        canvas = plot_cells(genotype, "cells")
        canvas.draw_without_rendering()
        for axis in canvas.axes:
            boxes = [text.get_window_extent() for text in axis.texts if " " in text.get_text()]
            for place, box in enumerate(boxes):
                assert box.count_overlaps(boxes[place + 1 :]) == 0
