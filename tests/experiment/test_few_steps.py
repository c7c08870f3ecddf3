"""Models of few steps in the experiment layer: teachers, held weights, refusals, and the exact map."""

import json

import pytest
import torch

from difflab.backbone import MLP
from difflab.denoiser import FlowMap, KnownFlowMap
from difflab.experiment.config import compose_job
from difflab.experiment.training import Training
from difflab.experiment.weights import load
from difflab.guidance import ClassifierFree
from difflab.process import Linear, SampleNoise, Velocity
from helpers.jobs import TOY, said_here

TEACHER = " ".join(["paradigm=rectified_flow", *TOY])
TAUGHT = ("consistency_distillation", "progressive_distillation", "lagrangian_distillation", "one_step_reflow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flow_maps")


def test_each_distillation_trains_its_teacher_and_is_measured_in_one_step(folder, subtests):
    """The presets without a teacher take their steps in test_ddp and in the laws of objectives."""
    for paradigm in TAUGHT:
        with subtests.test(paradigm):
            said = said_here("train", *TOY, f"paradigm={paradigm}", f"teacher='{TEACHER}'", "nfe=1", cwd=folder)
            assert "energy" in said
            (run,) = folder.glob(f"runs/{paradigm}-*")
            (card,) = (json.loads(path.read_text())["card"] for path in run.glob("evaluations/*.json"))
            assert card["nfe"] == 1
            assert card["sampler"].startswith(("DDIM", "Consistency"))


def test_a_student_starts_from_its_teacher_which_is_part_of_what_it_is(folder):
    said_here("train", *TOY, "paradigm=rectified_flow", cwd=folder)
    (run,) = folder.glob("runs/rectified_flow-*")
    words = [*TOY, f"runs_dir={folder}/runs", "paradigm=consistency_distillation", f"teacher={run.name}"]
    job = Training.of(compose_job("train", words))
    assert job.origins["init"]["run"] == run.name
    trained = load(run).state_dict()
    started = job.model.denoiser.state_dict()
    assert all(torch.equal(started[key], value) for key, value in trained.items())
    x, t = torch.randn(3, 2), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    label = torch.tensor([0, 1, 2])
    with torch.no_grad():
        assert torch.equal(job.model.denoiser(x, t, label, t).out, load(run)(x, t, label).out)


def test_forward_mode_trains_too(folder):
    said = said_here("train", *TOY, "paradigm=mean_flow", "residual.derivative=forward_mode", "nfe=1", cwd=folder)
    assert "energy" in said


def test_held_weights_are_in_the_checkpoint(folder):
    said_here("train", *TOY, "paradigm=shortcut", "seed=5", cwd=folder)
    (path,) = folder.glob("runs/shortcut-*-s5-*/checkpoints/last.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    held = {key.removeprefix("kept.module."): value for key, value in state.items() if key.startswith("kept.module.")}
    trained = {key.removeprefix("denoiser."): value for key, value in state.items() if key.startswith("denoiser.")}
    assert held.keys() == trained.keys()
    assert any(not torch.equal(held[key], trained[key]) for key in held)


def test_what_cannot_work_is_refused(folder, subtests):
    for words, said in [
        (["paradigm=consistency_distillation"], "learns from a trained flow: add teacher=RUN"),
        (["paradigm=progressive_distillation"], "learns from a trained flow: add teacher=RUN"),
        (["paradigm=mean_flow", "schedule=ddpm_cosine"], "is a table: choose a continuous schedule"),
        (["paradigm=mean_flow", "residual=lagrangian"], "choose drive=own"),
        (["paradigm=shortcut", "steps=to_data"], "no step has length 0"),
        (["paradigm=mean_flow", "times=importance"], "a flow map has two"),
        (["paradigm=mean_flow", "drive=guided"], "belong together, and to data with labels"),
        (["paradigm=mean_flow", "backbone.second_time=false"], "choose backbone.second_time=true"),
        (["paradigm=mean_flow", "denoiser=network"], "denoiser=flow_map"),
        (["paradigm=mean_flow", f"teacher='{TEACHER}'"], "has no use for a teacher"),
        (["paradigm=lagrangian_distillation", f"teacher='{TEACHER}'", "teacher.nfe=20"], "no pairs are drawn"),
    ]:
        with subtests.test(" ".join(words)):
            assert said in " ".join(said_here("train", *TOY, *words, cwd=folder, status=1).split())


def test_a_run_whose_guidance_is_trained_in_is_not_guided_again():
    network = MLP((2,), 3, second_time=True)
    with pytest.raises(ValueError, match="guide this run twice"):
        ClassifierFree(2.0)(FlowMap(network, Linear(), Velocity(), guided=True))
    plain = FlowMap(network, Linear(), Velocity())
    assert ClassifierFree(2.0)(plain) is not plain


@torch.no_grad()
def test_one_step_of_the_exact_map_is_exact(folder):
    """`paradigm=exact denoiser=known_flow_map data=gaussian nfe=1 sampler=ddim`: the closed form of the flow."""
    words = [*TOY, f"runs_dir={folder}/runs", "data=gaussian", "range=none", "paradigm=exact", "schedule=linear"]
    job = Training.of(compose_job("train", [*words, "denoiser=known_flow_map", "nfe=1", "sampler=ddim"]))
    exact = job.model.denoiser
    assert isinstance(exact, KnownFlowMap)
    drawn = job.sampling.recipe.draw(exact, torch.zeros(64, dtype=torch.long), seed=0)
    assert drawn.nfe == 1
    eps = SampleNoise(0, range(64))(drawn.x, 0)
    torch.testing.assert_close(drawn.x, exact.exact.mean + exact.exact.var.sqrt() * eps, rtol=1e-5, atol=1e-5)
