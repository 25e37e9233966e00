"""A run's folder with its config.json: taken by one process at a time, and never mixed into.

logs/<question>/<run_name>/      config.json metrics.csv steps.csv results.json train.log
                                 tensorboard/ checkpoints/
figures/<question>/<run_name>/   the pictures

config.json holds the options, the facts, and a leg for each time that the run was started or resumed.
"""

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from common import locks
from common.errors import RunError, UsageError
from common.folder_listing import one_form
from common.json_files import plain, read_json, write_json
from common.provenance import provenance
from common.ranges import free_on_resume

if TYPE_CHECKING:  # this module is imported before torch
    from common.device import Runtime
    from common.options import TrainingOptions


class RunFolder:
    """The folder of one run, and that of its figures.

    Args:
        question: such as "q2_protonet".
        options: the script's options; `options.run_name` names the folder.
    """

    def __init__(self, question: str, options: "TrainingOptions"):
        self.question = question
        self.options = options
        name = one_form(options.run_name)
        self.path: Path = options.log_root / question / name
        self.figures: Path = options.figure_root / question / name
        self.config = self.path / "config.json"
        self.results = self.path / "results.json"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "checkpoints" / "last.pt"
        self.warnings: list[str] = []
        self.afresh = False  # the run that is there will be deleted
        self.before: dict = {}  # what config.json was

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return self.last.exists() or self.last.with_name("last.pt.previous").exists()

    @property
    def restarted(self) -> bool:
        """Whether torchrun --max_restarts restarted this run: its last leg has the same torchrun process."""
        if not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) or not self.config.exists():
            return False
        return not self.damaged and self._own_config()["legs"][-1]["torchrun"] == os.getppid()

    @property
    def resuming(self) -> bool:
        """Whether the run goes on from its last checkpoint."""
        return self.options.resume or self.restarted

    @property
    def began_in(self) -> str:
        """The precision of the run's last leg; "" where there is none."""
        if not self.config.exists():
            return ""
        config = self._rebuilt_config() if self.damaged else self._own_config()
        return config["legs"][-1]["precision"]

    @property
    def damaged(self) -> bool:
        """Whether the folder is a run's and its config.json is damaged, as a power cut may leave it."""
        of_a_run = self.last.parent.exists() or self.metrics.exists()
        if not of_a_run or not self.config.exists():
            return False
        try:
            read_json(self.config)
        except RunError:
            return True
        return False

    def check(self) -> None:
        """Checks that the folder may be written, without touching it.

        Raises:
            UsageError: it exists and neither --resume nor --overwrite was given; --resume and there is no
                such run; it belongs to something else; its pictures would be mixed with another run's.
            RunError: config.json is damaged, and neither --overwrite nor --resume with a checkpoint can help.
        """
        if self.options.resume and not self.config.exists():
            known = sorted(path.parent.name for path in self.path.parent.glob("*/config.json"))
            there = f"the runs there are {', '.join(known)}" if known else "there are no runs in that folder"
            raise UsageError(f"--resume: there is no run {self.path}; {there}")
        if not self._files():
            self._check_figures()
            return
        if self.damaged:
            ways = "--resume continues the run, whose options are in checkpoints/last.pt, and "
            advice = f"{ways if self.saved else ''}--overwrite starts it again"
            if not self.options.overwrite and not (self.resuming and self.saved):
                raise RunError(f"{self.config} is damaged: {advice}")
            return
        config = self._own_config()
        if not self.resuming and not self._starts_again(config):
            continues = "--resume continues it" if self.saved else "it has no checkpoint to continue from"
            raise UsageError(
                f"the run {self.path} exists: {continues}, --overwrite starts it again, --run_name NAME "
                "keeps both"
            )

    def _check_figures(self) -> None:
        """Checks that a new run in another --log_root leaves the pictures of the run in logs/ alone."""
        usual = self.options.figure_root.parent / type(self.options).log_root
        owner = usual / self.question / self.path.name
        mixes = self.figures.exists() and (owner / "config.json").exists()
        if mixes and not self.options.smoke:
            raise UsageError(
                f"{self.figures} holds the pictures of the run {owner}, which is not in --log_root "
                f"{self.options.log_root}: give another --figure_root or --run_name"
            )

    def open(self, runtime: "Runtime", facts: dict) -> None:
        """Takes the folder for this process alone, and adds a leg to its config.json.

        Args:
            runtime: where the run computes.
            facts: what else config.json records, as JSON holds it.

        Raises:
            UsageError: as `check`; --resume and the options, the data or the number of processes changed.
            RunError: another process is writing this run.
        """
        self.runtime = runtime
        self.facts = facts
        self.check()
        self.path.mkdir(parents=True, exist_ok=True)
        busy = f"another process is writing {self.path}: wait for it, or give another --run_name"
        self.lock = locks.take(self.path / ".lock", busy)
        try:
            self.check()  # again, now that nobody else writes
            self._begin()
        except BaseException:
            self.lock.release()
            raise

    def _begin(self) -> None:
        """Goes on with the run that is there, or begins one."""
        damaged = self.damaged
        if self.config.exists() and self.resuming:
            self.before = self._rebuilt_config() if damaged else self._own_config()
            self._continue()
            if damaged:
                text = f"{self.config} was damaged: it is made again from {self.last}, with its last leg only"
                self.warnings.append(text)
        elif self.config.exists():
            self.before = {} if damaged else self._own_config()
            self.afresh = True
        if not self.afresh:
            self._add_leg()

    def clear(self) -> None:
        """Deletes the run that this one starts again, now that nothing can refuse the new one any more."""
        if not self.afresh:
            return
        files = self._files()
        files.sort(key=self.config.__eq__)  # config.json last: it says whose folder it is
        for file in files:
            remove(file)
        remove_inside(self.figures)
        self.afresh = False
        self.before = {}
        self._add_leg()

    @property
    def evaluations(self) -> dict:
        """What evaluate.py added to the results of the run, if it is finished."""
        if not self.results.exists():
            return {}
        with contextlib.suppress(RunError):  # damaged results have none to keep
            return read_json(self.results).get("evaluations", {})
        return {}

    def write_results(self, results: dict) -> None:
        """Writes results.json, with the evaluations that it has."""
        with locks.changing(self.results):
            if evaluations := self.evaluations:
                results = results | {"evaluations": evaluations}
            write_json(self.results, results)

    def remove_results(self) -> None:
        """Deletes results.json, which is that of a network that changes now."""
        with locks.changing(self.results):
            self.results.unlink()

    def note(self, facts: dict) -> None:
        """Adds facts to config.json."""
        write_json(self.config, read_json(self.config) | facts)

    def close(self, refused: bool, began: bool) -> None:
        """Gives the folder free; a run that was refused or never began leaves config.json as it was."""
        if refused or not began:
            if self.before:
                write_json(self.config, self.before)
            elif not began and not self.afresh:
                self.config.unlink(missing_ok=True)
        self.lock.release()

    def _files(self) -> list[Path]:
        """Lists what the folder holds, besides what this process itself put there."""
        if not self.path.is_dir():
            return []
        return [file for file in self.path.iterdir() if file.name != ".lock" and file.suffix != ".partial"]

    def _own_config(self) -> dict:
        """Reads config.json; raises UsageError if no run of this question wrote the folder."""
        foreign = UsageError(
            f"{self.path} holds files that no run of this project wrote: give another --run_name"
        )
        try:
            config = read_json(self.config)
        except RunError as error:
            raise foreign from error
        if config.get("question") != self.question or not config.get("legs") or "options" not in config:
            raise foreign
        return config

    def _rebuilt_config(self) -> dict:
        """Makes config.json's contents again from last.pt, which holds the options, the facts and a leg.

        Raises:
            RunError: as `checkpoint.load_last`.
        """
        from common import checkpoint  # needs torch

        saved, _ = checkpoint.load_last(self.last, self.question)
        if saved is None:
            raise RunError(
                f"{self.config} is damaged, and there is no checkpoint: --overwrite starts it again"
            )
        unknown = dict.fromkeys(("command", "started", "commit"), "unknown")
        leg = {"torchrun": None, **unknown, "versions": {}, **saved["machine"]}
        return {"question": self.question, "options": saved["options"], **saved["facts"], "legs": [leg]}

    def _starts_again(self, config: dict) -> bool:
        """Returns whether the run that is there may be deleted: --overwrite, or a smoke run on another."""
        smoke = self.options.smoke and config["options"]["smoke"]
        return self.options.overwrite or bool(smoke and not self.options.resume)

    def _add_leg(self) -> None:
        """Writes config.json with one more leg."""
        self.figures.mkdir(parents=True, exist_ok=True)
        leg = {
            "torchrun": os.getppid() if "TORCHELASTIC_RESTART_COUNT" in os.environ else None,
            **provenance(),
            **self.runtime.machine,
        }
        config = {"question": self.question, "options": plain(vars(self.options)), **self.facts}
        write_json(self.config, config | {"legs": [*self.before.get("legs", []), leg]})

    def _continue(self) -> None:
        """Checks that the run may go on with these options, data and machine; raises UsageError if not."""
        leg = self.before["legs"][-1]
        changed = self._changed_facts() + self._changed_options()
        if leg["processes"] != self.runtime.world:
            changed.append(f"it ran on {leg['processes']} processes, now {self.runtime.world}")
        if changed:
            raise UsageError(f"--resume needs the options and data the run began with: {'; '.join(changed)}")
        before = self.before["options"]
        began = before["start_from"]
        self.options = dataclasses.replace(
            self.options,
            start_from=began and Path(began),
            precision=before.get("precision", self.options.precision),
        )
        if leg["device"] == self.runtime.device_name:
            return
        other_kind = leg["device"].startswith("CPU") != (self.runtime.device.type == "cpu")
        what = "random numbers" if other_kind else "rounding"
        self.warnings.append(
            f"the run moves from {leg['device']} to {self.runtime.device_name}: it continues with other "
            f"{what} and no longer repeats an undisturbed run to the bit"
        )

    def _changed_facts(self) -> list[str]:
        """Says which facts, such as the data's fingerprint, differ from those the run began with."""
        changed = []
        for key, now in self.facts.items():
            if not _differ(self.before.get(key, now), now):
                continue
            lies_in = isinstance(now, dict) and now.get("file")
            advice = f" (bring {lies_in} along from the data_root where it began)" if lies_in else ""
            changed.append(f"its {key} changed{advice}")
        return changed

    def _changed_options(self) -> list[str]:
        """Says which options differ from those the run began with, and may not."""
        before = self.before["options"]
        now = plain(vars(self.options))
        free = free_on_resume(type(self.options))
        changed = []
        for name in sorted(now.keys() - free):
            if before.get(name) == now[name]:
                continue
            if name == "precision" and now[name] == "auto":
                continue  # the run goes on in what it began in
            text = f"--{name} was {before.get(name)!r}, now {now[name]!r}"
            if name == "epochs":
                text += " (the learning rate's schedule spans them; --start_from begins a new run)"
            changed.append(text)
        began = before["start_from"]
        given = now["start_from"]
        if given != began and (given or not self.saved):
            changed.append(f"--start_from was {began!r}, now {given!r}")
        done = len(self.metrics.read_text().splitlines()) - 1 if self.metrics.exists() else 0  # but the head
        if "epochs" in free and now["epochs"] < done:
            changed.append(f"{done} epochs are done, more than --epochs {now['epochs']}")
        return changed


def _differ(before: object, now: object) -> bool:
    """Returns whether a fact differs; of a dict, in what was recorded before: an older version had less."""
    if isinstance(before, dict) and isinstance(now, dict):
        return any(now.get(key) != value for key, value in before.items())
    return before != now


def remove(file: Path) -> None:
    """Deletes a file, a link or a folder."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    else:
        file.unlink()


def remove_inside(folder: Path) -> None:
    """Deletes what a folder holds; a link to a folder stays, and what it leads to is emptied."""
    if not folder.is_dir():
        return
    for file in folder.iterdir():
        remove(file)
