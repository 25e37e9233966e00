"""The options of DCGAN's scripts, and all that they refuse at once. Nothing here imports torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import tyro

from common import machine, pretrained
from common.cli import default_shown
from common.errors import UsageError
from common.image_files import require_folder_option
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
from q1_dcgan.class_names import class_names, find_class
from q1_dcgan.folder_division import divide_folder

QUESTION = "q1_dcgan"
LEAST_SAMPLES = 200  # to measure: the judge's features have 128 dimensions
# What a sample takes while all are held together: 2.3 KB were measured in sample.py (150,000 against 50,000);
# to be measured it has 128 features as well, in fp32 and fp64.
SAMPLE_BYTES = 5_000
ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp", ".tif", ".tiff")  # of a figure


@dataclass
class Recipe:
    """Says what is trained, and how."""

    conditional: bool = False  # give both networks the label, so that a digit can be requested
    label_as: Literal["projection", "plane"] = "projection"  # how a conditional discriminator takes the label
    epochs: Annotated[int, at_least(1), FREE_ON_RESUME] = 15  # passes over the training pictures
    # real pictures per step (and process), and as many generated ones
    batch_size: Annotated[int, at_least(1)] = 64
    learning_rate: Annotated[float, above(0)] = 2e-4  # of Adam, for both networks
    latent_size: Annotated[int, at_least(1)] = 256  # length of the noise
    # feature maps of the discriminator's first layer; 16 for small machines
    base_channels: Annotated[int, at_least(1)] = 64
    image_size: int = 28  # 28, or 64 for the original layout on enlarged pictures
    # sample from a moving average of the generator with this decay, such as 0.999; not in the paper
    average_weights: Annotated[float, at_least(0, below=1)] = 0.0
    # weight of R1, the discriminator's squared slope at real pictures, such as 1; not in the paper
    gradient_penalty: Annotated[float, at_least(0)] = 0.0
    # samples measured after each epoch, 200 or more; 0 measures only at the end
    quality_samples: Annotated[int, at_least(0)] = 2000
    test_samples: Annotated[int, at_least(LEAST_SAMPLES)] = 10000  # samples measured at the end


@dataclass
class DataOptions:
    """Chooses the pictures."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Literal["mnist", "fashion_mnist", "synthetic", "folder"] = "mnist"
    # for --dataset folder: images of one shape, such as squares, in one folder per class or without classes;
    # it may be divided into train/ and test/
    folder: Annotated[Path | None, FREE_ON_RESUME] = None
    channels: int = 1  # for --dataset folder: 1 for grey, 3 for colour
    # for --dataset synthetic: how many training pictures to draw
    synthetic_pictures: Annotated[int, at_least(1000)] = 8192
    # for --dataset folder: dark ink on paper becomes light on dark, as the digits of MNIST are
    invert: bool = False


@dataclass
class TrainOptions(TrainingOptions, DataOptions, Recipe):
    """Train a DCGAN on MNIST."""

    memory_advice: ClassVar[str] = "a smaller --batch_size or --base_channels"


def resolve(options: TrainOptions) -> TrainOptions:
    """Checks ranges and combinations, and names the run.

    Raises:
        UsageError: an option is out of its range, two of them contradict each other, or --folder does not
            hold what is asked for.
        RunError: --folder holds no images, or none of a class.
    """
    if options.smoke:
        options = shrink(
            options,
            epochs=2,
            batch_size=128,
            latent_size=32,
            base_channels=16,
            synthetic_pictures=1024,
            quality_samples=LEAST_SAMPLES,
            test_samples=LEAST_SAMPLES,
        )
    if options.image_size not in (28, 64):
        raise UsageError(f"--image_size must be 28 or 64, not {options.image_size}")
    if 0 < options.quality_samples < LEAST_SAMPLES:
        raise UsageError("--quality_samples must be 0, or 200 or more: the features have 128 dimensions")
    if options.label_as != "projection" and not options.conditional:
        raise UsageError(f"--label_as {options.label_as} needs --conditional")
    check_data(options)
    if options.conditional and options.dataset == "folder" and not divide_folder(options.folder).names:
        raise UsageError(
            f"--conditional needs classes: {options.folder} holds images, not one folder per class"
        )
    check_memory("quality_samples", options.quality_samples)
    check_memory("test_samples", options.test_samples)
    options = replace(options, run_name=options.run_name or default_name(options))
    check_training(options, QUESTION)
    return options


def check_data(options: DataOptions) -> None:
    """Checks which pictures are asked for.

    Raises:
        UsageError: --dataset folder without a usable --folder, or an option of --dataset folder without it.
    """
    layout = "a tree <class>/<image> or a folder of images"
    require_folder_option(options.dataset, options.folder, layout)
    if options.channels not in (1, 3):
        raise UsageError(f"--channels must be 1 for grey or 3 for colour, not {options.channels}")
    if options.channels == 3 and options.dataset != "folder":
        raise UsageError(f"--channels 3 needs --dataset folder: the pictures of {options.dataset} are grey")
    if options.invert and options.dataset != "folder":
        raise UsageError(f"--invert needs --dataset folder, not --dataset {options.dataset}")


def check_memory(flag: str, count: int, helps: str = "give a smaller number") -> None:
    """Checks that this machine can hold so many samples.

    Args:
        helps: what to do where it cannot.

    Raises:
        UsageError: it cannot.
    """
    needed = count * SAMPLE_BYTES
    there = machine.total_memory()
    if needed > there:
        raise UsageError(
            f"not enough memory for --{flag} {count}: so many samples take about {needed / 1e9:,.0f} GB, and "
            f"there are {there / 1e9:,.0f}; {helps}"
        )


