"""Example pictures as buttons with a thumbnail and a caption, for mouse, keyboard and screen reader."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr


class Captioned(NamedTuple):
    """An example picture."""

    caption: str
    path: Path


def example_buttons(examples: Sequence[Captioned]) -> list[gr.Button]:
    """Makes a button for each example, in one row."""
    with gr.Row():
        return [
            gr.Button(example.caption, icon=example.path, elem_classes="example", min_width=90)
            for example in examples
        ]
