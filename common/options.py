"""The options that every training script has, and which of them a resumed run may change."""

import inspect
import json
from dataclasses import dataclass
from pathlib import Path

from common import pretrained
from common.runtime import Runtime, ScriptOptions, UsageError


@dataclass
class RunOptions(ScriptOptions):
    """Options of every training script."""

    data_root: Path = Path("data")  # folder of the data sets
    log_root: Path = Path("logs")  # folder of the run folders
    figure_root: Path = Path("figures")  # folder of the pictures
    run_name: str = ""  # name of the run folder (empty: made from the settings)
    resume: bool = False  # continue the run of this name exactly where its last checkpoint was saved
    overwrite: bool = False  # delete the run of this name first
    start_from: Path | None = None  # a checkpoint, or a name in pretrained/: its networks are trained on
    compile: bool = False  # torch.compile the network (worth it on a GPU)
    # launch each operation separately; by default a single GPU records a step once and replays it, faster
    no_cuda_graphs: bool = False
    smoke: bool = False  # a tiny run on synthetic data to check that everything works (seconds)

    def check(self) -> None:
        super().check()
        if self.resume and self.overwrite:
            raise UsageError("--resume continues a run and --overwrite deletes it: give only one of them")
        if Path(self.run_name).name != self.run_name or self.run_name.startswith("."):
            raise UsageError(f"--run_name must be the name of a folder, without a path: {self.run_name}")
        if self.start_from and not self.resume:
            question = Path(inspect.getfile(type(self))).parent.name  # the script's folder
            pretrained.locate(self.start_from, question)  # complains now rather than after the data is read

    def replays(self, runtime: Runtime) -> bool:
        """Whether training steps are recorded and replayed."""
        return not (self.no_cuda_graphs or self.compile or runtime.device.type != "cuda" or runtime.world > 1)


# These may differ between the legs of a run; any other option would make it another run.
# Data in `folder` and `pairs` are compared by content instead, q3 compares its schedule itself, and `Run`
# looks at --start_from and at --epochs that would end before the run's last one.
FREE_ON_RESUME = {"resume", "overwrite", "debug", "device", "compile", "no_cuda_graphs", "data_root"}
FREE_ON_RESUME |= {"log_root", "figure_root", "run_name", "folder", "pairs", "epochs", "constant_epochs"}
FREE_ON_RESUME |= {"start_from"}


def plain(values: dict) -> dict:
    """Options or facts as JSON holds them."""
    return json.loads(json.dumps(values, default=str))
