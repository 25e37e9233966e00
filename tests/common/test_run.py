import json
import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from common import checkpoint
from common import folder as folder_module
from common.provenance import ROOT, script_here
from common.results import Table, read_table
from common.run import Run, RunOptions
from common.runtime import RunError, Runtime, UsageError

CPU = Runtime(torch.device("cpu"), "fp32")


@dataclass
class Options(RunOptions):
    rate: float = 0.1
    epochs: int = 2
    folder: Path | None = None


@pytest.fixture
def options(tmp_path):
    return Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures", run_name="a")


def opened(options):
    return Run("q", options, CPU, {"width": 1})


def finished(options):
    with opened(options) as run:
        run.restore({})
        run.write("metrics", {"epoch": 1, "train_loss": 0.123456789})
        run.save_last({}, epoch=2)
        run.write("metrics", {"epoch": 2, "train_loss": 0.5})
        run.finish({"title": "t", "rows": []})
    return options.log_root / "q" / "a"


def test_folder_holds_what_was_asked_and_what_came_out(options):
    folder = finished(options)
    assert read_table(folder / "metrics.csv") == {"epoch": [1, 2], "train_loss": [0.123457, 0.5]}
    config = json.loads((folder / "config.json").read_text())
    [leg] = config["legs"]
    assert config["options"]["rate"] == 0.1 and leg["versions"]["torch"] == torch.__version__
    assert json.loads((folder / "results.json").read_text())["question"] == "q"
    assert not (folder / "steps.csv").exists()  # nothing was written to it


def test_a_run_is_never_mixed_into(options):
    folder = finished(options)
    with pytest.raises(UsageError, match="--resume continues"):
        opened(options)
    with opened(replace(options, overwrite=True)) as run:
        assert run.restore({}) == {}
    assert not (folder / "results.json").exists() and not (folder / "checkpoints").exists()
    assert (folder / "metrics.csv").read_text() == ""


def test_folder_of_somebody_else_is_left_alone(options):
    folder = options.log_root / "q" / "a"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("dear")
    for config in (None, '{"options": {"smoke": true}, "legs": []}', '{"question": "other"}', "[]", "{"):
        if config:
            (folder / "config.json").write_text(config)
        with pytest.raises(UsageError, match="no run of this project"):
            opened(replace(options, overwrite=True))
        assert (folder / "thesis.txt").read_text() == "dear"


def test_overwriting_leaves_what_a_link_points_to(options, tmp_path):
    folder = finished(options)
    (folder / "checkpoints").rename(tmp_path / "large_disk")
    (folder / "checkpoints").symlink_to(tmp_path / "large_disk")
    finished(replace(options, overwrite=True))
    assert (tmp_path / "large_disk" / "last.pt").exists() and not (folder / "checkpoints").is_symlink()


def test_resume_cuts_the_table_back_to_the_checkpoint_and_keeps_a_leg(options):
    folder = finished(options)
    with opened(replace(options, resume=True)) as run:
        assert run.restore({}) == {"epoch": 2}
        run.write("metrics", {"epoch": 2, "train_loss": 0.75})
    assert read_table(folder / "metrics.csv")["train_loss"] == [0.123457, 0.75]
    assert len(json.loads((folder / "config.json").read_text())["legs"]) == 2


def test_resumed_twice_in_one_epoch(options):
    folder = finished(options)  # its table is longer than its checkpoint says
    for _ in range(2):
        with opened(replace(options, resume=True)) as run:
            assert run.restore({}) == {"epoch": 2}
            run.save_last({}, epoch=2)
    assert (folder / "metrics.csv").read_text() == "epoch,train_loss\n1,0.123457\n"
    assert not (folder / "results.json").exists()


def test_smoke_replaces_only_smoke(options):
    folder = finished(options)
    with pytest.raises(UsageError, match="exists"):
        opened(replace(options, smoke=True))
    assert (folder / "results.json").exists()


