"""The options of this folder's scripts, and their checks. Nothing here imports torch, which takes seconds."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from common.cli import NEEDED, default_shown
from common.errors import UsageError
from common.image_files import find_inputs, require_folder_option
from common.options import (
    CheckpointOptions,
    TrainingOptions,
    check_checkpoint,
    check_output,
    check_training,
    shrink,
)
from common.ranges import FREE_ON_RESUME, above, at_least, check_ranges
from q4_darts import genotype_text

QUESTION = "q4_darts"
SIZE = 32  # side of CIFAR-10's pictures, in pixels


@dataclass
class DataOptions:
    """Chooses the pictures."""

    # cifar10_images is data/cifar10-images/{train,test}/<class>/<image>; synthetic is drawn on the
    # spot; folder is your own
    dataset: Literal["cifar10", "cifar10_images", "synthetic", "folder"] = "cifar10"
    # for --dataset folder: train/<class>/<image> and test/<class>/<image>
    folder: Annotated[Path | None, FREE_ON_RESUME] = None
    # side that the pictures of --dataset folder are scaled to, in pixels; the auxiliary head needs 16
    image_size: Annotated[int, at_least(16)] = SIZE
    # use only this many of the training pictures, for small budgets (0: all)
    train_pictures: Annotated[int, at_least(0)] = 0


@dataclass
class SearchRecipe:
    """Says how a search goes; where a default depends on --partial_channels, it is the paper's."""

    # order of the alphas' gradient; second makes a virtual step of the weights first: three times the work
    order: Literal["first", "second"] = "first"
    # PC-DARTS with 4: operations see a quarter of the channels, and edges have weights of their own
    partial_channels: Annotated[int, at_least(1)] = 1
    # passes over the half of the training pictures that the weights learn from
    epochs: Annotated[int, at_least(1)] = 50
    # pictures of each half per step and process (0: the paper's, 64, or 256 for PC-DARTS)
    batch_size: Annotated[int, at_least(0)] = 0
    init_channels: Annotated[int, at_least(1)] = 16  # channels of the first cell
    layers: Annotated[int, at_least(3)] = 8  # cells
    # SGD's, at the start (0: the paper's, 0.025, or 0.1 for PC-DARTS)
    learning_rate: Annotated[float, at_least(0)] = 0.0
    # at the end of its cosine (-1: the paper's, 0.001, or 0 for PC-DARTS)
    learning_rate_min: Annotated[float, at_least(-1)] = -1.0
    # Adam's, for the alphas (0: the paper's, 3e-4, or 6e-4 for PC-DARTS)
    arch_learning_rate: Annotated[float, at_least(0)] = 0.0
    # epochs in which the alphas stay as they are (-1: the paper's, 0, or 15 of 50 for PC-DARTS)
    warm_up_epochs: Annotated[int, at_least(-1)] = -1
    # stop once the normal cell has this many skip connections, 2 in DARTS+ (0: never)
    stop_on_skips: Annotated[int, at_least(0)] = 0


@dataclass
class TrainRecipe:
    """Says how the network of a genotype is trained."""

    # a genotype.json, DARTS_V1, DARTS_V2, PC_DARTS, random:SEED, or Genotype(...) as published code prints it
    genotype: str = "DARTS_V2"
    epochs: Annotated[int, at_least(1)] = 600  # passes over all training pictures
    batch_size: Annotated[int, at_least(2)] = 96  # pictures per step and process; BatchNorm needs two
    init_channels: Annotated[int, at_least(1)] = 36  # channels of the first cell
    layers: Annotated[int, at_least(3)] = 20  # cells
    learning_rate: Annotated[float, above(0)] = 0.025  # SGD's, at the start; a cosine takes it to 0
    # side of the square that is cut out of each picture, in pixels (0: none)
    cutout: Annotated[int, at_least(0)] = 16
    # probability that an edge's output is dropped, at the end; it grows linearly from 0
    drop_path: Annotated[float, at_least(0, below=1)] = 0.2
    auxiliary: Annotated[float, at_least(0)] = 0.4  # weight of the auxiliary head's loss (0: no head)


