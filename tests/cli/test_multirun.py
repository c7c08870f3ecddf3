"""Sweeps: finished jobs are not done again, a failure does not stop the rest, and the next call does the rest."""

import json
import time
from pathlib import Path

import pytest

from difflab.experiment.run import find
from helpers.jobs import TINY, finish, run_here, start

SHORT = [*TINY, "images=160", "logger=local"]
POINTS = ["experiment=toy", "data=moons", "batch_size=64", "images=640", "protocol.n=64", "protocol.n_likelihood=0"]
POINTS += ["trainer=cpu", "logger=local"]
STUDY = [*POINTS, "paradigm=vp_sde,rectified_flow", "seed=0,1", "sampler=ddim,heun"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counts(capsys):
    """The closing line of a sweep, as numbers: jobs, trained, measured, cached, failed."""
    (line,) = [line for line in capsys.readouterr().out.splitlines() if " jobs: " in line]
    return [int(word) for word in line.replace(":", "").replace(",", "").split() if word.isdigit()]


def test_a_study_trains_each_model_once_and_measures_each_setting_once(capsys):
    run_here("evaluate", "-m", *STUDY, "nfe=4,6")
    assert counts(capsys) == [16, 4, 16, 0, 0]
    run_here("evaluate", "-m", *STUDY, "nfe=4,6")
    assert counts(capsys) == [16, 0, 0, 16, 0]
    run_here("evaluate", "-m", *STUDY, "nfe=4,6,8")
    assert counts(capsys) == [24, 0, 8, 16, 0]
    assert len(list(Path("runs").glob("*/result.json"))) == 4
    assert not list(Path("runs/.sweeps").iterdir())


def test_a_dry_run_tells_what_is_there_and_what_is_not_and_does_nothing(capsys):
    run_here("evaluate", *POINTS, "seed=0", "nfe=4")
    capsys.readouterr()
    before = sorted(path for path in Path("runs").rglob("*") if path.name != "multirun.yaml")
    run_here("evaluate", "-m", *POINTS, "seed=0,1", "nfe=4,6", "dry_run=true")
    said = " ".join(capsys.readouterr().out.split())
    assert "jobs: 4; runs: 2, of which 1 to train, on 640 images in all" in said
    evaluations = 64 * (6 + 4 + 6)
    assert f"to measure: 3, with {evaluations:,} network evaluations; cached: 1" in said
    ours = (path for path in Path("runs").rglob("*") if path.name not in ("multirun.yaml", ".sweeps"))
    assert sorted(ours) == before


def test_a_job_that_fails_is_listed_and_the_others_go_on(capsys):
    """The linear path has no eps at t = 1: its job cannot work, and says why; so twice."""
    words = ["-m", *POINTS, "paradigm=vp_sde", "schedule=vp,linear,ddpm_cosine", "nfe=4"]
    for expected in ([3, 2, 2, 0, 1], [3, 0, 0, 2, 1]):
        with pytest.raises(SystemExit, match="1 of the jobs failed; the same command goes on with the rest"):
            run_here("evaluate", *words)
        said = capsys.readouterr().out
        assert "failed: schedule=linear: difflab-evaluate: target Eps() is singular" in said
        assert f"{expected[0]} jobs: {expected[1]} trained, {expected[2]} measured, {expected[3]} cached" in said


def test_a_mistyped_option_is_refused_before_any_job(capsys, here):
    with pytest.raises(SystemExit) as refusal:
        run_here("evaluate", "-m", *POINTS, "sampler=ddim,hein")
    assert "sampler=hein does not exist; valid: " in f"{refusal.value.code}{capsys.readouterr().err}"
    assert not list(here.glob("runs/*/config.yaml"))


def test_killed_in_the_middle_and_issued_again_it_does_the_rest(here):
    words = ["-m", *POINTS, "images=6400", "seed=0,1,2", "nfe=4,6"]
    process = start("evaluate", *words, cwd=here)
    while len(list(here.glob("runs/*/evaluations/*.json"))) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done, finished = (len(list(here.glob(f"runs/*/{what}"))) for what in ("evaluations/*.json", "result.json"))
    assert 2 <= done < 6
    said = finish(start("evaluate", *words, cwd=here))
    assert f"6 jobs: {3 - finished} trained, {6 - done} measured, {done} cached, 0 failed" in said


def test_jobs_run_side_by_side_under_a_launcher(here):
    said = finish(
        start("evaluate", "-m", *STUDY, "nfe=4", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=here)
    )
    assert "8 jobs: 4 trained, 8 measured, 0 cached, 0 failed" in said
    (rectified,) = here.glob("runs/rectified_flow-moons-s1-*/")
    commands = [json.loads(path.read_text())["command"] for path in rectified.glob("evaluations/*.json")]
    assert all(command.startswith("difflab-evaluate experiment=toy") for command in commands)


def test_each_job_of_a_sweep_has_its_own_processes(here):
    """DDP under a multirun: the processes of a job meet each other, and train what one process trains."""
    words = [*SHORT, "images=64", "backbone.dropout=0.0", "seed=0,1"]
    said = finish(start("train", "-m", *words, "trainer.devices=2", "trainer.strategy=ddp", cwd=here))
    assert "2 jobs: " in said
    assert "0 failed" in said
    for seed in (0, 1):
        assert find(here / "runs", f"ddpm-digits-s{seed}").result
    alone = finish(start("train", "-m", *words, cwd=here))
    assert "2 jobs: 0 trained, 0 measured, 2 cached, 0 failed" in alone


def test_a_run_is_measured_by_many_samplers(here, capsys):
    """One of them is its own, by which it was measured when it was trained."""
    run_here("train", *POINTS, "nfe=4")
    run_here("evaluate", "run=ddpm", "experiment=samplers_by_nfe", "nfe=4,6", "n=64", "n_likelihood=0")
    assert counts(capsys) == [10, 0, 9, 1, 0]
