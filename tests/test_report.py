import json
import re
import shlex

import pytest

import report
import reproduce
from tests.conftest import ROOT


@pytest.fixture
def questions(monkeypatch, tmp_path):
    """Two questions of one run each; the first fails."""
    row = {"name": "n", "value": 2.5, "interval": 0.25, "unit": "% accuracy", "paper": 2}
    results = {"question": "good", "title": "t", "rows": [row], "device": "d", "precision": "p", "minutes": 1}
    config = {"legs": [{"command": "c"}], "options": {"seed": 0}}
    good = f"import pathlib; f = pathlib.Path({str(tmp_path)!r}, 'logs/good/run'); f.mkdir(parents=True, exist_ok=True)\n"
    good += f"(f / 'results.json').write_text({json.dumps(results)!r}); (f / 'config.json').write_text({json.dumps(config)!r})"
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "bad.py").write_text("raise SystemExit(3)")
    rows = [("bad", "run", str(tmp_path / "bad.py"), ""), ("good", "run", str(tmp_path / "good.py"), "")]
    monkeypatch.setattr(reproduce, "PRESETS", {"quick": rows})
    return reproduce.Options(log_root=tmp_path / "logs", figure_root=tmp_path / "figures")


def test_a_failing_question_is_named_and_does_not_stop_the_others(questions, capfd):
    assert reproduce.main(questions) == 1
    out, err = capfd.readouterr()
    assert "FAILED: bad run (exit status 3" in err
    assert "| run | n | 2 |  | 2.50 ± 0.25 % |" in out
    page = (questions.figure_root / "report.html").read_text()
    assert "2.50 ± 0.25" in page and "http" not in page


def test_what_is_done_is_skipped_and_what_was_cut_is_resumed(questions, capsys):
    run = questions.log_root / "good" / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.json").write_text("{}")
    questions.dry_run = True
    reproduce.main(questions)
    assert "--overwrite" in capsys.readouterr().out
    (run / "checkpoints" / "last.pt").touch()
    reproduce.main(questions)
    assert "--resume" in capsys.readouterr().out
    (run / "results.json").touch()
    reproduce.main(questions)
    assert "[2/2] good run: done" in capsys.readouterr().out


def test_every_command_of_every_preset_is_understood():
    """Each row's flags are read by its own script's options."""
    import tyro

    from q1_dcgan import train as q1
    from q2_protonet import train as q2
    from q3_pix2pix import train as q3
    from q4_darts import train as q4
    from q4_darts import train_search as q4_search

    options = {"q1_dcgan/train.py": q1.Options, "q2_protonet/train.py": q2.Options, "q3_pix2pix/train.py": q3.Options}
    options |= {"q4_darts/train.py": q4.Options, "q4_darts/train_search.py": q4_search.Options}
    for rows in reproduce.PRESETS.values():
        for question, name, script, flags in rows:
            tyro.cli(
                options[script], args=[*flags.split(), "--run_name", name], use_underscores=True, config=(tyro.conf.FlagCreatePairsOff,)
            )
            assert script.startswith(question)


def test_the_small_preset_is_what_the_committed_runs_were_made_with():
    """Each row's flags are those in the run's config.json, whatever their order; a run was stopped earlier where it says so."""
    for question, name, script, flags in reproduce.PRESETS["small"]:
        file = ROOT / "logs" / question / name / "config.json"
        asked = shlex.split(json.loads(file.read_text())["legs"][-1]["command"])
        assert asked[1] == script
        ours = [*flags.format(log_root="logs").split(), "--run_name", name]
        assert sorted(ours) == sorted(word for word in asked[2:] if word != "--resume"), f"{question}/{name}"


def test_the_tables_in_the_readmes_are_the_logs():
    """Every row of a README's generated table is what report.py makes of the committed logs, and every run is there."""
    for question, runs in report.read_runs(ROOT / "logs").items():
        official = report.official(runs)
        if official:
            tables = {ROOT / "README.md": report.HEADLINES[question], ROOT / question / "README.md": ("",)}
            for readme, names in tables.items():
                assert report.markdown(official, names) in readme.read_text(), f"{readme} differs: python report.py --write_readmes"


def test_readmes_name_only_files_that_exist():
    for file in [ROOT / "README.md", *ROOT.glob("q*/README.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", file.read_text()):
            target = "".join(link)
            if not target.startswith("http"):
                assert (file.parent / target).exists(), f"{file}: {target}"


def test_report_without_runs_says_what_to_do(tmp_path, capsys):
    assert report.main(report.Options(tmp_path)) is None
    assert "python reproduce.py" in capsys.readouterr().err
