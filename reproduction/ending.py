"""Tells how a command ended, in words: its exit status, or the signal it died of and where."""

import signal
from pathlib import Path

STOPS = (130, -signal.SIGINT, -signal.SIGTERM)  # the last two: stopped while it was starting
CRASHES = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
LAST_LINES = 8
ADVICE = (
    "If it happens again, report it to https://github.com/pytorch/pytorch/issues with the command, these "
    "lines, and what `python -m torch.utils.collect_env` prints."
)


def in_words(status: int) -> str:
    """Describes an exit status other than 0; a negative one is the signal that ended the process."""
    if status >= 0:
        return f"exit status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:  # a real-time signal
        return f"was ended by signal {-status}"
    if number in CRASHES:
        return f"was ended by {number.name}, a crash inside torch or one of its libraries"
    if number == signal.SIGKILL:
        return "was ended by SIGKILL, as the system does when memory runs out"
    return f"was ended by {number.name}"


def last_lines(output: str) -> list[str]:
    """Returns the lines that show why a command failed.

    After a crash these are the library's own message and where Python was, innermost call first, which
    faulthandler prints; otherwise they are the last ones.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    fatal = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if fatal is None:
        return lines[-LAST_LINES:]
    threads = [i for i in range(fatal, len(lines)) if lines[i].startswith("Current thread")]
    where = threads[0] + 1 if threads else fatal + 1
    return lines[max(0, fatal - 1) : fatal + 1] + lines[where : where + LAST_LINES - 2]


def explanation(status: int, output: Path | None) -> list[str]:
    """Returns what to show below the line of a failed command: its last lines, and what to do after a crash.

    Args:
        output: the file it wrote to; None where it shared the screen, which shows its lines already.
    """
    lines = []
    if output is not None:
        lines += last_lines(output.read_text(encoding="utf-8", errors="replace"))
    if -status in CRASHES:
        lines.append(ADVICE)
    return [f"    {line}" for line in lines]
