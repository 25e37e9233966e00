"""Tells what this machine gives a process: the cores it may use, and a CPU that computes in bf16 or not.

Imports nothing heavy, so that it can be asked before torch is loaded.
"""

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

# Limits of oneDNN (https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html) and of torch
# under which products in bf16 are computed without the CPU's instructions for them.
ONEDNN_LIMITS = {"sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni"}
ATEN_LIMITS = {"default", "avx2"}

# Vector instructions on x86, the newest first: the kernel's flag, and what people call them.
VECTORS = {
    "amx_bf16": "AMX-BF16",
    "avx512_bf16": "AVX512-BF16",
    "avx512_vnni": "AVX512-VNNI",
    "avx512f": "AVX512",
    "avx2": "AVX2",
    "avx": "AVX",
    "sse4_1": "SSE4.1",
}
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")


def usable_cores() -> int:
    """Returns how many cores this process may use: by its affinity and its cgroup's limit, at least one.

    A limit of 1.5 cores counts as two: two threads use it up, one would not.
    """
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *(math.ceil(limit) for limit in _cgroup_limits())]))


def _cgroup_limits() -> Iterator[float]:
    """Yields each limit in cores on this process's control groups and on those above them, v1 and v2."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = CGROUPS / controllers
        own = mount / path.strip("/")
        # In a container the path may be the host's: the limit then stands at the mount itself.
        for folder in [own, *own.parents]:
            if folder.is_relative_to(mount):
                yield from _limit_v1(folder) if controllers else _limit_v2(folder)


def _limit_v1(folder: Path) -> Iterator[float]:
    """Yields a v1 group's quota in cores; nothing where there is none (-1)."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return
    if quota > 0 and period > 0:
        yield quota / period


def _limit_v2(folder: Path) -> Iterator[float]:
    """Yields a v2 group's quota in cores; nothing where there is none ("max")."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return


def total_memory() -> int:
    """Returns how many bytes of memory this process could have: the machine's, or its container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int((CGROUPS / "memory.max").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return total


def has_fast_bf16() -> bool:
    """Tells whether this CPU has instructions for bf16, avx512_bf16 or amx_bf16, and no limit hides them.

    The flags are the kernel's, since torch 2.6 has no public function that knows them. Where there are none
    to read (macOS, arm64) the answer is no, and training is in fp32.
    """
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    if limit.lower() in ONEDNN_LIMITS:
        return False
    if os.environ.get("ATEN_CPU_CAPABILITY", "").lower() in ATEN_LIMITS:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu_flags())


def cpu_name() -> str:
    """Returns the CPU's kind, such as "AMD EPYC (AVX512-BF16)": its model and its newest vector instructions.

    A limit in the environment is named beside them: "AMD EPYC (AVX512-BF16, ONEDNN_MAX_CPU_ISA=AVX2)".
    """
    model = _cpu_info("model name") or platform.processor() or platform.machine() or "unknown CPU"
    flags = _cpu_flags()
    about = [name for flag, name in VECTORS.items() if flag in flags][:1]
    about += [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return f"{model} ({', '.join(about)})" if about else model


def _cpu_flags() -> list[str]:
    """Returns the first core's flags as the Linux kernel names them on x86, [] elsewhere."""
    return _cpu_info("flags").split()


def _cpu_info(wanted: str) -> str:
    """Returns what the Linux kernel says of the first core under this name, "" where it says nothing."""
    try:
        with open(CPU_INFO, encoding="utf-8", errors="replace") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name.strip() == wanted:
                    return value.strip()
    except OSError:
        pass
    return ""
