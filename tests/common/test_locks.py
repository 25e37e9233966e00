"""Locks: processes that live are waited for, files that show no process are named with what to do."""

import errno
import os
import platform
import subprocess
import sys
import threading

import pytest
import torch

from common import locks
from common.device import Runtime
from common.errors import RunError

fcntl = pytest.importorskip("fcntl")
HOLDS = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]): print(flush=True), sys.stdin.read()"


@pytest.fixture
def held(tmp_path):
    """A lock that another process holds until its standard input is closed."""
    words = [sys.executable, "-c", HOLDS, str(tmp_path / ".mnist.lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()  # it holds the lock now
        yield other


@pytest.fixture
def quick(monkeypatch):
    """Waits a tenth of a second where a user waits seconds."""
    monkeypatch.setattr(locks, "SAID_AFTER", 0.05)
    monkeypatch.setattr(locks, "GIVEN_UP_AFTER", 0.1)


def without_flock(monkeypatch, number):
    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


def test_runs_that_prepare_other_data_do_not_wait(held, tmp_path, capsys):
    with Runtime(torch.device("cpu")).one_first(tmp_path, "omniglot"):
        assert capsys.readouterr().err == ""
    held.stdin.close()


def test_a_run_waits_for_another_that_prepares_the_same_data(held, tmp_path, capsys, quick):
    threading.Timer(0.5, held.stdin.close).start()  # after more than GIVEN_UP_AFTER: it lives
    with Runtime(torch.device("cpu")).one_first(tmp_path, "mnist"):
        assert held.wait(5) == 0
    said = capsys.readouterr().err
    lock = tmp_path / ".mnist.lock"
    assert said == f"waiting for another run that prepares mnist in {tmp_path} (its lock is {lock}) ...\n"


def test_a_folder_that_cannot_be_written_needs_no_lock(tmp_path):
    (tmp_path / "file").write_text("")
    with locks.one_after_another(tmp_path / "file" / ".lock", "works"):
        pass


@pytest.mark.parametrize("content", ["", "999\nnode17\n"])
def test_a_left_over_file_ends_the_wait_with_its_name(tmp_path, monkeypatch, quick, content):
    """On a file system without locks, where the file itself is the lock."""
    without_flock(monkeypatch, errno.ENOSYS)
    (tmp_path / ".lock").write_text(content)
    with pytest.raises(RunError, match=f"gave up waiting: {tmp_path}/.lock .*delete that file"):
        with locks.one_after_another(tmp_path / ".lock", "works"):
            pass


def test_a_living_process_is_waited_for_without_flock_too(tmp_path, monkeypatch, quick):
    without_flock(monkeypatch, errno.ENOSYS)
    (tmp_path / ".lock").write_text(f"{os.getppid()}\n{platform.node()}\n")
    threading.Timer(1, (tmp_path / ".lock").unlink).start()
    with locks.one_after_another(tmp_path / ".lock", "works"):
        pass


def test_a_run_folder_with_a_left_over_file_names_it(tmp_path, monkeypatch):
    without_flock(monkeypatch, errno.ENOSYS)
    (tmp_path / ".lock").write_text("999\nnode17\n")
    with pytest.raises(RunError, match="^busy; .*/.lock is of process 999 on node17: if no such process"):
        locks.take(tmp_path / ".lock", "busy")


def test_a_file_system_that_refuses_locks_is_named(tmp_path, monkeypatch):
    without_flock(monkeypatch, errno.ENOLCK)
    with pytest.raises(
        RunError, match=f"{tmp_path}/.lock cannot be locked, since its file system has no locks"
    ):
        locks.take(tmp_path / ".lock", "busy")


def test_data_are_prepared_where_no_lock_can_be_had(tmp_path, monkeypatch):
    without_flock(monkeypatch, errno.ENOLCK)
    with locks.one_after_another(tmp_path / ".lock", "works"):
        pass
