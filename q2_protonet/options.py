"""The options of train.py, evaluate.py and predict.py, and what they may be. Nothing here imports torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from common.cli import NEEDED, default_shown
from common.errors import RunError, UsageError
from common.image_files import require_folder_option
from common.json_files import read_json
from common.options import (
    CheckpointOptions,
    SeedOption,
    TrainingOptions,
    check_checkpoint,
    check_output,
    check_training,
    shrink,
)
from common.ranges import FREE_ON_RESUME, above, at_least
from q2_protonet.few_shot_files import UNKNOWN, find_queries, find_support

QUESTION = "q2_protonet"
SIZE = 28  # height and width of a drawing in pixels
WHOLE_OMNIGLOT = ("vinyals", "random")  # the splits whose results stand beside the paper's

Dataset = Literal["omniglot", "synthetic", "folder"]
Split = Literal["vinyals", "random", "background", "small"]


class Episode(NamedTuple):
    """The shape of an episode.

    way: classes.
    shot: support drawings of each class.
    query: query drawings of each class.
    """

    way: int
    shot: int
    query: int


# Data -------------------------------------------------------------------------------------------------------


@dataclass
class DataOptions:
    """Chooses the characters, and how they are divided."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Dataset = "omniglot"
    split: Split = "vinyals"  # of Omniglot; synthetic and folder are split at random
    # for --dataset folder: a tree <class>/<image>, or train/, validation/ and test/ of such trees
    folder: Annotated[Path | None, FREE_ON_RESUME] = None
    # leave out the drawings turned by 90, 180 and 270 degrees, which are classes of their own
    no_rotations: bool = False
    # leave out the classes of --dataset folder with fewer images than this; name them
    skip_small: Annotated[int, at_least(0)] = 0


def check_data(data: DataOptions) -> None:
    """Checks that the data options fit each other.

    Raises:
        UsageError: --dataset folder without a --folder, or --folder or --skip_small without it.
    """
    require_folder_option(data.dataset, data.folder, "a tree <class>/<image>")
    if data.skip_small and data.dataset != "folder":
        raise UsageError(f"--skip_small needs --dataset folder, not --dataset {data.dataset}")


def describe(data: DataOptions) -> str:
    """Returns a data set in words, such as "omniglot, split small"."""
    if data.dataset == "omniglot":
        return f"omniglot, split {data.split}"
    return f"{data.dataset} {data.folder}" if data.folder else data.dataset


def warn_of_start(dataset: str, start_from: object) -> str:
    """Returns a warning where a test on Omniglot may show what the starting network has seen; else ""."""
    if dataset != "omniglot" or not start_from:
        return ""
    return (
        f"warning: the training starts from {start_from}: if that network was trained on another split, it "
        "has seen some of the characters that are tested"
    )


# train.py ---------------------------------------------------------------------------------------------------


@dataclass
class Recipe:
    """Says how the network is trained and tested."""

    epochs: Annotated[int, at_least(1), FREE_ON_RESUME] = 100  # epochs of `iterations` episodes
    iterations: Annotated[int, at_least(1)] = 100  # training episodes per epoch
    classes_per_it_tr: Annotated[int, at_least(1)] = 60  # way of the training episodes
    num_support_tr: Annotated[int, at_least(1)] = 5  # shot of the training episodes
    num_query_tr: Annotated[int, at_least(1)] = 5  # queries per class of the training episodes
    classes_per_it_val: Annotated[int, at_least(2)] = 5  # way of the validation and test episodes
    num_support_val: Annotated[int, at_least(1)] = 5  # shot of the validation and test episodes
    num_query_val: Annotated[int, at_least(1)] = 15  # queries per class of the validation and test episodes
    # episodes of each validation, the same in every epoch
    validation_episodes: Annotated[int, at_least(1)] = 100
    test_episodes: Annotated[int, at_least(1)] = 1000  # episodes of the test at the end
    learning_rate: Annotated[float, above(0)] = 1e-3  # Adam's
    lr_scheduler_step: Annotated[int, at_least(1)] = 20  # epochs between reductions of the learning rate
    lr_scheduler_gamma: Annotated[float, above(0)] = 0.5  # factor of each reduction
    # feature maps of every block, or of each of the four; the last is the length of the embedding
    hidden_channels: Annotated[int | tuple[int, int, int, int], at_least(2)] = 64
    # residual convolutions that follow each block but the last; not in the paper
    residual_convs: Annotated[int, at_least(0)] = 0
    # move each training drawing a little (turn, scale, shear, shift); not in the paper
    augment: bool = False
    # score each training episode with every drawing as support in turn; not in the paper
    every_support: bool = False
    # validate and keep a moving average of the weights with this decay, e.g. 0.999; not in the paper
    average_weights: Annotated[float, at_least(0, below=1)] = 0.0
    # as the paper ends: train on train + validation for the best number of epochs of this finished run
    trainval: str = ""


