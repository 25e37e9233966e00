"""Locks that one process at a time holds, also on file systems that have none.

Where the system locks files, a lock ends with its process. Elsewhere filelock takes the file itself for the
lock and writes the process into it; such a file may stay behind, or come along when a folder is copied.
"""

import contextlib
import errno
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None  # type: ignore[assignment]

from common.errors import RunError

SAID_AFTER = 2  # seconds of waiting
GIVEN_UP_AFTER = 10  # seconds of waiting for a file that names no living process of this machine
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def take(path: Path, busy: str) -> filelock.BaseFileLock:
    """Takes a lock at once.

    Args:
        path: the lock's file.
        busy: what to say where another process has it.

    Raises:
        RunError: another process has it, or the file system has no locks at all.
        OSError: the file cannot be written.
    """
    lock = filelock.FileLock(path)
    try:
        _acquire(lock, 0)
    except filelock.Timeout as error:
        owner = _unknown_owner(lock)
        raise RunError(f"{busy}; {owner}" if owner else busy) from error
    return lock


@contextlib.contextmanager
def one_after_another(path: Path, work: str) -> Iterator[None]:
    """Lets processes do the same work one after another; without a lock where none can be had.

    A process that works is waited for as long as it lives.

    Args:
        path: the lock's file.
        work: what is done, for the message, such as "prepares mnist".

    Raises:
        RunError: the lock's file does not show that its process lives.
    """
    lock = filelock.FileLock(path)
    with contextlib.suppress(OSError):  # a read-only folder needs no lock
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _acquire(lock, SAID_AFTER)
        except filelock.Timeout:
            print(f"waiting for another run that {work} (its lock is {path}) ...", file=sys.stderr)
            _wait(lock)
        except RunError:  # there are no locks here
            pass
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def changing(results: Path) -> Iterator[None]:
    """Lets train.py and evaluate.py change the results.json of a run one after another."""
    with one_after_another(results.with_name(".evaluations.lock"), f"writes {results}"):
        yield


def _wait(lock: filelock.BaseFileLock) -> None:
    """Waits for a lock whose process lives, and a little for any other."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(filelock.Timeout):
            _acquire(lock, SAID_AFTER)
            return
        owner = _unknown_owner(lock)
        if owner and time.monotonic() - began > GIVEN_UP_AFTER:
            raise RunError(f"gave up waiting: {owner}")


def _acquire(lock: filelock.BaseFileLock, seconds: float) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock's, that the file itself is the lock
            lock.acquire(timeout=seconds)
    except (OSError, NotImplementedError) as error:  # the latter from older versions of filelock
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        raise RunError(
            f"{lock.lock_file} cannot be locked, since its file system has no locks ({error}): "
            "without one two processes may write the same files; use a folder on another disk"
        ) from error


def _unknown_owner(lock: filelock.BaseFileLock) -> str:
    """Says what to do where a lock's file does not show that its process lives; "" where it lives."""
    path = Path(lock.lock_file)
    if _system_locks(path):
        return ""  # and ends the lock of a process that ended
    try:
        number, host, *_ = path.read_text(errors="replace").splitlines()
        if host == platform.node() and _lives(int(number)):
            return ""
        holder = f"is of process {number} on {host}"
    except (OSError, ValueError):
        holder = "names no process"
    return f"{path} {holder}: if no such process works there any more, delete that file"


def _system_locks(path: Path) -> bool:
    """Returns whether the system locks this file; else filelock takes the file itself for the lock."""
    if fcntl is None:  # on Windows it does
        return True
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # such as that another process has it
        return error.errno not in NO_LOCKS
    return True


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    return True
