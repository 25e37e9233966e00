"""Genotypes: which operations on which edges make a cell. Imports neither torch nor numpy at the start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import UsageError
from common.json_files import write_json

PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = 4  # intermediate nodes of a cell; node i has edges from the two inputs and the i nodes before it

# An operation, and the state it reads: 0 and 1 are the cell's inputs, 2 and up its nodes.
Edge = tuple[str, int]


class Genotype(NamedTuple):
    """Two edges for each of the four nodes, for both cells; a cell's output concatenates its nodes."""

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]


# Liu et al. 2019: first and second order; Xu et al. 2020 (PC-DARTS) on CIFAR-10.
DARTS_V1 = Genotype(
    normal=(("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_3x3", 1),
            ("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 2)),
    reduce=(("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0),
            ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("avg_pool_3x3", 0)),
)  # fmt: skip
DARTS_V2 = Genotype(
    normal=(("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
            ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)),
    reduce=(("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
            ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)),
)  # fmt: skip
PC_DARTS = Genotype(
    normal=(("sep_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 0), ("dil_conv_3x3", 1),
            ("sep_conv_5x5", 0), ("sep_conv_3x3", 1), ("avg_pool_3x3", 0), ("dil_conv_3x3", 1)),
    reduce=(("sep_conv_5x5", 1), ("max_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_5x5", 2),
            ("sep_conv_3x3", 0), ("sep_conv_3x3", 3), ("sep_conv_3x3", 1), ("sep_conv_3x3", 2)),
)  # fmt: skip
NAMED = {"DARTS_V1": DARTS_V1, "DARTS_V2": DARTS_V2, "PC_DARTS": PC_DARTS}


def check(genotype: Genotype) -> Genotype:
    """Returns the genotype if it is valid.

    Raises:
        UsageError: a cell does not have two edges per node, with known operations on distinct earlier states.
    """
    for kind, edges in zip(Genotype._fields, genotype):
        if len(edges) != 2 * NODES:
            raise UsageError(f"the {kind} cell has {len(edges)} edges instead of {2 * NODES}")
        for place, (operation, state) in enumerate(edges):
            where = f"node {place // 2} of the {kind} cell"
            if operation not in PRIMITIVES or operation == "none":
                known = ", ".join(PRIMITIVES[1:])
                raise UsageError(f"{where} has the unknown operation {operation!r}; known: {known}")
            if not 0 <= state < place // 2 + 2:
                raise UsageError(f"{where} reads state {state}, which does not come before it")
            if place % 2 and edges[place - 1][1] == state:
                raise UsageError(f"{where} reads state {state} twice")
    return genotype


def from_lists(content: dict[str, Any]) -> Genotype:
    """Returns the genotype whose two cells are lists of (operation, state), as in JSON and checkpoints.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
        UsageError: it breaks the rules.
    """
    cells = []
    for kind in Genotype._fields:
        edges = tuple((operation, state) for operation, state in content[kind])
        for operation, state in edges:
            if type(operation) is not str or type(state) is not int:
                raise TypeError("an edge is [operation, state]")
        cells.append(edges)
    return check(Genotype(*cells))


def derive(normal: Sequence[Sequence[float]], reduce: Sequence[Sequence[float]]) -> Genotype:
    """Returns the genotype of a search (Liu et al. 2019, section 2.4).

    Every node keeps the two edges, from distinct states, whose strongest operation other than `none` has the
    largest weight, and on each of them that operation.

    Args:
        normal, reduce: (14, 8) softmax weights of the operations on each edge, times the edge's (PC-DARTS).
    """
    return check(Genotype(_derive_cell(normal), _derive_cell(reduce)))


def _derive_cell(weights: Sequence[Sequence[float]]) -> tuple[Edge, ...]:
    """Returns the edges of one cell; of equal weights the first state and the first operation win."""
    edges = []
    for node in range(NODES):
        strongest = {}  # state -> its edge's weight and operation
        for state in range(node + 2):
            row = weights[edge_index(node, state)]
            operation = max(range(1, len(PRIMITIVES)), key=row.__getitem__)  # 0 is `none`
            strongest[state] = row[operation], PRIMITIVES[operation]
        kept = sorted(strongest, key=lambda state: -strongest[state][0])[:2]
        edges += [(strongest[state][1], state) for state in kept]
    return tuple(edges)


def random_genotype(seed: int) -> Genotype:
    """Draws the control: two distinct states and any two operations for every node, uniformly."""
    import numpy as np  # here alone, so that a command line is checked without it

    draw = np.random.default_rng(seed)
    cells = []
    for _ in Genotype._fields:
        edges: list[Edge] = []
        for node in range(NODES):
            for state in sorted(draw.choice(node + 2, 2, replace=False).tolist()):
                edges.append((PRIMITIVES[1 + int(draw.integers(len(PRIMITIVES) - 1))], state))
        cells.append(tuple(edges))
    return Genotype(*cells)


def skip_count(genotype: Genotype) -> int:
    """Counts the skip connections in the normal cell: many of them are the known collapse of the search."""
    return sum(operation == "skip_connect" for operation, _ in genotype.normal)


def edge_index(node: int, state: int) -> int:
    """Returns the row of the edge from `state` to `node` in the alphas: sorted by node, then by state."""
    return sum(range(2, node + 2)) + state


def edges_from(state: int) -> Sequence[int]:
    """Returns the nodes that read a state."""
    return range(max(0, state - 1), NODES)


def save(genotype: Genotype, path: Path, **more: object) -> None:
    """Writes a genotype and further facts about it as JSON, atomically."""
    write_json(path, genotype._asdict() | more)
