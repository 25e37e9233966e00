"""Names and classes stand on the page as text, whatever is in them; and a tab may lack its network."""

import os
import threading

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.soak.browsing import expect

pytestmark = pytest.mark.skipif(os.environ.get("SOAK") != "1", reason="takes minutes; SOAK=1 runs it")
if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")
EXAMPLES = ROOT / "docs" / "examples"


def test_names_stand_as_text_in_examples_and_sentences():
    from demo_page.characters_tab import Example, show_examples
    from demo_page.words import mistake

    evil = "<img src=x onerror=alert(1)>"
    shown = show_examples([Example(evil, np.zeros((28, 28), np.uint8))]) + mistake(evil)
    assert "<img src=x" not in shown
    assert "&lt;img src=x" in shown


def test_a_class_that_is_html_or_markdown_stands_as_text(browser, tmp_path, monkeypatch):
    import gradio as gr
    import uvicorn

    from demo_page.door import Door
    from demo_page.page import guard_page
    from demo_page.surroundings import reserve_port
    from demo_page.words import introduce

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    evil = "*x* <img src=x onerror=document.title='in'> ${1 + 1} {{value}}"
    with gr.Blocks(title="out") as blocks:
        introduce(evil, "network")
        gr.Label({evil: 1.0}, elem_id="answer")
    listener = reserve_port(0)
    config = uvicorn.Config(guard_page(blocks, Door(tmp_path, tmp_path)), log_level="error", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}")
            expect(page.locator("p").first).to_have_text(evil)
            expect(page.locator("#answer h2")).to_have_text(evil)
            expect(page).to_have_title("out")
    finally:
        server.should_exit = True
        thread.join()


def test_a_tab_without_its_network_says_how_to_get_one(tmp_path):
    from demo_page.door import Door
    from demo_page.options import DemoOptions
    from demo_page.page import build

    nothing = dict.fromkeys(("dcgan", "protonet", "pix2pix", "darts"), EXAMPLES / "nothing")
    said = str(build(DemoOptions(**nothing), None, Door(tmp_path, EXAMPLES)).get_config_file())
    for script in ("q1_dcgan/train.py --conditional", "q2_protonet/train.py", "q4_darts/train.py"):
        assert f"python {script} --dataset synthetic" in said