@dataclass
class DartsTrainingOptions(TrainingOptions):
    """Holds what both trainings take."""

    log_every: Annotated[int, at_least(1)] = 50  # steps averaged into one row of steps.csv

    memory_advice: ClassVar[str] = "--precision bf16, or a smaller --batch_size or --init_channels"


@dataclass
class SearchOptions(DartsTrainingOptions, DataOptions, SearchRecipe):
    """Search a cell for CIFAR-10."""


@dataclass
class TrainOptions(DartsTrainingOptions, DataOptions, TrainRecipe):
    """Train the network of a genotype from scratch."""


@dataclass
class Evaluation:
    """Says what is evaluated, and where the pictures are."""

    data_root: Path = Path("data")  # folder of the data sets
    folder: Path | None = None  # where the pictures of --dataset folder are now, if they were moved
    figure_root: Path = Path("figures")  # folder of the pictures


@dataclass
class EvaluateOptions(CheckpointOptions, Evaluation):
    """Test a derived network, or a supernet."""

    # the name of a network in pretrained/, or a checkpoint: logs/q4_darts/RUN/checkpoints/last.pt
    checkpoint: Path = Path("darts-cifar10")


@dataclass
class Prediction:
    """Says what is classified, and where the answer goes."""

    # pictures, and folders of pictures or of one folder per class
    input: Annotated[tuple[Path, ...], NEEDED] = ()
    # table with one row per picture; the figures lie beside it, under its name and as <name>-confusion.png
    output: Path = Path("predictions-objects.csv")
    top_k: Annotated[int, at_least(1)] = 3  # classes named for each picture


@dataclass
class PredictOptions(CheckpointOptions, Prediction):
    """Classify pictures."""

    checkpoint: Path = Path("darts-cifar10")  # of train.py or train_search.py, or a name in pretrained/
    memory_advice: ClassVar[str] = "fewer pictures at once"

    @property
    def figure(self) -> Path:
        """The pictures with their likeliest classes."""
        return self.output.with_suffix(".png")

    @property
    def confusion(self) -> Path:
        """The confusion matrix, where the pictures lie in the folders of their classes."""
        return self.output.with_name(f"{self.output.stem}-confusion.png")


@dataclass
class VisualizeOptions:
    """Draw the two cells of a genotype."""

    genotype: str = "DARTS_V2"  # a genotype.json, DARTS_V1, DARTS_V2, PC_DARTS, random:SEED or Genotype(...)
    output: Path = Path("figures/q4_darts/cells.png")  # the picture: .png, .pdf or .svg
    title: Annotated[str, default_shown("the genotype's name")] = ""  # above the cells
    debug: bool = False  # show the whole traceback of an error


SMOKE = {"epochs": 2, "layers": 3, "batch_size": 64, "log_every": 2}

# What `train_search.py` uses where an option says "the paper's": of DARTS, and of PC-DARTS.
PAPER_DARTS = {
    "batch_size": 64,
    "learning_rate": 0.025,
    "learning_rate_min": 0.001,
    "arch_learning_rate": 3e-4,
}
PAPER_PC_DARTS = {
    "batch_size": 256,
    "learning_rate": 0.1,
    "learning_rate_min": 0.0,
    "arch_learning_rate": 6e-4,
}


