"""The pictures of a run, drawn from its log folder: the losses, and the fixed triplets over the epochs."""

from pathlib import Path

import numpy as np
from PIL import Image

from common import plots


def draw_losses(folder: Path, figures: Path, title: str) -> Path:
    """losses.png from steps.csv: the generator's two parts and the discriminator's two halves."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    panels = (
        ("g_gan", "generator, adversarial (nats)", "#1f77b4"),
        ("g_l1", "generator, L1 (scale of [-1, 1])", "#d95f02"),
        ("d_real", "discriminator, real (nats)", "#1b9e77"),
        ("d_fake", "discriminator, fake (nats)", "#7b3294"),
    )
    canvas, axes = plots.figure(2, 2, (5.2, 3))
    for axis, (name, label, color) in zip(axes.flat, panels):
        axis.plot(table["step"], table[name], color=color, alpha=0.2, linewidth=0.7)
        axis.plot(smooth["step"], smooth[name], color=color)
        axis.set(xlabel="step", ylabel=label)
        if name.startswith("d_"):
            axis.axhline(np.log(2) / 2, color="black", linestyle=":", linewidth=1, label="knows nothing")
            axis.legend(fontsize=9)
    canvas.suptitle(title)
    return plots.save(canvas, figures / "losses.png")


def draw_gif(folder: Path, figures: Path) -> Path:
    """samples.gif: input, ground truth and generated picture (top to bottom) of fixed validation pairs after every epoch."""
    frames = [Image.open(sheet) for sheet in sorted((folder / "samples").glob("epoch_*.jpg"))]
    frames = frames[::-1][:: -(-len(frames) // 20)][::-1]  # at most 20, the last one among them
    frames = [
        frame.quantize(48, dither=Image.Dither.NONE) for frame in frames
    ]  # maps have few colours, and GIFs grow with them
    figures.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        figures / "samples.gif",
        save_all=True,
        append_images=frames[1:] + [frames[-1]] * 3,
        duration=300,
        loop=0,
    )
    return figures / "samples.gif"