@dataclass
class TrainOptions(TrainingOptions, DataOptions, Recipe):
    """Train a prototypical network on Omniglot."""

    memory_advice: ClassVar[str] = "a smaller --classes_per_it_tr or --num_query_tr"

    @property
    def training_episode(self) -> Episode:
        """The shape of the training episodes."""
        return Episode(self.classes_per_it_tr, self.num_support_tr, self.num_query_tr)

    @property
    def test_episode(self) -> Episode:
        """The shape of the validation and test episodes."""
        return Episode(self.classes_per_it_val, self.num_support_val, self.num_query_val)


def resolve(options: TrainOptions) -> TrainOptions:
    """Checks the options of train.py, and fills in what follows from others.

    Raises:
        UsageError: an option is out of its range, two contradict each other, or a path is not there.
        RunError: the results of --trainval are damaged, or there is no network to start from.
    """
    if options.smoke:
        options = shrink(
            options,
            **({} if options.trainval else {"epochs": 2}),
            iterations=5,
            classes_per_it_tr=20,
            hidden_channels=16,
            validation_episodes=20,
            test_episodes=100,
        )
    check_data(options)
    if options.trainval:
        options = train_as_long(options)
    if not options.run_name:
        options = replace(options, run_name=name_run(options))
    check_training(options, QUESTION)
    return options


def train_as_long(options: TrainOptions) -> TrainOptions:
    """Gives a run with --trainval as many epochs as were best in that run.

    Raises:
        UsageError: as `best_epoch`; the command line says otherwise.
        RunError: as `best_epoch`.
    """
    best = best_epoch(options.log_root, options.trainval)
    asked = options.epochs != TrainOptions.epochs or "epochs" in getattr(options, "given", ())
    if asked and options.epochs != best:
        raise UsageError(
            f"--trainval {options.trainval} trains for {best} epochs, as many as were best in that run: "
            f"leave --epochs {options.epochs} out"
        )
    return replace(options, epochs=best)


def best_epoch(log_root: Path, run: str) -> int:
    """Returns the epoch with the best validation of a finished run.

    Raises:
        UsageError: there is no such run, or it is not finished.
        RunError: its results are damaged.
    """
    finished = log_root / QUESTION / run / "results.json"
    if not finished.exists():
        raise UsageError(f"--trainval {run}: no finished run at {finished}")
    epoch = read_json(finished).get("best_epoch")
    if not isinstance(epoch, int):
        raise RunError(f"--trainval {run}: {finished} names no best_epoch")
    return epoch


def name_run(options: TrainOptions) -> str:
    """Returns a name for the run's folder, such as "vinyals-60w5s-5w5s"."""
    data = options.split if options.dataset == "omniglot" else options.dataset
    training = f"{options.classes_per_it_tr}w{options.num_support_tr}s"
    testing = f"{options.classes_per_it_val}w{options.num_support_val}s"
    name = f"{data}-{training}-{testing}"
    return f"{name}-trainval" if options.trainval else name


# evaluate.py ------------------------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """Says what is measured, and on which data."""

    way: Annotated[tuple[int, ...], at_least(1)] = (5, 20)  # classes per episode, one setting for each
    shot: Annotated[tuple[int, ...], at_least(1)] = (1, 5)  # support examples per class, one setting for each
    query: Annotated[int, at_least(1)] = 15  # query examples per class
    episodes: Annotated[int, at_least(1)] = 1000  # episodes per setting
    part: Literal["test", "validation", "train"] = "test"  # which part of the split
    # instead of --way and --shot: 20 characters of one alphabet, support by one person and queries by another
    within_alphabet: bool = False
    # instead of --way and --shot: the 20 fixed runs of the Omniglot challenge, the author's all_runs.zip
    # unpacked
    lake_runs: Path | None = None
    untrained: bool = False  # also the network with the random weights of its seed, the control
    # also how often predict.py --unknown is wrong, in episodes with one class more than --way
    unknown: bool = False
    # average each embedding over all shifts of its image by up to so many pixels, for each of these numbers;
    # not in the paper
    shifts: Annotated[tuple[int, ...], at_least(0, below=SIZE)] = (0,)
    data_root: Path = Path("data")  # folder of the data sets
    # data set to test on; synthetic is drawn on the spot, folder is your own
    dataset: Annotated[Dataset | None, default_shown("what the checkpoint was trained on")] = None
    # of Omniglot; synthetic and folder are split at random
    split: Annotated[Split | None, default_shown("that of the checkpoint's training")] = None
    folder: Path | None = None  # where the pictures of --dataset folder are now, if they were moved


