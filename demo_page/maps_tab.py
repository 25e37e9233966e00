"""The tab that draws a map from an aerial photo."""

import functools
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from PIL import Image, ImageOps

from common.device import Runtime
from common.image_reader import open_image
from demo_page.door import Door
from demo_page.example_buttons import Captioned, example_buttons
from demo_page.words import in_place, introduce, place_for_sentence, sentence
from q3_pix2pix.legend import Legend
from q3_pix2pix.mapper import Mapper

LONGEST_SIDE = 2048  # of a map, in pixels; larger photos are scaled down
LEAST_SEEN = 32  # longer side of a photo as the network sees it, in pixels
MOST_SEEN = 1024  # which a CPU maps within seconds
# A map with a smaller percentage of its pixels on the legend is called doubtful: of the maps that
# pix2pix-aerial draws of its 63 validation photos, 61 have more.
FEWEST_ON_LEGEND = 79
# Photos that come with the project. The share of right pixels is that of pix2pix-aerial, whose validation
# photos they are; towns are for networks trained on synthetic data.
EXAMPLES = {
    "aerial": {
        "aerial-3.jpg": "maps well: 94 % of it right",
        "aerial-2.jpg": "average: 80 % right",
        "aerial-1.jpg": "maps badly: 43 % right",
    },
    "town": {"town-1.png": "a town", "town-2.png": "another town"},
}


class Photo(NamedTuple):
    """A photo as the page maps it.

    image: RGB, at most LONGEST_SIDE.
    opaque: where it is not transparent, "L"; None where it is opaque everywhere.
    size: width and height of the file.
    seen: longer side at the scale of the training, in pixels.
    """

    image: Image.Image
    opaque: Image.Image | None
    size: tuple[int, int]
    seen: int


def read_photo(mapper: Mapper, path: Path) -> Photo:
    """Reads a photo, scaled down where it is large.

    Raises:
        RunError: the file is no readable picture, or has fewer than 16 pixels a side.
    """
    image = mapper.read(path)
    size = image.size
    by_width, by_height = mapper.scale
    seen = round(max(size[0] * by_width, size[1] * by_height))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.BICUBIC)
    opaque = None
    with open_image(path) as file:
        upright = ImageOps.exif_transpose(file)
        if upright.has_transparency_data:
            opaque = upright.convert("RGBA").getchannel("A").resize(image.size)
    return Photo(image, opaque, size, max(LEAST_SEEN, min(MOST_SEEN, seen)))


def draw_map(
    mapper: Mapper, photo: Photo, seen: int, progress: Callable[[int, int], object]
) -> tuple[Image.Image, str]:
    """Maps a photo whose longer side the network sees as `seen` pixels.

    Returns:
        The map, white where the photo is transparent; and what there is to say about it.
    """
    as_trained = photo.image.size == photo.size and seen == photo.seen
    scale = None if as_trained else seen / max(photo.image.size)
    result = mapper.map(photo.image, scale=scale, progress=progress)
    said = []
    if photo.image.size != photo.size:
        said.append(f"The photo was scaled down to {photo.image.width:,} x {photo.image.height:,} pixels.")
    share = mapper.on_legend(result)
    if share is not None and share < FEWEST_ON_LEGEND:
        said.append(
            f"Doubtful: only {share:.0f} % of this map has a colour of the legend. The network does not know "
            "photos like this one; try another size, or a photo like the examples."
        )
    if photo.opaque is not None:
        white = Image.new("RGB", result.size, "white")
        result = Image.composite(result, white, photo.opaque.point(lambda alpha: 255 if alpha else 0))
    return result, " ".join(said)


def show_legend(legend: Legend) -> str:
    """Returns the colours as HTML, with their names, or their shares of the training maps."""
    entries = []
    for fact in legend.facts():
        red, green, blue = fact["color"]
        share = f"{100 * fact['share']:.0f} %" if fact["share"] >= 0.01 else "under 1 %"
        name = escape(fact["name"] or share)
        entries.append(f'<li><span style="background: rgb({red}, {green}, {blue})"></span>{name}</li>')
    named = any(legend.names)
    text = "Colours of the maps" if named else "Colours of the maps, and their share of the training maps"
    return f"<p>{text}:</p><ul class='legend'>{''.join(entries)}</ul>"


def maps_tab(checkpoint: Path, runtime: Runtime, door: Door) -> None:
    """Fills the tab."""
    mapper = Mapper.load(checkpoint, runtime)

    def run(path: Path, seen: int | None, progress: gr.Progress) -> tuple:
        photo = read_photo(mapper, path)
        seen = seen or photo.seen
        shown = lambda done, tiles: progress((done, tiles), desc="tiles")  # noqa: E731
        result, said = draw_map(mapper, photo, seen, shown)
        return result, seen, sentence(said)

    def translate(sent: dict | None, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        path = door.picture(sent)
        return gr.skip(), *run(path, None, progress)

    def resize(sent: dict | None, seen: float, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        path = door.picture(sent)
        result, _, said = run(path, door.whole_number(seen, "The size", LEAST_SEEN, MOST_SEEN), progress)
        return result, said

    def translate_example(path: Path, progress: gr.Progress = gr.Progress()) -> tuple:  # noqa: B008
        return str(path), *run(path, None, progress)

    known = EXAMPLES["town" if mapper.options["dataset"] == "synthetic" else "aerial"]
    examples = [Captioned(caption, door.examples / "photos" / file) for file, caption in known.items()]

    introduce("Upload an aerial photo like the examples: the network draws its map.", mapper.title)
    with gr.Row():
        with gr.Column(min_width=320):
            how = {"sources": ["upload", "clipboard"], "height": 400, "buttons": []}
            photo = gr.Image(label="Photo", elem_id="photo", **how)
            buttons = example_buttons(examples)
            seen = gr.Slider(
                LEAST_SEEN,
                MOST_SEEN,
                mapper.size,
                step=1,
                label="Size at which the network sees the photo: its longer side in pixels",
                info=f"The training photos had {mapper.size}. Houses should be as large as in the examples.",
                elem_id="seen",
            )
        with gr.Column(min_width=320):
            look = {"format": "png", "height": 400, "buttons": ["download", "fullscreen"]}
            output = gr.Image(label="Map", elem_id="map", **look)
            said = place_for_sentence("", "said-maps")
            if mapper.legend:
                gr.HTML(show_legend(mapper.legend), elem_id="legend")

    # Not preprocessed: our own reader opens the file, and says what is wrong with it.
    everything = [photo, output, seen, said]
    how = {"concurrency_id": "maps", "show_progress_on": output}
    on_mistake = (None, None, gr.skip())
    photo.upload(in_place(door, translate, on_mistake), photo, everything, preprocess=False, **how)
    photo.clear(lambda: (None, ""), None, [output, said], show_progress="hidden")
    latest = {"preprocess": False, "trigger_mode": "always_last"}
    seen.input(in_place(door, resize, (gr.skip(),)), [photo, seen], [output, said], **latest, **how)
    for button, example in zip(buttons, examples):
        button.click(functools.partial(translate_example, example.path), None, everything, **how)
