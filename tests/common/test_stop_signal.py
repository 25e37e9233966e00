"""Ctrl-C, SIGTERM, SIGHUP: the first one is heeded between steps, a second one at once."""

import os
import signal

import pytest

from common.stop_signal import StopSignal

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_kept_until_it_is_asked_for(number):
    before = signal.signal(number, signal.SIG_DFL)  # nohup runs the tests with SIGHUP ignored
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), number)
            assert stop.requested
    finally:
        signal.signal(number, before)


def test_a_second_one_ends_at_once(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            stop._since -= 2  # seconds ago
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_keeps_a_training_from_hearing_sighup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_after_a_stop_a_caller_has_its_signals_back():
    """In a notebook or a test, where the process goes on."""
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopSignal():
        os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in SIGNALS] == before


STOPPED = """
import os, signal
from common import cli
from common.errors import Stopped
from common.options import ScriptOptions
from common.stop_signal import StopSignal

def main(options):
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested
        os.kill(os.getpid(), signal.SIGINT)  # the same stop, by way of the parent
    os.kill(os.getpid(), signal.SIGTERM)  # after the save
    raise Stopped("saved")

cli.run(main, ScriptOptions())
"""


def test_a_stop_sent_twice_ends_with_its_status(script):
    assert script("-c", STOPPED, status=130).stderr.endswith("saved\n")
