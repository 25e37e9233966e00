"""Classifies your own pictures with a trained network.

python q4_darts/predict.py --input PICTURE_OR_FOLDER --checkpoint logs/q4_darts/RUN/checkpoints/last.pt
python q4_darts/predict.py --input my_pictures/test --checkpoint darts-cifar10

A folder holds pictures, or a folder of pictures per class; when those are the network's classes, the accuracy
and a confusion matrix are made as well.
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
import torch

from common import plots
from common.cli import at_least, command
from common.images import Depth, find_inputs, make_each
from common.results import print_rows, write_rows
from common.runtime import RunError, ScriptOptions, UsageError, start
from q4_darts.cifar10_dataset import read_rgb
from q4_darts.measures import accuracy_row, class_names, load_network, picture_size, predict

MOST_SHOWN = 30  # pictures in the figure


@dataclass
class Options(ScriptOptions):
    """Classify pictures."""

    input: tuple[Path, ...] = ()  # pictures, and folders of pictures or of one folder per class
    checkpoint: Path = Path("darts-cifar10")  # of train.py or train_search.py, or a name in pretrained/
    output: Path = Path("predictions.csv")  # one row per picture; predictions.png and the like lie beside it
    top_k: int = 3  # classes named for each picture


def main(options: Options) -> list[dict]:
    at_least(1, options, "top_k")
    if options.output.suffix != ".csv" or options.output.is_dir():
        raise UsageError(f"--output must be a file that ends in .csv, not {options.output}")
    files = find_inputs(options.input, by_class=True)
    runtime = start(options)
    model, state = load_network(options.checkpoint, runtime)
    names = class_names(state)
    depth = Depth(files, state.get("facts", {}).get("depth", 0))
    pictures, failed = make_each(partial(read_rgb, size=picture_size(state), depth=depth), files)
    files, images = list(pictures), torch.from_numpy(np.stack(list(pictures.values())))  # (n, h, w, 3)
    logits = predict(model, images.to(runtime.device), runtime).cpu()
    shares, classes = logits.softmax(1).topk(min(options.top_k, len(names)))  # (n, k) each

    rows = []
    for file, share, chosen in zip(files, shares.tolist(), classes.tolist()):
        row = {"file": str(file)}
        for place, (p, c) in enumerate(zip(share, chosen), 1):
            row |= {f"class_{place}": names[c], f"probability_{place}": f"{p:.4f}"}
        rows.append(row)
    write_rows(options.output, rows)

    columns, shown = 6, min(len(files), MOST_SHOWN)
    canvas, axes = plots.figure(-(-shown // columns), columns, (1.5, 1.75))
    for axis in axes.flat:
        axis.axis("off")
    for axis, image, row in zip(axes.flat, images.numpy(), rows[:shown]):
        axis.axis("on")
        plots.show(axis, image, f"{plots.short(row['class_1'], 16)} {float(row['probability_1']):.0%}")
    count = f"{len(files)} picture{'s' if len(files) > 1 else ''}"
    title = count + (f", the first {shown}" if shown < len(files) else "")
    plots.write_title(canvas, title)
    figure = plots.save(canvas, options.output.with_suffix(".png"))
    for row in rows[:shown]:
        print(f"{row['file']}: {row['class_1']} ({float(row['probability_1']):.1%})")
    print(f"{options.output}: {count}; {figure}")

    if all(file.parent.name in names for file in files):
        labels = torch.tensor([names.index(file.parent.name) for file in files])
        path = options.output.with_name(f"{options.output.stem}-confusion.png")
        plots.confusion(classes[:, 0], labels, names, path)
        print_rows([accuracy_row("pictures in the folder of their class", classes[:, 0], labels)])
        print(path)
    if failed:
        raise RunError("; ".join(failed))
    return rows


if __name__ == "__main__":
    command(main, Options, __doc__)
