"""One local page with the four networks: name a drawing, walk between digits, map a photo, name a picture.

python demo.py     # make demo, then http://127.0.0.1:7860
"""

import base64
import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported

try:
    import gradio as gr
except ModuleNotFoundError:
    sys.exit("error: the demo needs gradio: python -m pip install -r requirements-demo.txt")
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from common import pretrained
from common.cli import command
from common.images import Depth
from common.provenance import ROOT
from common.runtime import RunError, Runtime, ScriptOptions, UsageError, start
from q1_dcgan import measures as q1
from q1_dcgan.sample import walk
from q2_protonet.figures import plot_support
from q2_protonet.measures import embed, load_model
from q2_protonet.omniglot_dataset import read_ink
from q2_protonet.prototypical_loss import squared_distances
from q3_pix2pix import predict as q3
from q3_pix2pix.maps_dataset import open_rgb
from q3_pix2pix.measures import load_generator as load_pix2pix
from q4_darts import measures as q4
from q4_darts.cifar10_dataset import read_rgb
from q4_darts.figures import plot_cells
from q4_darts.genotypes import parse

EXAMPLES = ROOT / "docs" / "examples"
LETTERS = ["A", "B", "C", "D"]
LONGEST_SIDE = 2048  # of a photo, in pixels: what a CPU maps within seconds
THEME = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"))
CSS = """
#photo img, #map img, #picture img { width: 100%; height: 100%; object-fit: contain; }
/* under the mouse Gradio's theme draws a chosen radio button white on white */
input:checked { background-color: var(--checkbox-background-color-selected) !important; }
"""

# A canvas of our own, its value a PNG as a data URL: Gradio's sketchpad forgets its brush after each drawing.
PAD = """
const canvas = element.querySelector("canvas"), pen = canvas.getContext("2d");
function wipe() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, 280, 280);
}
function line(event) {
  pen.lineTo(event.offsetX, event.offsetY);
  pen.stroke();
}
canvas.onpointerdown = event => {
  canvas.setPointerCapture(event.pointerId);
  pen.beginPath();
  line(event);
};
canvas.onpointermove = event => { if (canvas.hasPointerCapture(event.pointerId)) line(event); };
canvas.onpointerup = () => { props.value = canvas.toDataURL(); };
watch("value", () => { if (!props.value) wipe(); });
Object.assign(pen, { lineWidth: 12, lineCap: "round", lineJoin: "round" });
wipe();
canvas.style.cursor = "crosshair";  // the pad is ready
"""


@dataclass
class Options(ScriptOptions):
    """Show the networks on a local page."""

    dcgan: Path = Path("dcgan-conditional")  # the name of a network in pretrained/, or a checkpoint
    protonet: Path = Path("protonet-1shot")  # the same for the characters
    pix2pix: Path = Path("pix2pix-aerial")  # for the maps
    darts: Path = Path("darts-cifar10")  # for the pictures
    port: int = 7860  # of 127.0.0.1


def spoken(function: Callable) -> Callable:
    """Shows what is wrong with an input as a sentence on the page, with files by their bare names."""

    @functools.wraps(function)
    def wrapped(*inputs: object) -> object:
        try:
            return function(*inputs)
        except (RunError, UsageError) as error:
            message = re.sub(r"/\S*/", "", str(error))
            raise gr.Error(message, print_exception=False) from error

    return wrapped


def rasterise(canvas: Figure) -> Image.Image:
    """A figure as an image."""
    FigureCanvasAgg(canvas).draw()
    return Image.fromarray(np.asarray(canvas.canvas.buffer_rgba())).convert("RGB")


def introduce(text: str, checkpoint: Path, state: dict) -> None:
    """What to do on a tab, and which network answers."""
    options = state["options"]
    gr.Markdown(
        f"{text}\n\n<small>Network: {options.get('run_name') or checkpoint}, "
        f"{options['dataset'].replace('_', ' ')} data, epoch {state['epoch']}.</small>"
    )


# Characters -------------------------------------------------------------------------------------------------


def read_pad(drawing: str | None) -> np.ndarray:
    """What was drawn on the pad, a PNG as a data URL, as (28, 28) uint8."""
    if not drawing:
        raise UsageError("The pad is empty: draw a character first.")
    return read_ink(BytesIO(base64.b64decode(drawing.partition(",")[2])), "no")


def thumbnails(known: list) -> list:
    """The examples for the gallery, dark on light, with room for the name below."""
    paper = [np.pad(255 - image, ((0, 10), (5, 5)), constant_values=255) for _, image in known]
    return [(Image.fromarray(image).resize((152, 152)), name) for image, (name, _) in zip(paper, known)]


