"""A cache of decoded images on the disk, named by a hash of their files' content."""

import contextlib
import os
import stat
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from common.errors import RunError
from common.fingerprint import fingerprint
from common.image_reader import Depth

READER = "3"  # to be increased when the reader gives other pixels than before
SETTLED_NS = 2 * 10**9  # clocks of file systems are coarse: a file this young may change and keep its times


class Cached(NamedTuple):
    """Decoded images, and what was found out when they were decoded.

    images: (n, *shape) uint8.
    facts: what `find_facts` returned.
    """

    images: Tensor
    facts: dict


def cached_images(
    data_root: Path,
    recipe: str,
    files: Sequence[Path],
    shape: Sequence[int],
    read_one: Callable[[Any], np.ndarray],
    sources: Sequence = (),
    depths: Sequence[Depth] = (),
) -> Tensor:
    """Returns images (n, *shape) as uint8, one for each of `sources`, kept in `data_root/cache`.

    Arguments and errors: as `cached`.
    """
    return cached(data_root, recipe, files, shape, read_one, sources, depths).images


def cached(
    data_root: Path,
    recipe: str,
    files: Sequence[Path],
    shape: Sequence[int],
    read_one: Callable[[Any], np.ndarray],
    sources: Sequence = (),
    depths: Sequence[Depth] = (),
    find_facts: Callable[[], dict] = dict,
) -> Cached:
    """Returns images and facts about their files, kept in `data_root/cache`. A hit decodes no file.

    The cache's name is a hash of the content of `files` and of how they are read, and of nothing else. It
    carries a hash of its pixels, so that a damaged one is made again.

    Args:
        recipe: how the files are read, with the size, and how the facts are found.
        files: all that the images depend on.
        read_one: gives one source's pixels, uint8 of `shape`; called from several threads.
        sources: what to read for each image (default: the files).
        depths: what `read_one` divides by; a cache tells them what was found when it was made.
        find_facts: gives plain values, when the cache is made.

    Raises:
        RunError: as `read_one` and `find_facts`, or a file is missing.
    """
    sources = sources or files
    what = f"{recipe}, reader {READER}, {len(sources)} x {shape}: {content_hash(files, data_root)}"
    path = data_root / "cache" / f"pictures-{fingerprint([what])[:32]}.pt"
    saved = read_cache(path)
    try:
        images = saved["images"]
        whole = saved["sha256"] == _pixel_hash(images) and images.shape == (len(sources), *shape)
        if whole and isinstance(saved["facts"], dict):
            for depth, limit in zip(depths, saved["limits"], strict=True):
                depth.found = limit
            return Cached(images, saved["facts"])
    except Exception:  # whatever is wrong with it: reading the files again mends it
        pass
    images = torch.empty(len(sources), *shape, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        read = pool.map(read_one, sources)
        decoded = tqdm(read, "reading pictures", len(sources), leave=False, disable=None)
        for place, pixels in zip(images.numpy(), decoded):
            place[:] = pixels
    made = Cached(images, find_facts())
    limits = [depth.found for depth in depths]
    write_cache(path, made._asdict() | {"sha256": _pixel_hash(images), "limits": limits})
    return made


def read_cache(path: Path) -> dict:
    """Reads what `write_cache` wrote; {} where there is none, or it is damaged or could run code."""
    try:
        with open(path, "rb") as file:
            with zipfile.ZipFile(file) as archive:  # torch.save does not compress: such parts would be a bomb
                if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                    return {}
            file.seek(0)
            saved = torch.load(file, weights_only=True)
    except Exception:  # zipfile and torch raise almost anything on damaged bytes
        return {}
    return saved if isinstance(saved, dict) else {}


def write_cache(path: Path, contents: dict | str) -> None:
    """Writes a cache atomically. Where the disk refuses there is none, and the next run tries again."""
    partial = path.with_suffix(f".partial{os.getpid()}")
    whole = BytesIO()  # torch.save into a file reports a full disk as an error of positions
    if isinstance(contents, str):
        whole.write(contents.encode())
    else:
        torch.save(contents, whole)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
        partial.write_bytes(whole.getbuffer())
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()


def content_hash(files: Sequence[Path], data_root: Path) -> str:
    """Returns the SHA-256 of the contents of these files in their order.

    Paths, sizes, times and inodes only save the reading: a hash that was found once is kept under them. The
    time of the last change of a file's inode, which no program can set, tells files apart that were given
    one date.

    Raises:
        RunError: a file is missing, or is a pipe or a device.
    """
    began = time.time_ns()
    try:
        states = [os.stat(file) for file in files]
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read ({error.strerror})") from error
    facts = []
    for file, state in zip(files, states):
        if not stat.S_ISREG(state.st_mode):
            raise RunError(f"{file} cannot be read (it is no regular file)")
        name = os.fsencode(os.path.abspath(file))
        times = (state.st_mtime_ns, state.st_ctime_ns)
        facts.append(str([name, state.st_size, *times, state.st_dev, state.st_ino]))
    memo = data_root / "cache" / f"{fingerprint(facts)[:32]}.content"
    try:
        known = memo.read_text()
        if len(known) == 64:
            return known
    except (OSError, ValueError):
        pass
    found = fingerprint(fingerprint(file.read_bytes()) for file in files)
    if all(state.st_ctime_ns < began - SETTLED_NS for state in states):
        write_cache(memo, found)
    return found


def _pixel_hash(images: Tensor) -> str:
    return fingerprint(images, [str((images.dtype, images.shape))])
