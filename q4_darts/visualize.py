"""Draws the two cells of a genotype.

python q4_darts/visualize.py --genotype DARTS_V2 --output cells.png
python q4_darts/visualize.py --genotype logs/q4_darts/RUN/genotype.json --output cells.pdf
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q4_darts.options import VisualizeOptions as Options
from q4_darts.options import resolve_visualization as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from common import plots
from q4_darts.cell_figure import plot_cells
from q4_darts.genotype_text import read, shown_name


def main(options: Options) -> None:
    options = resolve(options)
    title = options.title or f"The cells of {shown_name(options.genotype)}"
    print(plots.save(plot_cells(read(options.genotype), title), options.output))


if __name__ == "__main__":
    cli.run(main, options)
