"""Runs the four questions at a preset: skips what is done, resumes what was cut, ends with a page.

python reproduce.py --preset quick              # synthetic data, a CPU, minutes
python reproduce.py --preset report --only q2_protonet --seeds 0 1 2
python reproduce.py --preset evidence --runs 'omniglot-*-seed1'
python reproduce.py --preset small              # real data, a CPU, an hour and a half
python reproduce.py --preset evidence --jobs 2  # the committed results on a CPU, days
python reproduce.py --preset full --jobs 4 --minutes 25   # full size on a GPU, in legs of 25 minutes
python reproduce.py --preset paper --dry_run    # only shows the commands
"""

import sys

from common import cli
from reproduction.options import ReproduceOptions as Options
from reproduction.options import resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from reproduction import runner


def main(options: Options) -> None:
    sys.exit(runner.main(options))


if __name__ == "__main__":
    cli.run(main, options)
