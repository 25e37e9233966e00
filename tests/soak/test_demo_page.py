"""What a visitor of the page does, right or wrong, in a real browser with the networks of pretrained/."""

import os

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.running_demo import RunningDemo
from tests.soak.browsing import CROSS, DOT, RING, draw, expect, ink, visit

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")
if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")
EXAMPLES = ROOT / "docs" / "examples"
NARROW = {"width": 400, "height": 900}
TABS = ["Characters", "Digits", "Maps", "Pictures"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with RunningDemo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture
def page(browser, demo):
    with visit(browser, demo.address) as page:
        yield page


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()


# Characters -------------------------------------------------------------------------------------------------


def test_a_click_without_movement_draws_a_dot(page):
    draw(page, DOT)
    assert 50 < ink(page) < 300


def test_a_dot_can_be_an_example(page):
    draw(page, DOT)
    page.click("#add")
    expect(page.locator("#known img")).to_have_count(1)


def test_the_next_stroke_after_an_answer_wipes_the_pad(page):
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)
    draw(page, RING)
    page.click("#ask")
    expect(page.locator("#answer h2")).to_be_visible()
    expect(page.locator("#pad canvas")).to_have_attribute("data-answered", "yes")
    draw(page, DOT)
    assert 50 < ink(page) < 300


def test_strokes_add_up_before_an_answer(page):
    draw(page, RING)
    before = ink(page)
    draw(page, CROSS)
    assert ink(page) > before + 500


def test_one_example_can_be_removed(page):
    page.click("#ready")
    page.get_by_role("button", name="Remove this example of psi").nth(1).click()
    expect(page.locator("#known img")).to_have_count(11)
    expect(page.get_by_role("button", name="Remove this example of psi")).to_have_count(2)


def test_an_empty_pad_is_one_sentence_in_its_place(page):
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)
    page.click("#ask")
    expect(page.get_by_role("alert")).to_have_text("The pad is empty: draw a character first.")
    expect(page.locator(".toast-body")).to_have_count(0)
    expect(page.get_by_text("Error", exact=True)).to_have_count(0)
    expect(page.locator("#known img")).to_have_count(12)


def test_a_sixth_example_is_one_sentence_and_the_drawing_stays(page):
    for count in range(5):
        draw(page, RING)
        page.click("#add")
        expect(page.locator("#known img")).to_have_count(count + 1)
    draw(page, RING)
    page.click("#add")
    expect(page.get_by_role("alert")).to_contain_text("There are 5 examples of A already")
    assert ink(page) > 500


def test_the_keyboard_alone_uploads_and_asks(page):
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)
    expect(page.locator("#name")).to_contain_text("psi")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload a drawing").press("Enter")
    chooser.value.set_files(EXAMPLES / "query" / "psi-1.png")
    expect(page.locator("#said-characters")).to_contain_text("This is how the network sees it.")
    page.locator("#ask").press("Enter")
    expect(page.locator("#answer h2")).to_have_text("psi")


def test_the_pad_has_a_name_and_can_be_focused(page):
    pad = page.get_by_role("img", name="Drawing pad")
    pad.focus()
    expect(pad).to_be_focused()


def test_a_scribble_is_none_of_these(page):
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (40, 2))
    draw(page, [points.tolist()])
    page.click("#ask")
    expect(page.locator("#answer h2")).to_have_text("none of these")
    expect(page.locator("#said-characters")).to_contain_text("times the distance")


def test_no_box_is_empty_on_arrival(page):
    expect(page.locator("#known")).to_have_text("Your examples appear here.")
    expect(page.locator("#answer")).to_have_count(0)
    expect(page.locator("#space")).to_have_count(0)


def test_the_examples_stand_in_four_columns_uncut(page):
    page.click("#ready")
    expect(page.locator("#known img")).to_have_count(12)
    boxes = [image.bounding_box() for image in page.locator("#known img").all()]
    assert len({round(box["x"]) for box in boxes}) == 4
    hidden = page.locator("#known").evaluate("element => element.scrollHeight - element.clientHeight")
    assert hidden <= 1


# Digits -----------------------------------------------------------------------------------------------------


def test_another_one_shows_another_digit(page):
    open_tab(page, "Digits")
    image = page.locator("#sample img")
    before = image.get_attribute("src")
    page.click("#another")
    expect(image).not_to_have_attribute("src", before)


def test_the_slider_walks(page):
    open_tab(page, "Digits")
    image = page.locator("#sample img")
    before = image.get_attribute("src")
    page.locator("#walk input[type=number]").fill("0.5")
    page.keyboard.press("Enter")
    expect(image).not_to_have_attribute("src", before)


