"""Stands before Gradio: decides which requests it gets at all, and what is in them.

The page is of this machine only. Another site that is open in the same browser must not read it or send it
anything (a forged form, or a name that leads to 127.0.0.1). Of Gradio's routes only those are open that the
page needs: others read folders, fetch addresses for a caller or run scripts.
"""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from demo_page.door import MOST_BYTES, MOST_FOLDER_BYTES, Door

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

NAMES = {"127.0.0.1", "localhost", "::1"}
FILE = "/gradio_api/file="
UPLOADS = "/gradio_api/upload"
READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/manifest\.json|/(static|assets)/[\w./@-]+"
    r"|/gradio_api/(theme\.css|startup-events|app_id|heartbeat/\w+|queue/data|call/\w+/\w+|upload_progress)"
    r"|/gradio_api/file=/.+"
)
WRITE = re.compile(r"/gradio_api/(queue/join|call/\w+|upload|reset|cancel)/?")
MOST_JSON = 1_000_000  # bytes
FORM = 100_000  # bytes that a form takes beside its file
HEADERS = {
    # nothing from elsewhere, and no other site shows the page inside its own
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Passes on the requests of the page itself, without the files that are not its own.

    Args:
        app: Gradio's, by the ASGI protocol.
        door: knows the page's files.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], door: Door):
        self.app = app
        self.door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or has it answered."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.encode() for name in HEADERS}
                kept = [header for header in message.get("headers", []) if header[0].lower() not in own]
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*kept, *added]}
            await send(message)

        status = self.refusal(scope)
        is_json = scope["method"] == "POST" and not scope["path"].startswith(UPLOADS)
        if not status and is_json:
            body = await _read(receive)
            try:
                cleaned = json.dumps(self.door.clean(json.loads(body))).encode()
            except (ValueError, RecursionError):
                status = 400
            else:
                scope, receive = _with_body(scope, receive, cleaned)
        if status:
            await _refuse(status, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def refusal(self, scope: Scope) -> int:
        """Returns the status with which a request is refused; 0 lets it through."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if not is_own_site(headers, scope["method"], scope["path"]):
            return 403
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD"):
            if not READ.fullmatch(path) or (not path.startswith(FILE) and ".." in path):
                return 404
            if path.startswith(FILE) and self.door.own_file(path[len(FILE) :]) is None:
                return 404
            return 0
        if scope["method"] != "POST" or not WRITE.fullmatch(path):
            return 404
        return self.refuse_body(headers, path.startswith(UPLOADS))

    def refuse_body(self, headers: dict[str, list[str]], upload: bool) -> int:
        """Returns the status with which a body of this length and kind is refused; 0 lets it through."""
        lengths = headers.get("content-length", [])
        if len(lengths) != 1 or not lengths[0].isdecimal() or "transfer-encoding" in headers:
            return 411
        if int(lengths[0]) > (MOST_BYTES + FORM if upload else MOST_JSON):
            return 413
        if upload:
            held = sum(file.stat().st_size for file in self.door.uploads.rglob("*") if file.is_file())
            return 507 if held + int(lengths[0]) > MOST_FOLDER_BYTES else 0
        kind = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
        return 0 if kind == "application/json" else 415


def is_own_site(headers: dict[str, list[str]], method: str, path: str) -> bool:
    """Returns whether a request comes from the page itself, or from no page at all.

    Another site's page sends its own Origin, or says by Sec-Fetch-Site that it is another site; a name that
    was made to lead here stands in Host. Following a link to the page is allowed.
    """
    hosts = headers.get("host", [])
    if len(hosts) != 1 or _hostname(f"//{hosts[0]}") not in NAMES:
        return False
    for origin in headers.get("origin", []):
        if origin.lower() != f"http://{hosts[0]}".lower():
            return False
    site = headers.get("sec-fetch-site", ["none"])[0]
    followed = headers.get("sec-fetch-mode", [""])[0] == "navigate" and method == "GET" and path == "/"
    return site in ("none", "same-origin") or followed


def _hostname(address: str) -> str:
    """Returns the name or number of a host in an address, "" where there is none."""
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


async def _read(receive: Receive) -> bytes:
    """Reads the whole body of a request, whose length was checked."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _with_body(scope: Scope, receive: Receive, body: bytes) -> tuple[Scope, Receive]:
    """Returns a request with this body in place of its own."""
    headers = [header for header in scope["headers"] if header[0].lower() != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return waiting.pop() if waiting else await receive()

    return {**scope, "headers": headers}, receive_body


async def _refuse(status: int, send: Send) -> None:
    """Answers with a status alone."""
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
