"""`difflab-report`: what it writes, prints, refuses and imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from difflab.cli import report as command
from helpers.studies import card, config, grid, record, write_record

HEAVY = ("torch", "lightning", "hydra", "wandb", "plotly", "matplotlib", "jinja2", "tabulate", "scipy", "numpy", "rich")
DRAWING = ("plotly", "difflab.report")  # torch imports jinja2 itself, and Lightning's torchmetrics imports matplotlib


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["difflab-report", *words])
    command.main()


def loaded(statement, modules, tmp_path):
    """Which of the modules a fresh interpreter has loaded after a statement."""
    code = f"import sys, json\n{statement}\nprint(json.dumps([m for m in {modules!r} if m in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    return json.loads(done.stdout.splitlines()[-1])


def test_page_tables_and_figures_are_written(tmp_path, monkeypatch, capsys):
    for each in grid(tmp_path / "runs"):
        write_record(each)
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "ddpm-fashion16-s0")
    written = {path.name for path in (tmp_path / "report").iterdir()}
    assert written == {"index.html", "results.csv", "results-columns.csv", "ranking.md", "ranking.tex"}
    printed = capsys.readouterr().out
    assert "sampler=ddim" in printed
    assert "page: report/index.html" in printed
    assert "figures for print: difflab-report --figures" in printed
    run(monkeypatch, "ddpm-fashion16-s0", "--figures", "--title", "Mine", "--target", "5.5")
    names = {"fd_lite0-by-nfe", "fd_lite0-by-seconds", "noise-levels", "denoising-error"}
    figures = {path.name for path in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {f"{name}.{form}" for name in names for form in ("pdf", "svg")}
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<title>Mine - difflab study</title>" in page
    assert "≤ 5.5 (as asked)" in page


@pytest.mark.long
def test_a_report_of_summarised_runs_loads_no_heavy_library(tmp_path):
    """The first report summarises runs of an earlier difflab, with torch; later ones read what it kept."""
    write_record(record(config(), card(), tmp_path / "runs", fd_lite0=1.0), pictures=False)
    report = "from difflab.cli.report import main; main(['difflab-report'])"
    heavy = ("torch", "lightning", "hydra", "wandb", "plotly", "matplotlib", "scipy", "pandas", "torchmetrics")
    assert "torch" in loaded(report, heavy, tmp_path)
    assert loaded(report, heavy, tmp_path) == []


def test_a_refusal_is_one_line_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no evaluations yet: difflab-evaluate"):
        run(monkeypatch)
    write_record(record(config(), card(), tmp_path / "runs", fd_lite0=1.0))
    for words, message in ((["nothing"], "no such folder"), (["--metric", "fd_lite"], "Did you mean 'fd_lite0'")):
        with pytest.raises(SystemExit, match=message) as refused:
            run(monkeypatch, *words)
        assert "\n" not in str(refused.value)


def test_unreadable_files_are_left_out_by_name_unless_their_run_is_named(tmp_path, monkeypatch, capsys):
    runs = tmp_path / "runs"
    write_record(record(config(seed=0), card(), runs, fd_lite0=1.0))
    damaged = write_record(record(config(seed=0), card(seed=1), runs, fd_lite0=1.0))
    damaged.write_text("{")
    old = write_record(record(config(seed=1), card(), runs, fd_lite0=1.0)).parents[1]
    (old / "config.yaml").write_text("seed: 1")
    monkeypatch.chdir(tmp_path)
    run(monkeypatch)
    first, second = capsys.readouterr().err.splitlines()
    assert damaged.name in first
    assert f"{old.name}/config.yaml is damaged: it has no images" in second
    with pytest.raises(SystemExit, match="it has no images"):
        run(monkeypatch, old.name)


def test_help_and_the_package_import_nothing_heavy(tmp_path):
    show_help = """
from difflab.cli.report import main
sys.argv = ["difflab-report", "--help"]
try:
    main()
except SystemExit as done:
    assert done.code == 0
"""
    for statement in (show_help, "import difflab.report"):
        assert loaded(statement, HEAVY, tmp_path) == [], statement


def test_training_and_evaluation_import_no_drawing_library(tmp_path):
    for module in ("difflab.cli.train", "difflab.cli.evaluate"):
        assert loaded(f"import {module}", DRAWING, tmp_path) == [], module