def test_a_kill_while_the_config_is_written_leaves_a_usable_name(options):
    folder = options.log_root / "q" / "a"
    folder.mkdir(parents=True)
    (folder / "config.json.partial").write_text("{")
    assert finished(options) == folder


def test_weights_that_are_not_finite_are_never_saved(options):
    net = nn.Linear(1, 1)
    with opened(options) as run:
        run.restore({})
        run.save_network("best", net, 1)
        net.weight.data.fill_(float("nan"))
        with pytest.raises(RunError, match="not finite at epoch 2"):
            run.save_network("best", net, 2)
        with pytest.raises(RunError, match="not finite"):
            run.save_last({"net": net}, epoch=2)
    assert not run.last.exists()


def test_resume_must_keep_the_options(options):
    finished(options)
    with pytest.raises(UsageError, match="--rate was 0.1, now 0.2"):
        opened(replace(options, resume=True, rate=0.2))


BEGAN = [("bf16", "fp32"), ("fp32", "bf16")]


@pytest.mark.parametrize("began, here", BEGAN)
@pytest.mark.parametrize("asked", ["auto", "explicitly"])
def test_a_resumed_run_keeps_the_precision_it_began_with(options, capsys, monkeypatch, began, here, asked):
    """`auto` means another precision on the machine where it goes on."""
    monkeypatch.setattr(folder_module, "computes_bf16", lambda _: here == "bf16")
    first = options if asked == "auto" else replace(options, precision=began)
    with Run("q", first, Runtime(torch.device("cpu"), began), {"width": 1}) as run:
        run.restore({})
        run.write("metrics", {"epoch": 1, "train_loss": 0.5})
        run.save_last({}, epoch=2)
    runtime = Runtime(torch.device("cpu"), here)
    with Run("q", replace(options, resume=True), runtime, {"width": 1}) as run:
        run.restore({})
        run.write("metrics", {"epoch": 2, "train_loss": 0.25})
    assert runtime.precision == began
    legs = json.loads((options.log_root / "q" / "a" / "config.json").read_text())["legs"]
    assert [leg["precision"] for leg in legs] == [began, began]
    said = capsys.readouterr().out
    assert f"the run began in {began} and goes on in it; --precision auto means {here} here" in said
    assert ("no instructions for bf16" in said) == (began == "bf16")


def test_another_precision_is_refused_when_it_is_asked_for(options):
    finished(replace(options, precision="fp32"))
    with pytest.raises(UsageError, match="--precision was 'fp32', now 'bf16'"):
        opened(replace(options, precision="bf16", resume=True))


def test_fewer_epochs_than_are_done_are_refused_and_leave_the_results(options):
    folder = finished(options)
    before = [(folder / name).read_bytes() for name in ("config.json", "metrics.csv", "results.json")]
    with pytest.raises(UsageError, match="2 epochs are done, more than --epochs 1"):
        opened(replace(options, resume=True, epochs=1))
    assert before == [(folder / name).read_bytes() for name in ("config.json", "metrics.csv", "results.json")]
    with opened(replace(options, resume=True, epochs=3)) as run:
        run.restore({})
        assert (folder / "results.json").exists()  # until it goes on
        run.write("metrics", {"epoch": 3, "train_loss": 0.25})
    assert not (folder / "results.json").exists()


def test_a_start_that_is_refused_leaves_the_name_free(options, tmp_path):
    for error, path in ((UsageError, "other.pt"), (RunError, "missing.pt")):
        checkpoint.save(tmp_path / "other.pt", "q", {}, model=nn.Linear(2, 1).state_dict())
        with pytest.raises(error):
            with opened(replace(options, start_from=tmp_path / path)) as run:
                run.start_from({"model": nn.Linear(3, 1)})
    with pytest.raises(UsageError, match="there is no run"):
        opened(replace(options, resume=True))
    finished(options)


