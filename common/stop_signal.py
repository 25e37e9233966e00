"""Ctrl-C, SIGTERM and a closed terminal: a training saves and stops."""

import signal
import sys
import time
from types import FrameType


class StopSignal:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a flag that loops read between steps.

    A second one ends at once.
    """

    requested = False
    finishing = False  # no step is left after which it could stop; set by Training
    _since = 0.0  # when it was, on the monotonic clock
    ends_process = False  # after a stop; set by cli.run

    def __enter__(self) -> "StopSignal":
        heeded = [signal.SIGINT, signal.SIGTERM]  # also where a shell in the background ignores Ctrl-C
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            heeded.append(signal.SIGHUP)
        self._previous = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        ending = self.requested and self.ends_process  # the same stop, sent twice, must not change its status
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if ending else handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and time.monotonic() - self._since < 1:
            return  # the same stop, sent to the whole job and passed on by its parent as well
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._since = time.monotonic()
        what = "Finishing: all steps are done" if self.finishing else "Stopping after this step"
        try:
            print(f"\n{what} (again to stop at once) ...", file=sys.stderr, flush=True)
        except OSError:  # the terminal is gone
            pass
