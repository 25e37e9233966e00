"""Puts the network of a finished run into pretrained/, measured as it lies there, with a model card.

python reproduction/export.py --checkpoint logs/q2_protonet/RUN/checkpoints/best.pt --name protonet-1shot
"""

import json
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout's library, installed or not
import common  # noqa: F401  # isort: skip

from common import checkpoint, pretrained
from common.cli import command
from common.results import show_name, show_value
from common.runtime import RunError, ScriptOptions, UsageError, start
from reproduction.tables import table
from reproduction.verify import evaluate

# question -> the function of its measures.py that reads a checkpoint
LOADERS = dict.fromkeys(("q1_dcgan", "q3_pix2pix"), "load_generator")
LOADERS |= {"q2_protonet": "load_model", "q4_darts": "load_network"}
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


@dataclass
class Options(ScriptOptions):
    """Put a trained network into pretrained/."""

    checkpoint: Path | None = None  # of a finished run, such as logs/q2_protonet/RUN/checkpoints/best.pt
    name: str = ""  # pretrained/<name>.safetensors and <name>.md
    half: bool = False  # fp16: half the size; the measures in the card are made with it
    data_root: Path = Path("data")  # folder of the data sets, for the measures


def main(options: Options) -> Path:
    if options.checkpoint is None or not options.name:
        raise UsageError("--checkpoint FILE and --name NAME are needed")
    runtime = start(options)
    state = checkpoint.read(options.checkpoint)
    question = state.get("question") if isinstance(state, dict) else None
    if question not in LOADERS:
        raise RunError(f"{options.checkpoint} is not a checkpoint of this project")
    measures = import_module(f"{question}.measures")
    network, state = getattr(measures, LOADERS[question])(options.checkpoint, runtime)
    # a run with --trainval keeps no validation classes; older checkpoints have neither the option nor facts
    if question == "q2_protonet" and not state["options"].get("trainval"):
        distance = measures.unknown_distance(network, state, options.data_root, runtime.device)
        state["facts"] = state.get("facts", {}) | {"unknown_distance": distance}
    path = pretrained.FOLDER / f"{options.name}.safetensors"
    pretrained.write(path, state, network.state_dict(), [], options.half)
    rows = evaluate(question, options.name, options.data_root, options.device)
    pretrained.write(path, state, network.state_dict(), rows, options.half)
    path.with_suffix(".md").write_text(card(options, question, state, rows, path.stat().st_size))
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, and {path.with_suffix('.md').name}")
    return path


def card(options: Options, question: str, state: dict, rows: list[dict], size: int) -> str:
    """The model card in Markdown."""
    config = options.checkpoint.absolute().parent.parent / "config.json"
    made = {"command": "unknown", "commit": "unknown"}
    if config.exists():
        made = json.loads(config.read_text())["legs"][-1]
    paper = import_module(f"{question}.paper")
    measures = [(show_name(r), show_value(r), r.get("paper") or "", r.get("count", "")) for r in rows]
    return f"""# {options.name}

{paper.TITLE}: epoch {state["epoch"]}, {"fp16" if options.half else "fp32"}, {size / 1e6:.2f} MB.

- Paper: {paper.CITATION}
- Architecture: `{json.dumps(state["architecture"])}`
- Data: {LICENCES.get(state["options"]["dataset"], "the user's own")}
- Trained by: `{made["command"].replace(" --resume", "")}`, commit {made["commit"][:8]}
- Limits: {LIMITS[question]}

{table(("measure", "value", "paper", "measured on"), measures)}

`make verify` measures it again.
"""


if __name__ == "__main__":
    command(main, Options, __doc__)
