"""Lines on the screen that tell a user what a script does on its own account."""

import functools
import os
import sys


def say(line: str) -> None:
    """Prints a line on the screen; of torchrun's processes rank 0 speaks for all."""
    of_torchrun = "TORCHELASTIC_RESTART_COUNT" in os.environ
    if not of_torchrun or os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr)


@functools.cache
def say_once(line: str) -> None:
    """Does as `say`, unless the line stands there already."""
    say(line)
