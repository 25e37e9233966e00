"""Puts the network of a finished run into pretrained/, measured as it lies there, with a model card.

python reproduction/export.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --name protonet-1shot
"""

import json
import shlex
import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import cli
from reproduction.options import ExportOptions as Options
from reproduction.options import resolve_export as resolve

if __name__ == "__main__":  # the command line is answered before torch is imported, which takes seconds
    options = cli.read(Options, resolve, __doc__)

from torch import nn

from common import checkpoint, pretrained
from common.device import Runtime, start
from common.errors import RunError
from common.json_files import read_json, write_text
from common.options import ScriptOptions
from common.statistics import show_name, show_value
from reproduction.layouts import LAYOUTS
from reproduction.log_reader import typed_command
from reproduction.markdown import code, escaped, table
from reproduction.measuring import measure

CIFAR10 = "CIFAR-10 (Krizhevsky 2009), whose author states no licence"
LICENCES = {
    "mnist": "MNIST, CC BY-SA 3.0 (LeCun and Cortes)",
    "omniglot": "Omniglot, MIT (Lake et al. 2015)",
    "aerial_maps": "henriquejandrade/map-synth, CC0",
    "cifar10": CIFAR10,
    "cifar10_images": f"{CIFAR10}, as JPEG files",
    "synthetic": "drawn by this program",
}
LIMITS = {
    "q1_dcgan": "It draws digits in the style of MNIST, 28 pixels wide, and nothing else.",
    "q2_protonet": "It was trained on handwritten characters of 28 x 28 pixels, not on photographs.",
    "q3_pix2pix": "It knows one region's aerial photos and one legend of flat land-cover colours.",
    "q4_darts": "It knows the ten classes of CIFAR-10 at 32 x 32 pixels.",
}
# question -> the module and class of a trained network ready for use, and where it has the network itself
READY = {
    "q1_dcgan": ("painter", "Painter", "generator"),
    "q2_protonet": ("few_shot", "FewShot", "network"),
    "q3_pix2pix": ("mapper", "Mapper", "generator"),
    "q4_darts": ("namer", "Namer", "network"),
}


def main(options: Options) -> Path:
    options = resolve(options)
    runtime = start(ScriptOptions(device=options.device))

    # The network, as it is used.
    state = checkpoint.read(options.checkpoint)
    question = state.get("question") if isinstance(state, dict) else None
    if question not in READY:
        raise RunError(f"{options.checkpoint} is not a checkpoint of this project")
    weights = network_of(question, options.checkpoint, runtime).state_dict()

    # Written twice: the measures are made with the file as it lies there.
    path = pretrained.FOLDER / f"{options.name}.safetensors"
    pretrained.write(path, state, weights, [], options.half)
    try:
        rows = measure(pretrained.describe(path), options.name, options.data_root, options.device)
        pretrained.write(path, state, weights, rows, options.half)
        write_text(path.with_suffix(".md"), card(options, question, state, rows, path.stat().st_size))
    except BaseException:  # Ctrl-C too: no network stays without numbers and card, in the way of the next try
        path.unlink(missing_ok=True)
        raise
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, and {path.with_suffix('.md').name}")
    return path


def network_of(question: str, file: Path, runtime: Runtime) -> nn.Module:
    """Loads a checkpoint's network: the averaged one where training kept one."""
    module, name, part = READY[question]
    ready = getattr(import_module(f"{question}.{module}"), name).load(file, runtime)
    return getattr(ready, part)


def legend_line(facts: dict) -> str:
    """Returns the colours of a mapper's maps and their shares as one more line of its card."""
    colors = facts.get("legend") or []
    told = []
    for color in colors:
        red, green, blue = color["color"]
        told.append(f"{color['name']} rgb({red}, {green}, {blue}) {100 * color['share']:.1f} %".strip())
    if not told:
        return ""
    nameless = "" if any(color["name"] for color in colors) else " (the data set has no names for them)"
    return f"\n- Colours of the training maps and their shares{nameless}: {', '.join(told)}"


def card(options: Options, question: str, state: dict, rows: list[dict], size: int) -> str:
    """Returns the model card in Markdown."""
    config = options.checkpoint.absolute().parent.parent / "config.json"
    command = "unknown"
    commit = "unknown"
    if config.exists():
        leg = read_json(config)["legs"][-1]
        command = shlex.join(typed_command(leg))
        commit = leg["commit"][:8]
    paper = LAYOUTS[question].paper
    measures = []
    for row in rows:
        measures.append(
            (escaped(show_name(row)), show_value(row), row.get("paper") or "", escaped(row.get("count", "")))
        )
    return f"""# {options.name}

{paper.TITLE}: epoch {state["epoch"]}, {"fp16" if options.half else "fp32"}, {size / 1e6:.2f} MB.

- Paper: {paper.CITATION}
- Architecture: {code(json.dumps(state["architecture"]))}
- Data: {LICENCES.get(state["options"]["dataset"], "the user's own")}
- Trained by: {code(command)}, commit {commit}
- Limits: {LIMITS[question]}{legend_line(state.get("facts", {}))}

{table(("measure", "value", "paper", "measured on"), measures)}

`make verify` measures it again.
"""


if __name__ == "__main__":
    cli.run(main, options)
