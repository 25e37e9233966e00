"""Freed memory stays with the process."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = 16384  # of 4 KiB, in a tensor of 64 MiB
COUNT_PAGE_FAULTS = """
import resource

import torch

from common.memory import keep_freed_memory



def count():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def allocate(rounds):
    for _ in range(rounds):
        torch.ones(2**24)


keep_freed_memory()
allocate(20)  # the first ones still find no room between others
before = count()
allocate(10)
print((count() - before) / 10)
"""


def page_faults(**environment: str) -> float:
    """Returns how many page faults a tensor costs on average that is as large as those freed before it."""
    glibc = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    environment = {**glibc, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-c", COUNT_PAGE_FAULTS]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_a_tensor_takes_the_memory_of_the_one_freed_before_it():
    assert page_faults() < PAGES / 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_what_the_environment_says_of_the_allocator_stays():
    # Page faults there are then, unless a page is a huge one.
    assert page_faults(MALLOC_MMAP_THRESHOLD_="65536") > 10 * page_faults() + 10
