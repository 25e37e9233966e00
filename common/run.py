"""A run's folder: what was asked, what happened, what came out.

logs/<question>/<run_name>/      config.json metrics.csv steps.csv results.json train.log
                                 tensorboard/ checkpoints/
figures/<question>/<run_name>/   the pictures
"""

import shlex
import sys
import time
from datetime import datetime
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from common import checkpoint
from common.folder import RunFolder
from common.options import FREE_ON_RESUME, RunOptions, plain
from common.provenance import script_here
from common.results import Table, print_rows, write_json
from common.runtime import OUT_OF_MEMORY, RunError, Runtime, StopSignal, UsageError


class Run:
    """One run's folder. Rank 0 of torchrun owns it; the other ranks write nothing.

    Args:
        question: the folder's name, such as "q2_protonet".
        options: the script's options; `options.run_name` names the folder.
        runtime: where it computes.
        architecture: the numbers that rebuild the network; kept and checked in every checkpoint.
        fixed_epochs: the schedule depends on --epochs, so a resumed run may not change it.
        facts: what else config.json and every checkpoint record, such as class names or fingerprints.

    Raises:
        UsageError: the folder exists and neither --resume nor --overwrite was given; --resume and there is
            no such run, or its options were different; the folder belongs to something else.
        RunError: another process is writing this run; --start_from cannot be read, or is another question's.
    """

    def __init__(
        self,
        question: str,
        options: RunOptions,
        runtime: Runtime,
        architecture: dict,
        *,
        fixed_epochs: bool = False,
        **facts: object,
    ):
        self.question, self.runtime, self.architecture = question, runtime, architecture
        self.facts, self.writing = plain(facts), runtime.rank == 0
        self.place = RunFolder(question, options, runtime, self.facts)
        self.folder, self.figures, self.last = self.place.path, self.place.figures, self.place.last
        self.tables, self.boards = {}, {}
        self.stop_signal = StopSignal()
        self.start = None  # what --start_from holds, read before --overwrite deletes it with its run
        if options.start_from and not (self.place.resuming and self.place.saved):
            self.start = checkpoint.load(options.start_from, question)
            runtime.barrier()
        words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
        launcher = ["python"] if runtime.world == 1 else ["torchrun", "--nproc_per_node", str(runtime.world)]
        self.resume_command = shlex.join([*launcher, script_here(sys.argv[0]), *words, "--resume"])
        with runtime.ending_together():
            if self.writing:
                self.place.open(FREE_ON_RESUME - {"epochs"} if fixed_epochs else FREE_ON_RESUME)
        self.options = self.place.options

    def __enter__(self) -> "Run":
        self.stop_signal.__enter__()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self.stop_signal.__exit__()
        if self.writing:
            for file in [*(table.file for table in self.tables.values()), *self.boards.values()]:
                file.close()
            refused, began = isinstance(error, UsageError), error is None or bool(self.tables)
            self.place.close(refused, began)
        if isinstance(error, torch.OutOfMemoryError):
            kept = " (start again with --overwrite). What was trained is kept: with room on the GPU, "
            kept += f"{self.resume_command} continues it"
            raise RunError(OUT_OF_MEMORY + (kept if self.last.exists() else "")) from error

    def start_from(self, networks: dict[str, torch.nn.Module], remade: tuple[str, ...] = ()) -> None:
        """Loads --start_from into new networks, unless the run resumes; call it before `restore`.

        Arguments and the error are those of `checkpoint.start_from`.
        """
        if self.start is not None:
            path, self.start, saved = self.options.start_from, None, self.start
            texts = checkpoint.start_from(path, saved, self.architecture, networks, remade)
            self.place.clear()
            for text in texts:
                self.log(text)

    def restore(self, parts: dict[str, object]) -> dict:
        """Opens the tables and, with --resume, restores every part from the last checkpoint.

        Args:
            parts: what has a state: networks, optimisers, schedulers, torch.Generators; None is left out.

        Returns:
            The values given to `save_last`, or {} at the start of a run.

        Raises:
            RunError: as `checkpoint.load_last`; a table was changed since.
        """
        saved, warning = None, ""
        self.place.clear()
        if self.place.resuming:
            about = self.question, self.architecture, self.runtime.device
            saved, warning = checkpoint.load_last(self.last, *about)
        position, sizes, self._seconds_before = {}, {}, 0.0
        self.options_before = plain(vars(self.options))  # of the leg before this one
        if saved:
            parts = {name: part for name, part in parts.items() if part is not None}
            if lacking := {*parts, "position", "tables", "seconds", "options"} - saved.keys():
                raise RunError(f"{self.last} cannot be resumed: it lacks {', '.join(sorted(lacking))}")
            position, sizes, self._seconds_before = saved["position"], saved["tables"], saved["seconds"]
            self.options_before = saved["options"]
            for name, part in parts.items():
                if not isinstance(part, torch.Generator):
                    checkpoint.load_state(part, saved[name], self.last)
                elif len(saved[name]) == len(part.get_state()):
                    part.set_state(saved[name].cpu())
                else:  # the state of another kind of device
                    part.manual_seed(part.initial_seed() + 10**6 * position["epoch"] + position["step"])
        self._opened = time.perf_counter()
        with self.runtime.ending_together():
            if self.writing:
                for name in ("metrics", "steps"):
                    self.tables[name] = Table(self.folder / f"{name}.csv", sizes.get(name, 0))
                    purge = position.get("epoch", 0) if name == "metrics" else None  # it begins again
                    self.boards[name] = SummaryWriter(self.folder / "tensorboard" / name, purge_step=purge)
        for text in filter(None, [*self.place.warnings, warning]):
            self.log(f"warning: {text}")
        return position

    def note(self, **facts: object) -> None:
        """Adds facts that are known only after `restore` to config.json and to the next checkpoints."""
        self.facts |= facts
        if self.writing:
            self.place.note(facts)

    @property
    def seconds(self) -> float:
        """Time spent training, over all legs."""
        return self._seconds_before + time.perf_counter() - self._opened

    @property
    def advice(self) -> str:
        """What to do after a loss or weights that are not finite."""
        good = f"the last good checkpoint is {self.last}"
        good = good if self.last.exists() else "there is no checkpoint yet"
        return f"{good}; start again (--overwrite) with a lower learning rate or --precision fp32"

    def save_last(self, parts: dict[str, object], **position: object) -> None:
        """Saves all that is needed to resume: the parts' states, the tables' sizes, the position."""
        with self.runtime.ending_together():
            if not self.writing:
                return
            self._continues()
            # at the start of an epoch the one before is trained
            done = position["epoch"] - (position.get("step") == 0)
            states = {}
            for name, part in parts.items():
                if isinstance(part, torch.nn.Module):
                    self._check_weights(part, done)
                if part is not None:
                    generator = isinstance(part, torch.Generator)
                    states[name] = part.get_state() if generator else part.state_dict()
            sizes = {name: table.sync() for name, table in self.tables.items()}
            self._save(self.last, done, **states, position=position, tables=sizes, seconds=self.seconds)

    def save_network(self, name: str, model: torch.nn.Module, epoch: int) -> None:
        """Saves a network alone as checkpoints/<name>.pt: "best" is the best so far."""
        if self.writing:
            self._check_weights(model, epoch)
            self._save(self.last.with_name(f"{name}.pt"), epoch, model=model.state_dict())

    def _check_weights(self, model: torch.nn.Module, epoch: int) -> None:
        if not checkpoint.is_finite(model):
            raise RunError(f"the weights are not finite at epoch {epoch} and were not saved; {self.advice}")

    def _save(self, path: Path, epoch: int, **state: object) -> None:
        about = {"options": plain(vars(self.options)), "facts": self.facts, "epoch": epoch}
        checkpoint.save(path, self.question, self.architecture, **about, **state)

    def load_network(self, name: str, model: torch.nn.Module) -> None:
        """Loads a network saved by `save_network` into `model`, on every rank once rank 0 has written it."""
        self.runtime.barrier()
        path = self.last.with_name(f"{name}.pt")
        saved = checkpoint.load(path, self.question, self.architecture, self.runtime.device)
        checkpoint.load_state(model, saved.get("model"), path)
        self.runtime.barrier()  # rank 0 may replace the file from here on

    def _continues(self) -> None:
        """A finished run that goes on is not finished; one whose new options are refused still is."""
        (self.folder / "results.json").unlink(missing_ok=True)

    def write(self, table: str, row: dict[str, float | int | str]) -> None:
        """Adds a row to metrics.csv ("metrics") or steps.csv ("steps"), and its numbers to TensorBoard.

        The first column (the epoch or the step) is TensorBoard's x axis.
        """
        if not self.writing:
            return
        self._continues()
        self.tables[table].write(row)
        (_, at), *rest = row.items()
        for name, value in rest:
            if isinstance(value, (int, float)):
                self.boards[table].add_scalar(f"{table}/{name}", value, at)

    def write_epoch(self, row: dict[str, float | int]) -> None:
        """Adds the epoch's row to metrics.csv and TensorBoard, and shows it."""
        self.write("metrics", row)
        self.log(", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.items()))

    def log(self, message: str) -> None:
        """Shows a line above the progress bar, and adds it to train.log with the time."""
        if self.writing:
            tqdm.write(message)
            with open(self.folder / "train.log", "a") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {message}\n")

    def finish(self, results: dict) -> None:
        """Writes results.json, which marks a finished run, shows it, and deletes tables that stayed empty.

        Args:
            results: "title", "rows" (name, value, interval, unit, count, paper, report) and more.
        """
        if not self.writing:
            return
        made = {"device": self.runtime.device_name, "precision": self.runtime.precision}
        made = {"question": self.question, **results, "minutes": round(self.seconds / 60, 2), **made}
        path = self.folder / "results.json"
        write_json(path, made)
        print_rows(results["rows"])
        best = f", best epoch {results['best_epoch']}" if "best_epoch" in results else ""
        self.log(f"{results['title']}{best}: results in {path}, figures in {self.figures}")
        for table in self.tables.values():
            if table.columns is None:
                Path(table.file.name).unlink()
