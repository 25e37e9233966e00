import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from common import plots
from q1_dcgan import figures as q1_figures
from q2_protonet import figures as q2_figures
from q2_protonet.protonet import ProtoNet
from q2_protonet.splits import make_synthetic
from q3_pix2pix import figures as q3_figures
from q3_pix2pix.maps_dataset import Pairs
from q4_darts.figures import plot_cells
from q4_darts.genotypes import DARTS_V2


def test_a_gif_keeps_its_size_limit_and_its_frames(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (4, 120, 200, 3), dtype=np.uint8)
    frames = [Image.fromarray(image) for image in noise]
    for most, size in ((10**6, (200, 120)), (30_000, None)):
        path = plots.write_gif(frames, tmp_path / "new" / "a.gif", most_bytes=most)
        with Image.open(path) as gif:
            assert gif.n_frames == 4 and (size is None or gif.size == size)
        assert path.stat().st_size <= most


LONG = "a very long class name " * 9


@pytest.mark.parametrize("name", ["_hidden", "$x^2 \\frac{", LONG, "\udcff"], ids=ascii)
def test_any_name_can_stand_in_every_figure(tmp_path, monkeypatch, name):
    names, canvases, save = [f"{name}{i}" for i in range(12)], [], plots.save
    monkeypatch.setattr(plots, "save", lambda canvas, path: canvases.append(canvas) or save(canvas, path))
    warnings.filterwarnings("error", "constrained_layout not applied")
    few, pairs = torch.arange(12), Pairs(torch.ones(3, 6, 32, 32, dtype=torch.uint8), names)
    blank = torch.zeros(12, 28, 28, dtype=torch.uint8)
    q1_figures.plot_sheet(blank, 8, tmp_path / "a.png", f"12 samples of class {name}", names)
    monkeypatch.setattr(q1_figures, "judge", lambda *_: (None, torch.eye(12)))
    q1_figures.plot_histogram(blank, None, names, tmp_path / "b.png")
    plots.confusion(few, few, names, tmp_path / "c.png")
    q3_figures.plot_triplets(tmp_path / "d.png", "three", [0, 1, 2], pairs, torch.rand(3, 3, 32, 32))
    title = f"DARTS search, first order, 1/4 of the channels, {name}, after epoch 20"
    plots.save(plot_cells(DARTS_V2, title), tmp_path / "e.png")
    part = make_synthetic(0, 12, 3)
    part.names[:] = names
    q2_figures.record_episode(ProtoNet(4), part, 12, 1, 2, 0, tmp_path)
    q2_figures.plot_episode(tmp_path, tmp_path)
    assert len(canvases) == 7 and len(canvases[-1].axes[0].get_legend().get_texts()) == 12
    for canvas in canvases:
        box = canvas.get_tightbbox()  # in inches
        assert canvas._suptitle is None or -0.2 < box.x0 and box.x1 < canvas.get_figwidth() + 0.2
