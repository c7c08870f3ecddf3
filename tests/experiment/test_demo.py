"""The run that comes with the package: found by its name, loaded like any other, and never taken for a training."""

import json
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from difflab import load
from difflab.cli.sample import main as sample
from difflab.experiment.parts.errors import UserError
from difflab.experiment.parts.identity import fingerprint
from difflab.experiment.store import demo
from difflab.experiment.store.facts import facts_of
from difflab.experiment.store.run import Run, find, stamp
from helpers.runs import write_exact_run

PACKAGED = Path(demo.__file__).parent / demo.FOLDER


def test_samples_of_the_demo_need_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sample(["difflab-sample", "run=demo", "sampler=ddim", "nfe=2", "n=10"])
    (folder,) = (tmp_path / "runs" / "demo" / "samples").iterdir()
    assert (folder / "grid.png").exists()
    assert str(Path("runs", "demo")) in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"demo"}


def test_a_folder_of_that_name_that_is_no_run_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert find(Path("runs"), "demo").folder == Path("runs", "demo")
    Path("other").mkdir()
    with pytest.raises(ValueError, match=r"run=other is no run: it holds no config\.yaml"):
        find(Path("runs"), "other")


def test_its_weights_are_those_of_its_card(tmp_path):
    run = find(tmp_path, "demo")
    denoiser = load(run.folder)
    assert denoiser.classes == 10
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in denoiser.parameters())
    (evaluation,) = (run.folder / "evaluations").glob("*.json")
    scores = json.loads(evaluation.read_text())
    assert scores["card"]["weights"] == f"ema={facts_of(run)['ema'][0]}"
    assert scores["metrics"]["fd_lite0"] < 5


def test_it_is_small_and_says_nothing_of_the_machine_that_made_it():
    files = [path for path in PACKAGED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    for path in files:
        if path.suffix in (".yaml", ".json"):
            text = path.read_text()
            assert str(Path.home()) not in text
            assert "/tmp" not in text
            assert "/work" not in text


def test_no_training_takes_its_rounded_weights_for_its_own_result(tmp_path):
    run = find(tmp_path, "demo")
    assert stamp(run.folder / "config.yaml") == ""
    same = fingerprint(run.config, run.config["origins"])
    assert Run.of(tmp_path, "ddpm", same).folder == tmp_path / f"ddpm-{same[:8]}"


def test_a_run_of_ones_own_by_that_name_goes_first(tmp_path):
    write_exact_run(tmp_path, "points")
    (tmp_path / "points").rename(tmp_path / "demo")
    assert not (find(tmp_path, "demo").folder / "result.json").exists()


def test_where_nothing_can_be_written_it_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run=demo is copied to .*runs_dir=FOLDER"):
        find(tmp_path / "file", "demo")


def test_several_processes_may_unpack_it_at_once(tmp_path):
    with get_context("fork").Pool(4) as pool:
        folders = pool.map(demo.unpack, [tmp_path] * 8)
    assert set(folders) == {tmp_path / "demo"}
    assert {path.name for path in tmp_path.iterdir()} == {"demo"}
    assert load(tmp_path / "demo").classes == 10
