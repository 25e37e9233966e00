"""Shared by the tests: scripts as subprocesses, and the real data where it is laid out (DATA_ROOT, default: data)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # two files run at once
ROOT = Path(__file__).resolve().parent.parent
DATA_ROOT = Path(os.environ.get("DATA_ROOT", ROOT / "data"))
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def script(tmp_path):
    """Runs `python <script> <arguments>` from the project's root, logs and figures going to tmp_path."""

    def run(name: str, *arguments: object, status: int = 0) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [sys.executable, name, *map(str, arguments)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        if status:
            assert "Traceback" not in done.stderr
        return done

    return run


@pytest.fixture
def roots(tmp_path) -> list[str]:
    """The flags that send a run's logs and figures to tmp_path."""
    return ["--log_root", str(tmp_path / "logs"), "--figure_root", str(tmp_path / "figures")]


@pytest.fixture
def real_omniglot() -> Path:
    """A data root that holds the author's two small sets."""
    if not all((DATA_ROOT / "omniglot-py" / f"images_background_small{i}").is_dir() for i in (1, 2)):
        pytest.skip(f"Omniglot's small1 and small2 are not in {DATA_ROOT / 'omniglot-py'}")
    return DATA_ROOT
