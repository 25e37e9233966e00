"""make, in surroundings that a user may have set up otherwise."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def test_a_pip_that_is_set_to_user_installs_into_the_environment(tmp_path):
    """pip install --user refuses to work in a virtual environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "rules").write_text("include Makefile\nshow: ; @echo $$PIP_USER\n")
    words = ["make", "--no-print-directory", "-f", "rules", "show"]
    environment = os.environ | {"PIP_USER": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
