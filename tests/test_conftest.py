"""The tests' own set-up: a run with this project's options ends, whatever a test does."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

GOOD = "def test_good():\n    assert 1 + 1 == 2\n"
BAD = {
    "aborts": "import os\n\ndef test_aborts():\n    os.abort()\n\ndef test_next():\n    pass\n",
    "hangs": "import ctypes\n\ndef test_hangs():\n    ctypes.CDLL(None).pause()\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_test_that_aborts_or_hangs_in_c_is_a_named_failure_within_a_minute(name, tmp_path):
    (tmp_path / "test_bad.py").write_text(BAD[name])
    for number in range(3):
        (tmp_path / f"test_good_{number}.py").write_text(GOOD)
    words = [sys.executable, "-m", "pytest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path]
    words += ["-p", "no:cacheprovider", "--timeout", "5", tmp_path]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1
    assert f"test_bad.py::test_{name}" in failed[0]
    assert "crashed" in failed[0]
