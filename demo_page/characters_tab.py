"""The tab that names a drawing by a few examples of each character."""

import base64
import functools
from html import escape
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import gradio as gr
import numpy as np
import torch
from PIL import Image

from common.device import Runtime
from common.errors import RunError, UsageError
from demo_page.door import EMPTY_PAD, PNG, Door
from demo_page.figures import rasterise
from demo_page.pad import ANSWERED, make_pad
from demo_page.words import in_place, introduce, place_for_sentence, sentence
from q2_protonet.drawings import read_ink
from q2_protonet.few_shot import FewShot
from q2_protonet.figures import plot_support

LETTERS = ["A", "B", "C", "D"]
MOST_EXAMPLES = 5  # of a character
ARRIVAL = "Your examples appear here."
TASK = (
    "Draw a character and add it as an example, one to five of each. Then draw another one and ask what it "
    "is: the network has never been trained on your characters."
)
EXAMPLES_CSS = """
.examples { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; }
figure { margin: 0; position: relative; text-align: center; }
img { width: 100%; background: white; border: 1px solid #888; border-radius: 6px; }
figcaption { overflow: hidden; text-overflow: ellipsis; }
button { position: absolute; top: 2px; right: 2px; width: 24px; height: 24px; border-radius: 12px; padding: 0;
  background: #555; color: white; line-height: 1; cursor: pointer; }
"""
EXAMPLES_SCRIPT = """
element.addEventListener("click", event => {
  const button = event.target.closest("button[data-place]");
  if (button) trigger("click", { place: Number(button.dataset.place) });
});
"""


class Example(NamedTuple):
    """One drawing of a character: (28, 28) uint8, ink 255 on 0."""

    name: str
    drawing: np.ndarray


def read_pad(door: Door, sent: object) -> np.ndarray:
    """Reads what was drawn on the pad, as (28, 28) uint8.

    Raises:
        UsageError: nothing was.
    """
    try:
        return read_ink(door.drawing(sent), "no")  # type: ignore[arg-type]
    except RunError as error:
        raise UsageError(EMPTY_PAD) from error


def as_png(drawing: np.ndarray) -> str:
    """Returns a drawing, dark on light, as a data URL."""
    file = BytesIO()
    Image.fromarray(255 - drawing).save(file, "PNG")
    return PNG + base64.b64encode(file.getvalue()).decode()


def show_examples(known: list[Example]) -> str:
    """Returns the examples as HTML, each with a button that removes it."""
    if not known:
        return f"<p>{ARRIVAL}</p>"
    figures = []
    for place, example in enumerate(known):
        name = escape(example.name)
        figures.append(
            f'<figure><img src="{as_png(example.drawing)}" alt="example of {name}">'
            f'<button data-place="{place}" aria-label="Remove this example of {name}">&times;</button>'
            f"<figcaption>{name}</figcaption></figure>"
        )
    return f'<div class="examples">{"".join(figures)}</div>'


def name_drawing(
    few_shot: FewShot, drawing: np.ndarray, known: list[Example]
) -> tuple[dict[str, float] | str, Image.Image, str]:
    """Names a drawing (28, 28) uint8 by the examples.

    Returns:
        Each character's probability, or "none of these"; a plot of the embeddings; and why it is none.

    Raises:
        UsageError: there are fewer than two characters.
    """
    examples: dict[str, list[np.ndarray]] = {}
    for example in known:
        examples.setdefault(example.name, []).append(example.drawing)
    if len(examples) < 2:
        raise UsageError("Add an example of at least two characters first.")
    support = few_shot.learn({name: torch.from_numpy(np.stack(own)) for name, own in examples.items()})
    queries = torch.from_numpy(drawing.copy())[None]
    answers = few_shot.classify(queries, support)
    plot = rasterise(plot_support(support, few_shot.embed(queries)[0], "your drawing"))
    if answers.farness is None or answers.farness[0] <= 1:
        return dict(zip(support.names, answers.probabilities[0].tolist())), plot, ""
    nearest = support.names[int(answers.predicted[0])]
    times = f"{float(answers.farness[0]):.1f} times the distance"
    why = f"The nearest is {nearest}, but at {times} that the network accepts for the same character."
    return "none of these", plot, why


