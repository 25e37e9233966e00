"""Measures a network of pretrained/ as its question's evaluate.py does."""

import tempfile
from importlib import import_module
from pathlib import Path


def measure(about: dict, name: str, data_root: Path, device: str) -> list[dict]:
    """Returns the rows of evaluate.py for a network in pretrained/; figures/ stays as it is.

    Args:
        about: what its file says of it, as `pretrained.describe`.
    """
    script = import_module(f"{about['question']}.evaluate")
    options = script.Options(checkpoint=Path(name), data_root=data_root, device=device)
    if about["options"].get("split") == "background":  # for the Omniglot challenge
        options.within_alphabet = True
        options.shifts = (0, 1)
    with tempfile.TemporaryDirectory() as figures:
        if hasattr(options, "figure_root"):
            options.figure_root = Path(figures)
        result = script.main(options)
    return result["rows"] if isinstance(result, dict) else result
