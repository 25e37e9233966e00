"""Reads what --genotype takes: a name, a seed, a file, or what published code prints, which is never run."""

import ast
import json
import re
from pathlib import Path
from typing import Any

from common.errors import RunError, UsageError
from q4_darts.genotypes import NAMED, NODES, Genotype, from_lists, random_genotype

# What reading anything but a genotype may raise.
NOT_A_GENOTYPE = (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError)


def read(text: str) -> Genotype:
    """Reads a genotype by name ("DARTS_V2"), by "random:SEED", from a file, or as published code prints it.

    Args:
        text: a file holds JSON, or `Genotype(normal=[...], normal_concat=..., ...)` as `text` itself may.

    Raises:
        UsageError: an unknown name, or a genotype that breaks the rules.
        RunError: the file is missing or not a genotype.
    """
    if text in NAMED:
        return NAMED[text]
    if text.partition(":")[0] == "random":
        return random_genotype(read_seed(text))
    if "Genotype(" in text:
        return parse(text, "--genotype", UsageError)
    return parse(read_file(text), text, RunError)


def short_name(text: str) -> str:
    """Returns what to call a genotype given as `read` takes it; a search's genotype.json by its run."""
    if "Genotype(" in text:
        return "pasted"
    path = Path(text)
    return path.absolute().parent.name if path.name == "genotype.json" else path.stem


def shown_name(text: str) -> str:
    """Returns `short_name` as figures write it."""
    name = short_name(text)
    return "PC-DARTS" if name == "PC_DARTS" else name


def read_seed(text: str) -> int:
    """Reads the number of "random:7".

    Raises:
        UsageError: it is not one.
    """
    seed = text.partition(":")[2]
    if not seed.isdecimal() or len(seed) > 18:
        raise UsageError(f"--genotype {text[:80]}: write random:SEED with a number, such as random:0")
    return int(seed)


def read_file(name: str) -> str:
    """Reads a file's text; of one that is not UTF-8 it is "".

    Raises:
        RunError: it is missing, or a folder, or no file can have this name.
    """
    try:
        return Path(name).read_text("utf-8-sig")  # with or without a byte-order mark
    except UnicodeDecodeError:
        return ""
    except (OSError, ValueError) as error:
        raise RunError(
            f"no genotype file at {name[:200]}; the names known are {', '.join(NAMED)} and random:SEED"
        ) from error


def parse(content: str, name: str, wrong: type[Exception]) -> Genotype:
    """Parses JSON, or text that holds one `Genotype(...)`.

    Args:
        name: where the content came from, for messages.
        wrong: raised where the content is no genotype.

    Raises:
        UsageError: the genotype breaks the rules, or there are several.
    """
    try:
        if "Genotype(" in content:
            return from_lists(parse_printed(content))
        return from_lists(json.loads(content, object_pairs_hook=refuse_repeated_keys))
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
    except NOT_A_GENOTYPE as error:
        raise wrong(
            f"{name} is not a genotype (JSON with lists of [operation, state] under normal and reduce, "
            "or Genotype(...) as the published code prints it)"
        ) from error


def parse_printed(text: str) -> dict[str, Any]:
    """Parses the one `Genotype(normal=[...], normal_concat=range(2, 6), ...)` in a text, as data.

    Raises:
        UsageError: it holds several, or a cell whose output does not concatenate all four nodes.
        ValueError, TypeError, SyntaxError, RecursionError, MemoryError: it is something else.
    """
    calls = re.findall(r"Genotype\((?:[^()]|\([^()]*\))*\)", text)  # parentheses one level deep
    if not calls:
        raise ValueError("no whole Genotype(...)")
    if len(calls) > 1:
        raise UsageError(f"{len(calls)} genotypes in one text: give exactly one")
    call = ast.parse(calls[0], mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError("not a call")
    parts = {str(keyword.arg): parse_value(keyword.value) for keyword in call.keywords}
    nodes = list(range(2, NODES + 2))
    for kind in Genotype._fields:
        if list(parts.get(f"{kind}_concat", nodes)) != nodes:
            raise UsageError(f"the output of the {kind} cell must concatenate the nodes {nodes}")
    return parts


def parse_value(value: ast.expr) -> Any:
    """Parses a literal, or `range(...)` of literals, of which no more than one number too many is kept."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "range":
        numbers = range(*map(ast.literal_eval, value.args))
        return list(numbers[: NODES + 1])
    return ast.literal_eval(value)


def refuse_repeated_keys(pairs: list[tuple[str, object]]) -> dict:
    """Makes a JSON object; Python's own reader would let the last of two equal keys win."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("the same key twice")
    return dict(pairs)
