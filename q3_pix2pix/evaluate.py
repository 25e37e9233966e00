"""Measures a generator on every validation pair, beside controls that know less, and draws triplets.

    python q3_pix2pix/evaluate.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt

L1 is in grey levels (0 to 255). Both ways of running the generator are measured: the paper's, with dropout and each picture's own
statistics, and the usual eval mode.
"""

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common import checkpoint, plots
from common.cli import at_least, command
from common.results import write_json
from common.runtime import Runtime, ScriptOptions, UsageError, no_tf32, start
from q3_pix2pix.maps_dataset import DataOptions, Pairs, load, prepare, to_unit
from q3_pix2pix.pix2pix import UNet, paper_inference

QUESTION = "q3_pix2pix"


@dataclass
class Options(ScriptOptions):
    """Measure a generator on the validation pairs."""

    checkpoint: Path = Path()  # a checkpoint of train.py, such as logs/q3_pix2pix/RUN/checkpoints/last.pt
    l1_checkpoint: Path | None = None  # the same network trained with --gan_weight 0, as a control
    triplets: int = 10  # how many triplets (input, ground truth, generated) to draw
    choose: Literal["first", "random", "best"] = (
        "first"  # which pairs; "best" by L1. The worst are drawn beside them anyway
    )
    data_root: Path = Path("data")  # folder of the data sets
    figure_root: Path = Path("figures")  # folder of the pictures


@torch.inference_mode()
@no_tf32()
def translate(
    generator: UNet, inputs: Tensor, mode: Literal["paper", "eval"] = "paper", batch: int = 8
) -> Tensor:
    """Maps of uint8 photos (n, 3, size, size), as floats in [0, 1] of whole grey levels, in fp32.

    Args:
        mode: "paper" keeps dropout on and normalises with each picture's own statistics; "eval" uses the running ones.
    """
    generator.eval()
    with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
        torch.manual_seed(0)  # dropout draws the same in every epoch, leg, process and script
        with paper_inference(generator) if mode == "paper" else contextlib.nullcontext():
            return torch.cat(
                [to_unit(generator.forward(prepare(piece))) for piece in inputs.split(batch)]
            )  # without torch.compile


