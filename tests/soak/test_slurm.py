"""The line for Slurm in docs/, run on a Slurm of its own: two seeds that requeue themselves when warned."""

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tests.faults.campaign import outcome

PROGRAMS = ["munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol"]
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MISSING = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
pytestmark = [
    pytest.mark.skipif("SOAK" not in os.environ, reason="takes ten minutes; SOAK=1 runs it"),
    pytest.mark.skipif(bool(MISSING), reason=f"no {', '.join(MISSING)}: apt-get install slurm-wlm munge"),
]
CONFIG = """
ClusterName=soak
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE
"""


def wait_until(what: str, condition, seconds: int) -> None:
    """Polls until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} took more than {seconds} s"
        time.sleep(1)


@pytest.fixture
def slurm(tmp_path):
    """The environment of a one-node Slurm that lives in a temporary folder, without systemd."""
    folder = tmp_path / "slurm"
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [free.getsockname()[1] for free in (one, other)]
    host, config, key = socket.gethostname().split(".")[0], folder / "slurm.conf", folder / "munge.key"
    config.write_text(CONFIG.format(host=host, ports=ports, user=getpass.getuser(), folder=folder))
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    files = {f"{kind}-file": folder / f"munge.{kind}" for kind in ("key", "pid", "log", "seed")}
    files["socket"] = folder / "munge.socket"
    environment = os.environ | {"SLURM_CONF": str(config), "PATH": PATH, "OMP_NUM_THREADS": "1"}
    daemons = []

    def start(*words: object) -> None:
        with open(folder / f"{words[0]}.out", "w") as output:
            how = {"env": environment, "stdout": output, "stderr": subprocess.STDOUT}
            daemons.append(subprocess.Popen(map(str, words), **how))

    def ready() -> bool:
        state = subprocess.run(["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True)
        assert all(daemon.poll() is None for daemon in daemons), f"a daemon ended: see {folder}"
        return state.stdout.strip() == "idle"

    try:
        start("munged", "--foreground", "--force", *(f"--{name}={file}" for name, file in files.items()))
        wait_until("munged", files["socket"].exists, 30)
        start("slurmctld", "-D", "-c", "-f", config)
        start("slurmd", "-D", "-f", config)
        wait_until("the node", ready, 60)
        yield environment
    finally:
        subprocess.run(["scancel", "--user", getpass.getuser()], env=environment)
        if len(daemons) == 3:
            time.sleep(5)  # slurmd ends the job steps
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def test_the_documented_array_requeues_itself_and_ends_as_if_undisturbed(slurm, tmp_path):
    quick = "--device cpu --preset quick --only q2_protonet q4_darts"
    roots = "--log_root {0}/{1}/logs --figure_root {0}/{1}"
    calm, disturbed = roots.format(tmp_path, "a"), roots.format(tmp_path, "b")
    words = f"{sys.executable} reproduce.py {quick} {calm} --seeds 0 1 --jobs 2".split()
    start = time.monotonic()
    subprocess.run(words, cwd=ROOT, env=slurm, check=True, capture_output=True)
    half = round((time.monotonic() - start) / 120)  # in minutes, so that each seed is warned at least once

    docs = "".join(file.read_text("utf-8") for file in (ROOT / "docs").glob("*.md"))
    [line] = re.findall(r"<!-- slurm -->\n```sh\n(.*?)```", docs, re.S)
    for old, new in {
        "python reproduce.py": f"{sys.executable} reproduce.py",
        "--preset report": f"{quick} {disturbed}",
        "--gres=gpu:1": f"--output={tmp_path}/%a.out",  # this cluster has no GPU
        "--time=4:00:00": f"--time={max(2, half + 1)}",
        "TERM@120": "TERM@60",
    }.items():
        assert line.count(old) == 1, f"{old} in {line}"
        line = line.replace(old, new)
    subprocess.run(["bash", "-c", line], cwd=ROOT, env=slurm, check=True)

    def jobs(field: str) -> list[str]:
        shown = subprocess.run(["scontrol", "show", "job"], env=slurm, capture_output=True, text=True)
        return re.findall(rf"\b{field}=(\S+)", shown.stdout)

    ended = {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY"}
    wait_until("the array", lambda: set(jobs("JobState")) <= ended, 7200)
    written = "\n".join(file.read_text() for file in tmp_path.glob("*.out"))
    assert jobs("JobState") == ["COMPLETED"] * 2, written
    assert all(int(count) > 0 for count in jobs("Restarts")), "it ended before Slurm warned it"
    runs = [file.parent for file in tmp_path.glob("a/logs/*/*/results.json")]
    assert len(runs) == 10
    for run in runs:
        found, expected = outcome(tmp_path / "b" / run.relative_to(tmp_path / "a")), outcome(run)
        assert found.keys() == expected.keys(), run
        assert [key for key in expected if expected[key] != found[key]] == [], run
