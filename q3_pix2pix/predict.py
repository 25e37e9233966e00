"""Translates your own photos of any size with a trained generator.

python q3_pix2pix/predict.py --checkpoint logs/q3_pix2pix/RUN/checkpoints/last.pt --input PHOTO_OR_FOLDER
python q3_pix2pix/predict.py --checkpoint CHECKPOINT --input photo.jpg --output map.png

A photo is first scaled as the training pairs were, and its result is scaled back. What is then larger than
the network's size is cut into overlapping tiles whose results are blended; what is smaller is padded by
reflection.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q3_pix2pix.options import PredictOptions as Options
from q3_pix2pix.options import place_results
from q3_pix2pix.options import resolve_prediction as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.device import start
from common.errors import RunError
from common.image_reader import Depth, read_each
from q3_pix2pix.mapper import Mapper


def main(options: Options) -> list[Path]:
    options = resolve(options)
    results = place_results(options)
    runtime = start(options)
    mapper = Mapper.load(options.checkpoint, runtime)
    depth = Depth(list(results), mapper.depth)  # one for all: a dark photo among them stays dark

    def write_map(photo: Path) -> Path:
        picture = mapper.read(photo, depth)
        result = mapper.map(picture, options.mode, options.scale, options.overlap)
        if options.side_by_side:
            result = Image.fromarray(np.concatenate([picture, result], 1))
        results[photo].parent.mkdir(parents=True, exist_ok=True)
        result.save(results[photo])
        return results[photo]

    written, failed = read_each(write_map, tqdm(results, "translating", disable=None))
    print(f"{len(written)} of {len(results)} photos translated, in {options.output}")
    if failed:
        raise RunError("; ".join(failed))
    return list(written.values())


if __name__ == "__main__":
    cli.run(main, options)
