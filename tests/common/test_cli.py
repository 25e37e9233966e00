"""What every script shares before its science: whose library it runs, its options, and its figures' texts."""

import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from common import REQUIRED, plots
from common.cli import parse
from tests.conftest import ROOT

SOURCES = sorted(path for folder in (".", "q?_*", "benchmarks") for path in ROOT.glob(f"{folder}/*.py"))
SOURCES = [path for path in SOURCES if '__name__ == "__main__"' in path.read_text("utf-8")]
SCRIPTS = [str(path.relative_to(ROOT)) for path in SOURCES]
NOTEBOOK = "module://matplotlib_inline.backend_inline"


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_first_finds_its_own_library_and_reads_its_options_through_parse(script):
    text = (ROOT / script).read_text("utf-8")
    imports = re.finditer(r"^(?:from|import) (\w+)", text.split('"""\n\n', 1)[1], re.M)
    first = next(found for found in imports if found[1] not in sys.stdlib_module_names)
    assert first[1] == "common"
    own = "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
    assert "/" not in script or own in first.string[: first.start()]
    assert re.search(r"\bcommand\(main, Options, __doc__\)|\bparse\(Options, __doc__\)", text)
    assert "tyro.cli(" not in text


@pytest.mark.parametrize("name", ["q1_dcgan/train.py", "q4_darts/visualize.py", "reproduce.py"])
def test_neither_another_checkout_nor_a_notebooks_backend_disturbs_a_script(script, name, tmp_path):
    """The other's library is on the path, where an editable install puts it; the backend is Jupyter's."""
    for package in ("common", "benchmarks", *(folder.name for folder in ROOT.glob("q?_*"))):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('the other checkout')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "MPLBACKEND": NOTEBOOK}
    done = script(ROOT / name, "--help", cwd=tmp_path, env=environment)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    commands = [line for line in lines if re.search(r"(python|torchrun) \w+/?\w+\.py", line)]
    assert commands and all(re.match(r"\s*(python|torchrun) ", line) for line in commands)


def test_without_the_requirements_a_script_names_the_command(script, tmp_path):
    shutil.copytree(ROOT / "common", tmp_path / "common")
    (tmp_path / "q").mkdir()
    shutil.copy(ROOT / "q2_protonet/train.py", tmp_path / "q/train.py")
    done = script("-SI", tmp_path / "q/train.py", status=1)
    assert len(done.stderr.splitlines()) == 1
    assert f"has no {', '.join(REQUIRED)}: run `make setup`" in done.stderr


@dataclass
class Paths:
    """Options of every kind that can hold a path."""

    data_root: Path = Path("data")  # one
    folder: Path | None = None  # perhaps one
    images: tuple[Path, ...] = ()  # several
    genotype: str = ""  # a path or a name
    level: int = 0  # none


def test_a_tilde_is_the_home_folder_in_every_path_option(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    home, words = Path("/home/me"), "--data_root=~/x --folder=~ --images ~/a b~ --genotype=~/g.json"
    read = parse(Paths, "d", words.split())
    assert read == Paths(home / "x", home, (home / "a", Path("b~")), "/home/me/g.json")
    assert parse(Paths, "d", []) == Paths()


NAMES = ["$", "a$b$c", "$x^2", r"\frac{", "not \udce9 UTF-8", "漢字", "tab\there", "\x01"]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_stand_in_a_figure(name, tmp_path, capfd, recwarn):
    canvas, axes = plots.figure()
    axes[0, 0].plot([0, 1], [0, 1], label=name)
    axes[0, 0].set(title=name, xlabel=name, xticks=[0], xticklabels=[name])
    axes[0, 0].legend()
    canvas.suptitle(name)
    assert plots.save(canvas, tmp_path / "a.png").stat().st_size > 0
    said, lacking = capfd.readouterr().err, "".join(sorted(set(name) & set("漢字\t\x01")))
    assert said == (f"note: {tmp_path}/a.png has boxes for {lacking!r}: not in its font\n" if lacking else "")
    assert len(recwarn) == 0
