"""ProtoNet killed at the moments that the quick tests leave out, and on two processes. SOAK=1 runs it."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ENVIRONMENT, ROOT
from tests.q2_protonet.test_train import TINY, TRAIN, kill_and_resume, trained  # noqa: F401

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")


@pytest.mark.parametrize("moment", ["before any checkpoint", "after an epoch", "while saving"])
def test_kill_9_then_resume_is_the_uninterrupted_run(trained, tmp_path, roots, moment):  # noqa: F811
    kill_and_resume(moment, trained, tmp_path, roots)


def test_torchrun_trains_on_two_processes(roots, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, TRAIN, *TINY, "--run_name", "two", *roots]
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    results = json.loads((tmp_path / "logs/q2_protonet/two/results.json").read_text())
    assert results["episodes"] == 3 * 6 * 2
