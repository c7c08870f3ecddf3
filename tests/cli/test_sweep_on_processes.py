"""What difflab is for, in one line: a sweep over schedules and step counts, each job on two processes, on W&B."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.jobs import TOY, finish, job, said_here, start, wait_for
from helpers.processes import running

pytestmark = pytest.mark.long

SWEEP = [*(word for word in TOY if word not in ("trainer=cpu", "logger=local")), "seed=0", "study=card"]
SWEEP += ["schedule=ddpm_linear,ddpm_cosine", "nfe=4,6", "optimizer=adamw"]  # by Muon weights differ by 1e-4
TWO = ["trainer=ddp", "trainer.accelerator=cpu"]
LOCAL = "logger=local"


def counts(said):
    """The closing line of a sweep, as numbers: jobs, trained, measured, cached, failed."""
    (line,) = [line for line in said.splitlines() if " jobs: " in line]
    return [int(word) for word in line.replace(":", "").replace(",", "").split() if word.isdigit()]


def contents(folder):
    """Of each run of a folder the weights, and the metrics by evaluation."""
    return {
        run.name: (
            load_file(run / "weights.safetensors"),
            {path.stem: json.loads(path.read_text())["metrics"] for path in run.glob("evaluations/*.json")},
        )
        for run in Path(folder, "runs").glob("*-s*")
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """The sweep on two processes, with W&B offline."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, said_here("evaluate", "-m", *SWEEP, *TWO, cwd=folder)


def test_each_model_is_trained_once_and_each_setting_measured_once(swept):
    folder, said = swept
    assert counts(said) == [4, 2, 4, 0, 0]
    assert counts(said_here("evaluate", "-m", *SWEEP, *TWO, cwd=folder)) == [4, 0, 0, 4, 0]
    assert "Wasserstein-2" in said_here("report", cwd=folder)


def test_the_numbers_are_those_of_one_process(swept, tmp_path):
    said_here("evaluate", "-m", *SWEEP, LOCAL, "trainer=cpu", cwd=tmp_path)
    one, two = contents(tmp_path), contents(swept[0])
    assert one.keys() == two.keys()
    for name, (weights, found) in one.items():
        for key, value in weights.items():
            torch.testing.assert_close(two[name][0][key], value, rtol=1e-4, atol=1e-5)
        assert two[name][1] == {key: pytest.approx(values, rel=1e-3, abs=1e-5) for key, values in found.items()}


def test_each_job_is_on_wandb_in_one_group(swept):
    groups = []
    for path in swept[0].rglob("*.wandb"):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        lines = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.splitlines()
        (run,) = [json.loads(line)["run"] for line in lines if '"type":"run"' in line]
        groups.append((run["run_group"], run["job_type"], run["run_id"]))
    assert {group for group, _, _ in groups} == {"card"}
    assert len({run for _, kind, run in groups if kind == "train"}) == 2
    assert len({run for _, kind, run in groups if kind == "evaluate"}) == 4


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc")
def test_a_killed_rank_fails_its_job_a_killed_parent_all_and_the_same_line_does_the_rest(swept, tmp_path):
    process = job("evaluate", "-m", *SWEEP, *TWO, LOCAL, "images=6400", cwd=tmp_path, served=True)
    wait_for("runs/*/checkpoints", tmp_path, process)
    members = [pid for pid in running(tmp_path) if pid != process.pid]
    os.kill(max(members), signal.SIGKILL)
    wait_for("runs/*/evaluations/*.json", tmp_path, process)
    process.kill()
    said, _ = process.communicate()
    assert "was ended by SIGKILL; the same command goes on" in said
    until = time.monotonic() + 60
    while running(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(tmp_path)
    done = len([*tmp_path.glob("runs/*/evaluations/*.json")])
    jobs, trained, measured, cached, failed = counts(
        said_here("evaluate", "-m", *SWEEP, *TWO, LOCAL, "images=6400", cwd=tmp_path)
    )
    assert (jobs, measured, cached, failed) == (4, 4 - done, done, 0)
    assert 1 <= trained <= 2


@pytest.mark.parametrize(("launcher", "jobs"), [("joblib", 2), ("submitit_local", 1)])
def test_launchers_give_each_job_its_own_group(tmp_path, launcher, jobs):
    words = ["-m", *SWEEP, *TWO, LOCAL, "nfe=4", f"hydra/launcher={launcher}", *(["schedule=vp"] if jobs == 1 else [])]
    assert counts(said_here("evaluate", *words, cwd=tmp_path)) == [jobs, jobs, jobs, 0, 0]
    commands = [json.loads(path.read_text())["command"] for path in tmp_path.glob("runs/*/evaluations/*.json")]
    assert len(commands) == jobs
    assert all(command.startswith("difflab-evaluate experiment=toy") for command in commands)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc")
def test_a_preempted_job_saves_is_queued_again_and_goes_on(tmp_path):
    """The signal is the one that SLURM sends before a job's time is over, by submitit's local executor."""
    words = [*SWEEP, LOCAL, "trainer=cpu", "images=9600", "check_every=1600", "nfe=4", "schedule=vp"]
    process = job("train", "-m", *words, "hydra/launcher=submitit_local", cwd=tmp_path)
    wait_for("runs/*/checkpoints/last.ckpt", tmp_path, process)
    (pid,) = (pid for pid in running(tmp_path) if "submitit.core._submit" in Path(f"/proc/{pid}/cmdline").read_text())
    os.kill(pid, signal.SIGUSR2)
    said, _ = process.communicate(timeout=120)
    assert counts(said) == [1, 1, 1, 0, 0]
    (log,) = tmp_path.glob("runs/.submitit/*/*_log.out")
    assert "Requeued job" in log.read_text()
    (done,) = re.findall(r"goes on from ([\d,]+) of 9,600 images", log.read_text())
    assert int(done.replace(",", "")) >= 1600, "at least its first check is kept"
    (path,) = tmp_path.rglob("metrics.jsonl")
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines() if "train/loss" in line]
    assert steps[-1] == 149


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="processes are looked for in /proc")
def test_a_joblib_sweep_that_is_stopped_saves_what_its_jobs_are_at(tmp_path):
    """By Ctrl-C; `benchmarks.faults` kills the parent, too."""
    words = [*SWEEP, LOCAL, "trainer=cpu", "images=640000", "check_every=3200", "nfe=4", "seed=0,1"]
    process = start("evaluate", "-m", *words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=tmp_path)
    while len([*tmp_path.glob("runs/*/checkpoints/last.ckpt")]) < 2:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = finish(process, 130)
    assert "4 failed" in said
    assert said.count("stopped; the same command goes on") == 4
    until = time.monotonic() + 60
    while running(tmp_path) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(tmp_path)
    steps = [torch.load(path, weights_only=True)["global_step"] for path in tmp_path.rglob("last.ckpt")]
    assert len(steps) == 2
    assert any(step % 50 for step in steps), "saved where they were stopped"
