"""Device, precision and threads: as asked for, or refused in words."""

import pytest
import torch

from common import machine
from common.device import choose_device, no_tf32, start
from common.errors import UsageError
from common.options import ScriptOptions, TrainingOptions, check_device

GPUS_FOUND = [
    ("auto", 0, 1, "cpu"),
    ("auto", 2, 1, "cuda:0"),
    ("cpu", 2, 1, "cpu"),
    ("cuda", 2, 1, "cuda:0"),
    ("cuda:1", 2, 1, "cuda:1"),
]
GPUS_LACKING = [
    ("cuda", 0, 1, "finds no CUDA GPU"),
    ("cuda:2", 2, 1, "--device cuda:2 needs more GPUs than the 2"),
    ("cuda:1", 2, 2, "torchrun gives each process its GPU"),
    ("mps", 0, 1, "finds no Apple GPU"),
]


@pytest.fixture
def has_gpus(monkeypatch):
    """Makes torch find so many CUDA GPUs."""

    def find(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return find


@pytest.mark.parametrize("name, gpus, world, found", GPUS_FOUND)
def test_the_device_is_the_one_asked_for(has_gpus, name, gpus, world, found):
    has_gpus(gpus)
    assert str(choose_device(name, world)) == found


@pytest.mark.parametrize("name, gpus, world, said", GPUS_LACKING)
def test_a_device_that_is_not_there_is_refused(has_gpus, name, gpus, world, said):
    has_gpus(gpus)
    with pytest.raises(UsageError, match=said):
        choose_device(name, world)


def test_under_torchrun_each_process_takes_the_gpu_of_its_local_rank(has_gpus, monkeypatch):
    has_gpus(2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(choose_device("cuda", world=2)) == "cuda:1"


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "gpu", ""])
def test_a_name_of_no_device_is_refused(name):
    with pytest.raises(UsageError, match="--device must be auto, cpu"):
        check_device(name)


def test_tf32_needs_a_cuda_gpu():
    with pytest.raises(UsageError, match="tf32 needs a CUDA GPU"):
        start(TrainingOptions(device="cpu", precision="tf32"))


@pytest.mark.parametrize("fast, precision", [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_bf16_on_a_cpu_with_instructions_for_it(monkeypatch, capsys, fast, precision):
    monkeypatch.setattr(machine, "has_fast_bf16", lambda: fast)
    assert start(TrainingOptions(device="cpu")).precision == precision
    assert capsys.readouterr().err == ""


def test_what_is_no_training_computes_in_fp32(monkeypatch):
    monkeypatch.setattr(machine, "has_fast_bf16", lambda: True)
    assert start(ScriptOptions(device="cpu")).precision == "fp32"


def test_bf16_computes_products_in_bf16():
    runtime = start(TrainingOptions(device="cpu", precision="bf16"))
    with runtime.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.parametrize("fast, said", [(True, 0), (False, 1)])
def test_bf16_where_it_is_slow_is_done_on_request_with_a_warning(monkeypatch, capsys, fast, said):
    monkeypatch.setattr(machine, "has_fast_bf16", lambda: fast)
    start(TrainingOptions(device="cpu", precision="bf16"))
    assert capsys.readouterr().err.count("7,859 ms instead of 771 in fp32") == said


def test_torch_takes_no_more_threads_than_cores_the_process_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    start(ScriptOptions(device="cpu"))
    taken = torch.get_num_threads()
    torch.set_num_threads(before)
    assert taken == 1


def test_deterministic_turns_it_on():
    try:
        start(ScriptOptions(device="cpu", deterministic=True))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_fp32_can_be_made_to_mean_fp32(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with no_tf32():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32
