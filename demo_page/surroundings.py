"""Takes from the machine what the page needs, and gives it back: a port, a folder, signals, and no proxy."""

import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from common.errors import UsageError

HOST = "127.0.0.1"
PORTS = 65536
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")


def reserve_port(port: int) -> socket.socket:
    """Binds the port of this machine; it refuses connections until someone listens.

    Raises:
        UsageError: it is taken, or this user may not have it; the message names one that is free.
    """
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        own.bind((HOST, port))
    except PermissionError as error:
        own.close()
        raise UsageError(f"port {port} needs administrator rights: --port {free_port(7860)}") from error
    except OSError as error:
        own.close()
        raise UsageError(f"port {port} is taken: --port {free_port(port + 1)}") from error
    return own


def free_port(first: int) -> int:
    """Returns the first free port from `first` on, or any."""
    for port in [*range(first, min(first + 100, PORTS)), 0]:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((HOST, port))
                return int(probe.getsockname()[1])
    return 0


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Makes the folder of the page's temporary files, which nobody else can read; removes it at the end.

    The end may be Ctrl-C, SIGTERM or a closed terminal.
    """
    os.umask(0o077)
    heeded = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    previous = {number: signal.signal(number, _end) for number in heeded}
    try:
        with tempfile.TemporaryDirectory(prefix="four-papers-", ignore_cleanup_errors=True) as folder:
            yield Path(folder).resolve()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process as this signal does, after the files are removed."""
    sys.exit(128 + number)


def settle(folder: Path) -> None:
    """Sets the variables that Gradio reads when it is imported.

    Nothing is loaded from elsewhere, so no proxy is needed; some kinds stop the page from starting.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    for name in PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
