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

from common import cli
from common.errors import RunError, UsageError
from common.image_reader import open_image

CLONE = "git clone --depth 1 https://github.com/henriquejandrade/map-synth"
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

    @property
    def tiles(self) -> Path:
        """The folder of the clone's tiles."""
        return self.source / "phsi" / "imageset"

    @property
    def target(self) -> Path:
        """The folder that is made."""
        return self.data_root / "aerial_maps"


def resolve(options: Options) -> Options:
    """Checks that the clone is there and the data set is not.

    Raises:
        UsageError: otherwise.
    """
    if not options.tiles.is_dir():
        raise UsageError(f"--source: {options.source} has no folder phsi/imageset; make it by\n    {CLONE}")
    if options.target.exists():
        raise UsageError(f"{options.target} exists already: move it away to have it made again")
    return options


def list_parts() -> dict[int, str]:
    """Returns the part, "train", "val" or "test", of each tile's number."""
    parts = {}
    first = 0
    for rows in SCENES:
        for part, columns in COLUMNS.items():
            end = first + columns * rows
            for number in range(first, end):
                parts[number] = part
            first = end
    return parts


def largest_share(image: Image.Image) -> float:
    """Returns the share of an RGB picture's pixels that have its most frequent colour."""
    colors = np.asarray(image, np.int64) @ (1 << 16, 1 << 8, 1)  # (height, width)
    return np.unique(colors, return_counts=True)[1].max() / colors.size


def read_tile(path: Path) -> Image.Image:
    """Reads a tile: the photo is its left half, the map its right one.

    Raises:
        RunError: it cannot be read, or has another size.
    """
    with open_image(path) as image:
        pair = image.convert("RGB")
    if pair.size != (512, 256):
        raise RunError(f"{path} has {pair.width} x {pair.height} pixels instead of 512 x 256")
    return pair


def main(options: Options) -> None:
    options = resolve(options)

    # The tiles, all of which must be there.
    parts = list_parts()
    paths = {number: options.tiles / f"({number}).png" for number in parts}
    missing = [path.name for path in paths.values() if not path.exists()]
    if missing:
        raise RunError(
            f"{len(missing)} of {len(parts)} tiles are missing in {options.tiles}, the first one {missing[0]}"
        )

    # Written beside the target, which is whole or not there.
    partial = options.target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    counts = dict.fromkeys(COMMITTED_RUNS, 0)
    for part in counts:
        (partial / part).mkdir(parents=True)
    for number, part in tqdm(parts.items(), "aerial_maps", unit=" tiles", disable=None):
        pair = read_tile(paths[number])
        if largest_share(pair.crop((256, 0, 512, 256))) < MOST_OF_ONE_COLOR:
            pair.save(partial / part / f"{number}.jpg", quality=95, subsampling=0)
            counts[part] += 1
    partial.rename(options.target)
    shown = ", ".join(f"{count} pairs in {part}" for part, count in counts.items())
    print(f"{options.target}: {shown}")
    if counts != COMMITTED_RUNS:
        print(f"note: the committed numbers were measured on {COMMITTED_RUNS} pairs", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, cli.read(Options, resolve, __doc__))