def characters_tab(checkpoint: Path, runtime: Runtime) -> None:
    """Few-shot classification of what is drawn; the examples are `known`, (name, (28, 28) uint8) of each."""
    model, state = load_model(checkpoint, runtime)

    @spoken
    def add(drawing: str | None, name: str, known: list) -> tuple:
        if sum(name == other for other, _ in known) == 5:
            raise UsageError(f"There are five examples of {name} already.")
        known = sorted([*known, (name, read_pad(drawing))], key=lambda example: example[0])
        return known, thumbnails(known), None

    @spoken
    def classify(drawing: str | None, known: list) -> tuple:
        query, names = read_pad(drawing), sorted({name for name, _ in known})
        if len(names) < 2:
            raise UsageError("Add an example of at least two characters first.")
        images = torch.from_numpy(np.stack([image for _, image in known] + [query]))
        embeddings = embed(model, images.to(runtime.device)).cpu()  # (examples + 1, dim)
        owner = np.array([name for name, _ in known])
        support = {name: embeddings[:-1][torch.from_numpy(owner == name)] for name in names}
        prototypes = torch.stack([points.mean(0) for points in support.values()])  # (way, dim), eq. 1
        probabilities = (-squared_distances(embeddings[-1:], prototypes))[0].softmax(0)  # (way,), eq. 2
        canvas = plot_support(support, prototypes, embeddings[-1])
        return dict(zip(names, probabilities.tolist())), rasterise(canvas)

    @spoken
    def begin(folder: Path | None = None) -> tuple:
        files = sorted(folder.glob("*/*.png")) if folder else []
        known = [(file.parent.name, read_ink(file)) for file in files]
        names = sorted({name for name, _ in known}) or LETTERS
        return known, thumbnails(known), gr.Radio(names, value=names[0]), None, None, None

    text = (
        "Draw a character and add it as an example, one to five of each. Then draw another one and ask "
        "what it is: the network has never been trained on your characters."
    )
    introduce(text, checkpoint, state)
    known = gr.State([])
    with gr.Row():
        with gr.Column(min_width=280):
            pad = gr.HTML(
                html_template='<canvas width="280" height="280"></canvas>',
                css_template="canvas { border: 2px solid #888; border-radius: 8px; touch-action: none; }",
                js_on_load=PAD,
                elem_id="pad",
            )
            wipe = gr.Button("Wipe the pad", size="sm", elem_id="wipe")
            name = gr.Radio(LETTERS, value=LETTERS[0], label="This is an example of", elem_id="name")
            with gr.Row():
                add_button = gr.Button("Add as example", elem_id="add")
                ask = gr.Button("What is it?", variant="primary", elem_id="ask")
        with gr.Column(min_width=280):
            look = {"show_label": False, "columns": 3, "height": 360, "buttons": []}
            gallery = gr.Gallery(label="Examples", elem_id="known", **look)
            with gr.Row():
                ready = gr.Button("Load examples", elem_id="ready")
                again = gr.Button("Start again", elem_id="again")
        with gr.Column(min_width=280):
            answer = gr.Label(label="Probability of each character", elem_id="answer")
            space = gr.Image(label="Embedding", show_label=False, elem_id="space", buttons=[])
    wipe.click(None, None, pad, js="() => null")  # at once: the next click sees an empty pad
    add_button.click(add, [pad, name, known], [known, gallery, pad])
    ask.click(classify, [pad, known], [answer, space])
    for button, folder in (ready, EXAMPLES / "support"), (again, None):
        button.click(functools.partial(begin, folder), None, [known, gallery, name, pad, answer, space])


# Digits, maps, pictures -------------------------------------------------------------------------------------


def digits_tab(checkpoint: Path, runtime: Runtime) -> None:
    """A walk between two latents of the DCGAN."""
    generator, state = q1.load_generator(checkpoint, runtime)
    names = q1.class_names(state) or ["any"]

    @spoken
    def show(name: str, seed: float | None, place: float) -> Image.Image:
        if seed is None or not 0 <= seed < 2**31:
            raise UsageError(f"The seed must be a whole number from 0 to {2**31 - 1:,}.")
        ends = [torch.Generator().manual_seed(int(seed) + end) for end in (0, 1)]
        noise = torch.stack([torch.randn(generator.latent_size, generator=end) for end in ends])
        noise = walk(noise, 101)[round(100 * place)][None].to(runtime.device)
        labels = torch.tensor([names.index(name)], device=runtime.device) if generator.classes else None
        pixels = q1.generate(generator, noise, labels)[0].cpu().numpy()
        return Image.fromarray(pixels).resize((336, 336), Image.Resampling.NEAREST)

    text = "Pick a digit. The slider walks from the latent of this seed to that of the next one."
    introduce(text, checkpoint, state)
    with gr.Row():
        with gr.Column():
            name = gr.Radio(names, value=names[0], label="Digit", elem_id="digit")
            place = gr.Slider(0, 1, 0, step=0.01, label="Walk", elem_id="walk")
            seed = gr.Number(0, label="Seed", precision=0, elem_id="seed")
        value = show(names[0], 0, 0)
        output = gr.Image(value, label="Sample", elem_id="sample", format="png", height=400, buttons=[])
    for control in (name, seed, place):
        control.change(show, [name, seed, place], output, show_progress="hidden", trigger_mode="always_last")