def test_overwriting_reads_what_to_start_from_first(options, tmp_path):
    folder = finished(options)
    net = nn.Linear(1, 1)
    with pytest.raises(RunError, match="no checkpoint at"):
        opened(replace(options, overwrite=True, start_from=tmp_path / "missing.pt"))
    with pytest.raises(RunError, match="no checkpoint at"):  # before the data is read
        replace(options, start_from=tmp_path / "missing.pt").check()
    replace(options, start_from=tmp_path / "missing.pt", resume=True).check()
    assert (folder / "results.json").exists()
    checkpoint.save(folder / "checkpoints" / "last.pt", "q", {}, model=net.state_dict())
    before = (folder / "config.json").read_text()
    with pytest.raises(UsageError, match="holds the network"):  # of another shape
        with opened(replace(options, overwrite=True, start_from=folder / "checkpoints" / "last.pt")) as run:
            run.start_from({"model": nn.Linear(3, 1)})
    assert (folder / "results.json").exists() and (folder / "config.json").read_text() == before
    with opened(replace(options, overwrite=True, start_from=folder / "checkpoints" / "last.pt")) as run:
        new = nn.Linear(1, 1)
        run.start_from({"model": new})
        run.restore({})
    assert torch.equal(new.weight, net.weight) and not run.last.exists()


def test_a_resumed_run_remembers_what_it_started_from(options, tmp_path):
    checkpoint.save(tmp_path / "a.pt", "q", {})
    with opened(replace(options, start_from=tmp_path / "a.pt")) as run:
        run.restore({})
    with pytest.raises(UsageError, match="--start_from was .*a.pt', now None"):  # nothing is trained yet
        opened(replace(options, resume=True))
    with opened(replace(options, start_from=tmp_path / "a.pt", resume=True)) as run:
        run.restore({})
        run.save_last({}, epoch=2)
    with opened(replace(options, resume=True)) as run:
        assert json.loads(run.place.config.read_text())["options"]["start_from"] == str(tmp_path / "a.pt")
    with pytest.raises(UsageError, match="--start_from was .*a.pt', now .*b.pt"):
        opened(replace(options, start_from=tmp_path / "b.pt", resume=True))


def test_one_writer_at_a_time(options):
    with opened(options):
        with pytest.raises(RunError, match="another process"):
            opened(replace(options, overwrite=True))


def test_a_table_changed_by_hand_is_noticed(tmp_path):
    (tmp_path / "m.csv").write_text("a\n")
    with pytest.raises(RunError, match="was changed"):
        Table(tmp_path / "m.csv", keep_bytes=10)


def test_states_come_back_bit_for_bit(options):
    def parts(seed):
        torch.manual_seed(seed)
        net, draws = nn.Linear(2, 1), torch.Generator().manual_seed(seed)
        return {"net": net, "optimizer": torch.optim.Adam(net.parameters()), "draws": draws, "none": None}

    first = parts(0)
    with opened(options) as run:
        run.restore(first)
        first["net"](torch.ones(1, 2)).sum().backward()
        first["optimizer"].step()
        torch.rand(3, generator=first["draws"])
        run.save_last(first, epoch=1)
    second = parts(1)
    with opened(replace(options, resume=True)) as run:
        run.restore(second)
    assert torch.equal(first["net"].weight, second["net"].weight)
    assert str(first["optimizer"].state_dict()) == str(second["optimizer"].state_dict())
    assert torch.equal(torch.rand(5, generator=first["draws"]), torch.rand(5, generator=second["draws"]))


