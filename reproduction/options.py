"""The options of reproduce.py, report.py, verify.py and export.py. Nothing here imports torch."""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from common import pretrained
from common.cli import NEEDED, default_shown
from common.errors import UsageError
from common.folder_listing import one_form
from common.options import check_device
from common.ranges import above, at_least, check_ranges
from reproduction.commands import Row, with_seeds
from reproduction.presets import PRESETS

Preset = Literal["quick", "small", "evidence", "full", "report", "paper"]
Question = Literal["q1_dcgan", "q2_protonet", "q3_pix2pix", "q4_darts"]


# reproduce.py -----------------------------------------------------------------------------------------------


@dataclass
class ReproduceOptions:
    """Reproduce the questions at a preset."""

    # quick: synthetic data; small: real data on a CPU, about an hour and a half; evidence: the committed
    # results on a CPU, days; full: full size on a GPU, on the data at hand; report, paper: their settings and
    # data, on a GPU
    preset: Preset = "quick"
    only: Annotated[tuple[Question, ...], default_shown("all four")] = ()  # only these questions
    # only runs of these names, and what they need; * stands for anything: 'omniglot-*-seed1' mnist
    runs: Annotated[tuple[str, ...], default_shown("all")] = ()
    # every run with each of these seeds
    seeds: Annotated[tuple[int, ...], at_least(0, below=2**32), default_shown("the preset's, mostly 0")] = ()
    # commands side by side (0: one per visible GPU; one on a CPU, where several share the cores)
    jobs: Annotated[int, at_least(0)] = 0
    # save and stop after this long; the same command continues (0: run to the end)
    minutes: Annotated[float, at_least(0)] = 0.0
    dry_run: bool = False  # show the commands and do nothing
    data_root: Path = Path("data")  # folder of the data sets
    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures and of the page report-<preset>.html
    device: str = "auto"  # where to compute: cpu, cuda, cuda:1, mps; auto takes CUDA when there is one
    debug: bool = False  # show the whole traceback of an error


def resolve(options: ReproduceOptions) -> ReproduceOptions:
    """Checks ranges, the device and the names of runs.

    Raises:
        UsageError: an option is out of its range, or --runs names none of those of --only in the preset.
    """
    check_ranges(options)
    check_device(options.device)
    names = list(dict.fromkeys(row.name for row in asked_rows(options)))
    within = f", {' and '.join(options.only)}," if options.only else ""
    for pattern in options.runs:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"--runs {pattern}: preset {options.preset}{within} has only {', '.join(names)}")
    return options


def asked_rows(options: ReproduceOptions) -> list[Row]:
    """Returns the rows of the preset with the seeds and of the questions asked for."""
    rows = with_seeds(PRESETS[options.preset], options.seeds)
    return [row for row in rows if not options.only or row.question in options.only]


# report.py --------------------------------------------------------------------------------------------------


@dataclass
class ReportOptions:
    """A page and tables from the log files."""

    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures and of the page
    # name of <figure_root>/<page>.html and <page>.md
    page: Annotated[str, default_shown("report, with docs/REPORT.md; of chosen runs report-choice")] = ""
    # only these runs, as <question>/<run name>
    runs: Annotated[tuple[str, ...], default_shown("all but quick-... and smoke...")] = ()
    redraw: bool = False  # draw every run's curves.png from its metrics.csv again, even where it exists
    write_readmes: bool = False  # also put the tables into README.md and <question>/README.md
    # put the pictures into the page, so that it can be sent around; else it links to the files beside it
    self_contained: bool = False
    debug: bool = False  # show the whole traceback of an error

    @property
    def official(self) -> bool:
        """Whether it is the report that is committed: of all runs in logs/."""
        usual_roots = (self.log_root, self.figure_root) == (ReportOptions.log_root, ReportOptions.figure_root)
        return usual_roots and not self.page and self.whole

    @property
    def whole(self) -> bool:
        """Whether it is of all runs there are: then it also sums the papers up and says what is missing."""
        return not self.runs


def resolve_report(options: ReportOptions) -> ReportOptions:
    """Checks that the runs named are there and finished.

    Raises:
        UsageError: one is not, or --page is no name of a file.
    """
    if Path(options.page).name != options.page:
        raise UsageError(f"--page must be a name without a folder: {options.page}")
    if options.write_readmes and not options.official:
        raise UsageError("--write_readmes is of all committed runs: give no --runs, --page or roots")
    options = replace(options, runs=tuple(one_form(run) for run in options.runs))
    for run in options.runs:
        if not (options.log_root / run / "results.json").is_file():
            raise UsageError(f"--runs {run}: there is no finished run {options.log_root / run}")
    return options


# verify.py and export.py ------------------------------------------------------------------------------------

# How they measure is not an option: in fp32 and with the seed of the committed numbers.


@dataclass
class VerifyOptions:
    """Measure the shipped networks again."""

    device: str = "auto"  # where to compute: cpu, cuda, cuda:1, mps; auto takes CUDA when there is one
    data_root: Path = Path("data")  # folder of the data sets; what is missing is downloaded
    # relative difference that still counts as equal: GPUs and versions round differently
    tolerance: Annotated[float, above(0)] = 0.005
    debug: bool = False  # show the whole traceback of an error


def resolve_verification(options: VerifyOptions) -> VerifyOptions:
    """Checks ranges and the device; raises UsageError."""
    check_ranges(options)
    check_device(options.device)
    return options


@dataclass
class ExportOptions:
    """Put a trained network into pretrained/."""

    # of a finished run, such as logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Annotated[Path, NEEDED] = Path()
    name: Annotated[str, NEEDED] = ""  # pretrained/<name>.safetensors and <name>.md
    half: bool = False  # fp16: half the size; the measures in the card are made with it
    device: str = "auto"  # where to measure: cpu, cuda, cuda:1, mps; auto takes CUDA when there is one
    data_root: Path = Path("data")  # folder of the data sets, for the measures
    debug: bool = False  # show the whole traceback of an error


def resolve_export(options: ExportOptions) -> ExportOptions:
    """Checks that a checkpoint and a name are given.

    Raises:
        UsageError: one is missing, or --name is no name of a file, or that of a network that is there, or
            --device names no device.
        RunError: there is no such checkpoint.
    """
    if options.checkpoint == Path() or not options.name:
        raise UsageError("--checkpoint FILE and --name NAME are needed")
    if Path(options.name).name != options.name:
        raise UsageError(f"--name must be a name without a folder: {options.name}")
    if (pretrained.FOLDER / f"{options.name}.safetensors").exists():
        raise UsageError(f"--name {options.name}: there is such a network; give another name, or delete it")
    check_device(options.device)
    pretrained.locate(options.checkpoint)
    return options
