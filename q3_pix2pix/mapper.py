"""A trained generator ready for use: `Mapper` maps a photo of any size."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from common import trained_network
from common.device import Runtime, no_tf32
from common.errors import RunError
from common.image_reader import MOST_PIXELS, Depth
from q3_pix2pix.legend import Legend, on_legend
from q3_pix2pix.maps_dataset import prepare, to_uint8
from q3_pix2pix.options import QUESTION, Mode
from q3_pix2pix.pair_reader import BICUBIC, open_rgb
from q3_pix2pix.pix2pix import UNet, own_statistics
from q3_pix2pix.tiling import Progress, tiled

Inference = Literal["paper", "no_dropout", "eval"]
PARTS = ("average", "model", "generator")  # where a checkpoint holds the generator that is measured


@contextlib.contextmanager
def inference(generator: UNet, how: Inference) -> Iterator[Callable[[Tensor], Tensor]]:
    """Makes a generator ready in one of three ways, in fp32 and without torch.compile.

    Args:
        how: "paper" keeps dropout on and normalises with each picture's own statistics (section 3.4);
            "no_dropout" does the latter alone; "eval" takes the running statistics, without dropout.

    Yields:
        A function: photos (n, 3, size, size) uint8 -> their maps, the same.
    """
    device = next(generator.parameters()).device
    generator.eval()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(no_tf32())
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        torch.manual_seed(0)  # the same dropout in every epoch, leg, process and script
        if how != "eval":
            stack.enter_context(own_statistics(generator, dropout=how == "paper"))
        yield lambda photos: to_uint8(generator.forward(prepare(photos)))


def translate(generator: UNet, photos: Tensor, how: Inference = "paper", batch: int = 8) -> Tensor:
    """Maps photos of the network's size: (n, 3, size, size) uint8 -> the same.

    Args:
        how: as `inference` takes it.
        batch: photos at once.
    """
    with inference(generator, how) as to_maps:
        return torch.cat([to_maps(some) for some in photos.split(batch)])


@dataclass
class Mapper:
    """A trained generator, and what its checkpoint says of it.

    generator: the moving average where training kept one.
    size: of the pictures it was trained on, in pixels.
    scale: factors of width and height by which its training pairs were scaled.
    depth: what deep photos of its training were divided by, 0 for 8 bits.
    fitted: it was trained on pictures in the middle of a white border (--resize fit).
    legend: of its training maps; None where they are not flat, or the checkpoint names no colours.
    architecture, options: of its training.
    epoch: after which it was saved.
    name: of its run, or of the network in pretrained/.
    device: where it computes.
    """

    generator: UNet
    size: int
    scale: tuple[float, float]
    depth: int
    fitted: bool
    legend: Legend | None
    architecture: dict
    options: dict
    epoch: int
    name: str
    device: torch.device

    @classmethod
    def load(cls, checkpoint: Path | str, runtime: Runtime) -> "Mapper":
        """Loads the generator of a checkpoint, or the one of this name in pretrained/.

        Raises:
            RunError: there is none, or it is damaged or another question's.
        """

        def build(image_size: int, base_channels: int, direction: str) -> UNet:  # direction: of the pairs
            return UNet(image_size, base_channels)

        loaded = trained_network.load(checkpoint, QUESTION, build, runtime.device, PARTS)
        colors = loaded.facts.get("legend")
        return cls(
            generator=loaded.network,
            size=loaded.architecture["image_size"],
            scale=tuple(loaded.facts["scale"]),
            depth=loaded.facts["depth"],
            fitted=loaded.options["resize"] == "fit",
            legend=Legend.from_facts(colors, runtime.device) if colors else None,
            architecture=loaded.architecture,
            options=loaded.options,
            epoch=loaded.epoch,
            name=loaded.name,
            device=runtime.device,
        )

    @property
    def title(self) -> str:
        """The run, its data and the epoch, for a figure or a page."""
        return f"{self.name}, {self.options['dataset']}, epoch {self.epoch}"

    def read(self, photo: Path, depth: Depth | None = None) -> Image.Image:
        """Reads a photo as those of the training were read.

        Args:
            depth: of several photos that belong together; without it, of this one alone.

        Raises:
            RunError: the file is not a readable image, or smaller than 16 pixels.
        """
        return open_rgb(photo, depth or Depth([photo], self.depth))

    def scaled_sides(self, photo: Image.Image, scale: float | None = None) -> tuple[int, int]:
        """Returns width and height of a photo at the scale of the training, or at `scale`.

        Raises:
            RunError: it would have more than MOST_PIXELS.
        """
        by_width, by_height = self.scale if scale is None else (scale, scale)
        width = max(2, round(photo.width * by_width))
        height = max(2, round(photo.height * by_height))
        if width * height > MOST_PIXELS:
            raise RunError(
                f"a photo of {photo.width:,} x {photo.height:,} pixels would have {width:,} x {height:,} "
                f"at the scale of the training, and the limit is {MOST_PIXELS:,}: shrink it, or give another "
                "--scale"
            )
        return width, height

    def map(
        self,
        photo: Image.Image,
        mode: Mode = "auto",
        scale: float | None = None,
        overlap: float = 0.5,
        progress: Progress | None = None,
    ) -> Image.Image:
        """Maps an RGB photo of any size; the map has the same size.

        Args:
            mode: as `inference` takes it; "auto" is "paper" for a single tile and "no_dropout" for several.
            scale: factor of the photo's sides, in place of the training's.
            overlap: share of a tile's side that it has in common with its neighbour.
            progress: called with the tiles done and the tiles there are.

        Raises:
            RunError: the photo is too large at this scale.
        """
        # At the scale of the training, in the middle of a white border where its pairs were.
        width, height = self.scaled_sides(photo, scale)
        image = torch.from_numpy(np.array(photo.resize((width, height), BICUBIC)))  # (height, width, 3)
        image = image.permute(2, 0, 1).to(self.device)
        room_x = max(0, self.size - width) if self.fitted else 0
        room_y = max(0, self.size - height) if self.fitted else 0
        left = round(room_x / 2)  # as ImageOps.pad does
        top = round(room_y / 2)
        image = F.pad(image, (left, room_x - left, top, room_y - top), value=255)

        # Tile by tile, and back to the photo's size.
        if mode == "auto":
            mode = "paper" if max(width, height) <= self.size else "no_dropout"
        with inference(self.generator, mode) as to_maps:
            result = tiled(to_maps, image, self.size, overlap, progress)
        result = result[:, top : top + height, left : left + width]
        pixels = result.round().byte().permute(1, 2, 0).cpu().numpy()
        return Image.fromarray(pixels).resize(photo.size, BICUBIC)

    def on_legend(self, result: Image.Image) -> float | None:
        """Returns how many percent of a map's pixels have a colour of the legend; None where there is none.

        Far below what its true maps have, the photo is of a kind that the network does not know.
        """
        if self.legend is None:
            return None
        pixels = torch.from_numpy(np.array(result)).permute(2, 0, 1).to(self.device)
        rows = pixels.split(256, 1)  # some rows at a time, to save memory
        right = sum(float(on_legend(some[None] / 255, self.legend.colors)) * some.shape[1] for some in rows)
        return 100 * right / result.height