def default_name(options: TrainOptions) -> str:
    """Returns a name for the run's folder, such as "mnist-28x28-conditional"."""
    name = f"{options.dataset}-{options.image_size}x{options.image_size}"
    return f"{name}-conditional" if options.conditional else name


@dataclass
class Evaluation:
    """Says what is measured."""

    # samples to draw; the classes in turn when the generator is conditional
    samples: Annotated[int, at_least(LEAST_SAMPLES)] = 10000
    # conditional generators: samples that a nearest-neighbour classifier of the test set is given, 50000 in
    # the paper; 0 leaves this measure out
    nearest_neighbour: Annotated[int, at_least(0)] = 0
    folder: Path | None = None  # where its pictures are now, if it was trained on --dataset folder
    data_root: Path = Path("data")  # folder of the data sets
    figure_root: Path = Path("figures")  # folder of the pictures


@dataclass
class EvaluateOptions(CheckpointOptions, SeedOption, Evaluation):
    """Measure the samples of a generator."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    memory_advice: ClassVar[str] = "a smaller --samples or --nearest_neighbour"


def resolve_evaluation(options: EvaluateOptions) -> EvaluateOptions:
    """Checks ranges and paths.

    Raises:
        UsageError: an option is out of its range, --folder is no folder, or the generator is not conditional.
        RunError: there is no such network.
    """
    check_checkpoint(options, QUESTION)
    check_memory("samples", options.samples)
    check_memory("nearest_neighbour", options.nearest_neighbour)
    if options.folder is not None and not options.folder.is_dir():
        raise UsageError(f"--folder {options.folder} is no folder")
    return options


@dataclass
class Sampling:
    """Says what is drawn."""

    # number of samples
    n: Annotated[int | None, at_least(1), default_shown("64, or with --interpolate one walk a class")] = None
    # name of the class to draw (conditional generators)
    class_name: Annotated[str | None, tyro.conf.arg(name="class"), default_shown("all in turn")] = None
    digit: int | None = None  # the same as --class, or the number of a class, from 0
    output: Path = Path("samples.png")  # the picture of all samples
    files: Path | None = None  # also write one PNG per sample into this folder, in a folder per class
    array: Path | None = None  # also write images (n, 28, 28 [, 3]) uint8 and labels (n,) int64 to this .npz
    interpolate: bool = False  # draw walks of eight steps between latents, one per row, instead


@dataclass
class SampleOptions(CheckpointOptions, SeedOption, Sampling):
    """Draw samples from a generator."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    memory_advice: ClassVar[str] = "a smaller --n"


def resolve_sampling(options: SampleOptions) -> SampleOptions:
    """Checks ranges and paths, and the class where that needs no torch.

    Raises:
        UsageError: an option is out of its range, two of them contradict each other, or a file cannot be
            written where it is wanted; a network of pretrained/ has no such class.
        RunError: there is no such network.
    """
    check_checkpoint(options, QUESTION)
    check_memory("n", options.n or 0, "draw them in several calls, each with another --seed")
    _check_targets(options)
    if options.class_name is not None and options.digit is not None:
        raise UsageError("--class and --digit mean the same: give only one of them")
    file = pretrained.locate(options.checkpoint, QUESTION)
    check_output([path for path in (options.output, options.array) if path], [file])
    if file.suffix == ".safetensors":
        about = pretrained.describe(file)
        names = class_names(file, about["architecture"], about["facts"])
        find_class(names, options.class_name, options.digit)
    return options


def _check_targets(options: SampleOptions) -> None:
    """Checks what --output, --array and --files name."""
    output = options.output
    if output.suffix.lower() not in ENDINGS or output.is_dir():
        raise UsageError(f"--output must be a file that ends in one of {', '.join(ENDINGS)}: {output}")
    if options.array is not None and options.array.suffix != ".npz":
        raise UsageError(f"--array must be a file that ends in .npz: {options.array}")
    files = options.files
    if files is None or not files.exists():
        return
    if not files.is_dir():
        raise UsageError(f"--files must be a folder: {files}")
    if any(files.iterdir()):
        raise UsageError(f"--files {files}: the folder is not empty; name a new one")


# How a generator's noise may be drawn; "plain" is Gaussian noise, with the averages of BatchNorm.
Way = Literal[
    "plain", "batch-statistics", "sobol", "sphere", "radius-0.7", "radius-0.85", "radius-1.15", "radius-1.3"
]


@dataclass
class WaysOptions(CheckpointOptions):
    """Compare ways of drawing samples by the error of a nearest-neighbour classifier that knows them."""

    # the name of a network in pretrained/, or a checkpoint: logs/q1_dcgan/RUN/checkpoints/last.pt
    checkpoint: Path = Path("dcgan-conditional")
    ways: tuple[Way, ...] = get_args(Way)  # of drawing noise
    # each way draws once with each of these seeds
    seeds: Annotated[tuple[int, ...], at_least(0, below=2**32)] = (0, 1, 2)
    samples: Annotated[int, at_least(1)] = 50000  # drawn each time, the classes in turn
    # digits to classify: train = the last 10,000 training digits, test = the test set
    part: Literal["train", "test"] = "train"
    data_root: Path = Path("data")  # folder of the data sets
    memory_advice: ClassVar[str] = "a smaller --samples"


def resolve_ways(options: WaysOptions) -> WaysOptions:
    """Checks ranges and the checkpoint.

    Raises:
        UsageError: an option is out of its range.
        RunError: there is no such network.
    """
    check_checkpoint(options, QUESTION)
    check_memory("samples", options.samples)
    return options
