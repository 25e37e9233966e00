"""Archives of unknown origin write nothing outside, make no links and fill no disk; damage is noticed."""

import gzip
import hashlib
import io
import stat
import struct
import sys
import tarfile
import zipfile

import pytest
from torchvision.datasets import utils

from common import download
from common.errors import RunError
from common.provenance import ROOT


def write_archive(path, *hostile):
    """An archive of a good folder and these members: (name, bytes), or (name, tar type, target of a link)."""
    members = [("maps/train/1.jpg", b"one"), ("maps/val/2.jpg", b"two" * 5000), *hostile]
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, *content in members:
                info = zipfile.ZipInfo(name)
                if len(content) == 2:
                    kinds = {tarfile.CHRTYPE: stat.S_IFCHR, tarfile.FIFOTYPE: stat.S_IFIFO}
                    info.external_attr = (kinds.get(content[0], stat.S_IFLNK) | 0o777) << 16
                file.writestr(info, content[-1], zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(path, "w:gz") as file:
            for name, *content in members:
                info = tarfile.TarInfo(name)
                if len(content) == 2:
                    info.type, info.linkname = content
                    file.addfile(info)
                else:
                    info.size = len(content[0])
                    file.addfile(info, io.BytesIO(content[0]))


@pytest.fixture(params=["zip", "tar.gz"])
def packed(request, tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / f"maps.{request.param}"


def refused(packed, reason):
    """Extraction fails with this reason and leaves the folder and what is around it as they were."""
    before = sorted(packed.parent.parent.rglob("*"))
    with pytest.raises(RunError, match=f"{packed.name} is damaged or unsafe .*{reason}"):
        download.extract(packed, "maps", packed.parent / "maps")
    assert sorted(packed.parent.parent.rglob("*")) == before


def test_a_good_archive_replaces_what_was_there(packed):
    write_archive(packed, ("other/3.jpg", b"3"))
    (packed.parent / "maps").mkdir()
    (packed.parent / "maps/old").touch()
    download.extract(packed, "maps", packed.parent / "maps")
    found = {str(file.relative_to(packed.parent)): file.read_bytes() for file in packed.parent.rglob("*.jpg")}
    assert found == {"maps/train/1.jpg": b"one", "maps/val/2.jpg": b"two" * 5000}
    assert sorted(file.name for file in packed.parent.iterdir()) == ["maps", packed.name]


OUTSIDE = ["../outside", "maps/../../outside", "{}/outside", "..\\outside", "C:\\outside", "//host/outside"]


@pytest.fixture
def tar(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "maps.tar.gz"


@pytest.mark.parametrize("name", [*OUTSIDE, "m/" * 99])
def test_members_outside(tar, name):
    write_archive(tar, (name.format(tar.parent.parent), b"x"))
    refused(tar, "would lie outside")


@pytest.mark.parametrize("kind", ["SYMTYPE", "LNKTYPE", "CHRTYPE", "BLKTYPE", "FIFOTYPE"])
def test_links_and_devices(tar, kind):
    kind = getattr(tarfile, kind)
    write_archive(tar, ("maps/link", kind, ".."), ("maps/link/outside", b"x"))
    refused(tar, "neither a plain file nor a folder")


def test_too_much(tar, monkeypatch):
    write_archive(tar, ("maps/zeros", bytes(1_000_000)))
    assert tar.stat().st_size < 5000
    monkeypatch.setattr(download, "MOST_BYTES", 900_000)
    refused(tar, "more than .* 900,000 bytes")


def test_too_many(tar, monkeypatch):
    write_archive(tar, ("maps/train/3.jpg", b"3"))
    monkeypatch.setattr(download, "MOST_MEMBERS", 2)
    refused(tar, "more than 2 members")


@pytest.mark.parametrize("name", [*OUTSIDE, "maps/link"])
def test_a_zip_too_writes_nothing_outside_and_no_link(tmp_path, name):
    """Its MD5 is verified before; zipfile itself would not do it either."""
    inside = tmp_path / "in" / "data"
    inside.mkdir(parents=True)
    hostile = (name, tarfile.SYMTYPE, "..") if name == "maps/link" else (name.format(tmp_path), b"x")
    write_archive(inside / "maps.zip", hostile)
    download.extract(inside / "maps.zip", "maps", inside / "maps")
    found = [file for file in tmp_path.rglob("*") if not file.is_relative_to(inside / "maps")]
    assert sorted(found) == [tmp_path / "in", inside, inside / "maps.zip"]
    assert not any(file.is_symlink() for file in inside.rglob("*"))


def test_no_such_folder(packed):
    write_archive(packed)
    with pytest.raises(RunError, match="it has no folder charts"):
        download.extract(packed, "charts", packed.parent / "charts")


def test_a_file_in_the_place_of_a_folder(packed):
    write_archive(packed, ("maps/train/1.jpg/inside", b"x"))
    refused(packed, "")


def test_zip_headers_that_lie(tmp_path):
    (tmp_path / "data").mkdir()
    packed = tmp_path / "data/maps.zip"
    write_archive(packed, ("maps/zeros", bytes(1_000_000)))
    claimed = packed.read_bytes().replace(struct.pack("<I", 1_000_000), struct.pack("<I", 10))
    packed.write_bytes(claimed)
    refused(packed, "Bad CRC-32")


@pytest.mark.parametrize("size", [1 << 40, -(1 << 40)])
def test_tar_headers_that_lie(tar, size):
    """A long name (which tarfile reads into memory) of a terabyte, and of less than nothing."""
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size | 0x80 << 88 if size > 0 else size + (1 << 96)).to_bytes(12, "big")
    header[156:157] = tarfile.GNUTYPE_LONGNAME
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with gzip.open(tar, "wb") as file:
        file.write(header + bytes(10240))
    refused(tar, "a header claims")


# Downloading ------------------------------------------------------------------------------------------------


def advice(monkeypatch, script, folder):
    """Returns the message of a download that fails in this script."""
    monkeypatch.setattr(sys, "argv", [script, "--seed", "1"])
    with pytest.raises(RunError) as raised:
        with download.downloading("Omniglot", folder, "a.zip, from somewhere"):
            raise OSError("no network:\nmore")
    return str(raised.value)


def test_a_download_that_fails_says_what_to_put_where(tmp_path, monkeypatch):
    assert advice(monkeypatch, "q4_darts/evaluate.py", tmp_path) == (
        f"Omniglot in {tmp_path} is missing or damaged and could not be downloaded (no network)\n"
        f"  To use Omniglot, put its files into:  {tmp_path}\n"
        "  They are called:  a.zip, from somewhere"
    )


@pytest.mark.parametrize("script", ["q2_protonet/train.py", "q4_darts/train_search.py"])
def test_a_training_without_data_names_the_script_that_was_called(tmp_path, monkeypatch, script):
    monkeypatch.chdir(ROOT)
    assert f"python {script} --dataset synthetic\n" in advice(monkeypatch, script, tmp_path)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder whose files `download_url` fetches, with the list of what it fetched."""
    folder = tmp_path / "served"
    folder.mkdir()
    fetched = []

    def download_url(url, root, filename, md5):
        content = (folder / url).read_bytes()
        if hashlib.md5(content).hexdigest() != md5:
            raise RuntimeError("File not found or corrupted.")
        (tmp_path / "data" / filename).write_bytes(content)
        fetched.append(url)

    (tmp_path / "data").mkdir()
    monkeypatch.setattr(utils, "download_url", download_url)
    return folder, fetched


def md5_of(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("there, times", [(b"whole", 0), (b"who", 1), (None, 1)])
def test_a_file_is_fetched_unless_it_is_there_whole(tmp_path, served, there, times):
    folder, fetched = served
    (folder / "a.txt").write_bytes(b"whole")
    path = tmp_path / "data" / "a.txt"
    if there is not None:
        path.write_bytes(there)
    download.fetch("a.txt", path, md5_of(folder / "a.txt"), "letters", "a.txt")
    assert path.read_bytes() == b"whole"
    assert len(fetched) == times


def test_a_file_with_another_md5_is_refused(tmp_path, served):
    (served[0] / "a.txt").write_bytes(b"other")
    with pytest.raises(
        RunError, match="letters in .*/data is missing or damaged and could not be downloaded"
    ):
        download.fetch("a.txt", tmp_path / "data" / "a.txt", "0" * 32, "letters", "a.txt")


@pytest.fixture
def letters(served):
    """The arguments of `unpacked` for an archive of two letters."""
    folder, _ = served
    with zipfile.ZipFile(folder / "letters.zip", "w") as file:
        file.writestr("letters/a/1.png", b"1")
        file.writestr("letters/a/2.png", b"2")
    packed = folder.parent / "data" / "letters.zip"
    return ("letters.zip", packed, md5_of(folder / "letters.zip"), 2, "letters", "letters.zip")


def test_an_archive_is_fetched_and_unpacked_once(served, letters):
    for _ in range(2):
        folder = download.unpacked(*letters)
    assert sorted(file.name for file in folder.rglob("*.png")) == ["1.png", "2.png"]
    assert served[1] == ["letters.zip"]


def test_an_archive_whose_images_are_not_all_there_is_unpacked_again(letters, capsys):
    folder = download.unpacked(*letters)
    (folder / "a/1.png").unlink()
    download.unpacked(*letters)
    assert (folder / "a/1.png").read_bytes() == b"1"
    assert "holds 1 of 2 images: it is unpacked again" in capsys.readouterr().err


def test_a_users_own_image_among_those_of_an_archive_is_left_alone(letters):
    folder = download.unpacked(*letters)
    (folder / "a/mine.png").write_bytes(b"mine")
    with pytest.raises(RunError, match="letters holds 3 .png files, and letters.zip has 2: move those"):
        download.unpacked(*letters)
    assert (folder / "a/mine.png").read_bytes() == b"mine"
