import numpy as np
import pytest
import torch
import torch.nn.functional as F

from q3_pix2pix.legend import (
    Legend,
    MapColors,
    find_colors,
    find_legend,
    find_palette,
    on_legend,
    pixel_accuracy,
)
from q3_pix2pix.maps_dataset import Pairs, draw_towns, load
from q3_pix2pix.measures import controls, measure, rows
from q3_pix2pix.options import DataOptions
from q3_pix2pix.synthetic import MAP_COLORS
from tests.conftest import DATA_ROOT


def test_measures_against_numpy():
    torch.manual_seed(0)
    outputs, targets = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    colors = MapColors(torch.rand(5, 3), Legend(torch.rand(2, 3), [0.5, 0.5], ["", ""]))
    assert measure(outputs, targets).keys() == measure(outputs, targets, colors).keys() - {
        "pixel_accuracy",
        "on_legend",
    }
    figures = measure(outputs, targets, colors)
    near = (
        np.abs(outputs.numpy()[:, None] - colors.legend.colors.numpy()[None, :, :, None, None]).max(2).min(1)
    )
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
    legend = (find_legend(legend_maps()).colors * 255).round().int().tolist()
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
    grey = torch.full((6, 3, 32, 32), 128, dtype=torch.uint8)
    table = {row["name"]: row for row in rows({"grey": grey}, train, train, colors)}
    assert table["on the legend, grey"]["value"] == 0
    truth = on_legend(train.images[:, 3:] / 255, colors.legend.colors)
    assert table["on the legend, true maps"]["value"] == pytest.approx(100 * truth.mean().item(), abs=1e-3)
    assert 92 < table["on the legend, true maps"]["value"] < 94  # without the blends, two columns of 32
    assert not any(name.endswith("true maps") for name in table if not name.startswith("on the legend"))


def test_rows_of_the_test_say_so():
    train, pairs = draw_towns(4, 35, 0), draw_towns(6, 32, 1)
    made = {"a": pairs.maps}
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
    steps = torch.linspace(0, 0.2, 6)[:, None, None, None]  # the harder the pair, the larger both errors
    candidates = {"a": (validation.maps * (1 - steps)).byte(), "b": (validation.maps * (0.99 - steps)).byte()}
    row = {row["name"]: row for row in rows(candidates, train, validation, None, "b")}
    difference = row["L1, minus b"]["value"]
    assert difference == pytest.approx(row["L1, a"]["value"] - row["L1, b"]["value"], abs=2e-4)
    assert difference < 0 and row["L1, minus b"]["interval"] < row["L1, a"]["interval"] / 5


def test_the_legend_of_towns_has_their_names():
    legend = find_colors(draw_towns(16, 64, 0), "synthetic").legend
    found = dict(zip(legend.names, (255 * legend.colors).tolist()))
    assert found.keys() == MAP_COLORS.keys()
    for name, color in MAP_COLORS.items():
        assert found[name] == pytest.approx(color, abs=5)


def test_a_data_set_without_names_has_a_legend_without_names():
    legend = find_colors(draw_towns(16, 64, 0), "folder").legend
    assert set(legend.names) == {""}


def test_shares_of_the_legend_are_those_of_its_areas():
    legend = find_legend(legend_maps())
    assert sum(legend.shares) == pytest.approx(1, abs=1e-6)
    assert legend.shares == sorted(legend.shares, reverse=True)
    assert legend.shares[3] == pytest.approx(8 * 8 / (6 * 46 * 40 - 36))  # but 36 pixels at its edge


def test_a_checkpoint_gives_its_legend_back():
    legend = find_colors(draw_towns(16, 64, 0), "synthetic").legend
    again = Legend.from_facts(legend.facts(), "cpu")
    assert (255 * (again.colors - legend.colors)).abs().max() < 0.51
    assert again.shares == pytest.approx(legend.shares, abs=1e-4)
    assert again.names == legend.names


def test_real_colours():
    if not (DATA_ROOT / "aerial_maps" / "train").is_dir():
        pytest.skip(f"the aerial pairs are not in {DATA_ROOT / 'aerial_maps'}")
    colors = find_colors(load(DATA_ROOT, DataOptions("aerial_maps"), 64)["train"])
    assert 4 <= len(colors.palette) <= 8 < len(colors.legend.colors) <= 12
