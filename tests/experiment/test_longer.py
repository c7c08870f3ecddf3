"""A longer budget goes on from a shorter run, bit for bit as if uninterrupted, or says why not."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from difflab.cli.parts import parts
from difflab.experiment.config.compose import compose_job
from difflab.experiment.jobs import train
from difflab.experiment.store.run import Run
from difflab.experiment.training.longer import follows_budget, same_rates
from difflab.laws.paradigms import a_loss_that_does_not_follow_the_budget_is_the_same_at_every_share as law
from difflab.objective.times import Curriculum
from difflab.paradigm.ddpm import DDPM
from difflab.paradigm.optimisation import Optimisation
from helpers.conf import every
from helpers.jobs import TOY

WORDS = [*TOY, "protocol.n=0", "precision=fp32"]


def runs(folder):
    """The runs of a folder by their budgets."""
    found = [Run(path.parent) for path in folder.glob("runs/*/config.yaml")]
    return {run.config["images"]: run for run in found}


def rows(run):
    """The log of the training without what a clock says."""
    lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "per_s" not in k} for line in lines if "train/loss" in line]


def trained(folder, *words):
    """Train in this process, into a folder of runs."""
    return train(compose_job("train", [*WORDS, *words, f"runs_dir={folder / 'runs'}"]))


def test_a_longer_training_is_the_shorter_one_continued(tmp_path, capsys):
    """With a constant rate it takes its state; the weights and the log are those of training at once."""
    words = ["lr_schedule=constant", "lr_schedule.warmup=128"]
    trained(tmp_path / "once", *words, "images=1280")
    trained(tmp_path / "twice", *words, "images=640")
    assert trained(tmp_path / "twice", *words, "images=1280", "dry_run=true")["plan"]["images to train"] == 640
    capsys.readouterr()
    trained(tmp_path / "twice", *words, "images=1280")
    said = capsys.readouterr().out
    assert "is this training up to 640 images: its state is taken" in said
    assert "goes on from 640 of 1,280 images" in said
    ours, theirs = runs(tmp_path / "twice")[1280], runs(tmp_path / "once")[1280]
    assert ours.folder.name == theirs.folder.name
    a, b = load_file(ours.weights), load_file(theirs.weights)
    assert all(torch.equal(a[k], b[k]) for k in b)
    assert rows(ours) == rows(theirs)
    trained(tmp_path / "twice", *words, "images=1280", "lr=1e-4")
    said = capsys.readouterr().out
    assert re.search(r"differs in the learning rate alone.*init=\S+ starts from its averaged weights", said)


def test_a_rate_that_follows_the_budget_starts_anew_and_says_so(tmp_path, capsys):
    trained(tmp_path, "images=640")
    trained(tmp_path, "images=1280")
    said = capsys.readouterr().out
    assert re.search(r"differs in the budget alone, and this is another run, from the start .*: init=", said)
    assert "goes on from" not in said


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt", "wsd", "cosine"])
def test_budgets_agree_in_the_rate_where_the_schedule_says_so(schedule):
    """Of WSD before its decay, which begins at 80 % of the shorter budget; of the cosine never."""

    class Job:
        steps, config = 200, {"batch_size": 64}

        class model:
            optimisation = Optimisation(lr_schedule=every("lr_schedule")[schedule])

    agree = [same_rates(Job, 100, done) for done in (1, 70, 100)]
    assert agree == {"wsd": [True, True, False], "cosine": [False] * 3}.get(schedule, [True] * 3)


class Faded(DDPM):
    """A loss of one's own that fades in, and does not state that it follows the budget."""

    def loss(self, noised):
        return {key: noised.progress * value for key, value in super().loss(noised).items()}


class Plain(DDPM):
    """A loss of one's own that does not follow the budget, and states it."""

    follows_budget = False

    def loss(self, noised):
        return {key: 2 * value for key, value in super().loss(noised).items()}


class Undeclared(Plain):
    """The same, whose batches are noised in another way: of it nothing is known."""

    def corrupt(self, x0, label, dropout, *key, eps=None, progress=1.0):
        return super().corrupt(x0, label, dropout, *key, eps=eps, progress=progress)


class Inherited(DDPM):
    """Nothing of its own that the loss depends on."""


def test_a_loss_of_ones_own_is_taken_to_follow_the_budget_unless_it_is_stated():
    (part,) = parts(["paradigm=ddpm"])
    for cls, follows in ((DDPM, False), (Faded, True), (Plain, False), (Undeclared, True), (Inherited, False)):
        part.built.__class__ = cls
        assert follows_budget(part.built) is follows, cls
        assert law(part.built).holds is (cls is not Faded), cls  # which must state it


def test_paradigms_follow_the_budget_by_their_loss_or_by_their_times():
    for name, follows in (("autoencoder", True), ("mean_flow", True), ("rectified_flow", False), ("vae", False)):
        (part,) = parts([f"paradigm={name}"])
        assert follows_budget(part.built) is follows, name
    part.built.times = Curriculum()
    assert follows_budget(part.built)
