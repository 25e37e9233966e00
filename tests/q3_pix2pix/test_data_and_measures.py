import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from common.runtime import RunError, UsageError
from q3_pix2pix import maps_dataset
from q3_pix2pix.maps_dataset import (
    DataOptions,
    Pairs,
    draw_towns,
    load,
    prepare,
    random_crop_and_mirror,
    random_crop_and_turn,
)
from q3_pix2pix.measures import (
    MapColors,
    controls,
    find_colors,
    find_legend,
    find_palette,
    measure,
    on_legend,
    pixel_accuracy,
    rows,
)
from q3_pix2pix.predict import tiled
from tests.conftest import DATA_ROOT


def gradient_pair(path, side=64):
    """A pair whose halves are told apart by colour: red ramps on the left, blue on the right."""
    ramp = np.tile(np.linspace(0, 255, side, dtype=np.uint8), (side, 1))
    zero = np.zeros_like(ramp)
    halves = np.stack([ramp, zero, zero], -1), np.stack([zero, zero, ramp], -1)
    Image.fromarray(np.concatenate(halves, 1)).save(path)


def load_own(folder, test=False, **options):
    return load(folder.parent, DataOptions("folder", folder, **options), 32, test=test)


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 3), ("val", 2)):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        for i in range(count):
            gradient_pair(tmp_path / "pairs" / part / f"{part}{i}.png", 48 if part == "train" else 64)
    return tmp_path / "pairs"


def test_sides():
    assert maps_dataset.load_side(256) == 286 and maps_dataset.load_side(128) == 143


def test_folder_of_pairs_and_direction(folder):
    parts = load_own(folder)
    assert parts["train"].images.shape == (3, 6, 35, 35) and parts["val"].images.shape == (2, 6, 32, 32)
    left, right = parts["val"].images.split(3, 1)
    assert left[0, 0].float().std() > 50 and right[0, 0].max() == 0  # red left, blue right
    turned = load_own(folder, direction="BtoA")["val"].images
    assert torch.equal(turned, torch.cat([right, left], 1))
    again = load_own(folder)["train"]  # from the cache
    assert torch.equal(again.images, parts["train"].images)
    assert again.names == ["train0", "train1", "train2"]


def test_the_part_test_is_read_only_when_asked_for(folder):
    with pytest.raises(RunError, match="pairs has no test/ beside the validation pairs in val/"):
        load_own(folder, test=True)
    before = load_own(folder)
    (folder / "test").mkdir()
    gradient_pair(folder / "test" / "only.png", 80)
    (folder / "test" / "only.png").touch()
    assert load_own(folder).keys() == {"train", "val"}
    parts = load_own(folder, test=True)
    assert parts["test"].names == ["only"]
    assert parts["test"].images.shape == (1, 6, 32, 32)
    for name, part in before.items():
        assert torch.equal(parts[name].images, part.images)


def test_a_test_that_serves_as_validation_is_no_part_of_its_own(folder):
    (folder / "val").rename(folder / "test")
    assert len(load_own(folder)["val"]) == 2
    with pytest.raises(RunError, match="no test/ beside the validation pairs in test/"):
        load_own(folder, test=True)


def test_parallel_folders_have_a_part_test(tmp_path):
    for part in ("train", "val", "test"):
        for side, color in (("A", "red"), ("B", "blue")):
            (tmp_path / f"{part}{side}").mkdir()
            Image.new("RGB", (40, 40 + len(part)), color).save(tmp_path / f"{part}{side}" / f"{part}.png")
    gradient = Image.linear_gradient("L").convert("RGB")
    for side in "AB":
        gradient.save(tmp_path / f"train{side}" / "train.png")
    parts = load_own(tmp_path, test=True, resize="stretch")
    assert parts["test"].names == ["test"]
    assert parts["test"].images[0, :, 5, 5].tolist() == [255, 0, 0, 0, 0, 255]


