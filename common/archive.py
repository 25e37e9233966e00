"""Archives of unknown origin: nothing but files and folders, inside their own place, and only so many and so large."""

import errno
import gzip
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from common.runtime import RunError

MOST_MEMBERS, MOST_BYTES, MOST_LEVELS = (
    100_000,
    2 << 30,
    16,
)  # Omniglot has 32,460 drawings, and pix2pix's maps take 0.25 GB
CHUNK = 1 << 16


class SmallReads(gzip.GzipFile):
    """tarfile reads a header into memory whatever its claimed size, and for ever if that is negative: not from here."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return super().read(size)


def extract(archive: Path, folder: str, target: Path) -> None:
    """Extracts the folder `folder` of a .zip or .tar.gz as `target`, whole or not at all; what was there is replaced.

    The members go to a temporary folder beside `target`, and `folder` takes its name when all are there. All headers are checked
    before anything is written, and the bytes are counted once more as they come out, since headers can lie.

    Raises:
        RunError: the archive is damaged, has no such folder, or has a member that is a link or a device, that would come to lie
            outside, or that is too much; nothing of it is left.
    """
    too_much = ValueError(f"it holds more than {MOST_MEMBERS:,} members or {MOST_BYTES:,} bytes")
    try:
        with (
            zipfile.ZipFile(archive)
            if archive.suffix == ".zip"
            else tarfile.open(fileobj=SmallReads(archive), mode="r:") as file,
            tempfile.TemporaryDirectory(dir=target.parent) as temporary,
        ):
            checked, left = [], MOST_BYTES
            for name, is_folder, is_plain, size, info in members(file):
                path = PureWindowsPath(name)  # which knows every kind of root and separator
                if path.drive or path.root or ".." in path.parts or len(path.parts) > MOST_LEVELS:
                    raise ValueError(f"its member {name[:200]} would lie outside or too deep")
                if not is_plain:
                    raise ValueError(f"its member {name[:200]} is neither a plain file nor a folder")
                left -= size
                if size < 0 or left < 0 or len(checked) == MOST_MEMBERS:
                    raise too_much
                checked.append((Path(temporary, name), is_folder, info))
            if isinstance(
                file, tarfile.TarFile
            ):  # it takes a damaged header for the end: go on to gzip's own checksum
                while chunk := file.fileobj.read(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise too_much
            left = MOST_BYTES
            for path, is_folder, info in checked:
                (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                if is_folder:
                    continue
                with (
                    file.open(info)
                    if isinstance(file, zipfile.ZipFile)
                    else file.extractfile(info) as source,
                    open(path, "wb") as to,
                ):
                    while chunk := source.read(CHUNK):
                        left -= len(chunk)
                        if left < 0:
                            raise too_much
                        to.write(chunk)
            if not Path(temporary, folder).is_dir():
                raise ValueError(f"it has no folder {folder}")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(Path(temporary, folder), target)
    except Exception as error:  # zipfile and tarfile raise almost anything on damaged bytes
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EACCES,
            errno.EROFS,
            errno.EIO,
            errno.EMFILE,
        ):
            raise  # the disk's doing, not the archive's
        raise RunError(
            f"{archive} is damaged or unsafe ({error or type(error).__name__}): delete it and run again"
        ) from error


def members(
    file: zipfile.ZipFile | tarfile.TarFile,
) -> Iterator[tuple[str, bool, bool, int, zipfile.ZipInfo | tarfile.TarInfo]]:
    """Of each member: name, whether it is a folder, whether it is a folder or plain file, size, and header."""
    if isinstance(file, zipfile.ZipFile):
        for info in file.infolist():
            plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            bounded = info.compress_type in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            )  # the others are decompressed all at once
            yield info.filename, info.is_dir(), plain and bounded, info.file_size, info
    else:
        for info in file:
            yield info.name, info.isdir(), info.isdir() or info.isreg(), info.size, info
