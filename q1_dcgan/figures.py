"""The pictures of a run, drawn from its log folder: samples over the epochs, and the losses."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from common import plots

TILE = 28


def write_sheet(images: Tensor, columns: int, path: Path) -> None:
    """Writes pictures (n, 28, 28) uint8 side by side as one PNG, `columns` a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = -(-len(images) // columns)
    sheet = np.zeros((rows * TILE, columns * TILE), np.uint8)
    for i, image in enumerate(images.cpu().numpy()):
        top, left = TILE * (i // columns), TILE * (i % columns)
        sheet[top : top + TILE, left : left + TILE] = image
    Image.fromarray(sheet).save(path)


def draw_samples(folder: Path, figures: Path, title: str) -> list[Path]:
    """samples.png: the same noise after epoch 1, n/2 and n; samples.gif: after every epoch."""
    sheets = sorted((folder / "samples").glob("epoch_*.png"))
    epochs = [int(sheet.stem.split("_")[1]) for sheet in sheets]
    chosen = sorted({1, max(1, epochs[-1] // 2), epochs[-1]})
    canvas, axes = plots.figure(1, len(chosen), (4, 4.3))
    for axis, epoch in zip(axes[0], chosen):
        axis.imshow(np.asarray(Image.open(sheets[epochs.index(epoch)])), cmap="gray", interpolation="nearest")
        axis.set_title(f"after epoch {epoch}")
        axis.axis("off")
    canvas.suptitle(
        f"{title}{': ' if len(chosen) > 1 else chr(10)}one fixed noise"
    )  # over one panel it takes two lines
    frames = [
        Image.open(sheet).resize([2 * side for side in Image.open(sheet).size], Image.Resampling.NEAREST)
        for sheet in sheets
    ]
    figures.mkdir(parents=True, exist_ok=True)
    frames[0].save(
        figures / "samples.gif",
        save_all=True,
        append_images=frames[1:] + [frames[-1]] * 3,
        duration=400,
        loop=0,
    )
    return [plots.save(canvas, figures / "samples.png"), figures / "samples.gif"]


def draw_losses(folder: Path, figures: Path, title: str) -> Path:
    """losses.png from steps.csv: both losses, and what the discriminator says of real and generated pictures."""
    table, smooth = plots.read_steps(folder / "steps.csv")
    canvas, ((left, right),) = plots.figure(1, 2, (6, 3.8))
    for name, label, color in (
        ("d_loss", "discriminator (real + fake)", "#1f77b4"),
        ("g_loss", "generator", "#d95f02"),
    ):
        left.plot(table["step"], table[name], color=color, alpha=0.2, linewidth=0.7)
        left.plot(smooth["step"], smooth[name], color=color, label=label)
    left.axhline(
        2 * np.log(2), color="black", linestyle=":", linewidth=1, label="discriminator that knows nothing"
    )
    left.set(xlabel="step", ylabel="loss (nats)", title="Losses")
    for name, label, color in (
        ("d_real", "D(x), real", "#1f77b4"),
        ("d_fake", "D(G(z)), before D's step", "#d95f02"),
        ("d_fake_after", "D(G(z)), after", "#7b3294"),
    ):
        right.plot(smooth["step"], smooth[name], color=color, label=label)
    right.axhline(0.5, color="black", linestyle=":", linewidth=1)
    right.set(
        xlabel="step", ylabel="mean probability of real", ylim=(0, 1), title="What the discriminator believes"
    )
    (
        left.legend(fontsize=9),
        right.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3),
    )
    canvas.suptitle(title)
    return plots.save(canvas, figures / "losses.png")