def test_a_test_picture_is_never_a_training_picture(folder):
    (folder / "test").mkdir()
    shutil.copy(folder / "train" / "train1.png", folder / "test" / "renamed.png")
    load_own(folder)
    with pytest.raises(RunError, match="renamed.png is the training picture .*train[012].png"):
        load_own(folder, test=True)


def test_towns_of_the_test_are_others():
    parts = load(None, DataOptions("synthetic"), 32, test=True)
    assert len(parts["test"]) == 16
    towns = [F.interpolate(part.images.float(), 16).flatten(1) for part in parts.values()]
    assert torch.cdist(towns[2], towns[0]).min() > 100
    assert torch.cdist(towns[2], towns[1]).min() > 100


def test_a_validation_picture_is_never_a_training_picture(folder):
    shutil.copy(folder / "train" / "train1.png", folder / "val" / "renamed.png")
    with pytest.raises(RunError, match="renamed.png is the training picture .*train[012].png"):
        load_own(folder)


@pytest.mark.parametrize(
    "name, options", [("again.bmp", {}), ("again.webp", {"lossless": True}), ("again.jpg", {"quality": 85})]
)
def test_a_training_picture_saved_again_is_noticed_and_a_like_one_is_not(folder, name, options):
    town = np.concatenate(draw_towns(1, 64, 7).images[0].view(2, 3, 64, 64).permute(0, 2, 3, 1).numpy(), 1)
    Image.fromarray(town).save(folder / "train" / "town.png")
    town = town.astype(int) + np.random.default_rng(0).normal(0, 40, town.shape)
    Image.fromarray(town.clip(0, 255).astype(np.uint8)).save(folder / "val" / "like.png")
    load_own(folder)
    with Image.open(folder / "train" / "town.png") as image:
        image.save(folder / "val" / name, **options)
    with pytest.raises(RunError, match="val/again.* is the training picture .*train/town.png"):
        load_own(folder)


@pytest.mark.parametrize("side", "AB")
def test_parallel_folders(tmp_path, side):
    for part, size in (("train", (40, 40)), ("val", (50, 50))):
        for inside, color in (("A", "red"), ("B", "blue")):
            (tmp_path / f"{part}{inside}").mkdir()
            Image.new("RGB", size, color).save(tmp_path / f"{part}{inside}" / "one.png")
    assert load_own(tmp_path)["train"].images[0, :, 0, 0].tolist() == [255, 0, 0, 0, 0, 255]
    folder = tmp_path / f"train{side}"
    Image.new("RGB", (40, 40)).save(folder / "two.png")
    with pytest.raises(RunError, match="no partner.*two.png"):
        load_own(tmp_path)
    (folder / "two.png").rename(folder / "one.jpg")
    with pytest.raises(RunError, match=f"train{side}/one.jpg and .*train{side}/one.png have one name"):
        load_own(tmp_path)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_grey_alpha_and_palette_images_are_converted(folder, mode):
    Image.new(mode, (64, 32)).save(folder / "train" / "odd.png")
    assert len(load_own(folder)["train"]) == 4


SIZES = [((60, 32), "60 x 32: a side-by-side pair is twice as wide as high"), ((8, 4), "only 8 x 4")]


