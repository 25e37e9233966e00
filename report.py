"""Logs to one HTML page and tables, every number with the command that made it. Trains nothing.

python report.py                     # every finished run under logs/ but the quick and smoke ones
python report.py --runs q2_protonet/20w1s q2_protonet/omniglot-20w1s
python report.py --self_contained    # the pictures inside the page, to send it around
"""

import sys

from common import cli
from reproduction.options import ReportOptions as Options
from reproduction.options import resolve_report as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from reproduction import report


def main(options: Options) -> None:
    page = report.main(options)
    if page is None:
        sys.exit(1)
    print(f"page: {page}")


if __name__ == "__main__":
    cli.run(main, options)
