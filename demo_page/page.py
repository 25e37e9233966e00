"""The page: a tab for each network, behind the guard, on this machine's own address."""

import contextlib
import signal
import socket

import fastapi
import gradio as gr
import uvicorn

from common import pretrained
from common.device import Runtime
from common.errors import RunError
from demo_page.characters_tab import characters_tab
from demo_page.digits_tab import digits_tab
from demo_page.door import MOST_BYTES, Door
from demo_page.guard import Guard
from demo_page.maps_tab import maps_tab
from demo_page.options import DemoOptions
from demo_page.pictures_tab import pictures_tab
from demo_page.words import mistake

HOUR = 3600  # seconds
THEME = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
CSS = """
#photo img, #map img, #picture img { width: 100%; height: 100%; object-fit: contain; }
#photo img, #picture img { background: white; }
#space img, #cell img { border-radius: 8px; }
/* under the mouse Gradio's theme draws a chosen radio button white on white */
input:checked { background-color: var(--checkbox-background-color-selected) !important; }
.network { font-size: small; opacity: 0.75; }
.sentence { padding: 8px 12px; border-radius: 8px; border: 1px solid var(--border-color-primary); }
.sentence.error { border-color: #c2410c; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 12px; list-style: none; padding: 0; margin: 4px 0; }
.legend li { display: flex; align-items: center; gap: 6px; margin: 0; }
.legend span { width: 18px; height: 18px; border: 1px solid #888; border-radius: 3px; }
button.example { flex-direction: column; font-size: small; padding: 6px; }
@media (max-width: 500px) {
  h1 { font-size: 1.3rem !important; }
  .tab-container button { padding: 0 8px !important; font-size: 14px !important; }
}
button.example img { width: 72px; height: 72px; object-fit: cover; border-radius: 4px; margin: 0; }
"""
TABS = (
    ("Characters", characters_tab, "protonet", "q2_protonet/train.py"),
    ("Digits", digits_tab, "dcgan", "q1_dcgan/train.py --conditional"),
    ("Maps", maps_tab, "pix2pix", "q3_pix2pix/train.py"),
    ("Pictures", pictures_tab, "darts", "q4_darts/train.py"),
)


def build(options: DemoOptions, runtime: Runtime, door: Door) -> gr.Blocks:
    """Builds the page; a tab whose network is missing says how to get one."""
    look = {"title": "Four papers, reproduced", "analytics_enabled": False, "fill_width": True}
    with gr.Blocks(**look, delete_cache=(HOUR, 24 * HOUR)) as page:
        gr.Markdown("# Four papers, reproduced")
        for title, fill, flag, script in TABS:
            checkpoint = getattr(options, flag)
            with gr.Tab(title):
                try:
                    pretrained.locate(checkpoint, script.partition("/")[0])
                except RunError as error:
                    how = f"Train one, such as by python {script} --dataset synthetic"
                    gr.HTML(
                        mistake(f"This tab needs a network: {error}. {how}, and start demo.py --{flag} FILE.")
                    )
                else:
                    fill(checkpoint, runtime, door)
    return page


class Server(uvicorn.Server):
    """Says where the page is once it answers."""

    address = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to listen; a closed terminal ends the page as Ctrl-C does."""
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(signal.SIGHUP, self.handle_exit)
        await super().startup(sockets)
        print(f"Running on {self.address}, for this machine only. Ctrl-C ends it.", flush=True)


def guard_page(page: gr.Blocks, door: Door) -> Guard:
    """Returns the page as an ASGI application, behind the guard."""
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    page.queue(max_size=20)
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        max_file_size=MOST_BYTES,
        theme=THEME,
        css=CSS,
    )
    return Guard(app, door)


def serve(page: gr.Blocks, door: Door, listener: socket.socket) -> None:
    """Serves the page on a bound socket until a signal ends it."""
    config = uvicorn.Config(
        guard_page(page, door),
        log_level="warning",
        ws="none",
        timeout_graceful_shutdown=1,
        server_header=False,
    )
    server = Server(config)
    host, port = listener.getsockname()
    server.address = f"http://{host}:{port}"
    with contextlib.closing(listener):
        server.run(sockets=[listener])
