import shutil
import zipfile

import pytest
import torch
from PIL import Image
from torchvision.datasets.utils import calculate_md5

from common.errors import RunError, UsageError
from common.image_files import list_classes
from q2_protonet import omniglot_dataset, omniglot_files
from q2_protonet.drawings import read_ink
from q2_protonet.omniglot_dataset import Characters, decode, jitter, load, merge, prepare
from q2_protonet.options import DataOptions, check_data
from tests.conftest import DATA_ROOT


def letter(size=105, ink=0, paper=255):
    """An L in the upper left: which way is up can be seen."""
    image = Image.new("L", (size, size), paper)
    image.paste(ink, (size // 5, size // 5, size // 4, size // 2))
    image.paste(ink, (size // 5, size // 2 - size // 20, size // 2, size // 2))
    return image


@pytest.fixture
def tree(tmp_path):
    """Twelve classes of four images."""
    for name in range(12):
        folder = tmp_path / "tree" / f"c{name:02d}"
        folder.mkdir(parents=True)
        for drawing in range(4):
            letter(60 + name).rotate(3 * drawing, fillcolor=255).save(folder / f"{drawing}.png")
    return tmp_path / "tree"


def test_rotations_are_new_classes_turned_as_pillow_turns_them(tmp_path):
    read = []
    for quarter in range(4):
        letter().rotate(90 * quarter).save(tmp_path / "t.png")
        read.append(torch.from_numpy(read_ink(tmp_path / "t.png").copy()))
    turned = Characters(read[0][None, None], torch.tensor([1]), ["a"]).with_rotations()
    assert turned.names == ["a/rot000", "a/rot090", "a/rot180", "a/rot270"] and len(turned) == 4
    difference = turned.images[:, 0].int() - torch.stack(read).int()
    assert difference.abs().max() <= 1  # rotate then resize, as the paper does, but for rounding
    assert turned.images.flatten(1).unique(dim=0).shape[0] == 4


def test_unreadable_image_is_named(tree):
    (tree / "c03" / "2.png").write_bytes(b"not an image")
    with pytest.raises(RunError, match="c03/2.png"):
        load(tree.parent, DataOptions("folder", folder=tree))


def test_cache_is_used_checked_and_renewed(tree, monkeypatch):
    classes = list_classes(tree)
    first = decode(classes, tree.parent)
    (cache,) = (tree.parent / "cache").glob("*.pt")
    with monkeypatch.context() as patch:
        patch.setattr(omniglot_dataset, "read_ink", lambda *_: pytest.fail("the cache was not used"))
        assert torch.equal(decode(classes, tree.parent).images, first.images)
    cache.write_bytes(cache.read_bytes()[:-100])
    assert torch.equal(decode(classes, tree.parent).images, first.images)
    letter(90).save(tree / "c00" / "9.png")  # another file: another fingerprint
    assert decode(list_classes(tree), tree.parent).counts[0] == 5


def test_folder_is_split_without_overlap(tree):
    parts = load(tree.parent, DataOptions("folder", folder=tree, no_rotations=True))
    names = [name for part in parts.values() for name in part.names]
    assert sorted(names) == [f"c{i:02d}" for i in range(12)]
    assert [len(part) for part in parts.values()] == [8, 1, 3]
    for i in range(4, 12):
        shutil.rmtree(tree / f"c{i:02d}")
    with pytest.raises(UsageError, match="only the classes c00, c01, c02, c03: .* take 5 or more"):
        load(tree.parent, DataOptions("folder", folder=tree))


def test_small_classes_are_left_out_by_name(tree, capsys):
    (tree / "c03" / "2.png").unlink()
    parts = load(tree.parent, DataOptions("folder", folder=tree, no_rotations=True, skip_small=4))
    names = sorted(name for part in parts.values() for name in part.names)
    assert names == [f"c{i:02d}" for i in range(12) if i != 3]
    assert "left out, with fewer than 4 images: c03 (3)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data, message",
    [
        (DataOptions("folder"), "--dataset folder needs --folder DIR"),
        (DataOptions("synthetic", skip_small=4), "--skip_small needs --dataset folder"),
    ],
)
def test_data_options_that_do_not_fit_each_other(data, message):
    with pytest.raises(UsageError, match=message):
        check_data(data)


def test_folder_with_its_own_parts_must_not_share_classes(tree, tmp_path):
    for part, classes in (("train", ("a", "b")), ("validation", ("c",)), ("test", ("a",))):
        for name in classes:
            (tmp_path / "own" / part / name).mkdir(parents=True)
            letter().save(tmp_path / "own" / part / name / "0.png")
    with pytest.raises(UsageError, match="more than one part of .*: a"):
        load(tmp_path, DataOptions("folder", folder=tmp_path / "own"))
    (tmp_path / "own" / "test" / "a").rename(tmp_path / "own" / "test" / "d")
    assert load(tmp_path, DataOptions("folder", folder=tmp_path / "own"))["test"].names[0] == "d/rot000"


def test_synthetic_has_classes_for_sixty_way_and_is_seeded():
    one, two, other = (load(None, DataOptions("synthetic"), seed) for seed in (0, 0, 1))
    assert [len(part) for part in one.values()] == [508, 84, 208]
    one, two, other = (parts["train"].images for parts in (one, two, other))
    assert torch.equal(one, two) and not torch.equal(one, other) and one.dtype == torch.uint8


def test_prepare_scales_ink_to_one():
    assert torch.equal(prepare(torch.full((28, 28), 255)), torch.ones(1, 1, 28, 28))


def test_merge_pads_the_smaller_part():
    small, large = (
        Characters(torch.ones(2, n, 28, 28, dtype=torch.uint8), torch.tensor([n, n]), [f"{n}a", f"{n}b"])
        for n in (3, 5)
    )
    merged = merge([small, large])
    assert merged.images.shape == (4, 5, 28, 28) and merged.counts.tolist() == [3, 3, 5, 5]
    assert merged.images[0, 3:].sum() == 0


def test_jitter_is_small_and_seeded():
    images = torch.zeros(200, 1, 28, 28)
    images[..., 12:16, 12:16] = 1
    moved, again = (jitter(images, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(moved, again)
    place = torch.arange(28.0)
    mass = moved.sum((1, 2, 3))
    for axis in (2, 3):
        shift = (moved.sum(5 - axis).squeeze(1) * place).sum(1) / mass - 13.5
        assert shift.abs().max() < 3 and shift.std() > 0.5
    assert (mass / 16 - 1).abs().max() < 0.6


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_omniglot_missing_or_damaged_without_network(tmp_path, monkeypatch, damage):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    if damage != "missing":
        (folder / "images_background_small1.zip").write_bytes(b"PK" if damage == "truncated" else b"x" * 5000)
    said = r"(?s)missing or damaged.*omniglot-py\n.*small1.zip \(MD5 e704a628.*https"
    with pytest.raises(RunError, match=said):
        load(tmp_path, DataOptions(split="small"))


def test_half_extracted_is_extracted_again_from_the_archive(tmp_path, monkeypatch):
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.zip", "w") as archive:
        for i in range(3):
            letter(20 + i).save(tmp_path / "l.png")
            archive.write(tmp_path / "l.png", f"tiny/Abc/character01/{i}.png")
    monkeypatch.setitem(omniglot_files.ARCHIVES, "tiny", (calculate_md5(folder / "tiny.zip"), 3))
    cut = folder / "tiny/Abc/character01/0.png"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(b"cut")
    classes = omniglot_files.list_characters(folder, "tiny")
    assert list(classes) == ["Abc/character01"]
    assert [file.name for file in classes["Abc/character01"]] == ["0.png", "1.png", "2.png"]
    assert cut.stat().st_size > 3


def test_a_random_division_has_the_sizes_of_vinyals():
    parts = omniglot_files.divide_at_random([f"a/{i}" for i in range(1623)], 0)
    assert [len(names) for names in parts.values()] == [1028, 172, 423]
    assert len({name for names in parts.values() for name in names}) == 1623


def test_vinyals_lists():
    folder = DATA_ROOT / "omniglot-py" / "splits" / "vinyals"
    if not folder.is_dir():
        pytest.skip(f"the lists of the Vinyals split are not in {folder}")
    listed = [(folder / f"{file}.txt").read_text().split() for file in ("train", "val", "test")]
    known = {line.rpartition("/")[0] for lines in listed for line in lines}
    parts = omniglot_files.read_lists(folder, known)
    assert [len(names) for names in parts.values()] == [1028, 172, 423]
    for names, lines in zip(parts.values(), listed):
        assert sorted(
            f"{name}/rot{turn}" for name in names for turn in ("000", "090", "180", "270")
        ) == sorted(lines)


def test_the_small_split_of_the_real_drawings(real_omniglot):
    parts = load(real_omniglot, DataOptions(split="small"))
    assert [len(part) for part in parts.values()] == [544, 68, 356]
    assert len({name for part in parts.values() for name in part.names}) == 968
    for part in parts.values():
        assert part.images.shape[1:] == (20, 28, 28)
        assert (part.counts == 20).all()
        assert 0.02 < part.images.float().mean() / 255 < 0.2  # thin ink on an empty page
