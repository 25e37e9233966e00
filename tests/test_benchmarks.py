import pytest
import torch

from benchmarks import race

CPU = torch.device("cpu")


def test_a_step_is_counted_by_its_operations_and_bytes_and_views_are_free():
    def steps():
        a, b = torch.ones(8, 4), torch.ones(4, 2)
        while True:
            yield (a @ b).t().view(2, 8) + 1

    needs = race.measure(steps(), CPU)
    assert needs["operations"] == 2 and needs["gflop"] == 2 * 8 * 4 * 2 / 1e9
    product, sum_of_them = 32 + 8 + 16, 16 + 16  # numbers read and written
    assert needs["gigabytes"] == 4 * (product + sum_of_them) / 1e9


def test_versions_take_turns_and_the_first_steps_are_not_timed():
    order = []

    def steps(name):
        while True:
            order.append(name)
            yield

    medians = race.race({"a": steps("a"), "b": steps("b")}, 2, CPU)
    assert order == ["a", "b"] * (race.WARM_UP + 2) and set(medians) == {"a", "b"}


RACE = """
import sys, torch
from benchmarks.race import RaceOptions, run
from common.runtime import Runtime
def good():
    while True:
        yield torch.ones(2) + 1
def bad():
    yield 1 / 0
options = RaceOptions(steps=1, alone=sys.argv[2] if len(sys.argv) > 2 else "")
run("two", {"plain": good(), "ours": bad()}, options, Runtime(torch.device("cpu"), "fp32"))
"""


def test_a_version_that_fails_is_named_and_left_out(script, tmp_path):
    (tmp_path / "script.py").write_text(RACE)
    done = script(tmp_path / "script.py")
    assert "ours: FAILED and left out: ZeroDivisionError" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["version", "plain"]


@pytest.mark.slow
def test_a_whole_benchmark_runs(script):
    flags = "--way 5 --shot 1 --query 1 --steps 1 --device cpu"
    lines = script("benchmarks/protonet.py", *flags.split()).stdout.splitlines()
    assert lines[0].startswith("5-way 1-shot, 1 queries, CPU")
    assert [line[:12].strip() for line in lines[2:]] == ["plain fp32", "ours fp32", "ours bf16"]
