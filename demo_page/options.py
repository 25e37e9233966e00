"""The options of demo.py. Nothing here imports torch or Gradio."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from common.errors import RunError
from common.options import ScriptOptions, check_script
from common.ranges import at_least
from demo_page.surroundings import reserve_port


@dataclass
class DemoOptions(ScriptOptions):
    """Show the networks on a local page."""

    dcgan: Path = Path("dcgan-conditional")  # the name of a network in pretrained/, or a checkpoint
    protonet: Path = Path("protonet-1shot")  # the same for the characters
    pix2pix: Path = Path("pix2pix-aerial")  # for the maps
    darts: Path = Path("darts-cifar10")  # for the pictures
    port: Annotated[int, at_least(1, below=65536)] = 7860  # of 127.0.0.1


def resolve(options: DemoOptions) -> DemoOptions:
    """Checks the options before any network is loaded.

    Raises:
        UsageError: an option is out of its range, or the port is taken.
        RunError: Gradio is not installed.
    """
    check_script(options)
    reserve_port(options.port).close()
    if find_spec("gradio") is None:
        raise RunError("the demo needs gradio: python -m pip install -r requirements-demo.txt")
    return options
