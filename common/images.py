"""Image files of unknown origin: opened by their content, refused before they are decoded when they claim to be enormous."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from common.runtime import RunError

MOST_PIXELS = 100_000_000
FORMATS = (
    "AVIF",
    "BMP",
    "GIF",
    "JPEG",
    "JPEG2000",
    "PNG",
    "PPM",
    "TIFF",
    "WEBP",
)  # not EPS, for one: Pillow starts Ghostscript for it

Image.MAX_IMAGE_PIXELS = (
    MOST_PIXELS  # Pillow itself refuses twice as many, and warns from here on, where open_image refuses
)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Opens an image; decode and convert it within the block, since a file may be found to be damaged at any pixel.

    Raises:
        RunError: whatever goes wrong in the block: the file is missing, of no known format, damaged (Pillow's decoders raise
            almost any exception for that), or it claims more than MOST_PIXELS.
    """
    try:
        Image.init()
        with Image.open(
            path, formats=[name for name in FORMATS if name in Image.OPEN]
        ) as image:  # AVIF is new
            if not 0 < image.width * image.height <= MOST_PIXELS:
                raise ValueError(
                    f"it claims {image.width:,} x {image.height:,} pixels, and the most are {MOST_PIXELS:,}"
                )
            yield image
    except Exception as error:
        raise RunError(f"{path} cannot be read as an image ({error or type(error).__name__})") from error