@dataclass
class EvaluateOptions(CheckpointOptions, SeedOption, Evaluation):
    """Test a checkpoint of a prototypical network."""

    # the name of a network in pretrained/, or a checkpoint: logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Path = Path("protonet-1shot")

    @property
    def challenge(self) -> bool:
        """Whether the Omniglot challenge takes the place of --way and --shot."""
        return self.within_alphabet or self.lake_runs is not None


def resolve_evaluation(options: EvaluateOptions) -> EvaluateOptions:
    """Checks the options of evaluate.py.

    Raises:
        UsageError: an option is out of its range, two contradict each other, or a folder is not there.
        RunError: there is no such checkpoint.
    """
    check_checkpoint(options, QUESTION)
    if options.unknown and (options.challenge or any(options.shifts)):
        raise UsageError("--unknown goes with --way and --shot, as predict.py classifies: without --shifts")
    if options.untrained and options.challenge:
        raise UsageError("--untrained goes with --way and --shot: the challenge has no such control")
    if options.lake_runs and not options.lake_runs.is_dir():
        raise UsageError(f"--lake_runs {options.lake_runs} is not a folder")
    if options.folder and not options.folder.is_dir():
        raise UsageError(f"--folder {options.folder} is not a folder")
    return options


# lake_difference.py -----------------------------------------------------------------------------------------


@dataclass
class LakeOptions(CheckpointOptions, SeedOption):
    """Compare Lake's runs with episodes of other characters and of other people."""

    # the name of a network in pretrained/, or a checkpoint: logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Path = Path("protonet-background")
    lake_runs: Path = Path("data/omniglot-py/lake-runs")  # the author's all_runs.zip, unpacked
    episodes: Annotated[int, at_least(1)] = 50  # sampled per run and comparison
    # average each embedding over all shifts of its image by up to so many pixels
    shifts: Annotated[int, at_least(0, below=SIZE)] = 0
    data_root: Path = Path("data")  # folder of the data sets


def resolve_lake(options: LakeOptions) -> LakeOptions:
    """Checks the options of lake_difference.py.

    Raises:
        UsageError: an option is out of its range, or a folder is not there.
        RunError: there is no such checkpoint.
    """
    check_checkpoint(options, QUESTION)
    if not options.lake_runs.is_dir():
        raise UsageError(f"--lake_runs {options.lake_runs} is not a folder")
    return options


# predict.py -------------------------------------------------------------------------------------------------


@dataclass
class Prediction:
    """Says what is classified, by which examples."""

    # folder with one folder per class, each with one or more images
    support: Annotated[Path | None, NEEDED] = None
    query: Annotated[tuple[Path, ...], NEEDED] = ()  # images, or folders of images, to classify
    # table to write; the picture goes beside it as <name>_picture.png
    output: Path = Path("predictions-characters.csv")
    # yes: light ink on dark, no: dark ink on light, auto: find out image by image
    invert: Literal["auto", "yes", "no"] = "auto"
    # leave out the classes of --support with fewer images than this, and name them
    skip_small: Annotated[int, at_least(0)] = 0
    # call a query unknown that is farther from every prototype than 95 % of the validation drawings are from
    # their own
    unknown: bool = False


@dataclass
class PredictOptions(CheckpointOptions, Prediction):
    """Classify images by a few examples of each class."""

    # the name of a network in pretrained/, or a checkpoint: logs/q2_protonet/RUN/checkpoints/best.pt
    checkpoint: Path = Path("protonet-1shot")

    @property
    def picture(self) -> Path:
        """The picture of each query beside its nearest support image."""
        return self.output.with_name(f"{self.output.stem}_picture.png")

    @property
    def confusion(self) -> Path:
        """The picture of which classes are confused."""
        return self.output.with_name(f"{self.output.stem}_confusion.png")


def resolve_prediction(options: PredictOptions) -> PredictOptions:
    """Checks the options of predict.py and the paths they name.

    Raises:
        UsageError: an option is out of its range, a path is not there, a class has no images, or the output
            would overwrite one.
        RunError: there is no such checkpoint.
    """
    checkpoint = check_checkpoint(options, QUESTION)
    if options.support is None or not options.query:
        raise UsageError("--support FOLDER and --query IMAGES_OR_FOLDERS are both needed")
    support = find_support(options.support, options.skip_small)
    if options.unknown and UNKNOWN in support:
        raise UsageError(f"--unknown: rename the class {UNKNOWN!r} of --support {options.support}")
    files = [checkpoint, *find_queries(options.query, list(support), options.unknown)]
    for own in support.values():
        files += own
    if options.output.is_dir():
        raise UsageError(f"--output must be a file, and {options.output} is a folder")
    check_output((options.output, options.picture, options.confusion), files)
    return options