def test_a_seed_that_is_no_whole_number_is_one_sentence(page):
    open_tab(page, "Digits")
    page.locator("#seed input").fill("1.7")
    expect(page.get_by_role("alert")).to_contain_text("The seed must be a whole number")


# Maps and pictures ------------------------------------------------------------------------------------------


def upload(page, place, path):
    page.locator(f"{place} input[type=file]").set_input_files(path)


@pytest.mark.parametrize(("tab", "place"), [("Maps", "#photo"), ("Pictures", "#picture")])
@pytest.mark.parametrize("kind", ["text.png", "dot.png"])
def test_a_bad_upload_clears_the_box_and_leaves_one_sentence(page, tmp_path, tab, place, kind):
    if kind == "text.png":
        (tmp_path / kind).write_text("this is no picture")
    else:
        Image.new("RGB", (1, 1)).save(tmp_path / kind)
    open_tab(page, tab)
    upload(page, place, tmp_path / kind)
    expect(page.get_by_role("alert")).to_contain_text(kind)
    expect(page.locator(f"{place} img")).to_have_count(0)
    expect(page.locator(".toast-body")).to_have_count(0)


def test_the_legend_shows_every_colour(page):
    open_tab(page, "Maps")
    expect(page.locator("#legend li")).to_have_count(11)


def test_a_photo_above_2048_pixels_is_scaled_down_and_mapped(page, tmp_path):
    photo = Image.open(EXAMPLES / "photos" / "aerial-3.jpg").resize((4000, 300))
    photo.save(tmp_path / "large.jpg")
    open_tab(page, "Maps")
    upload(page, "#photo", tmp_path / "large.jpg")
    expect(page.locator("#said-maps")).to_contain_text("scaled down to 2,048 x 154 pixels")
    assert page.locator("#map img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 2048


def test_a_map_far_from_the_legend_is_called_doubtful(page, tmp_path):
    Image.open(EXAMPLES / "photos" / "aerial-1.jpg").resize((800, 600)).save(tmp_path / "near.png")
    open_tab(page, "Maps")
    upload(page, "#photo", tmp_path / "near.png")
    expect(page.locator("#said-maps")).to_contain_text("Doubtful")


def test_an_example_that_maps_well_is_not_doubtful(page):
    open_tab(page, "Maps")
    page.get_by_role("button", name="maps well").click()
    expect(page.locator("#map img")).to_be_visible()
    assert "Doubtful" not in page.locator("#said-maps").inner_text()


def test_the_size_slider_draws_the_map_again(page):
    open_tab(page, "Maps")
    page.get_by_role("button", name="maps badly").click()
    image = page.locator("#map img")
    before = image.get_attribute("src")
    page.locator("#seen input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(image).not_to_have_attribute("src", before)


def test_a_map_is_white_where_the_photo_is_transparent(page, tmp_path):
    photo = Image.open(EXAMPLES / "photos" / "aerial-3.jpg").convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, 64, 64))
    photo.save(tmp_path / "corner.png")
    open_tab(page, "Maps")
    upload(page, "#photo", tmp_path / "corner.png")
    corner = """async image => {
      await image.decode();
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
      canvas.getContext("2d").drawImage(image, 0, 0);
      return Array.from(canvas.getContext("2d").getImageData(20, 20, 1, 1).data);
    }"""
    assert page.locator("#map img").evaluate(corner) == [255, 255, 255, 255]


def test_a_picture_is_named(page):
    open_tab(page, "Pictures")
    page.get_by_role("button", name="ship").click()
    expect(page.locator("#classes h2")).to_have_text("ship")


# A telephone ------------------------------------------------------------------------------------------------


def test_all_tabs_are_seen_at_400_pixels(browser, demo):
    with visit(browser, demo.address, viewport=NARROW) as page:
        for tab in TABS:
            expect(page.get_by_role("tab", name=tab)).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_photo_and_map_lie_one_under_the_other_at_400_pixels(browser, demo):
    with visit(browser, demo.address, viewport=NARROW) as page:
        open_tab(page, "Maps")
        photo = page.locator("#photo").bounding_box()
        result = page.locator("#map").bounding_box()
        assert photo["x"] == result["x"]
        assert photo["width"] > 320
        assert result["y"] > photo["y"] + photo["height"]


def test_a_finger_draws(browser, demo):
    with visit(browser, demo.address, viewport=NARROW, has_touch=True) as page:
        page.locator("#pad canvas").tap()
        assert 50 < ink(page) < 300
