"""Shared by the tests: scripts, preset quick, a browser, and the real data in DATA_ROOT (default: data)."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest
import torch

from common.stop_signal import StopSignal

torch.set_num_threads(1)  # two files run at once
ROOT = Path(__file__).resolve().parent.parent
DATA_ROOT = Path(os.environ.get("DATA_ROOT", ROOT / "data"))
PATHS = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
ENVIRONMENT = os.environ | {"PYTHONPATH": PATHS, "OMP_NUM_THREADS": "1"}
SCRIPT_SECONDS = 280  # for a script: less than for a test, which then fails without ending its worker
SLOW_SECONDS = 1800  # for a slow test, or for preset quick


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives slow tests more time than pyproject.toml's `timeout`."""
    for item in items:
        slow = item.get_closest_marker("slow") or "soak" in item.path.parts
        if slow and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.fixture(autouse=True)
def signals_are_left_as_they_were() -> Iterator[None]:
    """Gives the worker its signals back: a script that was stopped ignores them until its process ends."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    ends_process = StopSignal.ends_process
    yield
    StopSignal.ends_process = ends_process
    for number, handler in before.items():
        signal.signal(number, handler)


def python(*words: object, status: int = 0, **more: object) -> subprocess.CompletedProcess:
    """Runs `python <words>` from the project's root; the exit status must be this one."""
    how = {"cwd": ROOT, "env": ENVIRONMENT, "capture_output": True, "text": True}
    how |= {"timeout": SCRIPT_SECONDS} | more
    done = subprocess.run([sys.executable, *map(str, words)], **how)
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    if status:
        assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="session")
def quick_preset(tmp_path_factory) -> Path:
    """The folder of preset quick's data, log, figure and out.txt, what it said; made once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with filelock.FileLock(folder / "quick.lock"):
        if not (folder / "out.txt").exists():
            roots = [f"--{kind}_root={folder / kind}" for kind in ("data", "log", "figure")]
            words = ["reproduce.py", "--preset", "quick", "--jobs", "2", "--device", "cpu", *roots]
            done = python(*words, timeout=SLOW_SECONDS)
            (folder / "out.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="session")
def browser():
    """An installed Chromium, driven by playwright; REQUIRE_DEMO=1 makes its absence a failure."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        absent = pytest.fail if os.environ.get("REQUIRE_DEMO") == "1" else pytest.skip
        absent("no Chromium on the PATH (Debian: apt install chromium)")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    quiet = "--no-sandbox --disable-gpu --disable-background-networking --disable-sync "
    quiet += "--disable-component-update"
    with api.sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=path, args=quiet.split()) as chromium:
            yield chromium


@pytest.fixture
def script():
    """The function `python`."""
    return python


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
