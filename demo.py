"""One local page with the four networks: draw characters, walk between digits, map a photo, name a picture.

python demo.py     # make demo, then http://127.0.0.1:7860
"""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from common import plots, pretrained
from common.cli import command
from common.images import read_image
from common.provenance import ROOT
from common.runtime import RunError, Runtime, ScriptOptions, UsageError, start
from q1_dcgan.measures import generate
from q1_dcgan.measures import load_generator as load_dcgan
from q1_dcgan.sample import walk
from q2_protonet.measures import embed
from q2_protonet.omniglot_dataset import read_ink
from q2_protonet.protonet import load_model
from q2_protonet.prototypical_loss import squared_distances
from q3_pix2pix import predict as q3_predict
from q3_pix2pix.maps_dataset import open_rgb
from q3_pix2pix.measures import load_generator as load_pix2pix
from q4_darts.figures import plot_cells
from q4_darts.genotypes import parse
from q4_darts.measures import class_names, load_network, picture_size
from q4_darts.measures import predict as q4_logits

EXAMPLES = ROOT / "docs" / "examples"
LETTERS = ["A", "B", "C", "D"]


@dataclass
class Options(ScriptOptions):
    """Show the networks on a local page."""

    dcgan: Path = Path("dcgan-conditional")  # a checkpoint of each question, or a name in pretrained/
    protonet: Path = Path("protonet-1shot")
    pix2pix: Path = Path("pix2pix-aerial")
    darts: Path = Path("darts-cifar10")
    port: int = 7860  # of 127.0.0.1


def spoken(function: Callable) -> Callable:
    """Shows what is wrong with an input as a sentence on the page."""

    @functools.wraps(function)
    def wrapped(*inputs: object) -> object:
        try:
            return function(*inputs)
        except (RunError, UsageError) as error:
            text = str(error)
            raise gr.Error(text.replace(str(Path(text.split()[0]).parent) + os.sep, "")) from error

    return wrapped


def picture(canvas: Figure) -> Image.Image:
    """A figure as an image."""
    FigureCanvasAgg(canvas).draw()
    return Image.fromarray(np.asarray(canvas.canvas.buffer_rgba())).convert("RGB")


def characters_tab(checkpoint: Path, runtime: Runtime) -> None:
    """Few-shot classification of what is drawn."""
    model, _ = load_model(checkpoint, runtime)

    def read(drawing: dict | None) -> np.ndarray:
        if not drawing or not drawing.get("composite"):
            raise UsageError("Draw something first.")
        return read_ink(Path(drawing["composite"]))

    def shown(known: list) -> list:
        return [(Image.fromarray(255 - image).resize((84, 84)), letter) for letter, image in known]

    @spoken
    def add(drawing: dict | None, letter: str, known: list) -> tuple:
        known = sorted([*known, (letter, read(drawing))], key=lambda example: example[0])
        return known, shown(known), None

    @spoken
    def classify(drawing: dict | None, known: list) -> tuple:
        letters = sorted({letter for letter, _ in known})
        if len(letters) < 2:
            raise UsageError("Draw and add an example of at least two characters first.")
        images = torch.from_numpy(np.stack([image for _, image in known] + [read(drawing)]))
        embeddings = embed(model, images.to(runtime.device)).cpu()  # (examples + 1, dim)
        owner = np.array([letter for letter, _ in known])
        prototypes = torch.stack([embeddings[:-1][torch.from_numpy(owner == c)].mean(0) for c in letters])
        probabilities = (-squared_distances(embeddings[-1:], prototypes))[0].softmax(0)
        return dict(zip(letters, probabilities.tolist())), picture(
            plot(embeddings, owner, prototypes, letters)
        )

    def plot(embeddings: torch.Tensor, owner: np.ndarray, prototypes: torch.Tensor, letters: list) -> Figure:
        center = embeddings.mean(0)
        axes = torch.linalg.svd(embeddings - center, full_matrices=False).Vh[:2].T  # (dim, 2)
        points, stars = ((x - center) @ axes for x in (embeddings, prototypes))
        canvas, ((axis,),) = plots.figure(size=(5, 4))
        for letter, star in zip(letters, stars):
            of = points[:-1][torch.from_numpy(owner == letter)]
            dots = axis.scatter(*of.T, marker="s", label=letter)
            axis.scatter(*star, marker="*", s=200, color=dots.get_facecolor(), edgecolor="black")
        axis.scatter(*points[-1], marker="o", s=90, color="black", label="unknown")
        axis.set(title="squares: examples, stars: prototypes", xlabel="first axis", ylabel="second axis")
        axis.legend()
        return canvas

    @spoken
    def example() -> tuple:
        files = sorted((EXAMPLES / "support").glob("*/*.png"))
        names = sorted({file.parent.name for file in files})
        known = [(LETTERS[names.index(file.parent.name)], read_ink(file)) for file in files]
        return known, shown(known), str(sorted((EXAMPLES / "query").glob("*.png"))[0])

    gr.Markdown(
        "Draw a character and add it as an example of A; add others as B, C or D, one to five of each. "
        "Then draw one more and ask what it is."
    )
    known = gr.State([])
    with gr.Row():
        pad = gr.Sketchpad(
            type="filepath",
            canvas_size=(280, 280),
            layers=False,
            label="drawing",
            elem_id="pad",
            brush=gr.Brush(default_size=14, colors=["#000000"], color_mode="fixed"),
        )
        with gr.Column():
            letter = gr.Radio(LETTERS, value="A", label="This is an example of", elem_id="letter")
            gr.Button("Add example", elem_id="add").click(
                add,
                [pad, letter, known],
                [known, gallery := gr.Gallery(label="examples", columns=5, height=180), pad],
            )
            ask = gr.Button("What is it?", variant="primary", elem_id="classify")
            ready = gr.Button("Load an example", elem_id="load")
            gr.Button("Start again").click(lambda: ([], [], None), None, [known, gallery, pad])
        with gr.Column():
            answer = gr.Label(label="probability of each character", elem_id="answer")
            space = gr.Image(label="embedding", elem_id="embedding")
    ask.click(classify, [pad, known], [answer, space])
    ready.click(example, None, [known, gallery, pad])


