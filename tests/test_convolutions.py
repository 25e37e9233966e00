"""Convolutions and pools of all networks: right, and within their memory, on older x86 CPUs too.

The sweep runs in a process of its own, which a fault in torch may kill, on a CPU with AVX2 alone, which any
newer one can play. To play another, put one of these before `.venv/bin/python -m pytest -m slow` and this
file's path:

    ONEDNN_MAX_CPU_ISA=SSE41 ATEN_CPU_CAPABILITY=default
    ONEDNN_MAX_CPU_ISA=AVX512_CORE
    ONEDNN_MAX_CPU_ISA=DEFAULT  (the CPU as it is)
"""

import ctypes.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ROOT / "tests" / "faults" / "convolutions.py"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
ENVIRONMENT |= {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}  # the heap checks of glibc
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
MOST_SECONDS = 300
FAULTY_ONEDNN = "3.12.0"  # in which uxlfoundation/oneDNN#6035 was seen


def failure(which: str, limits: dict[str, str], folder: Path) -> str:
    """Runs a sweep in a process of its own under heap checks; returns what went wrong and where, or ""."""
    environment = ENVIRONMENT | limits
    checks = ctypes.util.find_library("c_malloc_debug")  # where glibc keeps the checks since 2.34
    if checks:
        environment["LD_PRELOAD"] = checks
    named = folder / "cases.txt"
    with named.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, SWEEP, which],
            cwd=ROOT, env=environment, stdout=out, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _, said = process.communicate(timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return f"still at {named.read_text().splitlines()[-1]} after {MOST_SECONDS} s"
    last = (named.read_text().splitlines() or ["nothing: the sweep did not start"])[-1]
    if process.returncode < 0:
        return f"{signal.Signals(-process.returncode).name} at {last}: {said}"
    return f"{last}\n{said}" if process.returncode else ""


def has_avx2() -> bool:
    """Says whether torch runs kernels for AVX2, or for newer x86 CPUs."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


@pytest.mark.slow
def test_convolutions_and_pools_keep_to_their_memory_and_are_right(tmp_path):
    limits = {} if "ONEDNN_MAX_CPU_ISA" in os.environ else AVX2
    assert failure("networks", limits, tmp_path) == ""


@pytest.mark.slow  # without it the test above could pass because the sweep sees nothing
def test_the_sweep_finds_the_conv1x1_of_stride_2(tmp_path):
    version = re.search(r"MKL-DNN v([\d.]+)", torch.__config__.show())
    if version is None or version[1] != FAULTY_ONEDNN or not has_avx2():
        pytest.skip(f"the fault was seen in oneDNN {FAULTY_ONEDNN} on CPUs with AVX2")
    assert "convolution.default 1x1" in failure("strided_reduce", AVX2, tmp_path)
