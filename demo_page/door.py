"""The one door for everything that the page is sent: files, drawings, numbers, names.

A request can be forged, so nothing in it is believed. Whatever is not an upload of this page, or one of
docs/examples, counts as no picture at all, and no message tells which files there are.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from common.errors import RunError, UsageError
from common.image_reader import open_image

MOST_BYTES = 50_000_000  # of an upload
MOST_FOLDER_BYTES = 1_000_000_000  # of all uploads together
MOST_PIXELS = 60_000_000  # of a picture: more than phones take
LEAST_SIDE = 8  # of a picture, in pixels
MOST_PAD_BYTES = 400_000  # of a drawing on the pad
MOST_PAD_SIDE = 1000  # in pixels
PNG = "data:image/png;base64,"
UPLOAD = "Upload a picture."
EMPTY_PAD = "The pad is empty: draw a character first."


@dataclass
class Door:
    """Lets through what this page was sent.

    uploads: the page's own temporary folder, resolved.
    examples: docs/examples, resolved.
    """

    uploads: Path
    examples: Path

    def own_file(self, text: object) -> Path | None:
        """Returns the file of a path if it is an upload or an example; None of all others.

        Links and ".." are followed first.
        """
        if not isinstance(text, str) or not text.startswith("/"):
            return None
        try:
            path = Path(text).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # missing, with a zero byte, a loop of links
            return None
        inside = any(path.is_relative_to(folder) for folder in (self.uploads, self.examples))
        return path if inside and path.is_file() else None

    def clean(self, sent: Any) -> Any:
        """Returns what a request holds, with None in place of every file that is not the page's own."""
        if isinstance(sent, list):
            return [self.clean(value) for value in sent]
        if not isinstance(sent, dict):
            return sent
        if not sent.keys() & {"path", "url"}:
            return {key: self.clean(value) for key, value in sent.items()}
        path = self.own_file(sent.get("path"))
        if path is None:
            return None
        return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}

    def picture(self, sent: object) -> Path:
        """Returns the file of an uploaded picture.

        Raises:
            UsageError: it is none of this page, or too large.
            RunError: it is no readable picture.
        """
        path = self.own_file(sent.get("path")) if isinstance(sent, dict) else None
        if path is None:
            raise UsageError(UPLOAD)
        if path.stat().st_size > MOST_BYTES:
            raise UsageError(f"A picture may have at most {MOST_BYTES // 1_000_000} MB.")
        with open_image(path) as image:
            width, height = image.size
        if min(width, height) < LEAST_SIDE:
            raise UsageError(f"{path.name} has only {width} x {height} pixels.")
        if width * height > MOST_PIXELS:
            raise UsageError(f"A picture may have at most {MOST_PIXELS // 1_000_000} million pixels.")
        return path

    def drawing(self, sent: object) -> BytesIO:
        """Returns the PNG file that the pad sends as a data URL.

        Raises:
            UsageError: there is none, or nothing was drawn.
        """
        if not isinstance(sent, str) or not sent.startswith(PNG) or len(sent) > MOST_PAD_BYTES:
            raise UsageError(EMPTY_PAD)
        try:
            file = BytesIO(base64.b64decode(sent[len(PNG) :], validate=True))
            with open_image(file) as image:  # type: ignore[arg-type]
                if image.format != "PNG" or max(image.size) > MOST_PAD_SIDE:
                    raise RunError("it is not what the pad sends")
                darkest, lightest = image.convert("L").getextrema()
        except (RunError, binascii.Error) as error:
            raise UsageError(EMPTY_PAD) from error
        if darkest == lightest:
            raise UsageError(EMPTY_PAD)
        file.seek(0)
        return file

    def whole_number(self, sent: object, name: str, least: int, most: int) -> int:
        """Returns a whole number in its range.

        Raises:
            UsageError: it is something else.
        """
        fits = isinstance(sent, int | float) and not isinstance(sent, bool) and least <= sent <= most
        if not fits or sent != int(sent):  # type: ignore[call-overload]
            raise UsageError(f"{name} must be a whole number from {least:,} to {most:,}.")
        return int(sent)  # type: ignore[call-overload]

    def share(self, sent: object) -> float:
        """Returns a number from 0 to 1; whatever is not one counts as 0."""
        fits = isinstance(sent, int | float) and 0 <= sent <= 1
        return float(sent) if fits else 0.0  # type: ignore[arg-type]

    def choice(self, sent: object, choices: list[str], name: str) -> str:
        """Returns one of the names that can be chosen.

        Raises:
            UsageError: it is none of them.
        """
        if not isinstance(sent, str) or sent not in choices:
            raise UsageError(f"Choose {name}.")
        return sent

    def hide_paths(self, message: str) -> str:
        """Returns a message with the bare names of files."""
        for folder in (self.uploads, self.examples):
            message = re.sub(re.escape(str(folder)) + r"/([^/\s]+/)*", "", message)
        return re.sub(r"(?<![\w.])/\S*/", "", message)