def map_tab(checkpoint: Path, runtime: Runtime) -> None:
    """A map from a photo."""
    generator, state = load_pix2pix(checkpoint, runtime)
    facts, size = state.get("facts", {}), state["architecture"]["image_size"]
    scale, depth = facts.get("scale") or [1.0, 1.0], facts.get("depth", 0)

    @spoken
    def translate(file: dict | None) -> Image.Image | None:
        if file is None:
            return None
        path = Path(file["path"])
        photo = open_rgb(path, Depth([path], depth))
        if max(photo.size) > LONGEST_SIDE:
            sides = f"{photo.width:,} x {photo.height:,}"
            raise UsageError(f"The photo has {sides} pixels; this page takes up to {LONGEST_SIDE:,} a side.")
        return q3.translate_photo(generator, photo, size, scale, q3.Options())

    introduce("Drop an aerial photo; the map appears beside it.", checkpoint, state)
    with gr.Row():
        photo = gr.Image(label="Photo", sources=["upload", "clipboard"], elem_id="photo", height=400)
        look = {"format": "png", "height": 400, "buttons": ["download", "fullscreen"]}
        output = gr.Image(label="Map", elem_id="map", **look)
    # Not preprocessed: our own reader opens the file, and says what is wrong with it.
    photo.change(translate, photo, output, preprocess=False)
    kind = "town" if state["options"]["dataset"] == "synthetic" else "aerial"
    gr.Examples([[str(file)] for file in sorted((EXAMPLES / "photos").glob(f"{kind}-*"))], photo)


def picture_tab(checkpoint: Path, runtime: Runtime) -> None:
    """The classes of a picture, and the cell that reads it."""
    network, state = q4.load_network(checkpoint, runtime)
    names, size = q4.class_names(state), q4.picture_size(state)
    cell = rasterise(plot_cells(parse(state["architecture"]["genotype"]), "The cells of this network"))

    @spoken
    def classify(file: dict | None) -> dict | None:
        if file is None:
            return None
        path = Path(file["path"])
        open_rgb(path)  # which says when a picture is too small
        depth = Depth([path], state.get("facts", {}).get("depth", 0))
        image = torch.from_numpy(read_rgb(path, size, depth).copy())[None]  # (1, size, size, 3)
        logits = q4.predict(network, image.to(runtime.device), runtime)
        return dict(zip(names, logits[0].softmax(0).tolist()))

    introduce(f"Drop a picture of one of these: {', '.join(names)}.", checkpoint, state)
    with gr.Row():
        photo = gr.Image(label="Picture", sources=["upload", "clipboard"], elem_id="picture", height=360)
        answer = gr.Label(label="Classes", num_top_classes=5, elem_id="classes")
        with gr.Column(scale=2):
            gr.Image(cell, label="Cells", show_label=False, elem_id="cell", buttons=["fullscreen"])
    photo.change(classify, photo, answer, preprocess=False)
    known = sorted(EXAMPLES.glob("pictures/*"))
    gr.Examples([[str(file)] for file in known if file.stem.replace("-", " ") in names], photo)


def build(options: Options, runtime: Runtime) -> gr.Blocks:
    """The page; a tab whose network is missing says how to get one."""
    tabs = (
        ("Characters: ProtoNet", characters_tab, "protonet", "q2_protonet/train.py"),
        ("Digits: DCGAN", digits_tab, "dcgan", "q1_dcgan/train.py --conditional"),
        ("Maps: pix2pix", map_tab, "pix2pix", "q3_pix2pix/train.py"),
        ("Pictures: DARTS", picture_tab, "darts", "q4_darts/train.py"),
    )
    with gr.Blocks(title="Four papers, reproduced", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# Four papers, reproduced")
        for title, fill, flag, script in tabs:
            checkpoint = getattr(options, flag)
            with gr.Tab(title):
                try:
                    pretrained.locate(checkpoint, script.partition("/")[0])
                except RunError as error:
                    how = f"train one, such as by `python {script} --dataset synthetic`"
                    how += f", and start `demo.py --{flag} FILE`"
                    gr.Markdown(f"This tab needs a network: {error}: {how}.")
                else:
                    fill(checkpoint, runtime)
    return page


def main(options: Options) -> None:
    page = build(options, start(options))
    served = {"server_name": "127.0.0.1", "server_port": options.port, "share": False, "ssr_mode": False}
    files = {"allowed_paths": [str(EXAMPLES)], "max_file_size": "50mb"}
    page.launch(**served, **files, theme=THEME, css=CSS, footer_links=[])


if __name__ == "__main__":
    command(main, Options, __doc__)