def test_a_run_that_moves_to_another_device_continues_with_a_warning(options, monkeypatch):
    draws = torch.Generator().manual_seed(5)
    with opened(options) as run:
        run.restore({"draws": draws})
        run.save_last({"draws": draws}, epoch=2, step=3)
    config = run.folder / "config.json"
    config.write_text(config.read_text().replace('"CPU, ', '"NVIDIA H100, '))  # as if it had begun on a GPU
    load_last = checkpoint.load_last

    def of_a_gpu(*arguments):
        state, warning = load_last(*arguments)
        return state | {"draws": state["draws"][:16]}, warning  # CUDA's generators have a shorter state

    monkeypatch.setattr(checkpoint, "load_last", of_a_gpu)
    with opened(replace(options, resume=True)) as run:
        assert run.restore({"draws": draws})["step"] == 3
    assert "warning: the run moves from NVIDIA H100" in (run.folder / "train.log").read_text()
    again = torch.Generator().manual_seed(5 + 2 * 10**6 + 3)
    assert torch.equal(torch.rand(3, generator=draws), torch.rand(3, generator=again))


def test_a_checkpoint_that_does_not_fit_is_refused_by_name(options, tmp_path):
    net = nn.Linear(2, 1)
    with opened(options) as run:
        run.restore({"net": net})
        run.save_last({"net": net}, epoch=1)
    draws, infinite = torch.Generator(), net.state_dict() | {"bias": torch.tensor([torch.inf])}
    for parts, change, said in (
        ({"net": nn.Linear(3, 1)}, {}, "does not fit .* size mismatch for weight"),
        ({"net": torch.optim.Adam(net.parameters())}, {}, "does not fit"),
        ({"net": net, "draws": draws}, {}, "lacks draws"),
        ({"net": net}, {"net": infinite}, "holds weights that are not finite"),
    ):
        saved = torch.load(run.last, weights_only=True)
        torch.save(saved | change, run.last)
        with (
            pytest.raises(RunError, match=f"{run.last} .*{said}"),
            opened(replace(options, resume=True)) as again,
        ):
            again.restore(parts)
    checkpoint.save(run.last.with_name("best.pt"), "q", {"width": 1}, model=infinite)
    with pytest.raises(RunError, match="best.pt holds weights that are not finite"):
        run.load_network("best", net)
    with pytest.raises(RunError, match="best.pt holds weights that are not finite"):
        best = run.last.with_name("best.pt")
        checkpoint.start_from(best, checkpoint.load(best, "q"), {}, {"model": net})


def test_a_cpu_stays_a_cpu_however_its_threads_are_counted(options, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert CPU.device_name == "CPU, 1 thread"
    with opened(options) as run:
        run.restore({})
        run.save_last({}, epoch=1)
    run.place.config.write_text(run.place.config.read_text().replace("1 thread", "1 threads"))  # as of old
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with opened(replace(options, resume=True)) as run:
        run.restore({})
    assert CPU.device_name == "CPU, 2 threads" and not run.place.warnings


def test_resume_must_keep_the_data_which_are_known_by_their_content(options, tmp_path):
    first = replace(options, folder=tmp_path / "here")
    with Run("q", first, CPU, {}, data={"sha256": "a"}) as run:
        run.restore({})
    moved = replace(first, folder=tmp_path / "there", resume=True)
    with Run("q", moved, CPU, {}, data={"sha256": "a"}):
        pass
    with pytest.raises(UsageError, match="its data changed"):
        Run("q", moved, CPU, {}, data={"sha256": "b"})


@pytest.mark.parametrize("where", [".", "q2_protonet", "elsewhere with spaces"])
def test_the_command_to_go_on_with_works_where_it_is_printed(options, tmp_path, monkeypatch, where):
    folder = tmp_path / where if "spaces" in where else ROOT / where
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    script = os.path.relpath(ROOT / "q2_protonet" / "train.py")
    monkeypatch.setattr(sys, "argv", [script, "--run_name", "a b", "--overwrite"])
    with opened(options) as run:
        launcher, path, *words = shlex.split(run.resume_command)
    assert launcher == "python" and words == ["--run_name", "a b", "--resume"]
    assert Path(path).samefile(ROOT / "q2_protonet" / "train.py")
    assert Path(script_here("q4_darts/train.py")).samefile(ROOT / "q4_darts" / "train.py")
