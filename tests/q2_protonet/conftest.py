"""Shared by the tests of ProtoNet's scripts: a tiny run that nothing interrupted."""

import functools
import json

import pytest

from common.cli import parse
from q2_protonet import omniglot_dataset, train
from q2_protonet.synthetic import draw_characters

TRAIN = "q2_protonet/train.py"
TINY = (
    "--dataset synthetic --device cpu --epochs 3 --iterations 6 --classes_per_it_tr 8 --num_support_tr 1 "
    "--validation_episodes 5 --test_episodes 10 --augment --every_support --average_weights 0.9 "
    "--precision fp32"  # the same on every CPU
).split()


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """The synthetic characters of a seed are drawn once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot_dataset, "draw_characters", functools.cache(draw_characters))
        yield


def run(script, *words):
    """A script's `main` on a command line, in this process, which has torch already."""
    return script.main(parse(script.Options, "", [str(word) for word in words]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("trained")
    run(train, *TINY, "--run_name", "a", "--log_root", folder / "logs", "--figure_root", folder / "figures")
    return folder


@pytest.fixture(scope="module")
def best(trained):
    return trained / "logs/q2_protonet/a/checkpoints/best.pt"


def results_of(folder):
    return json.loads((folder / "results.json").read_text())
