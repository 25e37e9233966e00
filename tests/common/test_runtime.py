import errno

import pytest
import torch

from common.runtime import RunError, ScriptOptions, Stopped, UsageError, at_least, one_line_errors, start


@pytest.mark.parametrize(
    "error, status, text",
    [
        (UsageError("fewer"), 2, "error: fewer"),
        (RunError("broke"), 1, "error: broke"),
        (Stopped("saved"), 130, "saved"),
        (OSError(errno.ENOSPC, "No space left", "x.pt"), 1, "the disk is full: x.pt"),
        (KeyError("k"), 1, "KeyError"),
        (torch.OutOfMemoryError("CUDA"), 1, "its search also --partial_channels 4"),
    ],
)
def test_errors_are_one_line_with_the_right_status(error, status, text, capsys):
    with pytest.raises(SystemExit) as ended:
        with one_line_errors(debug=False):
            raise error
    written = capsys.readouterr().err
    assert ended.value.code == status and text in written and len(written.splitlines()) == 1


def test_debug_shows_the_traceback():
    with pytest.raises(RunError):
        with one_line_errors(debug=True):
            raise RunError("broke")


def test_ranges():
    with pytest.raises(UsageError, match="--seed must be 1 or more, not 0"):
        at_least(1, ScriptOptions(), "seed")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there():
    with pytest.raises(UsageError, match="no CUDA GPU"):
        start(ScriptOptions(device="cuda"))


def test_auto_precision_is_fp32_on_a_cpu_and_bf16_on_request():
    assert start(ScriptOptions(device="cpu")).precision == "fp32"
    runtime = start(ScriptOptions(device="cpu", precision="bf16"))
    with runtime.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