@pytest.mark.parametrize("size, message", [*SIZES, (None, "cannot be read")])
def test_bad_pictures_are_named(folder, size, message):
    file = folder / "train" / "bad.png"
    Image.new("RGB", size).save(file) if size else file.write_bytes(b"no")
    with pytest.raises(RunError, match="bad.png.*" + message):
        load_own(folder)


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(
    "resize, scale, corner, left, middle",
    [
        ("stretch", (0.4, 0.8), "green", "green", "red"),
        ("fit", (0.4, 0.4), "white", "green", "red"),
        ("crop", (0.8, 0.8), "red", "red", "red"),
    ],
)
def test_pairs_that_are_not_square(tmp_path, beside, resize, scale, corner, left, middle):
    """Photos of 80 x 40, green with a red middle half, and blue maps; those of the training are gradients."""
    blue, photo = Image.new("RGB", (80, 40), "blue"), Image.new("RGB", (80, 40), (0, 255, 0))
    photo.paste((255, 0, 0), (20, 0, 60, 40))
    gradient = Image.linear_gradient("L").resize((80, 40)).convert("RGB")
    for part, picture in (("train", gradient), ("val", photo)):
        pair = {f"{part}A": picture, f"{part}B": blue}
        if beside:
            pair = {part: Image.fromarray(np.concatenate([picture, blue], 1))}
        for folder, image in pair.items():
            (tmp_path / folder).mkdir()
            image.save(tmp_path / folder / "one.png")
    pairs = load_own(tmp_path, resize=resize)["val"]
    assert pairs.scale == pytest.approx(scale)
    colors = {"red": [255, 0, 0], "green": [0, 255, 0], "white": [255, 255, 255]}
    for (y, x), color in {(2, 2): corner, (16, 2): left, (16, 16): middle}.items():
        assert pairs.images[0, :3, y, x].tolist() == colors[color]
    assert pairs.images[0, 3:, 16, 16].tolist() == [0, 0, 255]


def test_missing_folders(tmp_path):
    with pytest.raises(UsageError, match="needs --pairs"):
        load(tmp_path, DataOptions("folder"), 32)
    with pytest.raises(RunError, match="no .*aerial_maps/train"):
        load(tmp_path, DataOptions("aerial_maps"), 32)
    (tmp_path / "train").mkdir()
    with pytest.raises(RunError, match="no images"):
        load_own(tmp_path)


