"""Makes the aerial_maps data set from a clone of map-synth: aerial photos beside flat-colour land-cover maps.

    git clone --depth 1 https://github.com/henriquejandrade/map-synth
    python q3_pix2pix/make_aerial_maps.py --source map-synth

The clone's phsi/imageset holds 15 scenes cut into tiles, (0).png to (1853).png, numbered scene by scene and
column by column. Columns 0 to 14 of every scene become train, column 15 val, and columns 16 and 17 test:
validation tiles are neighbours of training tiles but never the same, and test tiles lie further away.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.cli import command
from common.images import open_image
from common.runtime import RunError, UsageError

SCENES = [7] * 13 + [6] * 2  # rows of tiles in each scene
COLUMNS = {"train": 15, "val": 1, "test": 2}  # of tiles in each scene, from left to right
MOST_OF_ONE_COLOR = 0.95  # maps with at least this share of one colour have nothing to draw
COMMITTED_RUNS = {"train": 1106, "val": 63, "test": 116}  # the pairs behind the committed numbers


@dataclass
class Options:
    """Make data/aerial_maps."""

    source: Path = Path("map-synth")  # the clone of henriquejandrade/map-synth
    data_root: Path = Path("data")  # folder of the data sets; the pairs go to aerial_maps/ in it
    debug: bool = False  # show the whole traceback of an error


def list_parts() -> dict[int, str]:
    """The part, "train", "val" or "test", of each tile's number."""
    parts, first = {}, 0
    for rows in SCENES:
        for part, columns in COLUMNS.items():
            parts |= dict.fromkeys(range(first, first + columns * rows), part)
            first += columns * rows
    return parts


def largest_share(image: Image.Image) -> float:
    """The share of an RGB picture's pixels that have its most frequent colour."""
    colors = np.asarray(image, np.int64) @ (1 << 16, 1 << 8, 1)  # (height, width)
    return np.unique(colors, return_counts=True)[1].max() / colors.size


def main(options: Options) -> None:
    tiles, target = options.source / "phsi" / "imageset", options.data_root / "aerial_maps"
    if not tiles.is_dir():
        clone = "git clone --depth 1 https://github.com/henriquejandrade/map-synth"
        raise UsageError(f"--source: {options.source} has no folder phsi/imageset; make it by\n    {clone}")
    if target.exists():
        raise UsageError(f"{target} exists already: move it away to have it made again")
    parts = list_parts()
    missing = [number for number in parts if not (tiles / f"({number}).png").exists()]
    if missing:
        first = f"the first one ({missing[0]}).png"
        raise RunError(f"{len(missing)} of {len(parts)} tiles are missing in {tiles}, {first}")
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts = dict.fromkeys(COMMITTED_RUNS, 0)
    for part in counts:
        (partial / part).mkdir(parents=True)
    for number, part in tqdm(parts.items(), "aerial_maps", unit=" tiles", disable=None):
        path = tiles / f"({number}).png"
        with open_image(path) as image:
            pair = image.convert("RGB")  # the photo is the left half, the map the right one
            if pair.size != (512, 256):
                raise RunError(f"{path} has {pair.width} x {pair.height} pixels instead of 512 x 256")
        if largest_share(pair.crop((256, 0, 512, 256))) < MOST_OF_ONE_COLOR:
            pair.save(partial / part / f"{number}.jpg", quality=95, subsampling=0)
            counts[part] += 1
    partial.rename(target)
    print(f"{target}: {counts['train']} pairs in train, {counts['val']} in val, {counts['test']} in test")
    if counts != COMMITTED_RUNS:
        print(f"note: the committed numbers were measured on {COMMITTED_RUNS} pairs", file=sys.stderr)


if __name__ == "__main__":
    command(main, Options, __doc__)