def characters_tab(checkpoint: Path, runtime: Runtime, door: Door) -> None:
    """Fills the tab; the examples are `known`."""
    few_shot = FewShot.load(checkpoint, runtime)
    names = sorted(folder.name for folder in (door.examples / "support").iterdir())

    def upload(sent: dict | None) -> tuple:
        drawing = read_ink(door.picture(sent))
        return as_png(drawing), sentence("This is how the network sees it.")

    def add(sent: str | None, name: str, known: list[Example]) -> tuple:
        name = door.choice(name, [*LETTERS, *names], "whose example it is")
        drawing = read_pad(door, sent)
        if sum(name == example.name for example in known) == MOST_EXAMPLES:
            raise UsageError(f"There are {MOST_EXAMPLES} examples of {name} already: remove one first.")
        known = sorted([*known, Example(name, drawing)], key=lambda example: example.name)
        return known, show_examples(known), None, ""

    def remove(known: list[Example], event: gr.EventData) -> tuple:
        place = door.whole_number(getattr(event, "place", None), "The example", 0, len(known) - 1)
        known = [*known[:place], *known[place + 1 :]]
        return known, show_examples(known), ""

    def classify(sent: str | None, known: list[Example]) -> tuple:
        answer, plot, why = name_drawing(few_shot, read_pad(door, sent), known)
        return gr.Label(answer, visible=True), gr.Image(plot, visible=True), sentence(why)

    def begin(folder: Path | None = None) -> tuple:
        files = sorted(folder.glob("*/*.png")) if folder else []
        known = [Example(file.parent.name, read_ink(file)) for file in files]
        choices = names if folder else LETTERS
        hidden = (gr.Label(None, visible=False), gr.Image(None, visible=False))
        return known, show_examples(known), gr.Radio(choices, value=choices[0]), None, *hidden, ""

    introduce(TASK, few_shot.title)
    known = gr.State([])
    with gr.Row():
        with gr.Column(min_width=300):
            pad = make_pad()
            with gr.Row():
                wipe = gr.Button("Wipe the pad", size="sm", elem_id="wipe")
                file = gr.UploadButton("Upload a drawing", size="sm", elem_id="drawing", file_types=["image"])
            name = gr.Radio(LETTERS, value=LETTERS[0], label="This is an example of", elem_id="name")
            with gr.Row():
                add_button = gr.Button("Add as example", size="md", elem_id="add", min_width=120)
                ask = gr.Button("What is it?", variant="primary", size="md", elem_id="ask", min_width=120)
            said = place_for_sentence("", "said-characters")
            answer = gr.Label(label="Probability of each character", elem_id="answer", visible=False)
        with gr.Column(min_width=300):
            gallery = gr.HTML(
                show_examples([]), css_template=EXAMPLES_CSS, js_on_load=EXAMPLES_SCRIPT, elem_id="known"
            )
            with gr.Row():
                ready = gr.Button("Load examples", size="md", elem_id="ready", min_width=120)
                again = gr.Button("Start again", size="md", elem_id="again", min_width=120)
        with gr.Column(min_width=300):
            how = {"show_label": False, "buttons": [], "visible": False}
            space = gr.Image(label="Where the drawings lie", elem_id="space", **how)

    stay = gr.skip()
    quiet = {"show_progress": "hidden", "concurrency_id": "characters"}
    wipe.click(None, None, pad, js="() => null")  # at once: the next click sees an empty pad
    file.upload(in_place(door, upload, (stay,)), file, [pad, said], preprocess=False, **quiet)
    handler = in_place(door, add, (stay, stay, stay))
    added = [known, gallery, pad, said]
    add_button.click(handler, [pad, name, known], added, preprocess=False, **quiet)
    gallery.click(in_place(door, remove, (stay, stay)), known, [known, gallery, said], **quiet)
    asked = ask.click(in_place(door, classify, (stay, stay)), [pad, known], [answer, space, said], **quiet)
    asked.then(None, answer, None, js=ANSWERED)
    for button, folder in (ready, door.examples / "support"), (again, None):
        everything = [known, gallery, name, pad, answer, space, said]
        button.click(functools.partial(begin, folder), None, everything, **quiet)
