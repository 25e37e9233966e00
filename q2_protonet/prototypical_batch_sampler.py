"""Episodes: which classes and which of their drawings, sampled for many episodes at once on the device."""

import torch
from torch import Tensor

from common.runtime import UsageError
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
        name: of the part, for messages: "train", "validation" or "test"; "" in evaluate.py.

    Raises:
        UsageError: fewer classes than `way`, or a class with fewer drawings than shot + query.
    """

    def __init__(
        self, part: Characters, way: int, shot: int, query: int, generator: torch.Generator, name: str = ""
    ):
        counts = part.counts
        where = f"the {name} part of the data" if name else "this part of the data"
        flags = "--way", "--shot", "--query"
        if name:
            kind = "tr" if name == "train" else "val"
            flags = f"--classes_per_it_{kind}", f"--num_support_{kind}", f"--num_query_{kind}"
        if way > len(counts):
            advice = f"{flags[0]} can be at most {len(counts)}" if len(counts) > 1 else "add classes to it"
            needed = f"{way}-way episodes need {way} classes"
            raise UsageError(f"{needed}, and {where} has {len(counts)}: {advice}")
        small = (counts < shot + query).nonzero().flatten().tolist()
        if small:
            first = f"{part.names[small[0]]}; {len(small)} of {len(counts)} are too small"
            there = f"in {where} a class has only {int(counts[small[0]])} ({first})"
            advice = f"lower {flags[1]} or {flags[2]}, or leave out such classes of your own by --skip_small"
            needed = f"{shot} support + {query} query drawings of each class are needed"
            raise UsageError(f"{needed}, and {there}: {advice}")
        self.counts, self.way, self.shot, self.query, self.generator = counts, way, shot, query, generator
        self.most = int(counts.max())

    def sample(self, episodes: int) -> tuple[Tensor, Tensor]:
        """Indices of classes (episodes, way, 1) and of their drawings (episodes, way, shot + query).

        `images[classes, drawings]` are then the images, support first.
        """
        device = self.counts.device
        chance = torch.rand(episodes, len(self.counts), generator=self.generator, device=device)
        classes = chance.topk(self.way, dim=1).indices  # (episodes, way)
        chance = torch.rand(episodes, self.way, self.most, generator=self.generator, device=device)
        padding = torch.arange(self.most, device=device) >= self.counts[classes].unsqueeze(-1)
        drawings = chance.masked_fill(padding, -1).topk(self.shot + self.query, dim=2).indices
        return classes.unsqueeze(-1), drawings


class WithinAlphabetSampler:
    """Samples 1-shot episodes of `way` characters of one alphabet: the Omniglot challenge (Lake et al. 2019).

    The support is drawn by one person and the queries, one per character, by another: drawing number n of
    every character of an alphabet is by the same person. Smaller alphabets are left out.

    Args:
        part: whole alphabets of characters named "<alphabet>/<character>", without rotations.
        generator: on the device of its counts.
        way: characters per episode (20 in the challenge).

    Raises:
        UsageError: no alphabet has `way` characters; a character has fewer than two drawings.
    """

    shot = query = 1

    def __init__(self, part: Characters, generator: torch.Generator, way: int = 20):
        alphabets: dict[str, list[int]] = {}
        for i, name in enumerate(part.names):
            alphabets.setdefault(name.rpartition("/")[0], []).append(i)
        self.alphabets = {name: rows for name, rows in alphabets.items() if len(rows) >= way}
        if not self.alphabets:
            most = max(map(len, alphabets.values()))
            raise UsageError(f"no alphabet here has {way} characters; the largest has {most}")
        if part.counts.min() < 2:
            raise UsageError("every character needs two drawings or more, by different people")
        device = part.counts.device
        self.member = torch.zeros(len(self.alphabets), len(part), dtype=torch.bool, device=device)
        for line, rows in zip(self.member, self.alphabets.values()):
            line[rows] = True
        self.people, self.way, self.generator = int(part.counts.min()), way, generator

    def sample(self, episodes: int) -> tuple[Tensor, Tensor]:
        """Classes (episodes, way, 1) and drawings (episodes, way, 2): the support, then the query."""
        random = {"generator": self.generator, "device": self.member.device}
        alphabet = torch.randint(len(self.member), (episodes,), **random)
        chance = torch.rand(self.member[alphabet].shape, **random)  # (episodes, classes)
        classes = chance.masked_fill(~self.member[alphabet], -1).topk(self.way, dim=1).indices
        people = torch.rand(episodes, self.people, **random).topk(2, dim=1).indices  # (episodes, 2)
        return classes.unsqueeze(-1), people.unsqueeze(1).expand(-1, self.way, -1)