def test_maps_archive_of_the_wrong_size_and_no_network(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", offline)
    (tmp_path / "maps.tar.gz").write_bytes(b"cut short")
    with pytest.raises(RunError, match="(?s)--dataset synthetic.*They are called:  maps.tar.gz, from http"):
        load(tmp_path, DataOptions("maps"), 32)


def test_maps_archive_is_extracted_safely(tmp_path, monkeypatch):
    packed, options = tmp_path / "maps.tar.gz", DataOptions("maps")
    gradient_pair(tmp_path / "p.jpg")
    with tarfile.open(packed, "w:gz") as archive:
        for part in ("train", "val"):
            archive.add(tmp_path / "p.jpg", f"maps/{part}/1.jpg")
    monkeypatch.setattr(maps_dataset, "MAPS_BYTES", packed.stat().st_size)
    assert len(load(tmp_path, options, 32)["train"]) == 1
    few = "'train': 1, 'val': 1} pairs instead of {'train': 1096, 'val': 1098}: move it away"
    with pytest.raises(RunError, match=few):
        load(tmp_path, options, 32)
    assert len(list((tmp_path / "maps").rglob("*.jpg"))) == 2  # left alone
    shutil.rmtree(tmp_path / "maps")
    with tarfile.open(packed, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside.txt"), io.BytesIO())
    monkeypatch.setattr(maps_dataset, "MAPS_BYTES", packed.stat().st_size)
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe .*outside.txt"):
        load(tmp_path, options, 32)
    packed.write_bytes(packed.read_bytes()[:40].ljust(maps_dataset.MAPS_BYTES))
    with pytest.raises(RunError, match="maps.tar.gz is damaged or unsafe"):
        load(tmp_path, options, 32)
    assert not (tmp_path / "maps").exists()


def test_crop_and_mirror_are_the_same_for_input_and_target_and_cover_everything():
    side, size = 12, 8
    place = torch.arange(side * side, dtype=torch.uint8).view(1, 1, side, side)
    images = torch.cat([place.expand(400, 3, -1, -1), place.expand(400, 3, -1, -1)], 1)
    out = random_crop_and_mirror(images, size, torch.Generator().manual_seed(0))
    assert torch.equal(out[:, :3], out[:, 3:])
    seen = set()
    for crop in out[:, 0].int():
        mirrored = crop[0, 0] > crop[0, -1]
        plain = crop.flip(-1) if mirrored else crop
        top, left = divmod(int(plain[0, 0]), side)
        assert torch.equal(plain, place[0, 0, top : top + size, left : left + size].int())
        seen.add((top, left, bool(mirrored)))
    assert len(seen) == 5 * 5 * 2


def test_crop_and_turn_are_the_same_for_input_and_target_and_cover_all_eight_ways():
    side, size = 10, 8
    place = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    images = torch.from_numpy(place).expand(1500, 6, -1, -1)
    out = random_crop_and_turn(images, size, torch.Generator().manual_seed(0))
    assert out.shape == (1500, 6, size, size)
    assert torch.equal(out[:, :3], out[:, 3:])
    ways = {}  # pixels -> the place of the crop, whether it is mirrored and how often it is turned
    for top in range(side - size + 1):
        for left in range(side - size + 1):
            crop = place[top : top + size, left : left + size]
            for mirrored in (False, True):
                for quarters in range(4):
                    turned = np.rot90(np.fliplr(crop) if mirrored else crop, quarters)
                    ways[turned.tobytes()] = top, left, mirrored, quarters
    seen = [ways[crop.numpy().tobytes()] for crop in out[:, 0]]
    assert len(set(seen)) == len(ways) == 3 * 3 * 8
    for way in {way[2:] for way in seen}:  # each of the eight 187.5 times, with a deviation of 13
        assert 130 < [each[2:] for each in seen].count(way) < 245


def test_prepare_and_back():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, -1, -1)
    assert prepare(images).min() == -1 and prepare(images).max() == 1
    torch.testing.assert_close(maps_dataset.to_unit(prepare(images)) * 255, images.float())


def test_train_and_validation_towns_differ_and_are_seeded():
    parts = load(None, DataOptions("synthetic"), 32)
    small = [F.interpolate(part.images.float(), 16).flatten(1) for part in parts.values()]
    assert torch.cdist(small[1], small[0]).min() > 100
    assert torch.equal(draw_towns(2, 64, 5).images, draw_towns(2, 64, 5).images)


def test_measures_against_numpy():
    torch.manual_seed(0)
    outputs, targets = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    colors = MapColors(torch.rand(5, 3), torch.rand(2, 3))
    assert measure(outputs, targets).keys() == measure(outputs, targets, colors).keys() - {
        "pixel_accuracy",
        "on_legend",
    }
    figures = measure(outputs, targets, colors)
    near = np.abs(outputs.numpy()[:, None] - colors.legend.numpy()[None, :, :, None, None]).max(2).min(1)
    shares = 100 * (near <= 60 / 255).mean((1, 2))
    assert figures["on_legend"].tolist() == pytest.approx(shares.tolist())
    right = pixel_accuracy(outputs, targets, colors.palette)
    assert figures["pixel_accuracy"].tolist() == pytest.approx((100 * right).tolist())
    a, b = outputs.double().numpy(), targets.double().numpy()
    every = (1, 2, 3)
    edges = [sum(np.abs(np.diff(x, axis=axis)).mean(every) for axis in (2, 3)) for x in (a, b)]
    expected = {"l1": np.abs(a - b).mean(every) * 255, "sharpness": edges[0] / edges[1].mean()}
    expected["psnr"] = 10 * np.log10(1 / ((a - b) ** 2).mean(every))
    for name, values in expected.items():
        assert figures[name].tolist() == pytest.approx(values.tolist(), rel=1e-5), name
    same = measure(targets, targets)
    assert same["l1"].max() == 0 and same["ssim"].min() == pytest.approx(1, abs=1e-5)
    assert same["sharpness"].mean().item() == pytest.approx(1)


def test_ssim_against_its_equation():
    """Wang et al. 2004, eq. 13, with Gaussian windows of deviation 1.5 on the reflected picture."""
    torch.manual_seed(1)
    pictures = torch.rand(2, 1, 1, 40, 40, dtype=torch.float64)
    window = torch.exp(-((torch.arange(11.0) - 5) ** 2) / (2 * 1.5**2)).double()
    window = (window[:, None] * window[None, :] / window.sum() ** 2)[None, None]

    def local(z):
        return F.conv2d(z, window)

    x, y = (F.pad(picture, (5, 5, 5, 5), mode="reflect") for picture in pictures)
    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    expected = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()
    got = measure(*pictures.float().expand(-1, -1, 3, -1, -1))["ssim"]
    assert got.item() == pytest.approx(expected.item(), abs=1e-4)


def test_palette_and_pixel_accuracy():
    colors = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    kinds = torch.randint(0, 3, (4, 16, 16), generator=torch.Generator().manual_seed(0))
    flat = colors[kinds].permute(0, 3, 1, 2)
    palette = find_palette(flat)
    assert len(palette) == 3
    assert find_palette(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)) is None
    unit = flat.float() / 255
    noisy = (unit + 0.2 * torch.rand_like(unit) - 0.1).clamp(0, 1)
    assert pixel_accuracy(noisy, unit, palette).tolist() == [1, 1, 1, 1]
    wrong = unit.clone()
    wrong[:, :, :8] = unit[:, [1, 2, 0], :8]  # the upper half in other colours
    assert pixel_accuracy(wrong, unit, palette).tolist() == [0.5] * 4


