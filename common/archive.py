"""Extraction of a downloaded archive, whole or not at all."""

import contextlib
import errno
import gzip
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from common.runtime import RunError

MOST_MEMBERS, MOST_BYTES, MOST_LEVELS = 100_000, 2 << 30, 16  # pix2pix's maps: 2,200 files of 0.25 GB
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO, errno.EMFILE}


class Bounded(gzip.GzipFile):
    """Gives MOST_BYTES in reads of at most 64 KB, and no more: a lying header has tarfile read on and on."""

    taken = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= 1 << 16:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        data = super().read(size)
        self.taken += len(data)
        if self.taken > MOST_BYTES:
            raise tarfile.ReadError(_too_much())
        return data


def _too_much() -> str:
    return f"it holds more than {MOST_MEMBERS:,} members or {MOST_BYTES:,} bytes"


@contextlib.contextmanager
def downloading(name: str, script: str, folder: Path, files: str) -> Iterator[None]:
    """Download a data set within the block.

    Args:
        script: what can be tried on synthetic data instead.
        folder: where the set's files belong.
        files: their names, and where they come from.

    Raises:
        RunError: whatever goes wrong in the block, with what to do without the data set.
    """
    try:
        yield
    except Exception as error:  # torchvision raises several kinds, for what was downloaded as well
        text = str(getattr(error, "reason", error)) or type(error).__name__
        raise RunError(
            f"{name} in {folder} is missing or damaged and could not be downloaded "
            f"({text.splitlines()[0].rstrip(':')})\n"
            f"  To try the script now, on data it draws itself:  python {script} --dataset synthetic\n"
            f"  To use {name}, put its files into:  {folder.absolute()}\n"
            f"  They are called:  {files}"
        ) from error


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
            raise  # the disk's doing, not the archive's
        reason = error or type(error).__name__
        raise RunError(f"{archive} is damaged or unsafe ({reason}): delete it and run again") from error


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
            file.extract(member, temporary, filter="data")
        while file.fileobj.read(1 << 16):  # a damaged header is an end to tarfile, but not to gzip's checksum
            pass