def resolve_search(options: SearchOptions) -> SearchOptions:
    """Checks the options of train_search.py and fills in what follows from others.

    Raises:
        UsageError: an option is out of its range, or contradicts another.
    """
    if options.smoke:
        channels = max(4, 2 * options.partial_channels)
        options = shrink(
            options, run_name="smoke-search", init_channels=channels, train_pictures=256, **SMOKE
        )
    check_ranges(options)
    check_data(options)

    # What follows from --partial_channels: DARTS's numbers, or those of PC-DARTS.
    partial = options.partial_channels
    paper = PAPER_DARTS if partial == 1 else PAPER_PC_DARTS
    left_open = [name for name in paper if getattr(options, name) == getattr(SearchOptions, name)]
    options = replace(options, **{name: paper[name] for name in left_open})
    if options.warm_up_epochs < 0:
        options = replace(options, warm_up_epochs=0 if partial == 1 else 3 * options.epochs // 10)
    if not options.run_name:
        name = f"search-{options.dataset}-{options.order}-{options.epochs}"
        options = replace(options, run_name=name if partial == 1 else f"{name}-pc{partial}")

    # Combinations.
    if options.init_channels % (2 * partial):
        raise UsageError(
            f"--init_channels must be a multiple of {2 * partial} with --partial_channels {partial}, "
            f"not {options.init_channels}"
        )
    if options.warm_up_epochs >= options.epochs:
        raise UsageError(
            f"--warm_up_epochs {options.warm_up_epochs} leaves none of the {options.epochs} epochs "
            "for the alphas"
        )
    if not 0 <= options.learning_rate_min <= options.learning_rate:
        raise UsageError(
            f"--learning_rate_min {options.learning_rate_min} must lie between 0 and "
            f"--learning_rate {options.learning_rate}"
        )
    check_training(options, QUESTION)
    return options


def resolve_training(options: TrainOptions) -> TrainOptions:
    """Checks the options of train.py and fills in what follows from others.

    Raises:
        UsageError: an option is out of its range, or contradicts another; --genotype is not one.
        RunError: --genotype names a file that is missing or holds something else.
    """
    if options.smoke:
        options = shrink(options, run_name="smoke-train", init_channels=4, train_pictures=512, **SMOKE)
    check_ranges(options)
    check_data(options)
    if options.init_channels % 2:
        raise UsageError(
            f"--init_channels must be even, not {options.init_channels}: "
            "a reduction computes each half by itself"
        )
    genotype_text.read(options.genotype)
    if not options.run_name:
        name = genotype_text.short_name(options.genotype).replace(":", "-")
        options = replace(options, run_name=f"train-{name}-{options.epochs}")
    check_training(options, QUESTION)
    return options


def resolve_evaluation(options: EvaluateOptions) -> EvaluateOptions:
    """Checks the options of evaluate.py.

    Raises:
        UsageError: an option is out of its range, or --folder is no folder.
        RunError: there is no such checkpoint.
    """
    check_checkpoint(options, QUESTION)
    if options.folder is not None and not options.folder.is_dir():
        raise UsageError(f"--folder {options.folder} is no folder")
    return options


def resolve_prediction(options: PredictOptions) -> PredictOptions:
    """Checks the options of predict.py.

    Raises:
        UsageError: an option is out of its range; there is no such --input; --output is no .csv, or what is
            written would replace a picture.
        RunError: there is no such checkpoint.
    """
    check_ranges(options)
    if options.output.suffix != ".csv" or options.output.is_dir():
        raise UsageError(f"--output must be a file that ends in .csv, not {options.output}")
    pictures = find_inputs(options.input, by_class=True)
    checkpoint = check_checkpoint(options, QUESTION)
    check_output([options.output, options.figure, options.confusion], [*pictures, checkpoint])
    return options


def resolve_visualization(options: VisualizeOptions) -> VisualizeOptions:
    """Checks the options of visualize.py.

    Raises:
        UsageError: --output has another ending or would replace the genotype, or --genotype is not one.
        RunError: --genotype names a file that is missing or holds something else.
    """
    if options.output.suffix not in (".png", ".pdf", ".svg") or options.output.is_dir():
        raise UsageError(f"--output must end in .png, .pdf or .svg, not {options.output.name}")
    genotype_text.read(options.genotype)
    check_output([options.output], [Path(options.genotype)])
    return options


def check_data(options: DataOptions) -> None:
    """Checks the options that say which pictures, before anything is loaded.

    Raises:
        UsageError: --image_size does not fit the network or the data set; as `require_folder_option`.
    """
    if options.image_size % 4:
        raise UsageError(f"--image_size must be a multiple of 4, not {options.image_size}")
    if options.image_size != SIZE and options.dataset != "folder":
        raise UsageError(f"--image_size {options.image_size} needs --dataset folder")
    layout = "with train/<class>/<image> and test/<class>/<image>"
    require_folder_option(options.dataset, options.folder, layout)
