"""Jobs that are mirrored on W&B, at a server on loopback or offline, and what the files of offline runs say."""

import json
import subprocess
import sys

import wandb
from PIL import Image

from difflab.experiment.mirror.wandb_job import WandbJob
from difflab.experiment.mirror.wandb_mirror import Wandb
from helpers.studies import card
from helpers.wandb_server import wandb_server

CONFIG = {
    "batch_size": 4,
    "seed": 1,
    "data": {"source": {"repo": "a/b", "hf_token": "hush"}},
    "choices": {"paradigm": "vp_sde", "data": "digits", "sampler": "ancestral", "guidance": "none", "range": "clip"},
    "command": "difflab-train paradigm=vp_sde data.source.hf_token=hush",
}
FOUND = {
    "metrics": {"fd_lite0": 3.5, "fd_lite0_floor": 1.25, "n": 64},
    "cost": {"nfe": 9.0, "seconds_per_sample": 0.5},
    "card": card(nfe=10).to_dict(),
    "choices": {"sampler": "heun", "guidance": ["classifier_free", "rescale"]},
    "command": "difflab-evaluate paradigm=vp_sde sampler=heun nfe=10",
}


def at_server(monkeypatch):
    """The body of a fixture: a server, which all jobs of the test are sent to."""
    with wandb_server() as started:
        for name, value in started.environment.items():
            monkeypatch.setenv(name, value)
        yield started
        wandb.teardown()


def training(folder, **more):
    """A training of a study."""
    return WandbJob(folder, "vp_sde-digits-s1-01234567", "train", CONFIG, "a-study", **more)


def evaluation(folder, **more):
    """An evaluation of its run."""
    return WandbJob(folder / "evaluations", "vp_sde-digits-s1-01234567-89ab", "evaluate", CONFIG, "a-study", **more)


def train(folder, losses=(1.0, 0.5), start=0):
    """Mirror a training with these losses and a picture."""
    mirror = Wandb()
    logger = mirror(training(folder))
    for k, loss in enumerate(losses, start):
        logger.log_metrics({"train/loss": loss, "epoch": 0}, 10 * k)
    logger.log_picture("samples", Image.new("L", (8, 8)), 10)
    mirror.close()


def measure(folder, job=None):
    """Mirror an evaluation with two pictures."""
    path = folder / "samples.png"
    Image.new("L", (8, 8), 200).save(path)
    Wandb().log_evaluation(job or evaluation(folder), FOUND, {"samples": path, "pairs": path})


def offline(folder):
    """What the files of the offline runs under a folder say: a summary and all history rows of each."""
    runs = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json"]
        lines = subprocess.run([*inspect, str(path)], capture_output=True, text=True, check=True).stdout.splitlines()
        records = [json.loads(line) for line in lines]
        (about,) = [record["run"] for record in records if record["type"] == "run"]
        history = [record["history"]["item"] for record in records if record["type"] == "history"]
        exits = [record["exit"] for record in records if record["type"] == "exit"]
        assert len(exits) == 1, "not finished"
        runs.append((about, history, "\n".join(lines)))
    return runs
