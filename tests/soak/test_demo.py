"""The local page in a real browser, with the networks of the quick preset. Minutes: SOAK=1 runs it."""

import io
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from common.runtime import Runtime
from q1_dcgan import mnist_dataset
from q1_dcgan.classifier import judge, trained_classifier
from q3_pix2pix.maps_dataset import draw_town
from tests.conftest import ENVIRONMENT, ROOT

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")
if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")
expect = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)

RING = [[(0.8 * np.cos(t), 0.8 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 20)]]
CROSS = [[(-0.7, -0.7), (0.7, 0.7)], [(-0.7, 0.7), (0.7, -0.7)]]
CORNER = [[(-0.6, -0.8), (-0.6, 0.8), (0.7, 0.8)]]


RUNS = {
    "--dcgan": "q1_dcgan/quick-conditional/checkpoints/last.pt",
    "--protonet": "q2_protonet/quick-5w1s/checkpoints/best.pt",
    "--pix2pix": "q3_pix2pix/quick-gan/checkpoints/last.pt",
    "--darts": "q4_darts/quick-found/checkpoints/last.pt",
}


@pytest.fixture(scope="module")
def address(quick_preset, tmp_path_factory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-u", "demo.py", "--device", "cpu", "--port", str(port)]
    for flag, run in RUNS.items():
        words += [flag, quick_preset / "log" / run]
    log = tmp_path_factory.mktemp("demo") / "log.txt"
    with open(log, "w") as file:
        how = {"cwd": ROOT, "env": ENVIRONMENT, "stdout": file, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(words, **how)
    try:
        while "Running on" not in log.read_text():
            assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
    assert "Traceback" not in log.read_text()


@pytest.fixture
def page(browser, address):
    with browser.new_context() as context:
        page, elsewhere = context.new_page(), []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto(address)
        expect(page.locator("#pad canvas")).to_have_css("cursor", "crosshair")  # it is ready
        yield page
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []


def draw(page, strokes, size=0.8):
    """Strokes of points from -1 to 1, with the mouse."""
    box = page.locator("#pad canvas").bounding_box()
    for stroke in strokes:
        points = [[box["x"] + 140 + 125 * size * x, box["y"] + 140 + 125 * size * y] for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def fetch(page, image):
    """The pixels of an <img>."""
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
        expect(page.locator("#space img")).to_be_visible()
        page.click("#wipe")
        page.click("#ask")
        expect(page.get_by_text("The pad is empty: draw a character first.").first).to_be_visible()
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)


def test_a_digit_appears_and_the_judge_agrees(page, quick_preset):
    data = mnist_dataset.DataOptions(dataset="synthetic", synthetic_pictures=3072)
    parts = mnist_dataset.load(quick_preset / "data", data)
    classifier, _ = trained_classifier(parts, quick_preset / "data", Runtime(torch.device("cpu"), "fp32"))
    page.get_by_role("tab", name="Digits").click()
    image, drawn, digits = page.locator("#sample img"), [], [7, 1, 2, 3, 4, 5, 6, 0, 8, 9]
    for digit in digits:
        before = image.get_attribute("src")
        page.locator("#digit").get_by_text(str(digit), exact=True).click()
        expect(image).not_to_have_attribute("src", before)
        drawn.append(np.asarray(fetch(page, image).convert("L").resize((28, 28), Image.Resampling.NEAREST)))
    read = judge(classifier, torch.from_numpy(np.stack(drawn)))[1].argmax(1)
    assert (read == torch.tensor(digits)).sum() >= 8, read
    before = image.get_attribute("src")
    page.locator("#walk input[type=number]").fill("0.5")
    page.keyboard.press("Enter")
    expect(image).not_to_have_attribute("src", before)


def test_a_photo_becomes_its_map(page):
    page.get_by_role("tab", name="Maps").click()
    page.get_by_role("button", name="town-1").or_(page.locator(".gallery-item:visible")).first.click()
    pair = draw_town(np.random.default_rng([4_000_000, 0]), 64).astype(np.float32)  # what the example shows
    photo, truth = pair[:3], pair[3:]
    output = np.asarray(fetch(page, page.locator("#map img")), np.float32).transpose(2, 0, 1)
    assert abs(output - truth).mean() < 15 < abs(photo - truth).mean() / 3


def test_a_picture_gets_classes(page):
    page.get_by_role("tab", name="Pictures").click()
    examples, right = page.locator(".gallery-item:visible"), 0
    expect(examples).to_have_count(4)
    for place, name in enumerate(("dotted disc", "dotted triangle", "striped disc", "striped triangle")):
        examples.nth(place).click()
        expect(page.locator("#classes h2")).to_be_visible()
        page.wait_for_timeout(2000)
        right += page.locator("#classes h2").inner_text() == name
    assert right >= 3
    expect(page.locator("#cell img")).to_be_visible()


@pytest.mark.parametrize("tab, place", [("Maps", "#photo"), ("Pictures", "#picture")])
def test_a_bad_upload_gets_a_sentence(page, tmp_path, tab, place):
    (tmp_path / "text.png").write_text("this is no picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    page.get_by_role("tab", name=tab).click()
    said = {"text.png": "text.png cannot be read as an image", "dot.png": "only 1 x 1 pixels"}
    for name, message in said.items():
        page.locator(f"{place} input[type=file]").set_input_files(tmp_path / name)
        expect(page.get_by_text(re.compile(message)).first).to_be_visible()
        page.locator(f"{place} button[aria-label='Remove Image']").click()


def test_a_tab_without_its_network_says_how_to_get_one():
    import demo

    nothing = dict.fromkeys(("dcgan", "protonet", "pix2pix", "darts"), demo.Path("nothing"))
    page = demo.build(demo.Options(**nothing), None)
    said = str(page.get_config_file())
    for script in ("q1_dcgan/train.py --conditional", "q2_protonet/train.py", "q4_darts/train.py"):
        assert f"python {script} --dataset synthetic" in said