@no_tf32()
def measure(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Figures of each picture, (n,) each, from pictures (n, 3, size, size) in [0, 1].

    Returns:
        l1: mean absolute difference in grey levels. psnr: in dB. ssim: Wang et al. 2004, 11x11 Gaussian window. sharpness:
        mean absolute difference of neighbouring pixels, divided by the mean of all targets'; 1 on average is as sharp as they.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = list(zip(outputs.split(16), targets.split(16)))  # of all at once only the figures
    ssim = [
        structural_similarity_index_measure(a, b, data_range=1.0, reduction="none").reshape(-1)
        for a, b in pairs
    ]

    def edges(images: Tensor) -> Tensor:
        return images.diff(dim=-1).abs().mean((1, 2, 3)) + images.diff(dim=-2).abs().mean((1, 2, 3))

    return {
        "l1": torch.cat([(a - b).abs().mean((1, 2, 3)) for a, b in pairs]) * 255,
        "psnr": -10
        * torch.cat([(a - b).square().mean((1, 2, 3)) for a, b in pairs]).clamp_min(1e-10).log10(),
        "ssim": torch.cat(ssim),
        "sharpness": torch.cat([edges(a) for a, _ in pairs])
        / torch.cat([edges(b) for _, b in pairs]).mean().clamp_min(1e-6),
    }


def find_palette(targets: Tensor, reach: float = 0.08, most: int = 12) -> Tensor | None:
    """The colours of flat maps: (colours, 3) in [0, 1], or None when the pictures are not flat.

    The most frequent colour is taken, what lies within `reach` of it is set aside, and so on until 90 % of the pixels are
    accounted for; more than `most` colours means that the maps are not flat.

    Args:
        targets: (n, 3, size, size) uint8.
    """
    pixels = targets.permute(0, 2, 3, 1).reshape(-1, 3)
    red, green, blue = (pixels.long() // 8).unbind(1)
    counts = torch.bincount(red * 32**2 + green * 32 + blue, minlength=32**3)
    coarse = torch.cartesian_prod(*[torch.arange(32, device=pixels.device)] * 3)
    colors, palette, total = (coarse.float() * 8 + 3.5) / 255, [], counts.sum()
    for _ in range(most):
        palette.append(colors[counts.argmax()])
        near = (colors - palette[-1]).norm(dim=1) < reach
        counts = counts.masked_fill(near, 0)
        if counts.sum() < 0.1 * total:
            return torch.stack(palette)
    return None


@no_tf32()
def pixel_accuracy(outputs: Tensor, targets: Tensor, palette: Tensor) -> Tensor:
    """Share of the pixels (n,) whose nearest palette colour is the target's nearest one; pictures in [0, 1]."""

    def snap(images: Tensor) -> Tensor:
        return torch.cdist(
            images.permute(0, 2, 3, 1).flatten(1, 2), palette.expand(len(images), -1, -1)
        ).argmin(-1)

    return torch.cat(
        [(snap(a) == snap(b)).float().mean(1) for a, b in zip(outputs.split(16), targets.split(16))]
    )


@no_tf32()
def controls(train: Pairs, validation: Pairs) -> dict[str, Tensor]:
    """What maps would be without a network, (n, 3, size, size) in [0, 1]: the mean training map, and the nearest pair's map.

    The nearest training photo is the one of least squared difference at 32x32 pixels.
    """
    size = validation.images.shape[-1]

    def small(pairs: Pairs) -> Tensor:
        return torch.cat(
            [
                F.interpolate(p[:, :3].float(), (32, 32), mode="area").flatten(1)
                for p in pairs.images.split(64)
            ]
        )

    nearest = torch.cdist(small(validation), small(train)).argmin(1)
    maps = torch.cat(
        [
            F.interpolate(p[:, 3:].float() / 255, (size, size), mode="area")
            for p in train.images[nearest].split(64)
        ]
    )
    mean = sum(p[:, 3:].float().sum(0) for p in train.images.split(64)) / (
        255 * len(train)
    )  # (3, load side, load side)
    mean = F.interpolate(mean[None], (size, size), mode="area").expand(len(validation), -1, -1, -1)
    return {"mean training map": mean.contiguous(), "nearest training pair's map": maps}


def as_rows(outputs: Tensor, targets: Tensor, palette: Tensor | None, name: str) -> list[dict]:
    """Rows of results.json: mean of every figure over the pictures and its 95% interval."""
    figures = measure(outputs, targets)
    if palette is not None:
        figures["pixel accuracy"] = 100 * pixel_accuracy(outputs, targets, palette)
    units = {
        "l1": "grey levels",
        "psnr": "dB",
        "ssim": "(1 is equal)",
        "sharpness": "of the targets'",
        "pixel accuracy": "%",
    }
    names = {"l1": "L1", "psnr": "PSNR", "ssim": "SSIM"}
    rows = []
    for figure, values in figures.items():
        value, interval = float(values.mean()), 1.96 * float(values.std(correction=0)) / len(values) ** 0.5
        row = {
            "name": f"{names.get(figure, figure)}, {name}",
            "value": round(value, 4),
            "interval": round(interval, 4),
            "unit": units[figure],
        }
        rows.append(row | {"count": f"{len(values)} validation pairs"})
    return rows


def load_generator(path: Path, runtime: Runtime) -> tuple[UNet, dict]:
    """The generator of a checkpoint, on the device, and the checkpoint's contents."""
    state = checkpoint.load(path, QUESTION, device=runtime.device)
    shape = {key: state["architecture"][key] for key in ("image_size", "base_channels")}
    generator = UNet(**shape).to(runtime.device)
    generator.load_state_dict(state.get("model", state.get("generator")))
    return generator.eval(), state


def draw_triplets(
    inputs: Tensor,
    targets: Tensor,
    outputs: Tensor,
    names: list[str],
    order: list[int],
    path: Path,
    title: str,
) -> None:
    """Rows of input, ground truth and generated picture, with the L1 of each; pictures in [0, 1]."""
    canvas, axes = plots.figure(len(order), 3, (2.3, 2.35))
    for row, i in zip(axes, order):
        error = float((outputs[i] - targets[i]).abs().mean() * 255)
        for axis, image, below in zip(
            row, (inputs[i], targets[i], outputs[i]), (names[i], "", f"L1 {error:.1f}")
        ):
            plots.show(axis, image.permute(1, 2, 0).cpu().numpy(), below)
    for axis, head in zip(axes[0], ("input", "ground truth", "generated")):
        axis.set_title(head)
    canvas.suptitle(title, fontsize=11)
    plots.save(canvas, path)


def main(options: Options) -> list[dict]:
    if options.checkpoint == Path():
        raise UsageError("--checkpoint FILE is needed, such as logs/q3_pix2pix/RUN/checkpoints/last.pt")
    at_least(1, options, "triplets")
    runtime = start(options)
    generator, state = load_generator(options.checkpoint, runtime)
    trained = state["options"]
    data = DataOptions(
        trained["dataset"], Path(trained["pairs"]) if trained["pairs"] else None, trained["direction"]
    )
    parts = load(options.data_root, data, state["architecture"]["image_size"], trained["seed"])
    parts = {name: part.to(runtime.device) for name, part in parts.items()}
    inputs, targets = parts["val"].images.split(3, 1)
    truth = targets.float() / 255
    palette = find_palette(parts["train"].images[:200, 3:])

    outputs = translate(generator, inputs)
    rows = as_rows(outputs, truth, palette, "train-mode inference (the paper's)")
    rows += as_rows(translate(generator, inputs, "eval"), truth, palette, "eval mode")
    if options.l1_checkpoint:
        control, other = load_generator(options.l1_checkpoint, runtime)
        if other["architecture"] != state["architecture"]:
            raise UsageError(
                f"--l1_checkpoint holds the network {other['architecture']}, and --checkpoint {state['architecture']}"
            )
        if other["options"]["gan_weight"] or other["options"]["dataset"] != trained["dataset"]:
            raise UsageError(
                f"--l1_checkpoint must come from a run with --gan_weight 0 on {trained['dataset']}"
            )
        rows += as_rows(translate(control, inputs), truth, palette, "L1-only network, train-mode inference")
    for name, images in controls(parts["train"], parts["val"]).items():
        rows += as_rows(images, truth, palette, name)

    run = (
        options.checkpoint.parent.parent
        if options.checkpoint.parent.name == "checkpoints"
        else options.checkpoint.parent
    )
    folder = options.figure_root / QUESTION / run.name
    ranked = measure(outputs, truth)["l1"].argsort().tolist()
    count = min(options.triplets, len(ranked))
    shuffled = np.random.default_rng(options.seed).permutation(len(ranked)).tolist()
    order = {"first": list(range(count)), "random": shuffled[:count], "best": ranked[:count]}[options.choose]
    triplets = inputs.float() / 255, truth, outputs, parts["val"].names
    draw_triplets(
        *triplets,
        order,
        folder / "triplets.png",
        f"The {options.choose} {count} of {len(ranked)} validation pairs",
    )
    draw_triplets(
        *triplets,
        ranked[::-1][:count],
        folder / "worst.png",
        f"The {count} of highest L1 of {len(ranked)} validation pairs",
    )
    for row in rows:
        print(f"{row['name']:58}{row['value']:>10.3f} ± {row['interval']:.3f} {row['unit']}")
    print(f"figures in {folder}")
    if (run / "results.json").exists():
        before = json.loads((run / "results.json").read_text())
        write_json(
            run / "results.json",
            before | {"evaluations": {**before.get("evaluations", {}), options.checkpoint.name: rows}},
        )
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
