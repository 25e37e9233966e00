"""Animations under half a megabyte."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from PIL import Image

Frame = TypeVar("Frame")


def thin(frames: Sequence[Frame], most: int) -> Sequence[Frame]:
    """Returns every n-th frame, or what it is made from: at most `most`, the last one among them."""
    every = -(-len(frames) // most)
    return frames[::-1][::every][::-1]


def write_gif(
    frames: Sequence[Image.Image], path: Path, duration: int = 300, most_bytes: int = 500_000
) -> Path:
    """Writes an endless GIF of frames of one size; they are scaled down until it has at most `most_bytes`.

    Args:
        duration: of a frame in milliseconds; the last one stays five times as long.
    """
    durations = [duration] * (len(frames) - 1) + [5 * duration]
    size = frames[0].size
    while True:
        small = []
        for frame in frames:
            scaled = frame.convert("RGB").resize(size, Image.Resampling.BOX)
            small.append(scaled.quantize(48, dither=Image.Dither.NONE))
        file = BytesIO()
        small[0].save(file, "GIF", save_all=True, append_images=small[1:], duration=durations, loop=0)
        if file.tell() <= most_bytes:
            break
        width, height = size
        size = (max(1, int(0.85 * width)), max(1, int(0.85 * height)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.getvalue())
    return path
