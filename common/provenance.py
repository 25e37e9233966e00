"""Records where a number came from: the command, the commit, the versions."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def provenance() -> dict:
    """Returns what config.json records of each leg of a run: command, start, commit and versions."""
    versions = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy"):
        package = sys.modules.get(name)  # it names its build too, such as 2.14.1+cu130
        versions[name] = package.__version__ if package else version(name)
    return {
        "command": shlex.join(command_line()),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions,
    }


def command_line() -> list[str]:
    """Returns the command as typed, with the script's path from the project's root."""
    script = Path(sys.argv[0]).resolve()
    name = str(script.relative_to(ROOT)) if script.is_relative_to(ROOT) else script.name
    return ["python", name, *sys.argv[1:]]


def script_here(script: str | Path) -> str:
    """Returns a script's path as it must be typed in the current folder: relative below it, else absolute.

    Args:
        script: a path, or one from the project's root such as "q4_darts/train.py".
    """
    in_project = ROOT / script
    path = (in_project if in_project.exists() else Path(script)).resolve()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def resume_command(world: int) -> str:
    """Returns the command that continues this run on as many processes, as it must be typed."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    launcher = ["python"] if world == 1 else ["torchrun", "--nproc_per_node", str(world)]
    return shlex.join([*launcher, script_here(sys.argv[0]), *words, "--resume"])


def commit() -> str:
    """Returns the git commit of the code, with "+changes" when files differ from it.

    Outside of a checkout, and where the repository that git finds is another one (a folder above, or the one
    that GIT_DIR names), it returns "unknown".
    """
    try:
        if Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return "unknown"
        changes = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def short(commit: str) -> str:
    """Returns a commit as `commit` gives it, in eight digits."""
    return commit[:8] + ("+changes" if commit.endswith("+changes") else "")


def _git(*arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    words = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()
