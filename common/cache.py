"""A cache of decoded pictures on the disk, named by a hash of their files' content."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from common import checkpoint
from common.runtime import RunError

READER = "1"  # to be increased when the reader gives other pixels than before
SETTLED_NS = 2 * 10**9  # clocks of file systems are coarse: a file this young may change and keep its times


def write_cache(path: Path, contents: dict | str) -> None:
    """Writes a cache atomically. Where the disk refuses there is none, and the next run tries again."""
    partial = path.with_suffix(f".partial{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
        with open(partial, "wb") as file:
            if isinstance(contents, str):
                file.write(contents.encode())
            else:
                checkpoint.write(contents, file)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)


def cached_images(
    data_root: Path, recipe: str, files: Sequence, shape: Sequence, read_one: Callable, sources=(), depths=()
) -> Tensor:
    """Pictures (n, *shape) as uint8, one for each of `sources`, kept in `data_root/cache`.

    The cache's name is a hash of the content of `files` and of how they are read, and of nothing else. It
    carries a hash of its pixels, so that a damaged one is made again.

    Args:
        recipe: how the files are read, with the size.
        files: all that the pictures depend on, paths.
        read_one: gives one source's pixels, uint8 of `shape`; called from several threads.
        sources: what to read for each picture (default: the files).
        depths: what `read_one` divides by; a cache tells them what was found when it was made.

    Raises:
        RunError: as `read_one`, or a file is missing.
    """
    sources = sources or files
    what = f"{recipe}, reader {READER}, {len(sources)} x {shape}: {content_hash(files, data_root)}"
    path = data_root / "cache" / f"pictures-{_join([what])[:32]}.pt"
    try:
        saved = checkpoint.read(path)
        images = saved["images"]
        if saved["sha256"] == _fingerprint(images) and images.shape == (len(sources), *shape):
            for depth, limit in zip(depths, saved["limits"] if depths else (), strict=True):
                depth.found = limit
            return images
    except Exception:  # missing, or whatever is wrong with it: reading the files again mends it
        pass
    images = torch.empty(len(sources), *shape, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        pictures = pool.map(read_one, sources)
        pictures = tqdm(pictures, "reading pictures", len(sources), leave=False, disable=None)
        for place, picture in zip(images.numpy(), pictures):
            place[:] = picture
    limits = [depth.found for depth in depths]
    write_cache(path, {"images": images, "sha256": _fingerprint(images), "limits": limits})
    return images


def content_hash(files: Sequence[Path], data_root: Path) -> str:
    """SHA-256 of the contents of these files in their order.

    Paths, sizes, times and inodes only save the reading: a hash that was found once is kept under them. The
    time of the last change of a file's inode, which no program can set, tells files apart that were given
    one date.

    Raises:
        RunError: a file is missing.
    """
    began = time.time_ns()
    try:
        states = [(os.path.abspath(file), os.stat(file)) for file in files]
    except OSError as error:
        raise RunError(f"{error.filename} cannot be read ({error.strerror})") from error
    kinds = "st_size st_mtime_ns st_ctime_ns st_dev st_ino".split()
    facts = (str([os.fsencode(path), *(getattr(state, kind) for kind in kinds)]) for path, state in states)
    memo = data_root / "cache" / f"{_join(facts)[:32]}.content"
    try:
        known = memo.read_text()
        if len(known) == 64:
            return known
    except (OSError, ValueError):
        pass
    found = _join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    if all(state.st_ctime_ns < began - SETTLED_NS for _, state in states):
        write_cache(memo, found)
    return found


def _join(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _fingerprint(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes() + str((images.dtype, images.shape)).encode()).hexdigest()
