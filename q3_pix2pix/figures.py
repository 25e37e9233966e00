"""The pictures of a run: losses and samples from its log folder, and triplets of input, truth and output."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor

from common import gif, plots
from common.epoch_files import epoch_files
from common.plot_style import in_our_style
from common.rows import read_table
from q3_pix2pix.legend import Legend
from q3_pix2pix.maps_dataset import Pairs

MOST_FRAMES = 20  # epochs in samples.gif
LOSSES = {  # column of steps.csv -> panel of losses.png, and its colour
    "g_gan": ("generator, adversarial (nats)", "#1f77b4"),
    "g_l1": ("generator, L1 (scale of [-1, 1])", "#d95f02"),
    "d_real": ("discriminator, real (nats)", "#1b9e77"),
    "d_fake": ("discriminator, generated (nats)", "#7b3294"),
}
CURVES = {  # panel of curves.png -> column of metrics.csv -> its name in the legend
    "generator, adversarial (nats)": {"g_gan": ""},
    "generator, L1 (scale of [-1, 1])": {"g_l1": ""},
    "discriminator (nats)": {"d_real": "real", "d_fake": "generated"},
    "validation L1 (grey levels)": {"validation_l1": ""},
    "validation PSNR (dB)": {"validation_psnr": ""},
    "validation SSIM (1 is equal)": {"validation_ssim": ""},
    "validation sharpness (true maps: 1)": {"validation_sharpness": ""},
    "validation pixel accuracy, in percent": {"validation_pixel_accuracy": ""},
    "validation pixels on the legend, in percent": {"validation_on_legend": ""},
    plots.LEARNING_RATE: {"learning_rate": ""},
}


def redraw(folder: Path, figures: Path) -> None:
    """Draws the figures of a finished run once more, from its log files alone; triplets need the network."""
    plot_run(folder, figures, plots.read_title(folder))


def redraw_curves(folder: Path, figures: Path) -> None:
    """Draws curves.png of a finished run once more."""
    plot_curves(folder, figures, plots.read_title(folder))


def plot_run(folder: Path, figures: Path, title: str) -> None:
    """Draws a run from its log folder: curves.png, losses.png and samples.gif.

    Args:
        title: which names the run.
    """
    plot_curves(folder, figures, title)
    plot_losses(folder, figures, title)
    write_gif(folder, figures)


def plot_curves(folder: Path, figures: Path, title: str) -> None:
    """Draws curves.png from metrics.csv; losses of a discriminator that was not trained are left out."""
    measured = {name for name, values in read_table(folder / "metrics.csv").items() if any(values)}
    panels = {label: lines for label, lines in CURVES.items() if measured & lines.keys()}
    plots.curves(folder / "metrics.csv", figures / "curves.png", title, panels)


@in_our_style
def plot_losses(folder: Path, figures: Path, title: str) -> Path:
    """Draws losses.png from steps.csv: the generator's two parts and the discriminator's two halves."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    trained = [name for name in LOSSES if name in table and table[name].any()]
    canvas, axes = plots.figure(-(-len(trained) // 2), min(2, len(trained)), (5.2, 3))
    for axis, name in zip(axes.flat, trained):
        label, color = LOSSES[name]
        axis.plot(table["step"], table[name], color=color, alpha=0.2, linewidth=0.7)
        axis.plot(smooth["step"], smooth[name], color=color)
        axis.set(xlabel="step", ylabel=label)
        if name.startswith("d_"):
            axis.axhline(np.log(2) / 2, color="black", linestyle=":", linewidth=1, label="knows nothing")
            axis.legend(fontsize=9)
    plots.write_title(canvas, title)
    return plots.save(canvas, figures / "losses.png")


def write_samples(path: Path, pairs: Tensor, outputs: Tensor) -> None:
    """Writes one JPEG of input, ground truth and output from top to bottom, one column per pair.

    Args:
        pairs: (n, 6, size, size) uint8.
        outputs: (n, 3, size, size) uint8.
    """
    columns = torch.cat([pairs, outputs], 1).unflatten(1, (3, 3))  # (n, 3, 3, size, size)
    sheet = columns.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (3 * size, n * size, 3)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(sheet.cpu().numpy()).save(path, quality=90)


def write_gif(folder: Path, figures: Path) -> Path:
    """Writes samples.gif: the samples of at most MOST_FRAMES epochs, the last one among them."""
    sheets = epoch_files(folder / "samples", ".jpg")
    frames = [Image.open(sheet) for sheet in gif.thin(sheets, MOST_FRAMES)]
    return gif.write_gif(frames, figures / "samples.gif", 400)


@in_our_style
def plot_triplets(
    path: Path, title: str, order: list[int], pairs: Pairs, outputs: Tensor, legend: Legend | None
) -> Path:
    """Draws one row per pair in `order`: input, ground truth and output with its L1.

    Args:
        outputs: the maps of all pairs, (n, 3, size, size) uint8.
        legend: the colours of the maps, shown below; None where they are not flat.
    """
    canvas, axes = plots.figure(len(order), 3, (2.3, 2.35))
    for row, i in zip(axes, order):
        pictures = torch.stack([pairs.photos[i], pairs.maps[i], outputs[i]])
        error = float((outputs[i].float() - pairs.maps[i]).abs().mean())
        texts = (plots.short(pairs.names[i], 28), "", f"L1 {error:.1f}")
        shown = pictures.permute(0, 2, 3, 1).cpu().numpy()  # (3, size, size, 3)
        for axis, picture, below in zip(row, shown, texts):
            plots.show(axis, picture, below)
    for axis, head in zip(axes[0], ("input", "ground truth", "generated")):
        axis.set_title(head)
    if legend is not None:
        write_legend(canvas, legend)
    plots.write_title(canvas, title)
    return plots.save(canvas, path)


def write_legend(canvas: Figure, legend: Legend) -> None:
    """Writes the maps' colours below a figure, each with its name, where it has one, and its share."""
    patches = []
    for color, share, name in zip(legend.colors.tolist(), legend.shares, legend.names):
        label = f"{100 * share:.1f} %"
        patches.append(Patch(facecolor=color, edgecolor="grey", label=f"{name}, {label}" if name else label))
    title = "Colours of the training maps and their shares"
    if not any(legend.names):
        title += "\n(the data set has no names for them)"
    rows = -(-len(patches) // 4)
    canvas.set_figheight(canvas.get_figheight() + 0.6 + 0.22 * rows)
    canvas.legend(
        handles=patches,
        loc="outside lower center",
        ncols=4,
        fontsize=9,
        title=title,
        title_fontsize=9,
        handlelength=1.2,
        columnspacing=1.2,
    )
