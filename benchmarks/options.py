"""The options of the races, a class for each. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeVar

import tyro

from common.errors import UsageError
from common.options import ScriptOptions, check_script
from common.ranges import at_least

OptionsType = TypeVar("OptionsType", bound="RaceOptions")


@dataclass
class Choice:
    """Names the race, the first word of the command line."""

    # the race; race.py NAME --help lists its options
    name: tyro.conf.Positional[Literal["protonet", "dcgan", "pix2pix", "darts"]]


@dataclass
class RaceOptions(ScriptOptions):
    """Holds what every race takes."""

    # timed steps of each version, ten times as many on a GPU; the versions take turns
    steps: Annotated[int, at_least(1)] = 1
    compile: bool = False  # also time ours with torch.compile
    save: bool = False  # also write the table to logs/benchmarks/, for the report
    alone: str = ""  # only measure the memory that this version needs, and print it


@dataclass
class ProtonetOptions(RaceOptions):
    """Time ProtoNet's training episodes."""

    way: Annotated[int, at_least(2)] = 60  # classes per episode
    shot: Annotated[int, at_least(1)] = 5  # support drawings per class
    query: Annotated[int, at_least(1)] = 5  # query drawings per class
    # timed episodes of each version, ten times as many on a GPU
    steps: Annotated[int, at_least(1)] = 20

    memory_advice: ClassVar[str] = "a smaller --way or --query"


@dataclass
class DcganOptions(RaceOptions):
    """Time DCGAN's training steps."""

    batch_size: Annotated[int, at_least(2)] = 64  # pictures per step
    # timed steps of each version, ten times as many on a GPU
    steps: Annotated[int, at_least(1)] = 15

    memory_advice: ClassVar[str] = "a smaller --batch_size"


@dataclass
class Pix2pixOptions(RaceOptions):
    """Time pix2pix's training steps."""

    image_size: Annotated[int, at_least(32)] = 256  # a power of two, as in train.py
    base_channels: Annotated[int, at_least(1)] = 64  # as in train.py
    # timed steps of each version, ten times as many on a GPU
    steps: Annotated[int, at_least(1)] = 8

    memory_advice: ClassVar[str] = "a smaller --image_size or --base_channels"


@dataclass
class DartsOptions(RaceOptions):
    """Time DARTS's search steps."""

    # pictures of each half (0: the paper's 64 on a GPU, 16 on a CPU)
    batch_size: Annotated[int, at_least(0)] = 0
    init_channels: Annotated[int, at_least(1)] = 16  # as in train_search.py
    layers: Annotated[int, at_least(3)] = 8  # as in train_search.py
    # timed steps of each version, ten times as many on a GPU
    steps: Annotated[int, at_least(1)] = 3
    second: bool = False  # also time ours in second order
    partial_channels: bool = False  # also time PC-DARTS on a quarter of the channels

    memory_advice: ClassVar[str] = "a smaller --batch_size or --init_channels"


RACES: dict[str, type[RaceOptions]] = {
    "protonet": ProtonetOptions,
    "dcgan": DcganOptions,
    "pix2pix": Pix2pixOptions,
    "darts": DartsOptions,
}


def resolve(options: OptionsType) -> OptionsType:
    """Checks the options of a race.

    Raises:
        UsageError: one of them is out of its range, or means nothing here.
    """
    check_script(options)
    if isinstance(options, Pix2pixOptions) and options.image_size.bit_count() != 1:
        raise UsageError(f"--image_size must be a power of two, not {options.image_size}")
    if isinstance(options, DartsOptions) and options.partial_channels and options.init_channels % 4:
        raise UsageError("--partial_channels takes a quarter: --init_channels must be a multiple of 4")
    return options
