"""Shows why Lake's 20 runs are easier than sampled episodes: by their characters, and by their people.

python q2_protonet/lake_difference.py --lake_runs data/omniglot-py/lake-runs --shifts 1

Each run's drawings are found among those of the evaluation alphabets. Then its characters, or the two people
who drew them, or both, are replaced by others of the same alphabet.
"""

import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from q2_protonet.options import DataOptions
from q2_protonet.options import LakeOptions as Options
from q2_protonet.options import resolve_lake as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

import torch
from torch import Tensor

from common.device import start
from common.errors import RunError
from common.statistics import mean_row, print_rows
from q2_protonet.challenge import LakeRun, read_runs, wrong_queries
from q2_protonet.few_shot import FewShot
from q2_protonet.measures import embed
from q2_protonet.omniglot_dataset import Characters, load
from q2_protonet.protonet import ShiftAveraged


class Origin(NamedTuple):
    """Where a run's drawings come from.

    characters: (way,) the rows of its characters in the evaluation part.
    alphabet: (n,) the rows of all characters of their alphabet.
    people: who drew the support and who the queries, by the number of their drawing.
    """

    characters: Tensor
    alphabet: Tensor
    people: tuple[int, int]


def find_origins(runs: list[LakeRun], part: Characters) -> list[Origin]:
    """Finds the drawings of runs among those of the evaluation alphabets, pixel by pixel.

    Raises:
        RunError: a drawing is not there, or several people drew the support or the queries of a run.
    """
    places = {
        drawing.numpy().tobytes(): (row, person)
        for row, drawings in enumerate(part.images)
        for person, drawing in enumerate(drawings)
    }
    return [find_origin(run, part.names, places) for run in runs]


def find_origin(run: LakeRun, names: list[str], places: dict[bytes, tuple[int, int]]) -> Origin:
    """Returns where a run comes from; errors as `find_origins`.

    Args:
        names: of the characters, "<alphabet>/<character>".
        places: pixels of a drawing -> its row, and who drew it.
    """
    found = [[places.get(drawing.numpy().tobytes()) for drawing in side] for side in run]
    if None in found[0] + found[1]:
        raise RunError("a drawing of --lake_runs is not among those of the evaluation alphabets")
    (rows, support_people), (_, query_people) = (zip(*side) for side in found)  # type: ignore[misc]
    if len(set(support_people)) != 1 or len(set(query_people)) != 1:
        raise RunError("several people drew one side of a run")
    alphabet = names[rows[0]].rpartition("/")[0]
    members = [row for row, name in enumerate(names) if name.rpartition("/")[0] == alphabet]
    return Origin(torch.tensor(rows), torch.tensor(members), (support_people[0], query_people[0]))


def error(embeddings: Tensor, characters: Tensor, people: tuple[int, int]) -> float:
    """Returns the error in % of a 1-shot episode: the support by one person, the queries by another.

    Args:
        embeddings: (classes, drawings, dim).
        characters: (way,) rows of them.
        people: the drawings of the support and of the queries.
    """
    support, query = (embeddings[characters, person] for person in people)
    return 100 * wrong_queries(support, query) / len(characters)


def compare(embeddings: Tensor, origins: list[Origin], episodes: int, seed: int) -> list[dict]:
    """Measures the runs, and as many episodes of each with other characters, other people, or both.

    Other characters are drawn from the run's alphabet at random. Six runs come from alphabets of 25 or 26
    characters, where most of the 20 are then the same. Other people are never those of the run. Intervals
    are over the means of the runs: episodes of one run are not independent.
    """
    draws = torch.Generator().manual_seed(seed)
    drawings = embeddings.shape[1]
    rows = []
    for others in ((), ("characters",), ("people",), ("characters", "people")):
        means = []
        for origin in origins:
            errors = []
            for _ in range(episodes if others else 1):
                characters = draw_characters(origin, draws) if "characters" in others else origin.characters
                people = draw_people(origin, drawings, draws) if "people" in others else origin.people
                errors.append(error(embeddings, characters, people))
            means.append(sum(errors) / len(errors))
        name = f"other {' and '.join(others)}" if others else "the runs as they are"
        count = f"{len(origins)} runs, {episodes if others else 1} episodes each"
        rows.append(mean_row(name, torch.tensor(means), "%", count=count))
    return rows


def draw_characters(origin: Origin, draws: torch.Generator) -> Tensor:
    """Draws as many characters from a run's alphabet as the run has."""
    order = torch.randperm(len(origin.alphabet), generator=draws)
    return origin.alphabet[order[: len(origin.characters)]]


def draw_people(origin: Origin, drawings: int, draws: torch.Generator) -> tuple[int, int]:
    """Draws two people who are not those of a run."""
    others = [person for person in range(drawings) if person not in origin.people]
    first, second = torch.randperm(len(others), generator=draws)[:2].tolist()
    return others[first], others[second]


def main(options: Options) -> list[dict]:
    options = resolve(options)
    runtime = start(options)
    few_shot = FewShot.load(options.checkpoint, runtime)
    data = DataOptions(dataset="omniglot", split="background", no_rotations=True)
    with runtime.one_first(options.data_root, data.dataset):
        part = load(options.data_root, data, 0)["test"]
    origins = find_origins(read_runs(options.lake_runs), part)

    network = ShiftAveraged(few_shot.network, options.shifts) if options.shifts else few_shot.network
    embeddings = embed(network, part.images.to(runtime.device)).cpu()
    rows = compare(embeddings, origins, options.episodes, options.seed)
    print(f"error on Lake's runs and on variants of them, {options.checkpoint}, shifts {options.shifts}")
    print_rows(rows)
    return rows


if __name__ == "__main__":
    cli.run(main, options)
