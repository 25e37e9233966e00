"""The options of train.py, evaluate.py and predict.py, and what they may be. Nothing here imports torch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from common import pretrained
from common.cli import NEEDED, default_shown
from common.errors import UsageError
from common.folder_listing import ENDINGS
from common.image_files import find_inputs, require_folder_option
from common.options import (
    CheckpointOptions,
    TrainingOptions,
    check_checkpoint,
    check_output,
    check_training,
    shrink,
)
from common.ranges import FREE_ON_RESUME, above, at_least
from q3_pix2pix.maps_files import list_pairs

QUESTION = "q3_pix2pix"
LAYOUT = "with train/ and val/ of side-by-side pairs (or trainA/, trainB/, valA/, valB/)"

Resize = Literal["stretch", "fit", "crop"]
Mode = Literal["auto", "paper", "no_dropout", "eval"]


# Data -------------------------------------------------------------------------------------------------------


@dataclass
class DataOptions:
    """Chooses the pairs, and which half is the input."""

    # synthetic is drawn on the spot, folder is your own
    dataset: Literal["maps", "aerial_maps", "synthetic", "folder"] = "maps"
    # for --dataset folder: train/ and val/ of side-by-side pairs, or trainA/ trainB/ valA/ valB/
    pairs: Annotated[Path | None, FREE_ON_RESUME] = None
    # how pictures that are not square become square: distorted, with a white border, or cut to the middle
    resize: Annotated[Resize | None, default_shown("they are refused")] = None
    direction: Literal["AtoB", "BtoA"] = "AtoB"  # A is the left half (the photo), B the right one (the map)


def check_data(data: DataOptions, data_root: Path) -> None:
    """Checks that the pairs are there; those of --dataset maps are downloaded where they are not.

    Raises:
        UsageError: --dataset folder without a usable --pairs, or --pairs without it.
        RunError: a part is missing or empty, or a picture has no partner.
    """
    require_folder_option(data.dataset, data.pairs, LAYOUT, "--pairs")
    if data.dataset in ("folder", "aerial_maps"):
        list_pairs(data.pairs or data_root / data.dataset)


# train.py ---------------------------------------------------------------------------------------------------


@dataclass
class Recipe:
    """Says how both networks are trained."""

    epochs: Annotated[int, at_least(1), FREE_ON_RESUME] = 200  # passes over the training pairs
    # of them at a constant rate, which then falls linearly to 0 (-1: half)
    constant_epochs: Annotated[int, at_least(-1)] = -1
    batch_size: Annotated[int, at_least(1)] = 1  # pairs per step and process
    learning_rate: Annotated[float, above(0)] = 2e-4  # Adam's, for both networks
    # weight of the adversarial loss; 0 leaves L1 alone, the control
    gan_weight: Annotated[float, at_least(0)] = 1.0
    image_size: Annotated[int, at_least(32)] = 256  # a power of two; 128 or 64 for small machines
    # feature maps of the first layers; 32 or 16 for small machines
    base_channels: Annotated[int, at_least(1)] = 64
    # turn and mirror training pairs in all eight ways, not only sideways; not in the paper
    turns: bool = False
    # measure and keep a moving average of the generator with this decay, such as 0.999; not in the paper
    average_weights: Annotated[float, at_least(0, below=1)] = 0.0
    # weight of R1, the discriminator's squared slope at true maps, such as 1; not in the paper
    gradient_penalty: Annotated[float, at_least(0)] = 0.0


@dataclass
class TrainOptions(TrainingOptions, DataOptions, Recipe):
    """Train pix2pix."""

    memory_advice: ClassVar[str] = "a smaller --batch_size, --image_size or --base_channels"

    @property
    def constant(self) -> int:
        """How many epochs have a constant learning rate."""
        return self.epochs // 2 if self.constant_epochs == -1 else self.constant_epochs


def resolve(options: TrainOptions) -> TrainOptions:
    """Checks the options of train.py, and names the run.

    Raises:
        UsageError: an option is out of its range, two contradict each other, or a path is not there.
        RunError: there is no network to start from, or the pairs are missing or incomplete.
    """
    if options.smoke:
        options = shrink(options, epochs=2, image_size=32, base_channels=8, batch_size=8, log_every=2)
    if options.gradient_penalty and not options.gan_weight:
        raise UsageError("--gradient_penalty flattens a discriminator: --gan_weight 0 trains without one")
    if options.image_size & (options.image_size - 1):
        raise UsageError(
            f"--image_size must be a power of two, not {options.image_size}: each layer halves it"
        )
    if options.constant > options.epochs:
        raise UsageError(f"--constant_epochs {options.constant} is more than --epochs {options.epochs}")
    if not options.run_name:
        control = "" if options.gan_weight else "-l1"
        options = replace(options, run_name=f"{options.dataset}-{options.image_size}{control}")
    check_training(options, QUESTION)
    check_data(options, options.data_root)
    return options


# evaluate.py ------------------------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """Says what is measured, and which pairs are drawn."""

    l1_checkpoint: Path | None = None  # the same network trained with --gan_weight 0, as a control
    part: Literal["val", "test"] = "val"  # the pairs it is measured on; nothing is ever chosen by test
    # how many triplets of input, ground truth and output to draw
    triplets: Annotated[int, at_least(1)] = 10
    choose: Literal["first", "random", "best"] = "first"  # which pairs; best by L1 (worst.png has the worst)
    seed: Annotated[int, at_least(0, below=2**32)] = 0  # of --choose random
    data_root: Path = Path("data")  # folder of the data sets
    pairs: Path | None = None  # where the pairs of a run with --dataset folder are now, if they moved
    figure_root: Path = Path("figures")  # folder of the pictures


@dataclass
class EvaluateOptions(CheckpointOptions, Evaluation):
    """Measure a generator on the validation or the test pairs."""

    # the name of a network in pretrained/, or a checkpoint: logs/q3_pix2pix/RUN/checkpoints/last.pt
    checkpoint: Path = Path("pix2pix-aerial")

    @property
    def suffix(self) -> str:
        """Follows the names of what is measured on the part "test"."""
        return "" if self.part == "val" else f"-{self.part}"


def resolve_evaluation(options: EvaluateOptions) -> EvaluateOptions:
    """Checks the options of evaluate.py.

    Raises:
        UsageError: an option is out of its range, or --pairs is no folder.
        RunError: there is no such checkpoint.
    """
    check_checkpoint(options, QUESTION)
    if options.l1_checkpoint:
        pretrained.locate(options.l1_checkpoint, QUESTION)
    if options.pairs and not options.pairs.is_dir():
        raise UsageError(f"--pairs {options.pairs} is not a folder")
    return options


# predict.py -------------------------------------------------------------------------------------------------


@dataclass
class Prediction:
    """Says what is translated, and how."""

    input: Annotated[tuple[Path, ...], NEEDED] = ()  # photos, and folders of photos
    output: Path = Path("predictions")  # folder for the results, or for a single photo a file such as map.png
    # paper: each tile's own statistics, with dropout; no_dropout: without it; eval: the running statistics;
    # auto: paper for a single tile, no_dropout for several
    mode: Mode = "auto"
    # factor of a photo's sides before translation
    scale: Annotated[float | None, above(0), default_shown("that of the training pairs")] = None
    # share of a tile's side that it has in common with its neighbour
    overlap: Annotated[float, at_least(0, below=0.95)] = 0.5
    side_by_side: bool = False  # write photo and result beside each other


@dataclass
class PredictOptions(CheckpointOptions, Prediction):
    """Translate photos."""

    # the name of a network in pretrained/, or a checkpoint: logs/q3_pix2pix/RUN/checkpoints/last.pt
    checkpoint: Path = Path("pix2pix-aerial")
    memory_advice: ClassVar[str] = "a smaller --scale"


def resolve_prediction(options: PredictOptions) -> PredictOptions:
    """Checks the options of predict.py and the paths they name.

    Raises:
        UsageError: an option is out of its range, or as `place_results`.
        RunError: there is no such checkpoint.
    """
    checkpoint = check_checkpoint(options, QUESTION)
    check_output([options.output, *place_results(options).values()], [checkpoint])
    return options


def place_results(options: PredictOptions) -> dict[Path, Path]:
    """Returns the file of each photo's result: photo -> file.

    Raises:
        UsageError: there is no photo, a result would replace one or another file beside it, or --output is
            one file for several.
    """
    photos = find_inputs(options.input)
    if is_picture(options.output):
        if options.output.suffix.lower() not in ENDINGS:
            raise UsageError(
                f"--output {options.output}: write .png, .jpg, .tif or .webp, not {options.output.suffix}"
            )
        if len(photos) > 1:
            raise UsageError(f"--output {options.output} is one file, and there are {len(photos)} photos")
        results = {photos[0]: options.output}
    else:
        results = {photo: options.output / f"{name}.png" for photo, name in zip(photos, name_results(photos))}
    check_output([options.output, *results.values()], photos)
    beside_photos = options.output.resolve() in {photo.resolve().parent for photo in photos}
    for result in results.values():
        if beside_photos and result.exists():
            raise UsageError(
                f"--output {options.output} is a folder of photos, and its {result.name} would be replaced: "
                "give a folder of its own"
            )
    return results


def is_picture(path: Path) -> bool:
    """Returns whether a path that is no folder ends as the file of a picture does."""
    if not path.suffix or path.is_dir():
        return False
    from PIL import Image  # most often --output is a folder, and a tenth of a second is saved

    return path.suffix.lower() in Image.registered_extensions()


def name_results(photos: list[Path]) -> Iterator[str]:
    """Yields a name for each photo's result: its stem.

    Where several share it, the ending is added, and then a number.
    """
    shared = Counter(photo.stem for photo in photos)
    taken = {stem for stem, number in shared.items() if number == 1}
    for photo in photos:
        name = photo.stem
        if shared[name] > 1:
            name = f"{name}-{photo.suffix[1:]}"
            longer = (f"{name}-{number}" for number in count(2))
            while name in taken:
                name = next(longer)
        taken.add(name)
        yield name
