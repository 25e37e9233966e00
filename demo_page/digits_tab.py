"""The tab that walks between two digits of a generator."""

import secrets
from pathlib import Path

import gradio as gr
import torch
from PIL import Image

from common.device import Runtime
from demo_page.door import Door
from demo_page.words import in_place, introduce, place_for_sentence
from q1_dcgan.painter import Painter, walk

MOST_SEED = 2**31 - 1
PLACES = 101  # of the slider
TASK = (
    "Pick a digit. Every seed is another handwriting; the slider changes it step by step into that of the "
    "next seed."
)


def digits_tab(checkpoint: Path, runtime: Runtime, door: Door) -> None:
    """Fills the tab."""
    painter = Painter.load(checkpoint, runtime)
    names = painter.classes or ["any"]

    def show(name: str, seed: float | None, place: float) -> tuple:
        label = names.index(door.choice(name, names, "a digit"))
        first = door.whole_number(seed, "The seed", 0, MOST_SEED)
        draws = [torch.Generator().manual_seed(first + end) for end in (0, 1)]
        ends = torch.cat([painter.latents(1, generator) for generator in draws])
        noise = walk(ends, PLACES)[round((PLACES - 1) * door.share(place))][None]
        pixels = painter.draw(noise, painter.labels(1, label))[0]
        return Image.fromarray(pixels).resize((336, 336), Image.Resampling.NEAREST), ""

    def pick() -> tuple[int, float]:
        return secrets.randbelow(1_000_000), 0.0

    introduce(TASK, painter.title)
    with gr.Row():
        with gr.Column(min_width=300):
            name = gr.Radio(names, value=names[0], label="Digit", elem_id="digit")
            place = gr.Slider(0, 1, 0, step=0.01, label="Walk to the next seed", elem_id="walk")
            seed = gr.Number(0, label="Seed, a whole number", step=1, elem_id="seed")
            another = gr.Button("Another one", elem_id="another")
            said = place_for_sentence("", "said-digits")
        with gr.Column(min_width=300):
            value, _ = show(names[0], 0, 0)
            look = {"format": "png", "height": 400, "buttons": []}
            output = gr.Image(value, label="Drawn by the network", elem_id="sample", **look)
    shown = in_place(door, show, (gr.skip(),))
    how = {"show_progress": "hidden", "concurrency_id": "digits", "api_name": "show", "preprocess": False}
    for control in (name, seed, place):
        control.change(shown, [name, seed, place], [output, said], trigger_mode="always_last", **how)
    another.click(pick, None, [seed, place], show_progress="hidden")
