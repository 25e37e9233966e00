"""A run's folder with its config.json: taken by one process at a time, and never mixed into.

config.json holds the options, the facts, and a leg for each time that the run was started or resumed.
"""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import filelock

from common import checkpoint
from common.options import RunOptions, plain
from common.provenance import provenance
from common.results import write_json
from common.runtime import SLOW_BF16, RunError, Runtime, UsageError, computes_bf16


class RunFolder:
    """The folder of one run, and that of its figures. Only rank 0 of torchrun opens it.

    Args:
        question, options, runtime: as for `Run`.
        facts: what else config.json records, as JSON holds it.
    """

    def __init__(self, question: str, options: RunOptions, runtime: Runtime, facts: dict):
        self.question, self.options, self.runtime, self.facts = question, options, runtime, facts
        self.path = options.log_root / question / options.run_name
        self.figures = options.figure_root / question / options.run_name
        self.config, self.last = self.path / "config.json", self.path / "checkpoints" / "last.pt"
        self.restarted = runtime.on_any_rank(runtime.rank == 0 and self._restarted())
        self.resuming = options.resume or self.restarted
        self.afresh, self.before, self.warnings = False, "", []  # before: what config.json was
        self._keep_precision()

    @property
    def saved(self) -> bool:
        """There is a checkpoint to resume from."""
        return self.last.exists() or checkpoint.previous(self.last).exists()

    def open(self, free: set[str]) -> None:
        """Takes the folder for this process alone, and adds a leg to its config.json.

        Args:
            free: the options that may differ from those the run began with.

        Raises:
            UsageError, RunError: as for `Run`.
        """
        if self.options.resume and not self.config.exists():
            known = sorted(path.parent.name for path in self.path.parent.glob("*/config.json"))
            there = f"the runs there are {', '.join(known)}" if known else "there are no runs in that folder"
            raise UsageError(f"--resume: there is no run {self.path}; {there}")
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock = filelock.FileLock(self.path / ".lock")
        try:
            self.lock.acquire(timeout=0)
        except filelock.Timeout as error:
            advice = "wait for it, or give another --run_name"
            raise RunError(f"another process is writing {self.path}: {advice}") from error
        self._claim(free)
        self.before = self.config.read_text() if self.config.exists() else ""
        if not self.afresh:
            self._add_leg()

    def clear(self) -> None:
        """Deletes the run that this one starts again, now that nothing can refuse the new one any more."""
        if not self.afresh:  # which only rank 0 ever is
            return
        # config.json last: it says whose folder it is
        for file in sorted(self._files(), key=self.config.__eq__):
            if file.is_dir() and not file.is_symlink():
                shutil.rmtree(file)
            else:
                file.unlink()
        shutil.rmtree(self.figures, ignore_errors=True)
        self.afresh, self.before = False, ""
        self._add_leg()

    def note(self, facts: dict) -> None:
        """Adds facts to config.json."""
        write_json(self.config, json.loads(self.config.read_text()) | facts)

    def close(self, refused: bool, began: bool) -> None:
        """Gives the folder free; a run that was refused or never began leaves config.json as it was."""
        if refused or not began:
            if self.before:
                self.config.write_text(self.before)
            elif not began:
                self.config.unlink()
        self.lock.release()

    def _files(self) -> list[Path]:
        """What the folder holds, besides what this process itself put there."""
        return [file for file in self.path.iterdir() if file.name != ".lock" and file.suffix != ".partial"]

    def _keep_precision(self) -> None:
        """Goes on in the precision the run began with, where `auto` means another on this machine."""
        auto = self.options.precision == "auto" and self.resuming
        kept = self._began_in() if auto and self.runtime.rank == 0 else ""
        for precision in ("fp32", "bf16"):  # what `auto` can mean
            if self.runtime.on_any_rank(kept == precision) and self.runtime.precision != precision:
                began = f"the run began in {precision} and goes on in it"
                self.warnings.append(f"{began}; --precision auto means {self.runtime.precision} here")
                if precision == "bf16" and not computes_bf16(self.runtime.device):
                    self.warnings.append(SLOW_BF16)
                self.runtime.precision = precision

    def _began_in(self) -> str:
        """The precision of the run's last leg; "" where there is none to read, which `open` then says."""
        try:
            return json.loads(self.config.read_text())["legs"][-1]["precision"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            return ""

    def _add_leg(self) -> None:
        self.figures.mkdir(parents=True, exist_ok=True)
        legs = json.loads(self.before)["legs"] if self.before else []
        torchrun = os.getppid() if "TORCHELASTIC_RESTART_COUNT" in os.environ else None
        leg = {"torchrun": torchrun, **provenance(), "device": self.runtime.device_name}
        leg |= {"processes": self.runtime.world, "precision": self.runtime.precision}
        about = {"question": self.question, "options": plain(vars(self.options)), **self.facts}
        write_json(self.config, about | {"legs": [*legs, leg]})

    def _restarted(self) -> bool:
        """torchrun --max_restarts restarted this run: its last leg has the same torchrun process."""
        if not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) or not self.config.exists():
            return False
        return json.loads(self.config.read_text())["legs"][-1].get("torchrun") == os.getppid()

    def _claim(self, free: set[str]) -> None:
        """Makes sure that the folder may be written: a new one, one to delete, or one to continue."""
        if not self._files():
            return
        options = self.options
        try:
            before = json.loads(self.config.read_text())
            own = before["question"] == self.question and "options" in before and before["legs"]
        except (OSError, ValueError, KeyError, TypeError):
            own = False
        if not own:
            what = "files that no run of this project wrote"
            raise UsageError(f"{self.path} holds {what}: give another --run_name")
        afresh = options.overwrite or (options.smoke and before["options"]["smoke"] and not options.resume)
        if afresh and not self.restarted:
            self.afresh = True
        elif self.resuming:
            self._continue(before, free)
        else:
            advice = "--resume continues it, --overwrite starts it again, --run_name NAME keeps both"
            raise UsageError(f"the run {self.path} exists: {advice}")

    def _continue(self, config: dict, free: set[str]) -> None:
        """Makes sure that a run with this config.json may go on with these options, data and machine."""
        changed = [f"its {key} changed" for key, x in self.facts.items() if config.get(key, x) != x]
        leg, before, now = config["legs"][-1], config["options"], plain(vars(self.options))
        for key in sorted(before.keys() & now.keys() - free):
            if key == "precision" and now[key] == "auto" and before[key] in ("fp32", "bf16"):
                continue  # the run goes on in what it began in: `_keep_precision`
            if before[key] != now[key]:
                changed.append(f"--{key} was {before[key]!r}, now {now[key]!r}")
                if key == "epochs":
                    changed[-1] += " (the learning rate's schedule spans them; --start_from begins a new run)"
        began, given = before.get("start_from"), now["start_from"]
        if given != began and (given or not self.saved):
            changed.append(f"--start_from was {began!r}, now {given!r}")
        self.options = dataclasses.replace(self.options, start_from=began and Path(began))
        metrics = self.path / "metrics.csv"
        done = len(metrics.read_text().splitlines()) - 1 if metrics.exists() else 0  # after the head
        if "epochs" in free and now.get("epochs", done) < done:
            changed.append(f"{done} epochs are done, more than --epochs {now['epochs']}")
        if leg["processes"] != self.runtime.world:
            changed.append(f"it ran on {leg['processes']} processes, now {self.runtime.world}")
        if changed:
            raise UsageError(f"--resume needs the options and data the run began with: {'; '.join(changed)}")
        if leg["device"].startswith("CPU") != (self.runtime.device.type == "cpu"):
            moved = f"the run moves from {leg['device']} to {self.runtime.device_name}"
            loss = (
                "it continues with other random numbers and no longer repeats an undisturbed run to the bit"
            )
            self.warnings.append(f"{moved}: {loss}")
