"""The page as a server, with the networks of pretrained/: what a request can do, and what is left behind."""

import io
import json
import os
import signal
import urllib.error

import pytest
from PIL import Image

from tests.running_demo import RunningDemo

if os.environ.get("REQUIRE_DEMO") != "1":
    pytest.importorskip("gradio", reason="the demo's extra is not installed (make demo)")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with RunningDemo(tmp_path_factory.mktemp("demo")) as page:
        yield page


def a_picture():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 40).convert("RGB").save(file, "PNG")
    return file.getvalue()


def test_its_first_line_says_how_it_ends_and_advises_no_sharing(page):
    said = page.log.read_text()
    assert said == f"Running on {page.address}, for this machine only. Ctrl-C ends it.\n"


def test_an_upload_is_mapped(page):
    path = page.upload(a_picture())
    _, result, _, _ = page.call("translate", {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert Image.open(io.BytesIO(page.open(result["url"][len(page.address) :]))).size == (64, 64)


@pytest.mark.parametrize("tab", ["translate", "classify_1", "upload"])
@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}], ids=["bare", "meta"])
@pytest.mark.parametrize("kind", ["path", "file URL", "http URL", "url"])
def test_no_tab_opens_any_other_file(page, tmp_path, tab, meta, kind):
    (tmp_path / "private.png").write_bytes(a_picture())
    private = tmp_path / "private.png"
    asked = {"path": str(private), "file URL": f"file://{private}", "http URL": f"{page.address}/theme.css"}
    sent = {"url": f"{page.address}/theme.css"} if kind == "url" else {"path": asked[kind]}
    answer = page.call(tab, sent | meta)
    assert "Upload a picture." in answer[-1]
    assert "private" not in json.dumps(answer)


def test_an_upload_is_for_its_user_alone(page):
    path = page.upload(a_picture(), "mine.png")
    places = [path, os.path.dirname(path), next(page.folder.iterdir())]
    assert [place for place in places if os.stat(place).st_mode & 0o077] == []


def test_uploads_lie_in_the_folder_of_temporary_files(page):
    assert page.upload(a_picture(), "here.png").startswith(str(page.folder.resolve()))


def test_a_name_that_climbs_stays_in_the_folder(page):
    path = page.upload(a_picture(), "../../../climbed.png")
    assert os.path.realpath(path).startswith(str(page.folder.resolve()))


def test_a_file_that_is_no_picture_gets_one_sentence_with_its_bare_name(page):
    path = page.upload(b"this is no picture", "text.png")
    answer = page.call("translate", {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "text.png cannot be read as an image" in answer[-1]
    assert str(page.folder) not in answer[-1]


def test_another_sites_page_cannot_call(page):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        page.open("/gradio_api/call/show", b"{}", Origin="http://evil.example")


def test_a_name_is_shown_as_text(page):
    blank = page.call("show", "<img src=x onerror=alert(1)>", 0, 0)
    assert "Choose a digit." in blank[-1]


@pytest.mark.parametrize("seed", [1.7, None, -1, 2**31, "<b>"])
def test_a_seed_is_a_whole_number(page, seed):
    assert "The seed must be a whole number" in page.call("show", "3", seed, 0)[-1]


def test_the_port_is_told_as_taken_before_anything_is_loaded(page, script):
    told = script("demo.py", "--port", page.port, status=2).stderr
    assert told.startswith(f"error: port {page.port} is taken: --port ")
    assert int(told.split()[-1]) > page.port


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.slow
def test_nothing_is_left_behind(tmp_path, end):
    (tmp_path / "folder").mkdir()
    page = RunningDemo(tmp_path / "folder")
    page.upload(a_picture())
    page.process.send_signal(end)
    page.process.wait(timeout=60)
    assert list(page.folder.rglob("*")) == []
    assert "Traceback" not in page.log.read_text()
