"""Samples a trained generator: one picture of all, a file for each, arrays, or walks between latents.

python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --n 64
python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --class 4 --array samples.npz
python q1_dcgan/sample.py --checkpoint logs/q1_dcgan/RUN/checkpoints/last.pt --n 1000 --files samples
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q1_dcgan.options import SampleOptions as Options
from q1_dcgan.options import resolve_sampling as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import numpy as np
from PIL import Image
from torch import Tensor

from common.device import start
from common.errors import RunError
from q1_dcgan.class_names import find_class, make_folders
from q1_dcgan.figures import MOST_ROWS, SHEET_COLUMNS, plot_sheet
from q1_dcgan.painter import Painter

MOST_NAMED = 400  # samples with their class written below each


def main(options: Options) -> np.ndarray:
    options = resolve(options)
    runtime = start(options)
    painter = Painter.load(options.checkpoint, runtime)
    wanted = find_class(painter.classes, options.class_name, options.digit)

    try:
        images, labels = draw(painter, options, wanted)
    except MemoryError as error:
        raise RunError(f"not enough memory for --n {options.n}: draw fewer at once") from error

    # The picture of all.
    called = [painter.classes[label] for label in labels.tolist()] if labels is not None else []
    of_class = "" if wanted is None else f" of class {painter.classes[wanted]}"
    shown = f"{len(images)} samples{of_class}"
    columns = math.ceil(len(images) ** 0.5)
    if options.interpolate:
        columns = SHEET_COLUMNS
        shown = f"{len(images) // columns} walks between latents{of_class}"
    below = called if wanted is None and len(images) <= MOST_NAMED else []
    plot_sheet(images, columns, options.output, f"{shown}: {painter.title}", below)
    written = [options.output]

    # Files and arrays.
    if options.files:
        write_files(options.files, images, labels, painter.classes)
        written.append(options.files)
    if options.array:
        options.array.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.full(len(images), -1) if labels is None else labels.cpu().numpy()
        np.savez_compressed(options.array, images=images, labels=numbers)
        written.append(options.array)
    print(f"{shown}: {', '.join(map(str, written))}")
    return images


def draw(painter: Painter, options: Options, wanted: int | None) -> tuple[np.ndarray, Tensor | None]:
    """Draws samples or walks as the options say, and returns them with their labels.

    Args:
        wanted: the label of all of them; None takes the classes in turn.
    """
    if not options.interpolate:
        return painter.samples(options.n or 64, options.seed, wanted)
    count = options.n or 64
    if options.n is None and wanted is None and painter.classes:  # a walk for each class
        count = SHEET_COLUMNS * min(len(painter.classes), MOST_ROWS)
    return painter.walks(math.ceil(count / SHEET_COLUMNS), options.seed, wanted, SHEET_COLUMNS)


def write_files(folder: Path, images: np.ndarray, labels: Tensor | None, classes: list[str]) -> None:
    """Writes a PNG for each image into `folder`, in a folder per class: what --dataset folder reads."""
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder] * len(images)
    if labels is not None:
        drawn = sorted(set(labels.tolist()))
        folders = dict(zip(drawn, make_folders(folder, [classes[label] for label in drawn])))
        places = [folders[label] for label in labels.tolist()]
    width = len(str(len(images)))
    for number, (image, place) in enumerate(zip(images, places), 1):
        Image.fromarray(image).save(place / f"{number:0{width}}.png")


if __name__ == "__main__":
    cli.run(main, options)
