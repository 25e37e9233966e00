"""Convolutions in bf16 on a CPU with instructions for it: right in a training step of all networks.

A process of its own, whose memory begins full of large numbers: a kernel that reads what it did not write is
then seen. A CPU without those instructions trains in fp32 unless told otherwise: there torch sums in bf16,
which differs from fp32 by up to 3 % in a convolution.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import machine

ROOT = Path(__file__).resolve().parent.parent
CHECK = ROOT / "tests" / "faults" / "bf16_gradients.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": "165"}
MOST_SECONDS = 1500
FAULTY_ONEDNN = "3.12.0"  # in which the gradient of a dilated depthwise convolution was seen to be wrong


def check(which: str) -> subprocess.CompletedProcess:
    """Repeats convolutions in fp32 in a process of its own."""
    words = [sys.executable, str(CHECK), which]
    return subprocess.run(
        words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=MOST_SECONDS
    )


needs_bf16 = pytest.mark.skipif(
    not machine.has_fast_bf16(), reason="this CPU has no instructions for bf16, or a limit on them is set"
)


@pytest.mark.slow
@needs_bf16
def test_convolutions_in_bf16_are_those_in_fp32():
    done = check("networks")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow  # without it the test above could pass because the check sees nothing
@needs_bf16
def test_the_check_finds_the_dilated_depthwise_convolution():
    version = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    if version is None or version[1] != FAULTY_ONEDNN:
        pytest.skip(f"the fault was seen in oneDNN {FAULTY_ONEDNN}")
    done = check("dilated")
    assert "convolution_backward" in done.stderr, done.stdout + done.stderr
