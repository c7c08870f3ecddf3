"""Sweeps: finished jobs are not done again, a failure does not stop the rest, and the next call does the rest."""

from pathlib import Path

import pytest

from helpers.jobs import TOY, job, run_here, wait_for

STUDY = [*TOY, "paradigm=vp_sde,rectified_flow", "sampler=ddim,heun"]


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
    run_here("evaluate", "-m", *STUDY, "nfe=4")
    assert counts(capsys) == [4, 2, 4, 0, 0]
    run_here("evaluate", "-m", *STUDY, "nfe=4,6")
    assert counts(capsys) == [8, 0, 4, 4, 0]
    assert len(list(Path("runs").glob("*/result.json"))) == 2
    assert not list(Path("runs/.sweeps").iterdir())


def test_a_dry_run_tells_what_is_there_and_what_is_not_and_does_nothing(capsys):
    run_here("evaluate", *TOY, "seed=0", "nfe=4")
    capsys.readouterr()
    before = sorted(path for path in Path("runs").rglob("*") if path.name != "multirun.yaml")
    run_here("evaluate", "-m", *TOY, "seed=0,1", "nfe=4,6", "dry_run=true")
    said = " ".join(capsys.readouterr().out.split())
    assert "jobs: 4; runs: 2, of which 1 to train, on 640 images in all" in said
    evaluations = 64 * (6 + 4 + 6)
    assert f"to measure: 3, with {evaluations:,} network evaluations; cached: 1" in said
    ours = (path for path in Path("runs").rglob("*") if path.name not in ("multirun.yaml", ".sweeps"))
    assert sorted(ours) == before


def test_a_job_that_fails_is_listed_and_the_others_go_on(capsys):
    """The linear path has no eps at t = 1: its job cannot work, and says why; so twice."""
    words = ["-m", *TOY, "paradigm=vp_sde", "schedule=vp,linear,ddpm_cosine", "nfe=4"]
    for expected in ([3, 2, 2, 0, 1], [3, 0, 0, 2, 1]):
        with pytest.raises(SystemExit, match="1 of the jobs failed; the same command goes on with the rest"):
            run_here("evaluate", *words)
        said = capsys.readouterr().out
        assert "failed: schedule=linear: difflab-evaluate: target Eps() is singular" in said
        assert f"{expected[0]} jobs: {expected[1]} trained, {expected[2]} measured, {expected[3]} cached" in said


def test_a_mistyped_option_is_refused_before_any_job(capsys, here):
    with pytest.raises(SystemExit) as refusal:
        run_here("evaluate", "-m", *TOY, "sampler=ddim,hein")
    assert "sampler=hein does not exist; valid: " in f"{refusal.value.code}{capsys.readouterr().err}"
    assert not list(here.glob("runs/*/config.yaml"))


@pytest.mark.long
def test_killed_in_the_middle_and_issued_again_it_does_the_rest(here, capsys):
    words = ["-m", *TOY, "seed=0,1,2", "nfe=4,6"]
    process = job("evaluate", *words, cwd=here)
    wait_for("runs/*/evaluations/*.json", here, process)
    process.kill()
    process.communicate()
    done, finished = (len(list(here.glob(f"runs/*/{what}"))) for what in ("evaluations/*.json", "result.json"))
    assert 1 <= done < 6
    run_here("evaluate", *words)
    assert counts(capsys) == [6, 3 - finished, 6 - done, done, 0]


@pytest.mark.long
def test_a_run_is_measured_by_many_samplers(here, capsys):
    """One of them is its own, by which it was measured when it was trained."""
    run_here("train", *TOY, "nfe=4")
    run_here("evaluate", "run=ddpm", "experiment=samplers_by_nfe", "nfe=4,6", "n=64", "n_likelihood=0")
    assert counts(capsys) == [10, 0, 9, 1, 0]
