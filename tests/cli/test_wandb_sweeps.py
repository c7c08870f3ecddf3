"""The sweep files: the same points as their Hydra twins, words that fit together, and W&B's own agent at work."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from difflab.experiment.parts.build import check
from difflab.experiment.parts.search_path import conf_dir
from difflab.experiment.training.job import Training
from helpers.conf import composed
from helpers.wandb_server import wandb_server

ALL = sorted(Path(__file__).parents[2].glob("sweeps/*.yaml"))
EARLY = [path for path in ALL if "early_terminate" in path.read_text()]  # which Hydra has no twin of
SWEEPS = [path for path in ALL if path not in EARLY]
LIGHT = ["trainer.accelerator=cpu", "precision=fp32", "protocol=toy"]
SMALL = ["data=digits", "backbone.width=16", "backbone.attention=[]", "protocol.n=0", "logger=local"]
OWN = {  # of sweeps over data or networks
    "noise_levels": [*LIGHT[:2], "protocol.n=0", "logger=local"],
    "backbones": [*LIGHT, "data=digits", "protocol.n=0", "logger=local"],
    "schedules_by_data": [*LIGHT, *SMALL[1:]],
    "trilemma": [*LIGHT, "data=digits", "protocol.n=0", "logger=local"],
    "ddpm_objectives": [*LIGHT, *SMALL, "batch_size=64"],
}
TAUGHT = ("few_steps_toy",)  # whose teacher is trained first; the tests of few steps do
POINTS = ["data=moons", "backbone=mlp", "range=clip_points", "model.label_dropout=0", "protocol.n=64"]
MOMENTS = ["images=512", "batch_size=64", "check_every=512", "protocol.n_likelihood=0"]
MOMENTS += ["data.source.n=2000", "data.source.held_out=500"]
AGENT = """
from wandb.cli.cli import cli
from wandb.wandb_agent import Agent

Agent.POLL_INTERVAL = 0.2  # seconds; there is no setting for it, and 5 are long
cli(["sweep", "sweep.yaml"], standalone_mode=False)
cli(["agent", "ent/difflab/sweep1"], standalone_mode=False)
"""


def read(path):
    return yaml.safe_load(path.read_text())


def experiment(path):
    """The experiment of the same points; on several processes it is the same one."""
    return path.stem.removesuffix("_ddp")


def twin(path):
    return read(Path(conf_dir(), "experiment", f"{experiment(path)}.yaml"))["hydra"]["sweeper"]["params"]


def points(sweep, *names):
    """The words of all points, without those of the parameters that are named."""
    values = {key: entry["values"] for key, entry in sweep["parameters"].items() if key not in names}
    for point in itertools.product(*values.values()):
        yield [f"{key}={value}" for key, value in zip(values, point, strict=True)]


def test_there_is_a_grid_a_random_and_a_bayesian_one():
    assert {read(path)["method"] for path in SWEEPS} == {"grid", "random", "bayes"}


def test_every_study_has_a_twin():
    studies = (path for path in Path(conf_dir(), "experiment").glob("*.yaml") if "sweeper" in path.read_text())
    assert {path.stem for path in studies} == {experiment(path) for path in SWEEPS}


def test_agrees_with_its_hydra_twin(subtests):
    for path in SWEEPS:
        with subtests.test(path.stem):
            sweep = read(path)
            points_in_the_plane = experiment(path) in ("noise_levels", "few_steps_toy")
            assert sweep["metric"] == {"name": "w2" if points_in_the_plane else "fd_lite0", "goal": "minimize"}
            assert f"experiment={experiment(path)}" in sweep["command"]
            written = {
                key: [yaml.safe_load(word) for word in str(words).split(",")] for key, words in twin(path).items()
            }
            assert {key: entry["values"] for key, entry in sweep["parameters"].items()} == written


@pytest.mark.long
def test_every_point_can_be_trained(tmp_path, subtests):
    """Each once: several files have the points of one study."""
    alone, tried = [path for path in SWEEPS if path.stem not in TAUGHT], set()
    for path in [path for path in alone if "run=${envvar:RUN}" not in read(path)["command"]]:
        with subtests.test(path.stem):
            small = OWN.get(experiment(path), [*LIGHT, *SMALL])
            for words in points(read(path), "seed", "nfe", "sampler"):
                line = (f"experiment={experiment(path)}", *words, *small, f"runs_dir={tmp_path}")
                if line not in tried:
                    Training.of(composed(*line))
                tried.add(line)


def test_every_sampler_can_be_asked_of_a_run():
    for path in (path for path in SWEEPS if "run=${envvar:RUN}" in read(path)["command"]):
        for words in points(read(path), "nfe"):
            check(composed(f"experiment={experiment(path)}", *words, "run=RUN", name="evaluate")["sampler"])


@pytest.mark.long
def test_wandbs_agent_starts_the_command_and_hears_the_score(tmp_path):
    """With each job on two processes."""
    (path,) = (path for path in SWEEPS if path.stem == "schedules_by_nfe_ddp")
    sweep = read(path)
    sweep["command"][-1:] = [*LIGHT, *POINTS, *MOMENTS, sweep["command"][-1]]
    sweep["parameters"] = {"schedule": {"values": ["ddpm_cosine"]}, "nfe": {"values": [4]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    with wandb_server() as server:
        scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **server.environment, "PATH": scripts, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", AGENT]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    swept = server.runs.pop("swept0")
    assert (swept.about["jobType"], swept.about["sweep"]) == ("evaluate", "sweep1")
    assert swept.summary["nfe"] == 4
    assert swept.summary["w2"] > 0
    (training,) = server.runs.values()
    assert (training.about["jobType"], training.about.get("sweep")) == ("train", None)
    for run in (swept, training):
        assert (run.about["groupName"], run.exitcode) == ("schedules_by_nfe", 0), "one group"


@pytest.mark.long
def test_a_sweep_ends_trainings_early_by_a_distance_to_images_that_were_set_aside(tmp_path):
    """W&B's agent stops the first run once it has a distance; its state is kept, and no final score exists."""
    (path,) = EARLY
    sweep = read(path)
    assert sweep["metric"]["name"].startswith("selection/")
    listed = {key: each for key, each in sweep["parameters"].items() if "values" in each}
    for words in points({"parameters": listed}):
        Training.of(composed(*words, *LIGHT, *SMALL, "data.selection=100", f"runs_dir={tmp_path}"))
    tiny = [
        "experiment=toy",
        *LIGHT,
        *POINTS[:1],
        "data.selection=100",
        "nfe=10",
        "images=6400000",
        "check_every=640",
        *MOMENTS[1:2],
    ]
    sweep["command"] = ["${env}", "${program}", *tiny, *MOMENTS[3:], "${args_no_hyphens}"]
    sweep["parameters"] = {"seed": {"values": [0]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    with wandb_server() as server:
        server.stops = lambda run: any("selection/w2" in row for row in run.history)
        scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **server.environment, "PATH": scripts, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", AGENT]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    swept = server.runs["swept0"]
    assert (swept.about["jobType"], swept.about["sweep"]) == ("train", "sweep1")
    assert swept.summary["selection/w2"] > 0
    assert "w2" not in swept.summary
    assert list(tmp_path.glob("runs/*/checkpoints/last.ckpt"))
