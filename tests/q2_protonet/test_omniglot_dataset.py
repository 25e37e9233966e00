import shutil
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torchvision.datasets.utils import calculate_md5

from common.images import list_classes
from common.runtime import RunError, UsageError
from q2_protonet import omniglot_dataset, splits
from q2_protonet.omniglot_dataset import Characters, decode, jitter, merge, prepare, read_ink
from q2_protonet.splits import DataOptions, load
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


def test_ink_is_one_on_zero_whatever_the_picture(tmp_path):
    image = letter()
    image.convert("1").save(tmp_path / "black.png")
    ImageOps.invert(image).save(tmp_path / "white.png")
    image.point(lambda v: 100 + v // 3).save(tmp_path / "faint.png")
    rgba = Image.new("RGBA", image.size)
    rgba.paste((0, 0, 0, 255), mask=ImageOps.invert(image))
    rgba.save(tmp_path / "alpha.png")
    Image.fromarray(np.asarray(image, dtype=np.uint16) * 200).save(tmp_path / "deep.png")
    expected = read_ink(tmp_path / "black.png")
    assert expected.max() > 200 and expected[0, 0] == 0 and expected.mean() < 30
    for name in ("white", "faint", "alpha", "deep"):
        assert np.abs(read_ink(tmp_path / f"{name}.png").astype(int) - expected).max() <= 2, name
    assert prepare(torch.from_numpy(expected.copy())).shape == (1, 1, 28, 28)
    assert prepare(torch.full((28, 28), 255)).max() == 1


def test_ink_that_touches_the_border(tmp_path):
    """Cropped tightly, or in a frame: told which it is, the reader keeps the ink that covers the border."""
    cropped = np.zeros((60, 40), np.uint8)  # a black E
    cropped[10:25, 12:], cropped[35:50, 12:] = 255, 255
    framed = np.full((60, 60), 255, np.uint8)
    framed[:6], framed[-6:], framed[:, :6], framed[:, -6:], framed[20:40, 28:32] = 0, 0, 0, 0, 0
    for drawing in (cropped, framed):
        Image.fromarray(drawing).save(tmp_path / "dark.png")
        Image.fromarray(255 - drawing).save(tmp_path / "light.png")
        square = Image.new("L", (60, 60))
        square.paste(Image.fromarray(255 - drawing), ((60 - drawing.shape[1]) // 2, 0))
        expected = np.asarray(square.resize((28, 28), Image.Resampling.BILINEAR))
        assert np.array_equal(read_ink(tmp_path / "dark.png", "no"), expected)
        assert np.array_equal(read_ink(tmp_path / "light.png", "yes"), expected)


@pytest.mark.parametrize("letter", "EFHLMNUOSR#")
@pytest.mark.parametrize("margin", [0, 1])
def test_the_ink_of_a_tightly_cropped_letter_is_found_out(tmp_path, letter, margin):
    page = Image.new("L", (200, 200))
    ImageDraw.Draw(page).text((100, 100), letter, 255, ImageFont.load_default(120), anchor="mm")
    left, top, right, bottom = page.getbbox()
    light = page.crop((left - margin, top - margin, right + margin, bottom + margin))
    light.save(tmp_path / "light.png")
    ImageOps.invert(light).save(tmp_path / "dark.png")
    expected = read_ink(tmp_path / "light.png", "yes")
    assert np.array_equal(read_ink(tmp_path / "light.png"), expected)
    assert np.array_equal(read_ink(tmp_path / "dark.png"), expected)


@pytest.mark.parametrize("invert", ["auto", "yes", "no"])
@pytest.mark.parametrize("mode", ["L", "RGBA", "F"])
def test_a_picture_without_ink_is_named(tmp_path, invert, mode):
    Image.new(mode, (40, 40)).save(tmp_path / "blank.tif")
    with pytest.raises(RunError, match="blank.tif has no ink"):
        read_ink(tmp_path / "blank.tif", invert)


def test_wide_pictures_are_padded_not_stretched(tmp_path):
    image = Image.new("L", (200, 100), 255)
    image.paste(0, (80, 30, 120, 70))
    image.save(tmp_path / "wide.png")
    ink = read_ink(tmp_path / "wide.png") > 128
    assert ink.any(1).sum() == ink.any(0).sum()  # the square stays a square


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
    with pytest.raises(UsageError, match="--skip_small needs --dataset folder"):
        load(tree.parent, DataOptions("synthetic", skip_small=4))


def test_folder_with_its_own_parts_must_not_share_classes(tree, tmp_path):
    for part, classes in (("train", ("a", "b")), ("validation", ("c",)), ("test", ("a",))):
        for name in classes:
            (tmp_path / "own" / part / name).mkdir(parents=True)
            letter().save(tmp_path / "own" / part / name / "0.png")
    with pytest.raises(UsageError, match="more than one part of .*: a"):
        load(tmp_path, DataOptions("folder", folder=tmp_path / "own"))
    (tmp_path / "own" / "test" / "a").rename(tmp_path / "own" / "test" / "d")
    assert load(tmp_path, DataOptions("folder", folder=tmp_path / "own"))["test"].names[0] == "d/rot000"
    with pytest.raises(UsageError, match="needs --folder"):
        load(tmp_path, DataOptions("folder"))


def test_synthetic_has_classes_for_sixty_way_and_is_seeded():
    one, two, other = (load(None, DataOptions("synthetic"), seed) for seed in (0, 0, 1))
    assert [len(part) for part in one.values()] == [508, 84, 208]
    one, two, other = (parts["train"].images for parts in (one, two, other))
    assert torch.equal(one, two) and not torch.equal(one, other) and one.dtype == torch.uint8


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
    said = r"(?s)missing or damaged.*train.py --dataset synthetic\n.*omniglot-py\n"
    with pytest.raises(RunError, match=said + r".*small1.zip \(MD5 e704a628.*https"):
        load(tmp_path, DataOptions(split="small"))


def test_half_extracted_is_extracted_again_from_the_archive(tmp_path, monkeypatch):
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny.zip", "w") as archive:
        for i in range(3):
            letter(20 + i).save(tmp_path / "l.png")
            archive.write(tmp_path / "l.png", f"tiny/Abc/character01/{i}.png")
    monkeypatch.setitem(splits.ARCHIVES, "tiny", (calculate_md5(folder / "tiny.zip"), 3))
    cut = folder / "tiny/Abc/character01/0.png"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(b"cut")
    characters = splits.alphabets(tmp_path, "tiny")
    assert characters.names == ["Abc/character01"] and characters.counts.tolist() == [3]
    assert not (tmp_path.parent / "outside.png").exists() and not (tmp_path / "outside.png").exists()


def blank_omniglot(names):
    blank = torch.zeros(len(names), 1, 28, 28, dtype=torch.uint8)
    return Characters(blank, torch.ones(len(names), dtype=torch.long), names)


def test_random_split_has_the_sizes_of_vinyals(monkeypatch):
    monkeypatch.setattr(splits, "alphabets", lambda *_: blank_omniglot([f"a/{i}" for i in range(1623)]))
    parts = load(None, DataOptions(split="random"))
    assert [len(part) for part in parts.values()] == [4112, 688, 1692]
    assert len({name for part in parts.values() for name in part.names}) == 6492


def test_vinyals_lists(monkeypatch):
    lists = DATA_ROOT / "omniglot-py" / "splits" / "vinyals"
    if not lists.is_dir():
        pytest.skip(f"the lists of the Vinyals split are not in {lists}")
    listed = [(lists / f"{file}.txt").read_text().split() for file in ("train", "val", "test")]
    names = sorted({line.rpartition("/")[0] for lines in listed for line in lines})
    monkeypatch.setattr(splits, "alphabets", lambda *_: blank_omniglot(names))
    parts = load(DATA_ROOT, DataOptions(split="vinyals"))
    assert [len(part) for part in parts.values()] == [4112, 688, 1692]
    assert [sorted(part.names) for part in parts.values()] == [sorted(lines) for lines in listed]


@pytest.mark.parametrize("split, sizes", [("small", [544, 68, 356]), ("small1", [488, 56, 356])])
def test_small_splits_of_the_real_drawings(real_omniglot, split, sizes):
    parts = load(real_omniglot, DataOptions(split=split))
    assert [len(part) for part in parts.values()] == sizes
    assert len({name for part in parts.values() for name in part.names}) == sum(sizes)
    for part in parts.values():
        assert part.images.shape[1:] == (20, 28, 28) and (part.counts == 20).all()
        assert 0.02 < part.images.float().mean() / 255 < 0.2  # thin ink on an empty page
