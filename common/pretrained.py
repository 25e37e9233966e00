"""The trained networks that come with the project: pretrained/<name>.safetensors, each with a model card.

Finding them needs no torch, so that a wrong name is refused at once.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import RunError
from common.provenance import ROOT

if TYPE_CHECKING:
    import torch

FOLDER = ROOT / "pretrained"
MOST_BYTES = 25_000_000  # of one file, which holds no code
# What a file says of its network, beside the weights.
DESCRIPTION = ("format", "question", "architecture", "options", "epoch", "facts", "rows")


def names(question: str | None = None) -> list[str]:
    """Lists the networks that are there, of one question or of all."""
    found = []
    for path in sorted(FOLDER.glob("*.safetensors")):
        with contextlib.suppress(RunError):  # a damaged one is of no question
            if question is None or describe(path)["question"] == question:
                found.append(path.stem)
    return found


def locate(checkpoint: Path | str, question: str | None = None) -> Path:
    """Returns the file of a checkpoint given as a path or as the name of a network in pretrained/.

    Raises:
        RunError: there is neither; the message names the networks of `question`.
    """
    path = Path(checkpoint)
    if path.is_file():
        return path
    named = FOLDER / f"{checkpoint}.safetensors"
    if len(path.parts) == 1 and named.is_file():
        return named
    known = ", ".join(names(question)) or "none for this question"
    folder = question or "<question>"
    raise RunError(
        f"no checkpoint at {path}; networks that come with the project: {known}; train one with "
        f"{folder}/train.py and give one of its files in logs/{folder}/<run>/checkpoints/"
    )


def describe(path: Path) -> dict[str, Any]:
    """Reads what a .safetensors file says of its network: question, architecture, options, facts, rows ...

    The file begins with the length of a JSON header in eight bytes, and the header.

    Raises:
        RunError: the file is damaged, too large, or not one of this project's.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise RunError(f"{path} has {size:,} bytes; a network of this project has at most {MOST_BYTES:,}")
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                raise ValueError("its header is longer than the file")
            header = json.loads(file.read(length))
        about = json.loads(header["__metadata__"]["four_papers"])
        return {key: about[key] for key in DESCRIPTION}
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged, or not a network of this project") from error


def read(path: Path, device: "torch.device | str" = "cpu") -> dict[str, Any]:
    """Returns the contents as in a checkpoint: "model" in fp32, and what `describe` returns.

    Raises:
        RunError: as `describe`.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    about = describe(path)
    try:
        weights = load_file(path, str(device))
    except (SafetensorError, ValueError) as error:
        raise RunError(f"{path} is damaged, or not a network of this project") from error
    model = {name: t.float() if t.is_floating_point() else t for name, t in weights.items()}
    return about | {"model": model}


def write(
    path: Path, state: dict[str, Any], model: dict[str, "torch.Tensor"], rows: list[dict], half: bool
) -> None:
    """Writes a network's weights and what describes it, in fp16 if `half`.

    Args:
        path: pretrained/<name>.safetensors.
        state: a checkpoint's contents, of which DESCRIPTION is kept.
        model: the weights to keep, such as the averaged ones.
        rows: its measures on the real data, as in results.json; verify.py repeats them.
        half: fp16 for floating-point tensors.

    Raises:
        RunError: the file would be larger than a repository should hold.
    """
    from safetensors.torch import save_file

    weights = {name: value.contiguous() for name, value in model.items()}
    if half:
        weights = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
    about = {key: value for key, value in state.items() if key in DESCRIPTION} | {"rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    save_file(weights, partial, {"four_papers": json.dumps(about)})
    size = partial.stat().st_size
    if size > MOST_BYTES:
        partial.unlink()
        raise RunError(f"{path} would have {size:,} bytes, more than {MOST_BYTES:,}: try --half")
    os.replace(partial, path)
