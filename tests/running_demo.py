"""The page as a process of its own, for tests."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

from tests.conftest import ENVIRONMENT, ROOT

HOPELESS = "http://127.0.0.1:9"  # a proxy that is not there


class RunningDemo:
    """A running page: its process, port, address, and the folder in which it may make its own.

    Proxies that are not there stand in its environment.

    Args:
        folder: of temporary files, empty.
        flags: of demo.py.
    """

    def __init__(self, folder, *flags):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.txt"
        proxies = {"http_proxy": HOPELESS, "HTTPS_PROXY": HOPELESS, "all_proxy": "socks5://127.0.0.1:9"}
        environment = ENVIRONMENT | proxies | {"TMPDIR": str(folder), "GRADIO_TEMP_DIR": "/nowhere"}
        words = [sys.executable, "demo.py", "--device", "cpu", "--port", str(self.port), *flags]
        with open(self.log, "w") as file:
            how = {"cwd": ROOT, "env": environment, "stdout": file, "stderr": subprocess.STDOUT}
            self.process = subprocess.Popen(words, **how)
        while "Running on" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.2)

    def open(self, path, body=None, **headers):
        """Returns the body of an answer; a refusal raises HTTPError."""
        asked = urllib.request.Request(self.address + path, body, headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(asked, timeout=60).read()

    def call(self, name, *data):
        """Returns what a handler answers."""
        body = json.dumps({"data": data}).encode()
        event = self.open(f"/gradio_api/call/{name}", body, **{"Content-Type": "application/json"})
        said = self.open(f"/gradio_api/call/{name}/{json.loads(event)['event_id']}").decode()
        assert said.startswith("event: complete"), said
        return json.loads(said.partition("data: ")[2])

    def upload(self, content, name="photo.png"):
        """Uploads a file and returns its path on the page's machine."""
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return json.loads(self.open("/gradio_api/upload", body, **kind))[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        assert "Traceback" not in self.log.read_text()
