"""Evaluates the networks in pretrained/ on the real data and prints each number beside the committed one.

python reproduction/verify.py     # make verify: minutes on a CPU
"""

import sys
from math import isclose
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from reproduction.options import VerifyOptions as Options
from reproduction.options import resolve_verification as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from common import pretrained
from common.errors import RunError, UsageError
from common.statistics import show_name, show_value
from reproduction.measuring import measure

NEARLY_0 = 1e-4  # numbers this near to each other are equal: a KL of 2e-05 nats and one of 3e-05


def main(options: Options) -> None:
    """Measures every network in pretrained/ again.

    Raises:
        RunError: a number differs, or a network cannot be measured.
    """
    options = resolve(options)
    lines = []
    failed = 0
    for name in pretrained.names():
        try:
            shipped = pretrained.describe(pretrained.FOLDER / f"{name}.safetensors")
            measured = measure(shipped, name, options.data_root, options.device)
        except (RunError, UsageError, OSError) as error:
            lines.append(f"{name}: not verified: {cli.explain(error)}")
            failed += 1
            continue
        again = {row["name"]: row for row in measured}
        for row in shipped["rows"]:
            line, is_equal = compare(name, row, again.get(row["name"]), options.tolerance)
            lines.append(line)
            failed += not is_equal
    print(f"\n{'network':24}{'measure':52}{'committed':36}measured now")
    print("\n".join(lines) or "there are no networks in pretrained/")
    if failed:
        raise RunError(f"{failed} of {len(lines)} lines are not verified")


def compare(network: str, row: dict, now: dict | None, tolerance: float) -> tuple[str, bool]:
    """Returns the line of one measure, and whether its number is the committed one."""
    is_equal = now is not None and isclose(now["value"], row["value"], rel_tol=tolerance, abs_tol=NEARLY_0)
    shown = f"{show_value(row):36}{show_value(now) if now else 'missing':36}"
    verdict = "" if is_equal else "DIFFERS"
    return f"{network:24}{show_name(row):52}{shown}{verdict}", is_equal


if __name__ == "__main__":
    cli.run(main, options)
