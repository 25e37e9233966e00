"""The four tabs in a real browser give right answers, with the networks of the quick preset. Minutes."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from common.device import Runtime
from q1_dcgan import mnist_dataset
from q1_dcgan.classifier import judge, trained_classifier
from q1_dcgan.options import DataOptions
from q3_pix2pix.synthetic import draw_town
from tests.running_demo import RunningDemo
from tests.soak.browsing import CORNER, CROSS, RING, draw, expect, visit

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")
if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")

RUNS = {
    "--dcgan": "q1_dcgan/quick-conditional/checkpoints/last.pt",
    "--protonet": "q2_protonet/quick-5w1s/checkpoints/best.pt",
    "--pix2pix": "q3_pix2pix/quick-gan/checkpoints/last.pt",
    "--darts": "q4_darts/quick-found/checkpoints/last.pt",
}


@pytest.fixture(scope="module")
def demo(quick_preset, tmp_path_factory):
    flags = []
    for flag, run in RUNS.items():
        flags += [flag, str(quick_preset / "log" / run)]
    with RunningDemo(tmp_path_factory.mktemp("demo"), *flags) as demo:
        yield demo


@pytest.fixture
def page(browser, demo):
    with visit(browser, demo.address) as page:
        yield page


def fetch(page, image):
    """Returns the picture of an <img>."""
    expect(image).to_be_visible()
    return Image.open(io.BytesIO(page.request.get(image.get_attribute("src")).body()))


def test_what_is_drawn_ends_in_its_class(page):
    for count, (name, strokes) in enumerate({"A": RING, "B": CROSS, "C": CORNER}.items(), 1):
        draw(page, strokes)
        page.locator("#name").get_by_text(name, exact=True).click()
        page.click("#add")
        expect(page.locator("#known img")).to_have_count(count)
    for name, strokes in (("B", CROSS), ("A", RING), ("C", CORNER)):
        draw(page, strokes, size=0.65)
        page.click("#ask")
        expect(page.locator("#answer h2")).to_have_text(name)
        page.click("#wipe")


def test_a_digit_appears_and_the_judge_agrees(page, quick_preset):
    data = DataOptions(dataset="synthetic", synthetic_pictures=3072)
    parts = mnist_dataset.load(quick_preset / "data", data)
    classifier, _ = trained_classifier(parts, quick_preset / "data", Runtime(torch.device("cpu")))
    page.get_by_role("tab", name="Digits").click()
    image = page.locator("#sample img")
    drawn = []
    digits = [7, 1, 2, 3, 4, 5, 6, 0, 8, 9]
    for digit in digits:
        before = image.get_attribute("src")
        page.locator("#digit").get_by_text(str(digit), exact=True).click()
        expect(image).not_to_have_attribute("src", before)
        drawn.append(np.asarray(fetch(page, image).convert("L").resize((28, 28), Image.Resampling.NEAREST)))
    read = judge(classifier, torch.from_numpy(np.stack(drawn)))[1].argmax(1)
    assert (read == torch.tensor(digits)).sum() >= 8, read


def test_a_photo_becomes_its_map(page):
    page.get_by_role("tab", name="Maps").click()
    page.get_by_text("a town", exact=True).click()
    pair = draw_town(np.random.default_rng([4_000_000, 0]), 64).astype(np.float32)  # what the example shows
    photo, truth = pair[:3], pair[3:]
    output = np.asarray(fetch(page, page.locator("#map img")), np.float32).transpose(2, 0, 1)
    assert abs(output - truth).mean() < 15
    assert abs(photo - truth).mean() > 45


def test_the_legend_names_the_colours_of_a_synthetic_town(page):
    page.get_by_role("tab", name="Maps").click()
    expect(page.locator("#legend")).to_contain_text("water")


def test_a_picture_gets_classes(page):
    page.get_by_role("tab", name="Pictures").click()
    names = ("dotted disc", "dotted triangle", "striped disc", "striped triangle")
    right = 0
    for name in names:
        page.locator("button.example").get_by_text(name, exact=True).click()
        expect(page.locator("#classes h2")).to_be_visible()
        page.wait_for_timeout(2000)
        right += page.locator("#classes h2").inner_text() == name
    assert right >= 3
