"""The files of the pairs: where they come from, which belong together, and to which part. Needs no torch."""

from pathlib import Path

from common import download
from common.errors import RunError
from common.folder_listing import contents, one_form
from common.image_files import find_parts, list_folders, list_images, say_beside

MAPS_URL = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/maps.tar.gz"
MAPS_BYTES = 250_242_400  # its author gives no checksum
MAPS_PAIRS = {"train": 1096, "val": 1098}
Files = tuple[Path, ...]  # a side-by-side pair, or (A, B) of two parallel folders


# pix2pix's maps ---------------------------------------------------------------------------------------------


def fetch_maps(data_root: Path) -> None:
    """Downloads pix2pix's maps (240 MB) unless they are there; extraction is whole or not at all.

    Raises:
        RunError: there is no network, the archive is damaged or has another size, or pairs are missing.
    """
    target = data_root / "maps"
    if target.exists():
        counts = {part: sum(1 for _ in (target / part).glob("*.jpg")) for part in MAPS_PAIRS}
        if counts != MAPS_PAIRS:
            raise RunError(
                f"{target} holds {counts} pairs instead of {MAPS_PAIRS}: move it away, and it is downloaded "
                "again"
            )
        return
    packed = data_root / "maps.tar.gz"
    if not packed.exists() or packed.stat().st_size != MAPS_BYTES:
        download_archive(packed)
    download.extract(packed, "maps", target)


def download_archive(packed: Path) -> None:
    """Downloads the maps' archive in place of one that is not whole.

    Raises:
        RunError: there is no network, or what came has another size.
    """
    from torchvision.datasets import utils  # takes seconds to import, and is rarely needed

    with download.downloading("pix2pix's maps", packed.parent, f"{packed.name}, from {MAPS_URL}"):
        packed.unlink(missing_ok=True)
        utils.download_url(MAPS_URL, str(packed.parent), packed.name)
    size = packed.stat().st_size
    if size != MAPS_BYTES:
        raise RunError(
            f"{packed} has {size:,} bytes instead of {MAPS_BYTES:,}: run again to download it once more"
        )


# Parts and pairs --------------------------------------------------------------------------------------------


def list_pairs(folder: Path, test: bool = False) -> dict[str, list[Files]]:
    """Lists the pairs of each part, in plain order of their names, which is the order of the published runs.

    Args:
        test: list the part "test" beside "train" and "val".

    Raises:
        UsageError: the folder is divided and lacks a part.
        RunError: folders are missing or empty, or a picture of A or B has no partner or two of them.
    """
    together = find_parts(folder, "train", "val", beside=["test"])  # which is read when it is asked for
    if together:
        if test:
            together["test"] = find_test(folder, together["val"])
        return {part: list_side_by_side(inner) for part, inner in together.items()}
    side_a = find_parts(folder, "train", "val", suffix="A")
    side_b = find_parts(folder, "train", "val", suffix="B")
    if not side_a or not side_b:
        advice = "; data/README.md says how to make it" if folder.name == "aerial_maps" else ""
        raise RunError(
            f"no images of pairs in {folder}/train and {folder}/val, or trainA, trainB, valA and valB: "
            f"{folder} holds {contents(folder)}{advice}"
        )
    if test:
        side_a["test"] = find_test(folder, side_a["val"], "A")
        side_b["test"] = find_test(folder, side_b["val"], "B")
    tests = [inner for inner in list_folders(folder) if inner.name.lower() in ("testa", "testb")]
    say_beside(folder, [*side_a.values(), *side_b.values(), *tests])
    return {part: match_by_name(inner, side_b[part]) for part, inner in side_a.items()}


def find_test(folder: Path, validation: Path, side: str = "") -> Path:
    """Finds the folder of the part "test", or testA or testB.

    Raises:
        RunError: there is none, or it already serves as the validation part, as it does without a val/.
    """
    there = {inner.name.lower(): inner for inner in list_folders(folder)}
    test = there.get(f"test{side}".lower())
    if test is None or test == validation:
        raise RunError(
            f"{folder} has no test{side}/ beside the validation pairs in {validation.name}/: "
            f"it holds {contents(folder)}"
        )
    return test


def list_side_by_side(folder: Path) -> list[Files]:
    """Lists the pictures of a folder, each of which is a pair.

    Raises:
        RunError: there are none.
    """
    return [(file,) for file in sorted(require_images(folder))]


def match_by_name(folder_a: Path, folder_b: Path) -> list[Files]:
    """Lists the pairs of two folders' pictures by name, whatever their endings.

    Raises:
        RunError: a folder is empty, two pictures of one have the same name, or one has no partner.
    """
    side_a = by_stem(folder_a)
    side_b = by_stem(folder_b)
    alone = []
    for stem in sorted(side_a.keys() ^ side_b.keys()):
        alone.append(str(side_a.get(stem) or side_b[stem]))
    if alone:
        raise RunError(f"no partner of the same name for {', '.join(alone[:5])}")
    return [(file, side_b[stem]) for stem, file in side_a.items()]


def by_stem(folder: Path) -> dict[str, Path]:
    """Returns the pictures of a folder by their names without endings.

    The names are in one Unicode form.

    Raises:
        RunError: there are none, or two have the same name.
    """
    files: dict[str, Path] = {}
    for file in sorted(require_images(folder)):
        stem = one_form(file.stem)
        if stem in files:
            raise RunError(f"{files[stem]} and {file} have one name: which of them belongs to the pair?")
        files[stem] = file
    return files


def require_images(folder: Path) -> list[Path]:
    """Lists the images of a folder.

    Raises:
        RunError: there are none.
    """
    images = list_images(folder)
    if not images:
        raise RunError(f"no images (.png, .jpg, ...) in {folder}, which holds {contents(folder)}")
    return images
