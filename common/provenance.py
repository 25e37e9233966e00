"""Where a number came from: the command, the commit, the versions."""

import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def provenance() -> dict:
    """What config.json records of each leg of a run: command, start, commit and versions."""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    return {
        "command": shlex.join(command_line()),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions | {name: version(name) for name in ("torchvision", "numpy")},
    }


def command_line() -> list[str]:
    """The command as typed, with the script's path from the project's root."""
    script = Path(sys.argv[0]).resolve()
    name = str(script.relative_to(ROOT)) if script.is_relative_to(ROOT) else script.name
    return ["python", name, *sys.argv[1:]]


def script_here(script: str | Path) -> str:
    """A script's path as it must be typed in the current folder: relative below it, otherwise absolute.

    Args:
        script: a path, or one from the project's root such as "q4_darts/train.py".
    """
    path = (ROOT / script if (ROOT / script).exists() else Path(script)).resolve()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def commit() -> str:
    """The git commit of the code, with "+changes" when files differ from it; "unknown" outside a checkout."""

    def git(*arguments: str) -> str:
        words = ["git", "-C", ROOT, *arguments]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def short(commit: str) -> str:
    """A commit as `commit` gives it, in eight digits."""
    return commit[:8] + ("+changes" if commit.endswith("+changes") else "")
