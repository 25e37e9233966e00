"""Evaluates the networks in pretrained/ on the real data and prints each number beside the committed one.

python reproduction/verify.py     # make verify: minutes on a CPU
"""

import sys
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import pretrained
from common.cli import command, explain
from common.results import show_name, show_value
from common.runtime import RunError, ScriptOptions, UsageError


@dataclass
class Options(ScriptOptions):
    """Measure the shipped networks again."""

    data_root: Path = Path("data")  # folder of the data sets; what is missing is downloaded
    # relative difference that still counts as equal: GPUs and versions round differently
    tolerance: float = 0.005


def evaluate(question: str, name: str, data_root: Path, device: str) -> list[dict]:
    """The rows of the question's evaluate.py for a network in pretrained/; figures/ stays as it is."""
    script = import_module(f"{question}.evaluate")
    # In fp32, as the committed numbers were measured, whatever `auto` means here.
    options = script.Options(checkpoint=Path(name), data_root=data_root, device=device, precision="fp32")
    if hasattr(options, "figure_root"):
        options.figure_root = Path(tempfile.gettempdir()) / "verify-figures"
    trained = pretrained.read(pretrained.FOLDER / f"{name}.safetensors")["options"]
    if trained.get("split") == "background":  # for the Omniglot challenge
        options.within_alphabet, options.shifts = True, (0, 1)
    result = script.main(options)
    return result["rows"] if isinstance(result, dict) else result


def main(options: Options) -> None:
    options.check()
    lines, failed = [], 0
    for name in pretrained.names():
        try:
            shipped = pretrained.read(pretrained.FOLDER / f"{name}.safetensors")
            measured = evaluate(shipped["question"], name, options.data_root, options.device)
        except (RunError, UsageError, OSError) as error:
            lines.append(f"{name}: not verified: {explain(error)}")
            failed += 1
            continue
        again = {row["name"]: row for row in measured}
        for row in shipped["rows"]:
            now, value = again.get(row["name"]), row["value"]
            equal = now and abs(now["value"] - value) <= options.tolerance * max(1, abs(value))
            failed += not equal
            shown = f"{show_value(row):36}{show_value(now) if now else 'missing':36}"
            lines.append(f"{name:24}{show_name(row):52}{shown}{'' if equal else 'DIFFERS'}")
    print(f"\n{'network':24}{'measure':52}{'committed':36}measured now")
    print("\n".join(lines) or "there are no networks in pretrained/")
    if failed:
        raise RunError(f"{failed} of {len(lines)} lines are not verified")


if __name__ == "__main__":
    command(main, Options, __doc__)
