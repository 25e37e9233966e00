"""What the page is sent: files, drawings, numbers and names. Needs no Gradio."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.errors import RunError, UsageError
from demo_page.door import EMPTY_PAD, MOST_PAD_BYTES, PNG, UPLOAD, Door


@pytest.fixture
def door(tmp_path):
    """A door with an upload, an example, and a private picture beside them."""
    for name in ("uploads/1/photo.png", "examples/ship.png", "private/secret.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (20, 20), "red").save(tmp_path / name)
    return Door((tmp_path / "uploads").resolve(), (tmp_path / "examples").resolve())


@pytest.fixture
def secret(tmp_path):
    return tmp_path / "private" / "secret.png"


@pytest.mark.parametrize("name", ["uploads/1/photo.png", "examples/ship.png"])
def test_an_upload_and_an_example_pass(door, tmp_path, name):
    assert door.picture({"path": str(tmp_path / name)}) == (tmp_path / name).resolve()


FORGED = {
    "absolute path": "{private}/secret.png",
    "climbs out of the uploads": "{uploads}/../private/secret.png",
    "climbs in and out": "{uploads}/1/../../private/secret.png",
    "the name of the uploads as a beginning": "{uploads}-other/secret.png",
    "file URL": "file://{private}/secret.png",
    "file URL of an upload": "file://{uploads}/1/photo.png",
    "http URL": "http://127.0.0.1:1/secret.png",
    "relative path": "private/secret.png",
    "home": "~/secret.png",
    "missing": "{uploads}/nothing.png",
    "folder": "{uploads}",
    "zero byte": "{uploads}/1/photo.png\0.txt",
    "too long": "{uploads}/" + 5000 * "a",
    "device": "/dev/zero",
    "empty": "",
}


@pytest.mark.parametrize("text", FORGED.values(), ids=FORGED)
def test_every_other_path_is_no_picture_and_the_message_is_always_the_same(door, tmp_path, text):
    path = text.format(private=tmp_path / "private", uploads=tmp_path / "uploads")
    with pytest.raises(UsageError) as error:
        door.picture({"path": path})
    assert str(error.value) == UPLOAD


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_out_of_the_uploads_is_no_picture(door, secret, kind):
    link = door.uploads / "link"
    link.symlink_to(secret if kind == "file" else secret.parent)
    path = link if kind == "file" else link / "secret.png"
    with pytest.raises(UsageError, match=UPLOAD):
        door.picture({"path": str(path)})


def test_a_named_pipe_is_no_picture(door):
    os.mkfifo(door.uploads / "pipe.png")
    with pytest.raises(UsageError, match=UPLOAD):
        door.picture({"path": str(door.uploads / "pipe.png")})


@pytest.mark.parametrize(
    "sent", [None, "", "/etc/passwd", 3, [], {}, {"url": "http://x"}, {"path": 3}], ids=str
)
def test_what_is_no_file_is_no_picture(door, sent):
    with pytest.raises(UsageError, match=UPLOAD):
        door.picture(sent)


def test_a_request_keeps_its_own_files_and_loses_all_others(door, secret):
    own = {"path": str(door.uploads / "1" / "photo.png"), "url": "http://elsewhere", "orig_name": "x"}
    sent = {"data": [own, {"path": str(secret)}, [{"deep": {"url": "file:///etc/passwd"}}], "A", 3]}
    cleaned = door.clean(sent)["data"]
    assert cleaned[0]["path"] == own["path"]
    assert "url" not in cleaned[0]
    assert cleaned[1:] == [None, [{"deep": None}], "A", 3]


def test_a_large_file_is_refused(door, monkeypatch):
    monkeypatch.setattr("demo_page.door.MOST_BYTES", 10)
    with pytest.raises(UsageError, match="MB"):
        door.picture({"path": str(door.uploads / "1" / "photo.png")})


def test_too_many_pixels_are_refused(door, monkeypatch):
    monkeypatch.setattr("demo_page.door.MOST_PIXELS", 399)
    with pytest.raises(UsageError, match="million pixels"):
        door.picture({"path": str(door.uploads / "1" / "photo.png")})


def test_a_message_about_an_upload_names_the_bare_file(door):
    path = door.uploads / "1" / "text.png"
    path.write_text("this is no picture")
    with pytest.raises(RunError) as error:
        door.picture({"path": str(path)})
    assert door.hide_paths(str(error.value)).startswith("text.png cannot be read as an image")


def as_url(image, kind="PNG", head=PNG):
    file = io.BytesIO()
    image.save(file, kind)
    return head + base64.b64encode(file.getvalue()).decode()


def a_dot():
    pixels = np.full((280, 280, 3), 255, np.uint8)
    pixels[100:112, 100:112] = 0
    return Image.fromarray(pixels)


def test_a_dot_is_a_drawing(door):
    with Image.open(door.drawing(as_url(a_dot()))) as image:
        assert image.size == (280, 280)


DRAWINGS = {
    "nothing": None,
    "number": 3,
    "file": {"path": "/etc/passwd"},
    "path": "/etc/passwd",
    "address": "http://127.0.0.1/x.png",
    "blank": as_url(Image.new("RGB", (280, 280), "white")),
    "JPEG": as_url(a_dot(), "JPEG"),
    "SVG": "data:image/svg+xml;base64,PHN2Zy8+",
    "no base64": PNG + "%%%",
    "damaged": as_url(a_dot())[:200],
    "wide": as_url(Image.effect_noise((1001, 2), 50)),
    "long": PNG + "A" * MOST_PAD_BYTES,
}


@pytest.mark.parametrize("sent", DRAWINGS.values(), ids=DRAWINGS)
def test_everything_else_is_an_empty_pad(door, sent):
    with pytest.raises(UsageError) as error:
        door.drawing(sent)
    assert str(error.value) == EMPTY_PAD


@pytest.mark.parametrize("sent", [1.7, None, -1, 11, float("nan"), float("inf"), "3", True, [3]], ids=str)
def test_only_a_whole_number_in_its_range_passes(door, sent):
    with pytest.raises(UsageError, match="The seed must be a whole number from 0 to 10"):
        door.whole_number(sent, "The seed", 0, 10)


def test_a_whole_number_may_come_as_a_float(door):
    assert door.whole_number(7.0, "The seed", 0, 10) == 7


@pytest.mark.parametrize("sent", [None, 3, "E", ["A"], {"path": "A"}], ids=str)
def test_only_a_known_name_passes(door, sent):
    with pytest.raises(UsageError, match="Choose a digit"):
        door.choice(sent, ["A", "B"], "a digit")


@pytest.mark.parametrize("sent", [float("nan"), -1, 2, "x", None], ids=str)
def test_a_place_off_the_slider_is_its_beginning(door, sent):
    assert door.share(sent) == 0


def test_the_options_are_read_without_torch_and_gradio(script):
    code = "import sys, demo_page.options; print(sorted({'torch', 'gradio', 'numpy'} & set(sys.modules)))"
    assert script("-c", code).stdout.strip() == "[]"


def test_the_folder_of_uploads_is_private_and_goes(tmp_path, monkeypatch):
    from demo_page.surroundings import private_folder

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0o022)
    try:
        with private_folder() as folder:
            (folder / "upload").write_text("private")
            modes = [path.stat().st_mode & 0o777 for path in (folder, folder / "upload")]
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600]
    assert list(tmp_path.iterdir()) == []
    assert isinstance(folder, Path)
