"""Draws the two cells of a genotype.

python q4_darts/visualize.py --genotype DARTS_V2 --output darts_v2.png
python q4_darts/visualize.py --genotype logs/q4_darts/RUN/genotype.json --output found.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import plots
from common.cli import command
from common.runtime import UsageError
from q4_darts.figures import plot_cells
from q4_darts.genotypes import read, short_name


@dataclass
class Options:
    """Draw the two cells of a genotype."""

    genotype: str = "DARTS_V2"  # a genotype.json, DARTS_V1, DARTS_V2, PC_DARTS, random:SEED or Genotype(...)
    output: Path = Path("figures/q4_darts/cells.png")  # the picture: .png, .pdf or .svg
    title: str = ""  # above the cells (empty: the genotype's name)
    debug: bool = False  # show the whole traceback of an error


def main(options: Options) -> None:
    if options.output.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--output must end in .png, .pdf or .svg, not {options.output.name}")
    genotype = read(options.genotype)
    plots.save(plot_cells(genotype, options.title or short_name(options.genotype)), options.output)
    print(options.output)


if __name__ == "__main__":
    command(main, Options, __doc__)
