"""Episodes: which classes and which of their drawings, sampled for many episodes at once on the device."""

import torch
from torch import Tensor

from common.errors import UsageError
from q2_protonet.omniglot_dataset import Characters


class PrototypicalBatchSampler:
    """Samples episodes of `way` classes with `shot` support and `query` query drawings each.

    Within an episode no class and no drawing comes twice: both are the positions of the largest of
    independent uniform numbers, which is a uniform sample without replacement, for all classes and episodes
    in two calls.

    Args:
        part: the classes; the sampling happens on the device of its counts.
        way, shot, query: the episode's shape.
        generator: on the same device. Its state is all there is to save.

    Raises:
        UsageError: as `check`.
    """

    def __init__(self, part: Characters, way: int, shot: int, query: int, generator: torch.Generator):
        check(part, way, shot, query)
        self.counts = part.counts
        self.way = way
        self.shot = shot
        self.query = query
        self.generator = generator
        self.most = int(part.counts.max())

    def sample(self, episodes: int) -> tuple[Tensor, Tensor]:
        """Returns indices of classes (episodes, way, 1) and of their drawings (episodes, way, shot + query).

        `images[classes, drawings]` are then the images, support first.
        """
        device = self.counts.device
        chance = torch.rand(episodes, len(self.counts), generator=self.generator, device=device)
        classes = chance.topk(self.way, dim=1).indices  # (episodes, way)
        chance = torch.rand(episodes, self.way, self.most, generator=self.generator, device=device)
        padding = torch.arange(self.most, device=device) >= self.counts[classes].unsqueeze(-1)
        drawings = chance.masked_fill(padding, -1).topk(self.shot + self.query, dim=2).indices
        return classes.unsqueeze(-1), drawings


def check(part: Characters, way: int, shot: int, query: int, name: str = "") -> None:
    """Checks that episodes of this shape can be sampled.

    Args:
        part: the classes.
        way, shot, query: the episode's shape.
        name: of the part in train.py, "train", "validation" or "test", whose flags the message then names;
            "" elsewhere.

    Raises:
        UsageError: fewer classes than `way`, or a class with fewer drawings than shot + query.
    """
    kind = "tr" if name == "train" else "val"
    way_flag = f"--classes_per_it_{kind}" if name else "--way"
    shot_flag = f"--num_support_{kind}" if name else "--shot"
    query_flag = f"--num_query_{kind}" if name else "--query"
    where = f"the {name} part of the data" if name else "this part of the data"
    classes = len(part)
    if way > classes:
        advice = f"{way_flag} can be at most {classes}" if classes > 1 else "add classes to it"
        raise UsageError(f"{way}-way episodes need {way} classes, and {where} has {classes}: {advice}")
    small = (part.counts < shot + query).nonzero().flatten().tolist()
    if small:
        raise UsageError(
            f"{shot} support + {query} query drawings of each class are needed, and in {where} a class has "
            f"only {int(part.counts[small[0]])} ({part.names[small[0]]}; {len(small)} of {classes} are too "
            f"small): lower {shot_flag} or {query_flag}, or leave out such classes of your own by "
            "--skip_small"
        )
