"""Which requests reach Gradio. Needs none."""

import asyncio
import json

import pytest

from demo_page.door import MOST_BYTES, Door
from demo_page.guard import HEADERS, MOST_JSON, Guard

OWN = "127.0.0.1:7860"
CALL = "/gradio_api/call/translate"


@pytest.fixture
def door(tmp_path):
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "own.png").write_bytes(b"")
    (tmp_path / "secret.png").write_bytes(b"")
    return Door(tmp_path / "uploads", tmp_path / "examples")


def ask(door, method, path, headers=(), body=b""):
    """Returns the status, the headers of the answer, and the body that reached the application, if any."""
    reached = []
    answer = []

    async def app(scope, receive, send):
        reached.append((await receive())["body"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"ALLOW")]}
        )

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        answer.append(message)

    given = {"host": OWN} | ({"content-length": str(len(body))} if method == "POST" else {}) | dict(headers)
    raw = [(name.encode(), value.encode()) for name, value in given.items() if value is not None]
    scope = {"type": "http", "method": method, "path": path, "headers": raw}
    asyncio.run(Guard(app, door)(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in answer[0]["headers"]}
    return answer[0]["status"], headers, reached[0] if reached else None


def post(door, path=CALL, body=b"{}", **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(door, "POST", path, {"content-type": "application/json"} | given, body)[0]


@pytest.mark.parametrize(
    "host", ["127.0.0.1:7860", "localhost:7860", "[::1]:7860", "LOCALHOST", "localhost:80"]
)
def test_names_of_this_machine_pass(door, host):
    assert ask(door, "GET", "/", {"host": host})[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1.nip.io", "0.0.0.0:7860", "", "[", None]
)
def test_a_name_that_was_made_to_lead_here_is_refused(door, host):
    assert ask(door, "GET", "/", {"host": host})[0] == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:3000", "https://127.0.0.1:7860", "http://localhost"],
)
def test_another_origin_cannot_post(door, origin):
    assert post(door, origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_form_of_another_site_cannot_post(door, site):
    assert post(door, sec_fetch_site=site, sec_fetch_mode="navigate") == 403


def test_another_site_cannot_embed_what_the_page_shows(door):
    path = f"/gradio_api/file={door.uploads}/own.png"
    assert ask(door, "GET", path, {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"})[0] == 403


def test_a_link_to_the_page_may_be_followed(door):
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert ask(door, "GET", "/", followed)[0] == 200


def test_the_page_itself_may_post(door):
    assert post(door, origin=f"http://{OWN}", sec_fetch_site="same-origin") == 200


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://127.0.0.1:1/x",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file={uploads}/../secret.png",
        "/gradio_api/file={uploads}/missing.png",
        "/gradio_api/proxy=http://x.hf.space/",
        "/gradio_api/info",
        "/gradio_api/openapi.json",
        "/gradio_api/run-history/records",
        "/gradio_api/deep_link",
        "/monitoring",
        "/docs",
        "/static/../demo.py",
        "/assets/..%2f..%2fdemo.py",
    ],
)
def test_no_other_route_can_be_read(door, path):
    assert ask(door, "GET", path.format(uploads=door.uploads))[0] == 404


def test_an_upload_can_be_read(door):
    assert ask(door, "GET", f"/gradio_api/file={door.uploads}/own.png")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "run/translate",
        "api/translate",
        "component_server",
        "process_recording",
        "vibe-edit",
        "stream/1",
        "call/v2/add",
    ],
)
def test_no_other_route_can_be_written_to(door, path):
    assert post(door, f"/gradio_api/{path}") == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(door, method):
    assert ask(door, method, "/")[0] == 404


def test_forged_files_do_not_reach_gradio(door, tmp_path):
    sent = json.dumps({"data": [{"path": str(tmp_path / "secret.png")}, "A"]}).encode()
    _, _, reached = ask(door, "POST", CALL, {"content-type": "application/json"}, sent)
    assert json.loads(reached) == {"data": [None, "A"]}


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(door, body):
    assert post(door, body=body) == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_refused(door, kind):
    assert post(door, content_type=kind) == 415


@pytest.mark.parametrize(("path", "most"), [(CALL, MOST_JSON), ("/gradio_api/upload", MOST_BYTES + 100_000)])
def test_a_large_body_is_refused_before_it_is_read(door, path, most):
    assert post(door, path, content_length=str(most + 1)) == 413


@pytest.mark.parametrize("length", [None, "-1", "x"])
def test_a_body_without_its_length_is_refused(door, length):
    assert post(door, content_length=length) == 411


def test_uploads_end_where_the_folder_is_full(door, monkeypatch):
    monkeypatch.setattr("demo_page.guard.MOST_FOLDER_BYTES", 100)
    (door.uploads / "large").write_bytes(bytes(99))
    assert post(door, "/gradio_api/upload", body=b"12") == 507


def test_every_answer_says_that_nothing_comes_from_elsewhere(door):
    for status in (200, 404):
        answered, headers, _ = ask(door, "GET", "/" if status == 200 else "/nothing")
        assert answered == status
        assert HEADERS.items() <= headers.items()
