"""The pictures of a run: losses and samples from its log folder, and triplets of input, truth and output."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common import plots
from q3_pix2pix.maps_dataset import Pairs

LOSSES = {  # column of steps.csv -> panel of losses.png
    "g_gan": ("generator, adversarial (nats)", "#1f77b4"),
    "g_l1": ("generator, L1 (scale of [-1, 1])", "#d95f02"),
    "d_real": ("discriminator, real (nats)", "#1b9e77"),
    "d_fake": ("discriminator, fake (nats)", "#7b3294"),
}

CURVES = {  # panel of curves.png -> column of metrics.csv -> its name in the legend
    "generator, adversarial (nats)": {"g_gan": ""},
    "generator, L1 (scale of [-1, 1])": {"g_l1": ""},
    "discriminator (nats)": {"d_real": "real", "d_fake": "generated"},
    "L1 (grey levels)": {"validation_l1": ""},
    "PSNR (dB)": {"validation_psnr": ""},
    "SSIM (1 is equal)": {"validation_ssim": ""},
    "sharpness (1 is the true maps')": {"validation_sharpness": ""},
    "pixel accuracy, in percent": {"validation_pixel_accuracy": ""},
    "on the legend, in percent": {"validation_on_legend": ""},
    "learning rate": {"learning_rate": ""},
}


def plot_losses(folder: Path, figures: Path, title: str) -> Path:
    """losses.png from steps.csv: the generator's two parts and the discriminator's two halves."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    trained = [name for name in LOSSES if table[name].any()]  # without a discriminator the others are 0
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
    """One JPEG of input, ground truth and output from top to bottom, one column per pair.

    Args:
        pairs: (n, 6, size, size) uint8.
        outputs: (n, 3, size, size) in [0, 1].
    """
    columns = torch.cat([pairs / 255, outputs], 1).unflatten(1, (3, 3))  # (n, 3, 3, size, size)
    sheet = columns.permute(1, 3, 0, 4, 2).flatten(2, 3).flatten(0, 1)  # (3 * size, n * size, 3)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((sheet * 255).byte().cpu().numpy()).save(path, quality=90)


def write_gif(folder: Path, figures: Path) -> Path:
    """samples.gif: the samples of at most 20 epochs, the last one among them."""
    frames = [Image.open(sheet) for sheet in sorted((folder / "samples").glob("epoch_*.jpg"))]
    frames = frames[::-1][:: -(-len(frames) // 20)][::-1]
    return plots.write_gif(frames, figures / "samples.gif")


def plot_triplets(path: Path, title: str, order: list[int], pairs: Pairs, outputs: Tensor) -> Path:
    """One row per pair in `order`: input, ground truth and output with its L1.

    Args:
        outputs: the maps of all pairs, (n, 3, size, size) in [0, 1].
    """
    canvas, axes = plots.figure(len(order), 3, (2.3, 2.35))
    for row, i in zip(axes, order):
        photo, target = (pairs.images[i] / 255).split(3)
        error = float((outputs[i] - target).abs().mean() * 255)
        texts = plots.short(pairs.names[i], 28), "", f"L1 {error:.1f}"
        for axis, image, below in zip(row, (photo, target, outputs[i]), texts):
            plots.show(axis, image.permute(1, 2, 0).cpu().numpy(), below)
    for axis, head in zip(axes[0], ("input", "ground truth", "generated")):
        axis.set_title(head)
    plots.write_title(canvas, title)
    return plots.save(canvas, path)
