"""Episodes: which classes and which of their drawings, drawn for many episodes at once on the device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from common.runtime import UsageError


class PrototypicalBatchSampler:
    """Draws episodes of `way` classes with `shot` support and `query` query drawings each.

    Within an episode no class and no drawing comes twice: both are the places of the largest of independent
    uniform numbers, which is a uniform draw without replacement, for all classes and episodes in two calls.

    Args:
        counts: (classes,) int64, drawings of each class; its device is where the draws are made.
        way, shot, query: the episode's shape.
        generator: on the same device. Its state is all there is to save.
        names: of the classes, for the messages.
        part: of the data, for the messages: "train", "validation" or "test".

    Raises:
        UsageError: fewer classes than `way`, or a class with fewer drawings than shot + query.
    """

    def __init__(
        self,
        counts: Tensor,
        way: int,
        shot: int,
        query: int,
        generator: torch.Generator,
        names: Sequence[str] = (),
        part: str = "",
    ):
        where = f"the {part} part of the data" if part else "this part of the data"
        flag = "tr" if part == "train" else "val"
        if way > len(counts):
            most = f"--classes_per_it_{flag} can be at most {len(counts)}"
            advice = most if len(counts) > 1 else "add classes to it"
            raise UsageError(
                f"{way}-way episodes need {way} classes, and {where} has {len(counts)}: {advice}"
            )
        small = (counts < shot + query).nonzero().flatten().tolist()
        if small:
            named = f" ({names[small[0]]}; {len(small)} of {len(counts)} are too small)" if names else ""
            raise UsageError(
                f"{shot} support + {query} query drawings of each class are needed, and in {where} a class has "
                f"only {int(counts[small[0]])}{named}: lower --num_support_{flag} or --num_query_{flag}"
            )
        self.counts, self.way, self.shot, self.query, self.generator = counts, way, shot, query, generator
        self.most = int(counts.max())

    def draw(self, episodes: int) -> tuple[Tensor, Tensor]:
        """Indices of `episodes` episodes: classes (episodes, way, 1) and drawings (episodes, way, shot + query).

        `images[classes, drawings]` are then the images, support first.
        """
        device = self.counts.device
        chance = torch.rand(episodes, len(self.counts), generator=self.generator, device=device)
        classes = chance.topk(self.way, dim=1).indices
        chance = torch.rand(episodes, self.way, self.most, generator=self.generator, device=device)
        missing = torch.arange(self.most, device=device) >= self.counts[classes].unsqueeze(-1)
        drawings = chance.masked_fill(missing, -1)  # (episodes, way, most)
        drawings = drawings.topk(self.shot + self.query, dim=2).indices
        return classes.unsqueeze(-1), drawings
