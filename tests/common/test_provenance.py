"""Where a number comes from: the commit of this project, and commands that can be typed again."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from common.provenance import ROOT, resume_command, script_here
from tests.conftest import ENVIRONMENT

COMMIT = "from common.provenance import commit; print(commit())"


def test_the_commit_is_ours_whatever_git_dir_says(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    environment = ENVIRONMENT | {"GIT_DIR": str(tmp_path / ".git")}
    how = {"cwd": ROOT, "capture_output": True, "text": True, "check": True}
    words = [sys.executable, "-c", COMMIT]
    assert (
        subprocess.run(words, env=environment, **how).stdout
        == subprocess.run(words, env=ENVIRONMENT, **how).stdout
    )


def test_the_commit_of_a_repository_around_the_project_is_not_ours(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", tmp_path, *who, "commit", "-qm", "a", "--allow-empty"], check=True)
    inside = tmp_path / "four_papers" / "common"
    inside.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        (inside / name).write_bytes((ROOT / "common" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", COMMIT], cwd=inside.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "unknown\n"


@pytest.mark.parametrize("where", [".", "q2_protonet", "elsewhere with spaces"])
def test_the_command_to_go_on_with_works_where_it_is_printed(tmp_path, monkeypatch, where):
    folder = tmp_path / where if "spaces" in where else ROOT / where
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    script = os.path.relpath(ROOT / "q2_protonet" / "train.py")
    monkeypatch.setattr(sys, "argv", [script, "--run_name", "a b", "--overwrite"])
    launcher, path, *words = shlex.split(resume_command(1))
    assert launcher == "python"
    assert words == ["--run_name", "a b", "--resume"]
    assert Path(path).samefile(ROOT / "q2_protonet" / "train.py")
    assert Path(script_here("q4_darts/train.py")).samefile(ROOT / "q4_darts" / "train.py")
