"""The fault campaign, short: every training script killed, out of disk, stopped, and started twice."""

import contextlib
import functools
import os
import signal
import subprocess
import time

import filelock
import pytest

from tests.faults.campaign import SCRIPTS, Server, campaign, draw_data, outcome, words_of

pytestmark = pytest.mark.slow
SOAK = os.environ.get("SOAK") == "1"
each_script = pytest.mark.parametrize("name", SCRIPTS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    draw_data(folder)
    return Server(folder)


@pytest.fixture(scope="module")
def calm(server):
    """The outcome of an undisturbed run, each script's made once."""

    @functools.cache
    def of(name):
        server.run(words_of(SCRIPTS[name], server.folder, f"{name}-alone"))
        return outcome(SCRIPTS[name].run(server.folder / "logs", f"{name}-alone"))

    return of


@pytest.fixture
def small_disk(server):
    """A disk of its own for logs/, 256 MiB large."""
    disk = server.folder / "logs-small"
    disk.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk]
    mounted = subprocess.run(words, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@each_script
def test_killed_at_any_moment_a_run_ends_as_if_nothing_had_been(server, name):
    tally = campaign(name, 20 if SOAK else 3, seed=int(time.time()) if SOAK else 0, server=server)
    assert tally["kills"] >= 3 and tally["lost"] == 0


@each_script
def test_a_full_disk_says_so_and_keeps_the_checkpoint(server, calm, small_disk, name):
    script = SCRIPTS[name]
    words = [word for word in words_of(script, server.folder, f"{name}-alone") if word != "--resume"]
    words[words.index("--log_root") + 1] = str(small_disk)
    run = script.run(small_disk, f"{name}-alone")
    last = run / "checkpoints" / "last.pt"
    os.kill(server.start_until(words, last), signal.SIGKILL)
    assert server.end() == -signal.SIGKILL
    before = last.read_bytes()
    with open(small_disk / "filler", "wb", 0) as filler:  # to the last byte
        size = 1 << 20
        while size:
            try:
                filler.write(bytes(size))
            except OSError:
                size //= 2
    said = server.run([*words, "--resume"], status=1)
    assert "error: the disk is full" in said and "Traceback" not in said, said
    assert last.read_bytes() == before
    (small_disk / "filler").unlink()
    server.run([*words, "--resume"])
    assert outcome(run) == calm(name)


@each_script
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(server, calm, name, number):
    script, run = SCRIPTS[name], f"{name}-{number.name}"
    folder = script.run(server.folder / "logs", run)
    # From train.log on the loop has the signal.
    pid = server.start_until(words_of(script, server.folder, run), folder / "train.log")
    os.kill(pid, number)
    time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):  # clusters signal the whole job, reproduce.py passes it on
        os.kill(pid, signal.SIGINT)
    assert server.end() == 130, server.output()
    assert "Stopped and saved at epoch" in server.output() and "--resume" in server.output()
    server.run(words_of(script, server.folder, run))
    assert outcome(folder) == calm(name)


@each_script
def test_a_run_that_another_process_writes_is_refused(server, name):
    words = words_of(SCRIPTS[name], server.folder, f"{name}-twice")
    folder = SCRIPTS[name].run(server.folder / "logs", f"{name}-twice")
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        assert "another process is writing" in server.run(words, status=1)
    assert [file.name for file in folder.iterdir()] == [".lock"]
