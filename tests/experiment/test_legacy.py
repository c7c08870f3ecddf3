"""Finished runs of difflab 0.1 are read, sampled, evaluated and reported: three that it trained lie here."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from difflab import load
from difflab.denoiser.classifier import Classifier
from difflab.experiment.parts.identity import identity, line
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.store.legacy import current, today
from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import load_module
from difflab.metric.card import ProtocolCard
from difflab.process.schedule import VP, Linear
from difflab.report.record import read_records
from difflab.report.study import Study
from difflab.sampler.euler import Euler
from helpers.conf import composed
from helpers.jobs import run_here

HERE = Path(__file__).with_name("runs_of_0_1")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A copy of the runs, in which the commands may write."""
    shutil.copytree(HERE, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_they_are_loaded_with_the_classes_of_today(runs):
    flow, images = load(runs / "rectified_flow-moons"), load(runs / "vp_sde-digits")
    assert (flow.schedule, flow.shape) == (Linear(), (2,))
    assert (images.schedule, images.shape, images.classes) == (VP(), (1, 8, 8), 10)
    assert isinstance(load_module(find(runs, "classifier"))[0], Classifier)
    with torch.no_grad():
        assert flow(torch.zeros(3, 2), torch.tensor(0.5).double(), torch.zeros(3).long()).x0.isfinite().all()


def test_their_configurations_are_translated(runs):
    config = find(runs, "rectified_flow-moons").config
    assert config["model"]["_target_"] == "difflab.paradigm.RectifiedFlow"
    assert config["model"]["denoiser"]["schedule"]["_target_"] == "difflab.process.Linear"
    assert find(runs, "vp_sde-digits").config["model"]["_target_"] == "difflab.paradigm.VPSDE"


def test_they_are_sampled_and_evaluated(runs, capsys):
    run_here("sample", "run=vp_sde-digits", "sampler=ddim", "nfe=4", "n=10")
    assert "10 images, 4 network evaluations each" in capsys.readouterr().out
    run = find(runs, "rectified_flow-moons")
    (before,) = run.folder.glob("evaluations/*.json")
    run_here("evaluate", "run=rectified_flow-moons", "n=64", "sampler=heun", "nfe=5", "logger=local", "-v")
    assert "Heun()" in capsys.readouterr().out
    assert len(list(run.folder.glob("evaluations/*.json"))) == 2
    # What 0.1 measured would be found again: its card has the same name today.
    card = json.loads(before.read_text())["card"]
    assert ProtocolCard(**card).fingerprint == before.stem
    assert card["sampler"] == line(Euler())


def test_they_are_reported(runs):
    study = Study.of(read_records([Run(path.parent) for path in runs.glob("*/config.yaml")]))
    assert sorted(cell.factors["paradigm"] for cell in study.cells) == ["rectified_flow", "vp_sde"]


def test_old_names_are_todays_and_todays_stay():
    table = {
        "difflab.table.CosineTable": "difflab.process.CosineBetas",
        "difflab.target.EDM": "difflab.process.Preconditioned",
        "difflab.sampler.dpm_solver.DPMSolverPP": "difflab.sampler.DPMSolverPP",
        "difflab.guidance.clip.Clip": "difflab.guidance.Clip",
        "difflab.grid.Uniform": "difflab.sampler.Uniform",
        "difflab.times.Uniform": "difflab.objective.Uniform",
        "difflab.data.module.DataModule": "difflab.data.DataModule",
        "difflab.paradigm.draws.One": "difflab.objective.One",
        "difflab.weights.FromRun": "difflab.experiment.FromRun",
        "lightning.pytorch.Trainer": "lightning.pytorch.Trainer",
    }
    for old, new in table.items():
        assert today(old) == new == today(new)


def test_a_limit_among_the_guidances_is_a_range_and_the_card_says_the_same():
    """Configurations of format 3 had one list; the cards of their evaluations name it as those of today do."""
    clip, free = {"_target_": "difflab.guidance.Clip", "limit": 1.0}, {"_target_": "difflab.guidance.ClassifierFree"}
    none = {"_target_": "difflab.guidance.Unguided"}
    sampling = {
        "sampler": {"_target_": "difflab.sampler.DDIM"},
        "grid": {"_target_": "difflab.sampler.Uniform"},
        "nfe": 9,
    }
    both = ("Clip(limit=1.0)", "ClassifierFree(scale=2.0)")
    for guidance, chosen, after, limit, line_of in [
        ({"clip": clip}, "clip", {"none": none}, clip, both[0]),
        (
            {"free": free, "clip": clip},
            ["free", "clip"],
            {"free": free},
            clip,
            f"{both[1]}, {both[0]}",
        ),
        (
            {"clip": clip, "free": free},
            ["clip", "free"],
            {"clip": clip, "free": free},
            none,
            ", ".join(both),
        ),
        ({"none": none}, "none", {"none": none}, none, "Unguided()"),
    ]:
        teacher = {"run": "a", "guidance": guidance}
        old = {"format": 3, **sampling, "guidance": guidance, "teacher": teacher, "choices": {"guidance": chosen}}
        found = current(old)
        assert (found["guidance"], found["range"]) == (after, limit)
        assert (found["teacher"]["guidance"], found["teacher"]["range"]) == (after, limit)
        assert ", ".join(map(line, Recipe.of(found, "fp32").chain.parts)) == line_of
    assert current(old | {"format": 4}) == old | {"format": 4}
    assert current({"format": 3, "teacher": {"run": "a", "guidance": None}})["teacher"]["range"] is None


def test_a_coupling_of_an_earlier_run_assigns_across_labels():
    """Which is left out of its identity, so that the run keeps its name; of a run that chose, nothing is changed."""
    earlier = {"_target_": "difflab.objective.OptimalTransport"}
    config = current({"format": 3, "coupling": earlier, "model": {"coupling": earlier, "parts": [earlier]}})
    assert config["coupling"] == config["model"]["coupling"] == config["model"]["parts"][0] == {**earlier, "classes": 0}
    assert identity(config["coupling"]) == {"class": "objective:OptimalTransport"}
    assert identity({**earlier, "classes": 10}) == {"class": "objective:OptimalTransport", "classes": 10}
    chosen = {"format": 3, "coupling": {**earlier, "classes": 10}}
    assert current(chosen) == chosen


def test_the_preset_assigns_within_the_labels_that_the_network_knows():
    for words, classes in [(["data=fashion16"], 10), (["data=fashion16", "backbone.classes=0"], 0)]:
        assert composed("paradigm=ot_flow", *words)["model"]["coupling"]["classes"] == classes
