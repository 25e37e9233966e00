"""The trained networks that come with the project: pretrained/<name>.safetensors, each with a model card."""

import contextlib
import json
from pathlib import Path

import torch

from common.provenance import ROOT
from common.runtime import RunError

FOLDER = ROOT / "pretrained"
MOST_BYTES = 25_000_000  # of one file, which holds no code
ABOUT = ("format", "question", "architecture", "options", "epoch", "facts", "rows")  # what describes it


def names(question: str | None = None) -> list[str]:
    """The names of the networks that are there, of one question or of all."""
    found = []
    for path in sorted(FOLDER.glob("*.safetensors")):
        with contextlib.suppress(RunError):  # a damaged one is of no question
            if question is None or read(path)["question"] == question:
                found.append(path.stem)
    return found


def locate(checkpoint: Path | str, question: str | None = None) -> Path:
    """The file of a checkpoint given as a path or as the name of a network in pretrained/.

    Raises:
        RunError: there is neither; the message names the networks of `question`.
    """
    path, named = Path(checkpoint), FOLDER / f"{checkpoint}.safetensors"
    if path.is_file():
        return path
    if len(path.parts) == 1 and named.is_file():
        return named
    known = ", ".join(names(question)) or "none for this question"
    folder = question or "<question>"
    advice = f"train one with {folder}/train.py and give its file, logs/{folder}/<run>/checkpoints/last.pt"
    raise RunError(f"no checkpoint at {path}; networks that come with the project: {known}; {advice}")


def write(path: Path, state: dict, model: dict[str, torch.Tensor], rows: list[dict], half: bool) -> None:
    """Writes a network's weights and what describes it, in fp16 if `half`.

    Args:
        path: pretrained/<name>.safetensors.
        state: a checkpoint's contents, of which everything but the optimisers and position is kept.
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
    about = {key: value for key, value in state.items() if key in ABOUT} | {"rows": rows}
    about.setdefault("facts", {})
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, {"four_papers": json.dumps(about)})
    if path.stat().st_size > MOST_BYTES:
        raise RunError(f"{path} has {path.stat().st_size:,} bytes, more than {MOST_BYTES:,}: try --half")


def read(path: Path, device: torch.device | str = "cpu") -> dict:
    """The contents as in a checkpoint: "model" in fp32, "question", "architecture", "options", "rows" ...

    Raises:
        RunError: the file is damaged, too large, or not one of this project's.
    """
    from safetensors import SafetensorError, safe_open

    if (size := path.stat().st_size) > MOST_BYTES:
        raise RunError(f"{path} has {size:,} bytes; a network of this project has at most {MOST_BYTES:,}")
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            about = json.loads((file.metadata() or {})["four_papers"])
            about = {key: about[key] for key in ABOUT}
            tensors = [(name, file.get_tensor(name)) for name in file.keys()]
    except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged, or not a network of this project") from error
    return about | {"model": {name: t.float() if t.is_floating_point() else t for name, t in tensors}}
