"""Genotypes: which operations on which edges make a cell. They are read as data and never run as code."""

import ast
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.results import write_json
from common.runtime import RunError, UsageError

PRIMITIVES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")
PRIMITIVES += ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")
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


def derive(normal: np.ndarray, reduce: np.ndarray) -> Genotype:
    """The genotype of a search (Liu et al. 2019, section 2.4).

    Every node keeps the two edges, from distinct states, whose strongest operation other than `none` has the
    largest weight, and on each of them that operation.

    Args:
        normal, reduce: (14, 8) softmax weights of the operations on each edge, times the edge's (PC-DARTS).
    """

    def cell(weights: np.ndarray) -> tuple[Edge, ...]:
        edges, first = [], 0
        for node in range(NODES):
            rows = weights[first : first + node + 2, 1:]  # (node + 2, 7), without `none`
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


def edge_index(node: int, state: int) -> int:
    """Row of the edge from `state` to `node` in the alphas: edges are sorted by node, then by state."""
    return sum(range(2, node + 2)) + state


def edges_from(state: int) -> Sequence[int]:
    """The nodes that read a state."""
    return range(max(0, state - 1), NODES)


# Files ------------------------------------------------------------------------------------------------------


def save(genotype: Genotype, path: Path, **more: object) -> None:
    """Writes a genotype and further facts about it as JSON, atomically."""
    write_json(path, genotype._asdict() | more)


def short_name(text: str) -> str:
    """What to call a genotype given as `read` takes it; for a search's genotype.json the name of its run."""
    if "Genotype(" in text:
        return "pasted"
    path = Path(text)
    return path.parent.name if path.name == "genotype.json" else path.stem


def read(text: str) -> Genotype:
    """A genotype by name ("DARTS_V2"), by "random:SEED", from a file, or as the published code prints it.

    Args:
        text: a file holds JSON, or `Genotype(normal=[...], normal_concat=..., ...)` as `text` itself may.

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
    if "Genotype(" in text:
        name, wrong, content = "--genotype", UsageError, text
    else:
        path = Path(text)
        try:
            content = path.read_text("utf-8-sig")  # with or without a byte-order mark
        except UnicodeDecodeError:
            content = ""
        except (OSError, ValueError) as error:  # missing, a folder, a name that no file can have
            known = f"the names known are {', '.join(NAMED)} and random:SEED"
            raise RunError(f"no genotype file at {text[:200]}; {known}") from error
        name, wrong = path, RunError
    try:
        if "Genotype(" in content:
            return parse(read_printed(content))
        return parse(json.loads(content, object_pairs_hook=refuse_repeated_keys))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        needed = "JSON with lists of [operation, state] under normal and reduce, or Genotype(...)"
        raise wrong(f"{name} is not a genotype ({needed} as the published code prints it)") from error


def read_printed(text: str) -> dict[str, list]:
    """The cells of the one `Genotype(normal=[...], normal_concat=range(2, 6), ...)` in a text.

    Raises:
        UsageError: it holds several, or a cell whose output does not concatenate all four nodes.
        ValueError, TypeError, SyntaxError, RecursionError, MemoryError: it is something else.
    """
    calls = re.findall(r"Genotype\((?:[^()]|\([^()]*\))*\)", text)  # parentheses one level deep
    if len(calls) != 1:
        raise UsageError(f"{len(calls)} genotypes in one text: give exactly one") if calls else ValueError
    parts = {}
    for keyword in ast.parse(calls[0], mode="eval").body.keywords:
        if isinstance(keyword.value, ast.Call) and ast.unparse(keyword.value.func) == "range":
            numbers = range(*map(ast.literal_eval, keyword.value.args))
            parts[keyword.arg] = list(numbers[: NODES + 1])
        else:
            parts[keyword.arg] = ast.literal_eval(keyword.value)
    nodes = list(range(2, NODES + 2))
    for kind in Genotype._fields:
        if list(parts.get(f"{kind}_concat", nodes)) != nodes:
            raise UsageError(f"the output of the {kind} cell must concatenate the nodes {nodes}")
    return parts


def refuse_repeated_keys(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object; Python's own reader would let the last of two equal keys win."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("the same key twice")
    return dict(pairs)


def parse(content: dict) -> Genotype:
    """A genotype from its two lists of (operation, state).

    Raises:
        ValueError, KeyError, TypeError: it is something else.
        UsageError: it breaks the rules.
    """
    cells = [tuple((operation, state) for operation, state in content[kind]) for kind in Genotype._fields]
    if not all(type(operation) is str and type(state) is int for operation, state in sum(cells, ())):
        raise TypeError("an edge is [operation, state]")
    return check(Genotype(*cells))
