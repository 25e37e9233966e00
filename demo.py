"""One local page with the four networks: name a drawing, walk between digits, map a photo, name a picture.

python demo.py     # make demo, then http://127.0.0.1:7860
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from demo_page.options import DemoOptions as Options
from demo_page.options import resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from common.device import start
from common.provenance import ROOT
from demo_page.door import Door
from demo_page.surroundings import private_folder, reserve_port, settle


def main(options: Options) -> None:
    options = resolve(options)
    with private_folder() as folder:
        listener = reserve_port(options.port)  # before the networks load, and until the end

        settle(folder)
        from demo_page.page import build, serve  # imports Gradio, which reads where its files go

        door = Door(folder, (ROOT / "docs" / "examples").resolve())
        serve(build(options, start(options), door), door, listener)


if __name__ == "__main__":
    cli.run(main, options)
