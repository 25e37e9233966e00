"""What a visitor of the page does, for tests with a browser."""

import contextlib

import numpy as np
import pytest

expect = pytest.importorskip("playwright.sync_api").expect  # without it, who imports this is skipped
expect.set_options(timeout=60_000)

RING = [[(0.8 * np.cos(t), 0.8 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 20)]]
CROSS = [[(-0.7, -0.7), (0.7, 0.7)], [(-0.7, 0.7), (0.7, -0.7)]]
CORNER = [[(-0.6, -0.8), (-0.6, 0.8), (0.7, 0.8)]]
DOT = [[(0.1, 0.1)]]


@contextlib.contextmanager
def visit(browser, address, **context):
    """Opens the page; at the end nothing came from elsewhere, and no script failed."""
    with browser.new_context(**context) as opened:
        page = opened.new_page()
        elsewhere = []
        failed = []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(address)
        expect(page.locator("#pad canvas")).to_have_css("cursor", "crosshair")  # it is ready
        yield page
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
    assert failed == []


def draw(page, strokes, size=0.8):
    """Draws strokes of points from -1 to 1 on the pad, with the mouse."""
    page.locator("#pad canvas").scroll_into_view_if_needed()
    box = page.locator("#pad canvas").bounding_box()
    for stroke in strokes:
        points = [[box["x"] + 140 + 125 * size * x, box["y"] + 140 + 125 * size * y] for x, y in stroke]
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=4)
        page.mouse.up()


def ink(page):
    """Returns how many pixels of the pad are dark."""
    count = """canvas => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, 280, 280);
      return data.filter((value, place) => place % 4 === 0 && value < 128).length;
    }"""
    return page.locator("#pad canvas").evaluate(count)
