import os
import subprocess
import sys

import pytest

from common import machine
from common.machine import has_fast_bf16, usable_cores
from tests.conftest import ROOT

MOST = 64


@pytest.fixture
def cgroups(monkeypatch, tmp_path):
    """Stands in for a machine of 64 cores: takes /proc/self/cgroup and files of /sys/fs/cgroup."""

    def lay(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    monkeypatch.setattr(os, "cpu_count", lambda: MOST)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MOST)), raising=False)
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    return lay


def test_without_control_groups_every_core_counts(cgroups):
    assert usable_cores() == MOST


def test_the_affinity_counts(cgroups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores() == 2


def test_without_affinities_the_machine_counts(cgroups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == MOST


V1 = "4:memory:/job\n3:cpu,cpuacct:/job/step\n0::/\n"
V1_STEP = {"cpu,cpuacct/job/step/cpu.cfs_period_us": "100000\n"}
V1_JOB = {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"}
LIMITS = {
    "v2": ("0::/job\n", {"job/cpu.max": "200000 100000\n"}, 2),
    "v2, none": ("0::/job\n", {"job/cpu.max": "max 100000\n"}, MOST),
    "v2, above": ("0::/job/step\n", {"job/cpu.max": "400000 100000\n", "job/step/cpu.max": "max 100000"}, 4),
    "v2, in a container": ("0::/host/path\n", {"cpu.max": "100000 50000\n"}, 2),
    "v2, part of a core": ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
    "v2, one and a half": ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
    "v2, more than there are": ("0::/\n", {"cpu.max": "9900000 100000\n"}, MOST),
    "v1": (V1, V1_STEP | {"cpu,cpuacct/job/step/cpu.cfs_quota_us": "500000\n"}, 5),
    "v1, none": (V1, V1_STEP | {"cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1\n"}, MOST),
    "v1, above": (V1, V1_STEP | V1_JOB | {"cpu,cpuacct/job/step/cpu.cfs_quota_us": "-1\n"}, 3),
    "of another resource": ("4:cpuset:/job\n", {"cpuset/job/cpu.max": "100000 100000\n"}, MOST),
    "unreadable": ("0::/\n", {"cpu.max": "what?\n"}, MOST),
}


@pytest.mark.parametrize("own, files, cores", LIMITS.values(), ids=LIMITS)
def test_a_control_groups_limit_counts(cgroups, own, files, cores):
    cgroups(own, files)
    assert usable_cores() == cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinities")
def test_a_process_bound_to_one_core_may_use_one():
    asks = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    asks += "from common.machine import usable_cores; print(usable_cores())"
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_torch_is_not_needed():
    asks = "import sys, common.machine; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


CPUS = {
    "avx512_bf16": ("fpu avx2 avx512f avx512_bf16", {}, True),
    "amx_bf16": ("fpu avx2 avx512f amx_bf16 amx_tile", {}, True),
    "AVX512 alone": ("fpu avx2 avx512f avx512_vnni", {}, False),
    "AVX2 alone": ("fpu avx2", {}, False),
    "oneDNN held to AVX2": ("avx2 avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, False),
    "oneDNN held to AVX512": ("avx2 avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "avx512_core"}, False),
    "oneDNN held to bf16": ("avx2 avx512_bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, True),
    "oneDNN by its earlier name": ("avx2 avx512_bf16", {"DNNL_MAX_CPU_ISA": "SSE41"}, False),
    "torch held to AVX2": ("avx2 avx512_bf16", {"ATEN_CPU_CAPABILITY": "avx2"}, False),
    "torch held to nothing": ("avx2 avx512_bf16", {"ATEN_CPU_CAPABILITY": "avx512"}, True),
}


@pytest.fixture
def cpu(monkeypatch, tmp_path):
    """Stands in for a CPU: takes its flags and the limits in the environment."""

    def put(flags: str, limits: dict[str, str]) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: x\nflags\t\t: {flags}\nbugs\t\t: \n")
        for name, value in limits.items():
            monkeypatch.setenv(name, value)

    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
    return put


@pytest.mark.parametrize("flags, limits, fast", CPUS.values(), ids=CPUS)
def test_bf16_is_fast_where_the_cpu_has_instructions_for_it(cpu, flags, limits, fast):
    cpu(flags, limits)
    assert has_fast_bf16() is fast


def test_bf16_is_slow_where_the_cpu_does_not_say(cpu, tmp_path):
    assert not has_fast_bf16()  # macOS: there is no such file
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")  # arm64
    assert not has_fast_bf16()
