"""A training that draws one number per step: what the tests of runs train."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from common.device import Runtime
from common.options import TrainingOptions
from common.ranges import FREE_ON_RESUME, at_least
from common.training import Training

CPU = Runtime(torch.device("cpu"))
STEPS = 5


@dataclass
class Options(TrainingOptions):
    """As a question has them."""

    epochs: Annotated[int, at_least(1), FREE_ON_RESUME] = 3
    rate: float = 0.1
    folder: Annotated[Path | None, FREE_ON_RESUME] = None


@dataclass
class OptionsOfASchedule(TrainingOptions):
    """The learning rate's schedule spans the epochs, as DARTS's does."""

    epochs: Annotated[int, at_least(1)] = 3


class Learner:
    """What has a state."""

    def __init__(self, width=1, seed=0):
        torch.manual_seed(seed)
        self.network = nn.Linear(width, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.draws = torch.Generator().manual_seed(seed)
        self.average = None
        self.architecture = {"width": width}


def enter(options, runtime=CPU, learner=None, facts=None, **more):
    """A Training, to be entered."""
    return Training("q", options, runtime, learner or Learner(), facts or {}, **more)


def train(options, stop_at=None, bad_at=None, end_after=None, runtime=CPU):
    """Records each step's number and, from epoch 2 on, its double; returns the folder and what was drawn."""
    learner = Learner()
    seen = []
    with enter(options, runtime, learner, best=0.0) as training:
        at = training.position
        for epoch in training.epochs(options.epochs):
            [_, order] = training.shuffle(7, STEPS)
            for step in training.steps(STEPS, ("x", "twice")):
                x = torch.rand((), generator=learner.draws)
                seen.append((epoch, step, order[step].item(), x.item()))
                if (epoch, step) == bad_at:
                    x = x / 0
                training.record(x, 2 * x if epoch > 1 else None)
                training.stop_signal.requested = (epoch, step) == stop_at
            at.best = max(at.best, training.means()["x"])
            at.ended = epoch == end_after
            training.write_epoch({"epoch": epoch, "x": training.means()["x"], "best": at.best})
        training.finish({"title": "t", "rows": []})
    return training.folder, seen


def config_of(options):
    """The config.json of a made-up run."""
    return options.log_root / "q" / options.run_name / "config.json"


def legs_of(options):
    """How often it was started, and how."""
    return json.loads(config_of(options).read_text())["legs"]
