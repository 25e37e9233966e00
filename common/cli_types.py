"""Reads numbers, texts and paths of a command line, and names them in its help and errors."""

from collections.abc import Callable
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

# Type -> what help calls a value, and what an error calls it.
NAMES: dict[type, tuple[str, str]] = {
    int: ("INT", "a whole number"),
    float: ("FLOAT", "a number"),
    str: ("STR", "a text"),
    Path: ("PATH", "a path"),
}

registry = ConstructorRegistry()


@registry.primitive_rule
def read_plain(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Returns how to read one value of NAMES, which may be left out where its type says `| None`."""
    is_union = get_origin(about.type) in (Union, UnionType)
    types = set(get_args(about.type)) - {NoneType} if is_union else {about.type}
    kind = types.pop()
    if types or kind not in NAMES:
        return None  # several types, or others: tyro's own rules
    metavar, _ = NAMES[kind]
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read_value(words[0], kind),
        is_instance=lambda value: value is None or isinstance(value, kind),
        str_from_instance=show_default,
    )


@registry.primitive_rule
def read_choice(about: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """Returns how to read one of several texts that may be left out, `Literal[...] | None`."""
    kinds = set(get_args(about.type)) - {NoneType}
    if get_origin(about.type) not in (Union, UnionType) or len(kinds) != 1:
        return None
    [kind] = kinds
    if get_origin(kind) is not Literal:
        return None
    choices = get_args(kind)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=f"{{{','.join(choices)}}}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value is None or value in choices,
        str_from_instance=show_default,
        choices=choices,
    )


def read_value(word: str, kind: Callable[[str], Any]) -> Any:
    """Reads one word of the command line.

    Raises:
        ValueError: it is no value of this type.
    """
    try:
        return kind(word)
    except ValueError as error:
        raise ValueError(f"{word!r} is not {NAMES[kind][1]}") from error  # type: ignore[index]


def show_default(value: object) -> list[str]:
    """Returns a default as help shows it: "none" for what is left out or empty."""
    left_out = value is None or value in ("", Path())
    return ["none" if left_out else str(value)]
