"""Archives of unknown origin write nothing outside, make no links and fill no disk; damage is noticed."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile

import pytest

from common import archive
from common.runtime import RunError
from q2_protonet import splits
from q3_pix2pix import maps_dataset


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
        archive.extract(packed, "maps", packed.parent / "maps")
    assert sorted(packed.parent.parent.rglob("*")) == before


def test_a_good_archive_replaces_what_was_there(packed):
    write_archive(packed, ("other/3.jpg", b"3"))
    (packed.parent / "maps").mkdir()
    (packed.parent / "maps/old").touch()
    archive.extract(packed, "maps", packed.parent / "maps")
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


def test_too_many_and_too_much(tar, monkeypatch):
    write_archive(tar, ("maps/zeros", bytes(1_000_000)))
    assert tar.stat().st_size < 5000
    monkeypatch.setattr(archive, "MOST_BYTES", 900_000)
    refused(tar, "more than .* 900,000 bytes")
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    refused(tar, "more than 2 members")


@pytest.mark.parametrize("name", [*OUTSIDE, "maps/link"])
def test_a_zip_too_writes_nothing_outside_and_no_link(tmp_path, name):
    """Its MD5 is verified before; zipfile itself would not do it either."""
    inside = tmp_path / "in" / "data"
    inside.mkdir(parents=True)
    hostile = (name, tarfile.SYMTYPE, "..") if name == "maps/link" else (name.format(tmp_path), b"x")
    write_archive(inside / "maps.zip", hostile)
    archive.extract(inside / "maps.zip", "maps", inside / "maps")
    found = [file for file in tmp_path.rglob("*") if not file.is_relative_to(inside / "maps")]
    assert sorted(found) == [tmp_path / "in", inside, inside / "maps.zip"]
    assert not any(file.is_symlink() for file in inside.rglob("*"))


def test_no_such_folder_and_a_file_in_its_place(packed):
    write_archive(packed)
    with pytest.raises(RunError, match="it has no folder charts"):
        archive.extract(packed, "charts", packed.parent / "charts")
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


def test_both_questions_use_it(tmp_path, monkeypatch):
    from torchvision.datasets.utils import calculate_md5

    (tmp_path / "omniglot-py").mkdir()
    write_archive(tmp_path / "omniglot-py/tiny.zip", ("../outside", b"x"))
    md5 = calculate_md5(tmp_path / "omniglot-py/tiny.zip")
    monkeypatch.setitem(splits.ARCHIVES, "tiny", (md5, 3))
    with pytest.raises(RunError, match="tiny.zip is damaged or unsafe .*no folder tiny"):
        splits.alphabets(tmp_path, "tiny")
    write_archive(tmp_path / "maps.tar.gz", ("maps/link", tarfile.SYMTYPE, "/etc"))
    monkeypatch.setattr(maps_dataset, "MAPS_BYTES", (tmp_path / "maps.tar.gz").stat().st_size)
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe .*maps/link"):
        maps_dataset.fetch_maps(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["maps.tar.gz", "omniglot-py"]
