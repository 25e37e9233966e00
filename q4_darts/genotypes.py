"""Genotypes: which operations on which edges make a cell, as data that is written and read as JSON and never run as code."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.results import write_json
from common.runtime import RunError, UsageError

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

Edge = tuple[
    str, int
]  # an operation, and the state it reads: 0 and 1 are the cell's inputs, 2 and up its nodes


class Genotype(NamedTuple):
    """Two edges for each of the four nodes, for both kinds of cell; a cell's output is the concatenation of its nodes."""

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]


# Liu et al. 2019: first and second order; Xu et al. 2020 (PC-DARTS) on CIFAR-10.
DARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("skip_connect", 2),
    ),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 0),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("avg_pool_3x3", 0),
    ),
)  # fmt: skip
DARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ),
)  # fmt: skip
PC_DARTS = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 0), ("dil_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1), ("avg_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    reduce=(
        ("sep_conv_5x5", 1), ("max_pool_3x3", 0), ("sep_conv_5x5", 1), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 3), ("sep_conv_3x3", 1), ("sep_conv_3x3", 2),
    ),
)  # fmt: skip
NAMED = {"DARTS_V1": DARTS_V1, "DARTS_V2": DARTS_V2, "PC_DARTS": PC_DARTS}


def check(genotype: Genotype) -> Genotype:
    """Raises UsageError unless both cells have two edges a node, from two distinct states before it, with known operations."""
    for kind, edges in zip(Genotype._fields, genotype):
        if len(edges) != 2 * NODES:
            raise UsageError(f"the {kind} cell has {len(edges)} edges instead of {2 * NODES}")
        for place, (operation, state) in enumerate(edges):
            node = place // 2
            if operation not in PRIMITIVES or operation == "none":
                raise UsageError(
                    f"node {node} of the {kind} cell has the unknown operation {operation!r}; known: {', '.join(PRIMITIVES[1:])}"
                )
            if not 0 <= state < node + 2:
                raise UsageError(
                    f"node {node} of the {kind} cell reads state {state}, which does not come before it"
                )
        for node in range(NODES):
            if edges[2 * node][1] == edges[2 * node + 1][1]:
                raise UsageError(f"node {node} of the {kind} cell reads state {edges[2 * node][1]} twice")
    return genotype


def derive(normal: np.ndarray, reduce: np.ndarray) -> Genotype:
    """The genotype of a search (Liu et al. 2019, section 2.4).

    Every node keeps the two edges, from distinct states, whose largest weight over all operations but `none` is highest, and on
    each of them that operation.

    Args:
        normal, reduce: (14, 8) softmax weights of edges and operations, times any weight of the edge (PC-DARTS).
    """

    def cell(weights: np.ndarray) -> tuple[Edge, ...]:
        edges, first = [], 0
        for node in range(NODES):
            rows = weights[first : first + node + 2, 1:]  # without `none`
            for state in np.argsort(-rows.max(1), kind="stable")[:2]:
                edges.append((PRIMITIVES[1 + int(rows[state].argmax())], int(state)))
            first += node + 2
        return tuple(edges)

    return check(Genotype(cell(np.asarray(normal)), cell(np.asarray(reduce))))


def random_genotype(seed: int) -> Genotype:
    """The control: two distinct states and any two operations for every node, drawn uniformly."""
    draw = np.random.default_rng(seed)

    def cell() -> tuple[Edge, ...]:
        edges: list[Edge] = []
        for node in range(NODES):
            for state in sorted(draw.choice(node + 2, 2, replace=False).tolist()):
                edges.append((PRIMITIVES[1 + int(draw.integers(len(PRIMITIVES) - 1))], state))
        return tuple(edges)

    return Genotype(cell(), cell())


def skip_count(genotype: Genotype) -> int:
    """Skip connections in the normal cell: many of them are the known collapse of the search."""
    return sum(operation == "skip_connect" for operation, _ in genotype.normal)


def save(genotype: Genotype, path: Path, **more: object) -> None:
    """Writes a genotype as JSON, and what else there is to say of it; whole or not at all."""
    write_json(path, genotype._asdict() | more)


def read(text: str) -> Genotype:
    """A genotype by name ("DARTS_V2"), by "random:SEED", or from a JSON file.

    Raises:
        UsageError: an unknown name, or a genotype that breaks the rules.
        RunError: the file is missing or not a genotype.
    """
    if text in NAMED:
        return NAMED[text]
    kind, _, seed = text.partition(":")
    if kind == "random":
        if not seed.isdecimal() or len(seed) > 18:
            raise UsageError(f"--genotype {text[:80]}: write random:SEED with a number, such as random:0")
        return random_genotype(int(seed))
    path = Path(text)
    if not path.is_file():
        raise RunError(f"no genotype file at {path}; the names known are {', '.join(NAMED)} and random:SEED")
    try:
        return parse(json.loads(path.read_text("utf-8"), object_pairs_hook=once))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path} is not a genotype (JSON with lists of [operation, state] under normal and reduce)"
        ) from error


def once(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object, whose keys must differ; Python's own reader lets the last of two win."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("the same key twice")
    return dict(pairs)


def parse(content: dict) -> Genotype:
    """A genotype from what JSON holds of it.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
        UsageError: it breaks the rules.
    """
    genotype = Genotype(
        *(tuple((operation, state) for operation, state in content[kind]) for kind in Genotype._fields)
    )
    if not all(
        type(operation) is str and type(state) is int for edges in genotype for operation, state in edges
    ):
        raise TypeError("an edge is [operation, state]")
    return check(genotype)


def edge_index(node: int, state: int) -> int:
    """Row of the edge from `state` to `node` in the alphas: edges are sorted by node, then by state."""
    return sum(range(2, node + 2)) + state


def edges_from(state: int) -> Sequence[int]:
    """The nodes that read a state."""
    return range(max(0, state - 1), NODES)
