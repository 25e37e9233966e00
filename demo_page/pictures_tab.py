"""The tab that names what a picture shows."""

import functools
from pathlib import Path

import gradio as gr

from common.device import Runtime
from demo_page.door import Door
from demo_page.example_buttons import Captioned, example_buttons
from demo_page.figures import rasterise
from demo_page.words import in_place, introduce, place_for_sentence
from q4_darts.cell_figure import plot_cells
from q4_darts.namer import Namer


def pictures_tab(checkpoint: Path, runtime: Runtime, door: Door) -> None:
    """Fills the tab."""
    namer = Namer.load(checkpoint, runtime)
    cells = rasterise(plot_cells(namer.genotype, "The cells of this network"))

    def classify(sent: dict | None) -> tuple:
        path = door.picture(sent)
        return gr.skip(), namer.probabilities(namer.read(path)), ""

    def classify_example(path: Path) -> tuple:
        return str(path), namer.probabilities(namer.read(path)), ""

    examples = []
    for path in sorted((door.examples / "pictures").iterdir()):
        name = path.stem.replace("-", " ")
        if name in namer.classes:
            examples.append(Captioned(name, path))

    introduce(f"Upload a picture of one of these: {', '.join(namer.classes)}.", namer.title)
    with gr.Row():
        with gr.Column(min_width=300):
            how = {"sources": ["upload", "clipboard"], "height": 320, "buttons": []}
            picture = gr.Image(label="Picture", elem_id="picture", **how)
            said = place_for_sentence("", "said-pictures")
            buttons = example_buttons(examples)
        with gr.Column(min_width=300):
            answer = gr.Label(label="What it shows", num_top_classes=5, elem_id="classes")
        with gr.Column(min_width=300, scale=2):
            how = {"show_label": False, "buttons": ["fullscreen"]}
            gr.Image(cells, label="The cells of this network", elem_id="cell", **how)

    # Not preprocessed: our own reader opens the file, and says what is wrong with it.
    quiet = {"show_progress": "hidden", "concurrency_id": "pictures"}
    everything = [picture, answer, said]
    on_mistake = (None, None)
    picture.upload(in_place(door, classify, on_mistake), picture, everything, preprocess=False, **quiet)
    picture.clear(lambda: (None, ""), None, [answer, said], **quiet)
    for button, example in zip(buttons, examples):
        button.click(functools.partial(classify_example, example.path), None, everything, **quiet)
