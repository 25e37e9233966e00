"""The options that scripts of all questions share, and their checks. Nothing here imports torch."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from common import pretrained
from common.cli import default_shown
from common.errors import UsageError
from common.notices import say
from common.ranges import FREE_ON_RESUME, at_least, check_ranges
from common.run_folder import RunFolder

OptionsType = TypeVar("OptionsType", bound="ScriptOptions")


class GivenFlags:
    """Holds the names of the flags that a user gave, beside the options and not among them."""

    __slots__ = ("given",)


@dataclass
class ScriptOptions(GivenFlags):
    """Holds what every script takes."""

    # cpu, cuda, cuda:1, mps; auto takes CUDA when there is one
    device: Annotated[str, FREE_ON_RESUME] = "auto"
    deterministic: bool = False  # bit-identical runs on a GPU too, somewhat slower; CPU runs always are
    debug: Annotated[bool, FREE_ON_RESUME] = False  # show the whole traceback of an error

    # What to make smaller when there is not enough memory, for the message; on a GPU it adds --device cpu.
    memory_advice: ClassVar[str] = ""


@dataclass
class SeedOption:
    """Holds what a script takes that draws at random."""

    seed: Annotated[int, at_least(0, below=2**32)] = 0  # seed of every random draw


@dataclass
class CheckpointOptions(ScriptOptions):
    """Holds what every script takes that uses a trained network."""

    checkpoint: Path = Path()  # the name of a network in pretrained/, or a checkpoint file


@dataclass
class TrainingOptions(ScriptOptions, SeedOption):
    """Holds what every training script takes."""

    # of training, while measuring is in fp32; auto: bf16 autocast on a GPU or CPU with instructions for it
    # (CPU: avx512_bf16, amx_bf16), fp32 elsewhere; tf32: fp32 whose products keep 10 bits of mantissa, on a
    # GPU only
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    data_root: Annotated[Path, FREE_ON_RESUME] = Path("data")  # folder of the data sets
    log_root: Annotated[Path, FREE_ON_RESUME] = Path("logs")  # folder of the run folders
    figure_root: Annotated[Path, FREE_ON_RESUME] = Path("figures")  # folder of the pictures
    # name of the run folder
    run_name: Annotated[str, FREE_ON_RESUME, default_shown("made from the settings")] = ""
    # continue the run of this name exactly where its last checkpoint was saved
    resume: Annotated[bool, FREE_ON_RESUME] = False
    overwrite: Annotated[bool, FREE_ON_RESUME] = False  # delete the run of this name first
    # a checkpoint, or a name in pretrained/: its networks are trained on
    start_from: Annotated[Path | None, FREE_ON_RESUME] = None
    compile: Annotated[bool, FREE_ON_RESUME] = False  # torch.compile the network (worth it on a GPU)
    # launch each operation separately; by default a single GPU records a step once and replays it, faster
    no_cuda_graphs: Annotated[bool, FREE_ON_RESUME] = False
    log_every: Annotated[int, at_least(1)] = 10  # steps averaged into one row of steps.csv
    # a tiny run to check that everything works, on synthetic data; whatever else you give stays
    smoke: bool = False


def check_script(options: ScriptOptions) -> None:
    """Checks what no script could do.

    Raises:
        UsageError: an option is out of its range, or names no device.
    """
    check_ranges(options)
    check_device(options.device)


def check_device(device: str) -> None:
    """Raises UsageError where --device names no device."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", device):
        raise UsageError(f"--device must be auto, cpu, cuda, cuda:NUMBER or mps, not {device}")


def check_checkpoint(options: CheckpointOptions, question: str | None = None) -> Path:
    """Checks the options of a script that uses a trained network, of `question` or of any; returns its file.

    Raises:
        UsageError: as `check_script`.
        RunError: there is no such network.
    """
    check_script(options)
    return pretrained.locate(options.checkpoint, question)


def check_training(options: TrainingOptions, question: str) -> None:
    """Checks the options that every training script has; call it once `run_name` is known.

    Raises:
        UsageError: an option is out of its range, two of them contradict each other, the run folder exists
            and may not be written, or there is nothing to resume.
        RunError: there is no network to start from.
    """
    check_script(options)
    if options.resume and options.overwrite:
        raise UsageError("--resume continues a run and --overwrite deletes it: give only one of them")
    if Path(options.run_name).name != options.run_name or options.run_name.startswith("."):
        raise UsageError(f"--run_name must be the name of a folder, without a path: {options.run_name}")
    if options.start_from and not options.resume:
        pretrained.locate(options.start_from, question)
    RunFolder(question, options).check()


def check_output(outputs: Sequence[Path], inputs: Iterable[Path]) -> None:
    """Checks that no file that will be written is one of those that are read, under whatever name.

    Args:
        outputs: the value of --output, and what is written beside it.
        inputs: the files that are read.

    Raises:
        UsageError: one of them would be replaced; symbolic and hard links count as the file they lead to.
    """
    written = {path.resolve() for path in outputs}
    written_files = {_inode(path) for path in outputs} - {None}
    for path in inputs:
        if path.resolve() in written or _inode(path) in written_files:
            raise UsageError(f"--output {outputs[0]} would replace {path}, which is read: give another name")


def _inode(path: Path) -> tuple[int, int] | None:
    """Returns what a file is on its disk, None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def shrink(options: OptionsType, **tiny: Any) -> OptionsType:
    """Returns the options of --smoke: these values in place of defaults, on synthetic data.

    What the user gave stays: on the command line, or, in a call from Python, by another value than the
    default. A line on the screen says what was made small.
    """
    defaults = {f.name: f.default for f in fields(options) if f.default is not MISSING}
    given: frozenset[str] = getattr(options, "given", frozenset())
    free = {name for name, default in defaults.items() if getattr(options, name) == default}
    small = {"dataset": "synthetic", "run_name": "smoke"} | tiny
    changed = {name: value for name, value in small.items() if name in free - given}
    if changed:
        listed = ", ".join(f"--{name} {value}" for name, value in changed.items())
        say(f"--smoke sets {listed}")
    return replace(options, **changed)
