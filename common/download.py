"""Downloading of data sets, and extraction of their archives: whole or not at all."""

import contextlib
import errno
import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from common.errors import RunError
from common.notices import say_once
from common.provenance import script_here

# Limits of a .tar.gz; pix2pix's maps have 2,200 files of 0.25 GB.
MOST_MEMBERS = 100_000
MOST_BYTES = 2 << 30
MOST_LEVELS = 16
# The disk's doing, not the archive's.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE}


# Downloading ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def downloading(name: str, folder: Path, files: str) -> Iterator[None]:
    """Downloads a data set within the block.

    Args:
        name: of the data set.
        folder: where the set's files belong.
        files: their names, and where they come from.

    Raises:
        RunError: whatever goes wrong in the block, with what to do without the data set.
    """
    try:
        yield
    except Exception as error:  # torchvision raises several kinds, for what was downloaded as well
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        lines = [
            f"{name} in {folder} is missing or damaged and could not be downloaded "
            f"({reason.splitlines()[0].rstrip(':')})"
        ]
        script = Path(sys.argv[0])
        if script.stem.startswith("train"):  # only a training can do with data that it draws itself
            command = f"python {script_here(script)} --dataset synthetic"
            lines.append(f"  To try the script now, on data it draws itself:  {command}")
        lines.append(f"  To use {name}, put its files into:  {folder.absolute()}")
        lines.append(f"  They are called:  {files}")
        raise RunError("\n".join(lines)) from error


def fetch(url: str, path: Path, md5: str, name: str, files: str) -> None:
    """Downloads a file unless it is there whole; a partial or foreign one is fetched again.

    Args:
        url: where it comes from.
        path: where it belongs.
        md5: of the whole file.
        name, files: for the message where it cannot be had, as in `downloading`.

    Raises:
        RunError: there is no network, or what came has another MD5.
    """
    from torchvision.datasets import utils  # takes a second to import, and is rarely needed

    if utils.check_integrity(str(path), md5):
        return
    with downloading(name, path.parent, files):
        utils.download_url(url, str(path.parent), path.name, md5)


def unpacked(url: str, packed: Path, md5: str, count: int, name: str, files: str) -> Path:
    """Returns the folder of a .zip's images, downloaded and extracted whole unless it is there.

    The archive holds a folder of its own name, and is unpacked beside itself.

    Args:
        url, md5, name, files: as in `fetch`.
        packed: where the archive belongs.
        count: how many images the folder holds, at any depth.

    Raises:
        RunError: as `fetch` and `extract`; the folder holds more images than the archive.
    """
    target = packed.with_suffix("")
    there = sum(1 for _ in target.rglob("*.png"))
    if there > count:
        raise RunError(
            f"{target} holds {there:,} .png files, and {packed.name} has {count:,}: move those that do not "
            "belong to it away"
        )
    if there < count:
        if there:
            say_once(f"{target} holds {there:,} of {count:,} images: it is unpacked again, as a whole")
        fetch(url, packed, md5, name, files)
        extract(packed, target.name, target)
    return target


# Extraction -------------------------------------------------------------------------------------------------


def extract(archive: Path, folder: str, target: Path) -> None:
    """Extracts the folder `folder` of an archive as `target`; what was there is replaced.

    A .zip must have been verified by its MD5. A .tar.gz may be hostile: nothing lies outside, nothing is a
    link.

    Raises:
        RunError: the archive is damaged or has no such folder, or a .tar.gz has a member that is a link or a
            device, that would lie outside, or that is too much. Nothing of it is left.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            if archive.suffix == ".zip":
                with zipfile.ZipFile(archive) as file:
                    file.extractall(temporary)
            else:
                _extract_hostile(archive, temporary)
            if not Path(temporary, folder).is_dir():
                raise ValueError(f"it has no folder {folder}")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(Path(temporary, folder), target)
    except Exception as error:  # zipfile and tarfile raise almost anything on damaged bytes
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        reason = str(error) or type(error).__name__
        raise RunError(f"{archive} is damaged or unsafe ({reason}): delete it and run again") from error


class Bounded(gzip.GzipFile):
    """Gives MOST_BYTES in reads of at most 64 KB, and no more: a lying header has tarfile read on and on."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        """Reads up to `size` bytes.

        Raises:
            tarfile.ReadError: that is more than a header needs, or the whole is too much.
        """
        if size is None or not 0 <= size <= 1 << 16:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        data = super().read(size)
        self.taken += len(data)
        if self.taken > MOST_BYTES:
            raise tarfile.ReadError(_too_much())
        return data


def _too_much() -> str:
    return f"it holds more than {MOST_MEMBERS:,} members or {MOST_BYTES:,} bytes"


def _extract_hostile(archive: Path, temporary: str) -> None:
    with tarfile.open(fileobj=Bounded(archive), mode="r:") as file:
        for count, member in enumerate(file):
            path = PureWindowsPath(member.name)  # which knows every kind of root and separator
            if path.drive or path.root or ".." in path.parts or len(path.parts) > MOST_LEVELS:
                raise ValueError(f"its member {member.name[:200]} would lie outside or too deep")
            if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
                raise ValueError(f"its member {member.name[:200]} is neither a plain file nor a folder")
            if count == MOST_MEMBERS:
                raise ValueError(_too_much())
            _extract_member(file, member, Path(temporary, member.name))
        while file.fileobj.read(1 << 16):  # a damaged header is an end to tarfile, but not to gzip's checksum
            pass


def _extract_member(file: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    """Writes a plain file or a folder, without the mode and owner that the archive gives it.

    TarFile.extract leaves them out only with a filter, which Python before 3.10.12 and 3.11.4 does not have
    (PEP 706); Debian 12 comes with 3.11.2.
    """
    if member.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with file.extractfile(member) as source, place.open("wb") as target:  # type: ignore[union-attr]
        shutil.copyfileobj(source, target)
