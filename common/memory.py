"""Keeps the memory that a step has freed, because the next step needs it again."""

import ctypes
import os

M_TRIM_THRESHOLD = -1  # numbers of mallopt(3)
M_MMAP_THRESHOLD = -3
KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Lets the C library keep up to a GiB of freed memory for the next tensors, in place of the system.

    A training step frees tensors and needs as many of the same sizes again. glibc returns large ones to the
    system at once, and every page of those that follow costs a page fault: a third of a step of ProtoNet on
    a virtual machine (benchmarks/NOTES.md). Does nothing with another C library, or where the environment
    sets glibc's allocator (`MALLOC_TRIM_THRESHOLD_`, `GLIBC_TUNABLES`).
    """
    if {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"} & os.environ.keys():
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no library of this process: Windows
        return
    mallopt(M_MMAP_THRESHOLD, KEPT)  # smaller blocks are parts of the heap, not mappings of their own
    mallopt(M_TRIM_THRESHOLD, KEPT)
