"""Models of few steps in the experiment layer: teachers, held weights, refusals, and the exact map."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from difflab.backbone import MLP
from difflab.denoiser import FlowMap, KnownFlowMap
from difflab.experiment.config.compose import compose_job
from difflab.experiment.model.from_run import load
from difflab.experiment.parts.identity import seedless, seeds
from difflab.experiment.store.run import Run
from difflab.experiment.training.job import Training
from difflab.guidance import ClassifierFree
from difflab.process import Linear, SampleNoise, Velocity
from helpers.jobs import TINY, TOY, job, said_here, wait_for

TEACHER = " ".join(["paradigm=rectified_flow", *TOY])
EVALUATIONS = {  # of networks, for each image
    "consistency_distillation": 4,  # the student, the held average, and two of the teacher for Heun's step
    "progressive_distillation": 3,  # the student, and the two steps in one
    "lagrangian_distillation": pytest.approx(2.5, abs=0.4),  # the student and the teacher; for one in four a difference
    "one_step_reflow": 1,
    "reflow": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("flow_maps")


def test_each_distillation_trains_its_teacher_and_is_measured_in_one_step(folder, subtests):
    """The presets without a teacher take their steps in test_ddp and in the laws of objectives."""
    for paradigm in EVALUATIONS:
        with subtests.test(paradigm):
            said = said_here("train", *TOY, f"paradigm={paradigm}", f"teacher='{TEACHER}'", "nfe=1", cwd=folder)
            assert "energy" in said
            (run,) = folder.glob(f"runs/{paradigm}-*")
            (card,) = (json.loads(path.read_text())["card"] for path in run.glob("evaluations/*.json"))
            assert card["nfe"] == 1
            spent = json.loads((run / "result.json").read_text())["training"]
            assert spent["images_seen_before"] == spent["images_seen"], "of the teacher, which it starts from too"
            assert spent["evaluations_before"] == spent["images_seen"], "of flow matching"
            pairs = 12_000 * 50 if "reflow" in paradigm else 0
            assert (spent["evaluations"] - pairs) / spent["images_seen"] == EVALUATIONS[paradigm]
            residual = json.loads((run / "result.json").read_text()).get("residual")
            assert (residual is None) == ("reflow" in paradigm)
            assert residual is None or [len([*map(math.isfinite, row)]) for row in residual] == [*range(1, 9)]
            assert card["sampler"].startswith(("DDIM", "Consistency", "Euler"))


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


def test_what_is_written_after_the_training_depends_on_the_exported_weights_alone(folder):
    """A run that was killed before it wrote its result has the same one: the held weights are not exported."""
    said_here("train", *TOY, "paradigm=shortcut", "seed=6", cwd=folder)
    (result,) = folder.glob("runs/shortcut-*-s6-*/result.json")
    whole = result.read_text()
    result.unlink()
    said_here("train", *TOY, "paradigm=shortcut", "seed=6", cwd=folder)
    assert result.read_text() == whole


def test_what_cannot_work_is_refused(folder, subtests):
    for words, said in [
        (["paradigm=consistency_distillation"], "learns from a trained flow: add teacher=RUN"),
        (["paradigm=progressive_distillation"], "learns from a trained flow: add teacher=RUN"),
        (["paradigm=mean_flow", "schedule=ddpm_cosine"], "is a table: choose a continuous schedule"),
        (["paradigm=scm", "target=x0"], "has no gradient: choose target=v or velocity"),
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


def test_a_teacher_that_does_not_fit_is_refused(folder, subtests):
    """Of other data, a classifier, one that did not finish, and one beside another start."""
    said_here("train", *TOY, "paradigm=rectified_flow", cwd=folder)
    said_here("train", *TINY, "logger=local", "paradigm=classifier", "images=64", cwd=folder)
    process = job("train", *TOY, "paradigm=rectified_flow", "seed=7", "images=640000", cwd=folder)
    wait_for("runs/rectified_flow-*-s7-*/config.yaml", folder, process)
    process.kill()
    process.communicate()
    flow = "teacher=rectified_flow-eight_gaussians-s0"
    for words, said in [
        (["paradigm=consistency_distillation", "data=moons", flow], "was trained on other images than data= gives"),
        (["paradigm=consistency_distillation", "teacher=classifier"], "is a classifier, which generates nothing"),
        (["paradigm=consistency_distillation", "teacher=rectified_flow-eight_gaussians-s7"], "has no weights yet"),
        (["paradigm=progressive_distillation", "init=none", flow], "leave out one of the two"),
        (
            ["paradigm=progressive_distillation", "images=320", flow],
            "are too few for 6 rounds",
        ),
    ]:
        with subtests.test(" ".join(words)):
            assert said in " ".join(said_here("train", *TOY, *words, cwd=folder, status=1).split())


def test_students_of_the_seeds_of_one_teacher_are_repetitions_and_are_measured_without_it(tmp_path):
    configs = []
    for seed in ("seed=0", "seed=1"):
        said_here("train", *TOY, "paradigm=rectified_flow", seed, cwd=tmp_path)
        (teacher,) = tmp_path.glob(f"runs/rectified_flow-*-{seed.replace('eed=', '')}-*")
        words = [*TOY, "paradigm=lagrangian_distillation", f"teacher={teacher.name}", seed, "nfe=1"]
        said_here("train", *words, cwd=tmp_path)
        (student,) = tmp_path.glob(f"runs/lagrangian_distillation-*-{seed.replace('eed=', '')}-*")
        configs.append(Run(student).config)
        assert configs[-1]["origins"]["teacher"]["run"] == teacher.name
        teacher.rename(tmp_path / teacher.name)
        assert "evaluations" in said_here("evaluate", f"run={student.name}", "nfe=2", "logger=local", cwd=tmp_path)
        (tmp_path / teacher.name).rename(teacher)
    assert seedless(configs[0]) == seedless(configs[1])
    assert seeds(configs[0]) != seeds(configs[1])


@pytest.mark.long
def test_progressive_distillation_that_was_killed_goes_on_in_its_round(folder, tmp_path):
    """Bit by bit: the weights of the last round are in the checkpoint."""
    said_here("train", *TOY, "paradigm=rectified_flow", cwd=folder)
    words = [*TOY, "paradigm=progressive_distillation", "images=6400", "check_every=640"]
    words += [f"teacher={next(folder.glob('runs/rectified_flow-eight_gaussians-s0-*')).name}"]
    shutil.copytree(folder / "runs", tmp_path / "runs", ignore=shutil.ignore_patterns("progressive*"))
    said_here("train", *words, cwd=folder)
    process = job("train", *words, cwd=tmp_path)
    wait_for("runs/progressive*/checkpoints/last.ckpt", tmp_path, process)
    process.kill()
    process.communicate()
    assert not list(tmp_path.glob("runs/progressive*/result.json"))
    said_here("train", *words, cwd=tmp_path)
    (run,) = tmp_path.glob("runs/progressive*")
    whole, resumed = (load_file(each / "runs" / run.name / "weights.safetensors") for each in (folder, tmp_path))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(resumed[key], value) for key, value in whole.items())


@pytest.mark.long
def test_the_guidance_of_a_teacher_is_distilled(folder):
    """It takes two of the teacher's evaluations for one; the student is then refused another guidance."""
    labelled = [*TINY, "images=64", "logger=local"]
    teacher = f"teacher='paradigm=rectified_flow {' '.join(labelled)}'"
    words = [*labelled, teacher, "paradigm=consistency_distillation", "teacher.guidance=classifier_free"]
    said = said_here("train", *words, cwd=folder, status=1)
    assert "a drive with guidance, as drive=guided or teacher.guidance=classifier_free" in said
    said_here("train", *words, "denoiser=guided_flow_map", cwd=folder)
    (path,) = folder.glob("runs/consistency_distillation-digits-*/result.json")
    run = Run(path.parent)
    assert run.config["drive"]["guidance"]["classifier_free"]["scale"] == 2
    spent = run.result["training"]
    assert spent["evaluations"] == 6 * spent["images_seen"]
    guided = said_here("evaluate", f"run={run.folder.name}", "guidance=classifier_free", cwd=folder, status=1)
    assert "guide this run twice" in guided
    again = said_here("evaluate", f"run={run.folder.name}", "nfe=2", "logger=local", cwd=folder)
    assert "evaluations" in again


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