def legend_maps():
    """Six flat maps in stripes of three colours, one of them with a fourth in a corner: 0.7 % of all pixels.

    Between two stripes lies a column of a colour that blends both, which is none of the legend's.
    """
    colors = torch.tensor([[251, 3, 3], [3, 251, 3], [3, 3, 251]], dtype=torch.uint8)
    maps = colors.repeat_interleave(16, 0).T[None, :, None].repeat(6, 1, 48, 1)
    for edge in (15, 31):
        maps[:, :, :, edge] = (maps[:, :, :, edge].float() / 2 + maps[:, :, :, edge + 1].float() / 2).byte()
    maps[0, :, :10, :10] = 251
    return maps


def test_a_legend_holds_rare_colours_and_no_blends():
    legend = (find_legend(legend_maps()) * 255).round().int().tolist()
    expected = [[252, 4, 4], [4, 252, 4], [4, 4, 252], [252, 252, 252]]
    assert sorted(legend) == sorted(expected)
    assert len(find_palette(legend_maps())) == 3


def test_the_share_on_the_legend_against_plain_loops():
    legend = torch.tensor([[251, 3, 3], [128, 128, 128]]) / 255
    outputs = torch.randint(0, 256, (3, 3, 12, 12), generator=torch.Generator().manual_seed(0)) / 255
    outputs[0, :, 0, 0] = torch.tensor([191, 63, 63]) / 255  # 60 levels away, which still counts
    outputs[0, :, 0, 1] = torch.tensor([190, 63, 63]) / 255  # 61 from red and 65 from grey
    expected = []
    for picture in (outputs * 255).round().int().tolist():
        near = 0
        for pixel in zip(*(sum(channel, []) for channel in picture)):
            for color in ((251, 3, 3), (128, 128, 128)):
                if max(abs(a - b) for a, b in zip(pixel, color)) <= 60:
                    near += 1
                    break
        expected.append(near / 144)
    assert on_legend(outputs, legend).tolist() == pytest.approx(expected)
    alone = on_legend(outputs[:1, :, :1, :2], legend)
    assert alone.tolist() == [0.5]


def test_true_maps_stand_beside_the_generated_ones_on_the_legend():
    towns = draw_towns(6, 35, 0)
    train = Pairs(torch.cat([towns.images[:, :3, :32, :32], legend_maps()[:, :, :32, :32]], 1), towns.names)
    colors = find_colors(train)
    grey = torch.full((6, 3, 32, 32), 0.5)
    table = {row["name"]: row for row in rows({"grey": grey}, train, train, colors)}
    assert table["on the legend, grey"]["value"] == 0
    truth = on_legend(train.images[:, 3:] / 255, colors.legend)
    assert table["on the legend, true maps"]["value"] == pytest.approx(100 * truth.mean().item(), abs=1e-3)
    assert 92 < table["on the legend, true maps"]["value"] < 94  # without the blends, two columns of 32
    assert not any(name.endswith("true maps") for name in table if not name.startswith("on the legend"))