def digits_tab(checkpoint: Path, runtime: Runtime) -> None:
    """A walk between two latents of the DCGAN."""
    generator, state = load_dcgan(checkpoint, runtime)
    names = state.get("facts", {}).get("classes") or [str(i) for i in range(max(1, generator.classes))]

    @spoken
    def show(name: str, seed: float, place: float) -> Image.Image:
        ends = [torch.Generator().manual_seed(int(seed) + end) for end in (0, 1)]
        noise = torch.stack([torch.randn(generator.latent_size, generator=end) for end in ends])
        noise = walk(noise, 101)[round(100 * place)][None].to(runtime.device)
        labels = torch.tensor([names.index(name)], device=runtime.device) if generator.classes else None
        pixels = generate(generator, noise, labels)[0].cpu().numpy()
        return Image.fromarray(pixels).resize((280, 280), Image.Resampling.NEAREST)

    gr.Markdown("Pick a digit; the slider walks from one random latent to the next.")
    with gr.Row():
        with gr.Column():
            name = gr.Radio(names, value=names[0], label="digit", elem_id="digit")
            seed = gr.Number(0, label="seed", precision=0, minimum=0, maximum=2**31)
            place = gr.Slider(0, 1, 0, label="walk", elem_id="walk")
        output = gr.Image(label="sample", elem_id="sample", format="png")
    for control in (name, seed, place):
        control.change(show, [name, seed, place], output)
    name.select(show, [name, seed, place], output)


def map_tab(checkpoint: Path, runtime: Runtime) -> None:
    """A map from a photo."""
    generator, state = load_pix2pix(checkpoint, runtime)
    size, scale = state["architecture"]["image_size"], state.get("facts", {}).get("scale") or [1.0, 1.0]

    @spoken
    def translate(file: str | None) -> Image.Image | None:
        if file is None:
            return None
        return q3_predict.translate_photo(generator, open_rgb(Path(file)), size, scale, q3_predict.Options())

    gr.Markdown("Drop an aerial photo; the map appears beside it.")
    with gr.Row():
        photo = gr.Image(type="filepath", label="photo", sources=["upload", "clipboard"], elem_id="photo")
        output = gr.Image(label="map", elem_id="map", format="png")
    photo.change(translate, photo, output)
    gr.Examples([[str(file)] for file in sorted((EXAMPLES / "photos").glob("*"))], photo)


def picture_tab(checkpoint: Path, runtime: Runtime) -> None:
    """The classes of a picture, and the cell that reads it."""
    network, state = load_network(checkpoint, runtime)
    names, size = class_names(state), picture_size(state)
    cell = picture(plot_cells(parse(state["architecture"]["genotype"]), "the cell that reads it"))

    @spoken
    def classify(file: str | None) -> dict | None:
        if file is None:
            return None
        image = read_image(Path(file), "RGB").resize((size, size), Image.Resampling.LANCZOS)
        logits = q4_logits(network, torch.from_numpy(np.array(image))[None].to(runtime.device), runtime)
        return dict(zip(names, logits[0].softmax(0).tolist()))

    gr.Markdown(f"Drop a picture of one of these: {', '.join(names)}.")
    with gr.Row():
        photo = gr.Image(type="filepath", label="picture", sources=["upload", "clipboard"], elem_id="picture")
        answer = gr.Label(label="classes", num_top_classes=5, elem_id="classes")
        gr.Image(cell, label="cell", elem_id="cell")
    photo.change(classify, photo, answer)
    gr.Examples([[str(file)] for file in sorted((EXAMPLES / "pictures").glob("*"))], photo)


def build(options: Options, runtime: Runtime) -> gr.Blocks:
    """The page; a tab whose network is missing says which one and how to get it."""
    tabs = (
        ("Characters: ProtoNet", characters_tab, options.protonet),
        ("Digits: DCGAN", digits_tab, options.dcgan),
        ("Maps: pix2pix", map_tab, options.pix2pix),
        ("Pictures: DARTS", picture_tab, options.darts),
    )
    with gr.Blocks(title="Four papers, reproduced", analytics_enabled=False) as page:
        gr.Markdown("# Four papers, reproduced")
        for title, fill, checkpoint in tabs:
            with gr.Tab(title):
                try:
                    pretrained.locate(checkpoint)
                except RunError as error:
                    gr.Markdown(
                        f"This tab needs a trained network: {error}. Train one, and give it to demo.py."
                    )
                else:
                    fill(checkpoint, runtime)
    return page


def main(options: Options) -> None:
    page = build(options, start(options))
    page.launch(server_name="127.0.0.1", server_port=options.port, share=False, allowed_paths=[str(EXAMPLES)])


if __name__ == "__main__":
    command(main, Options, __doc__)