def test_rows_of_the_test_say_so():
    train, pairs = draw_towns(4, 35, 0), draw_towns(6, 32, 1)
    made = {"a": pairs.images[:, 3:] / 255}
    validation, test = (rows(made, train, pairs, None, part=part) for part in ("val", "test"))
    assert [row["name"] for row in test] == [f"{row['name']}, part test" for row in validation]
    assert {row["count"] for row in test} == {"6 test pairs"}
    assert {row["count"] for row in validation} == {"6 validation pairs"}


def test_maps_that_are_not_flat_have_no_colours():
    noise = torch.randint(0, 256, (4, 6, 35, 35), dtype=torch.uint8)
    assert find_colors(Pairs(noise, list("abcd"))) is None


def test_controls():
    train = Pairs(torch.zeros(2, 6, 35, 35, dtype=torch.uint8), ["a", "b"])
    train.images[1] = 200
    validation = Pairs(torch.full((1, 6, 32, 32), 180, dtype=torch.uint8), ["c"])
    found = controls(train, validation)
    torch.testing.assert_close(found["mean training map"] * 255, torch.full((1, 3, 32, 32), 100.0))
    torch.testing.assert_close(found["nearest training pair's map"] * 255, torch.full((1, 3, 32, 32), 200.0))


def test_two_networks_are_compared_pair_by_pair():
    train, validation = draw_towns(4, 35, 0), draw_towns(6, 32, 1)
    maps = validation.images[:, 3:].float() / 255
    steps = torch.linspace(0, 0.2, 6)[:, None, None, None]  # the harder the pair, the larger both errors
    candidates = {"a": maps * (1 - steps), "b": maps * (0.99 - steps)}
    row = {row["name"]: row for row in rows(candidates, train, validation, None, "b")}
    difference = row["L1, minus b"]["value"]
    assert difference == pytest.approx(row["L1, a"]["value"] - row["L1, b"]["value"], abs=2e-4)
    assert difference < 0 and row["L1, minus b"]["interval"] < row["L1, a"]["interval"] / 5


def test_tiling_equals_the_whole_picture_away_from_the_borders():
    torch.manual_seed(0)
    kernel = torch.randn(3, 1, 5, 5)
    image = torch.randint(0, 256, (3, 150, 201), dtype=torch.uint8)

    def blur(tiles):
        return F.conv2d(tiles.float() / 255, kernel, padding=2, groups=3)

    # a tile's outermost two pixels see its padding; with weights near zero there they hardly count
    result = tiled(blur, image, 64, 0.5)
    whole = blur(image[None])[0]
    assert result.shape == image.shape
    assert (result - whole)[:, 4:-4, 4:-4].abs().max() < 0.02 * whole.abs().max()


@pytest.mark.parametrize("shape", [(64, 64), (20, 50), (64, 65), (17, 300), (129, 64)])
def test_tiling_of_any_size_gives_back_the_identity(shape):
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8)
    result = tiled(lambda tiles: tiles.float(), image, 64, 0.5)
    torch.testing.assert_close(result, image.float(), rtol=1e-4, atol=1e-2)


def test_real_pairs():
    if not (DATA_ROOT / "aerial_maps" / "train").is_dir():
        pytest.skip(f"the aerial pairs are not in {DATA_ROOT / 'aerial_maps'}")
    parts = load(DATA_ROOT, DataOptions("aerial_maps"), 64, test=True)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1106, "val": 63, "test": 116}
    colors = find_colors(parts["train"])
    assert 4 <= len(colors.palette) <= 8 < len(colors.legend) <= 12
    folders = [DATA_ROOT / "aerial_maps" / part for part in parts]
    files = [file.read_bytes() for folder in folders for file in folder.iterdir()]
    assert len(set(files)) == len(files) == 1106 + 63 + 116
