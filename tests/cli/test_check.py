"""`difflab check`: our own parts hold, each planted fault is found and named, words that name no part are refused."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from difflab.cli import check
from difflab.cli.check.laws import FINDINGS
from difflab.cli.check.placement import Placement, on_grid
from difflab.cli.parts import CONTEXTS, Part, options_of, parts
from difflab.data import DataModule
from difflab.data.digits import Digits
from difflab.data.images import Images
from difflab.guidance.classifier_free import ClassifierFree
from difflab.paradigm.ddpm import DDPM
from difflab.process.gaussian import Mix
from difflab.process.schedule import VP
from difflab.sampler.ddim import DDIM
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.grid import Uniform
from difflab.sampler.heun import Heun
from helpers.conf import composed, options
from helpers.jobs import run_here, said_here
from helpers.networks import narrow


def failing(group, built):
    """The laws that a part breaks, by their first words."""
    return [finding.law for finding in FINDINGS[group](Part(group, "mine", built)) if finding.fails]


def only(part):
    """The one part that a word names."""
    (found,) = parts([part])
    return found.built


@dataclass(frozen=True)
class WrongSign(Heun):
    """Heun's correction with the sign of the noise turned round."""

    def step(self, denoise, x, t, s, state, noise):
        m_t, m_s, estimate = denoise.schedule(t), denoise.schedule(s), denoise(x, t)
        if m_s.sigma == 0:
            return estimate.x0, state
        x_s = m_s(estimate.x0, estimate.eps)
        estimate_s = denoise(x_s, s)
        half = Mix((m_s.alpha - m_t.alpha) / 2, -(m_s.sigma - m_t.sigma) / 2)
        return x_s + half(estimate_s.x0 - estimate.x0, estimate_s.eps - estimate.eps), state


@dataclass(frozen=True)
class WrongOrder(DDIM):
    order = 2


@dataclass(frozen=True)
class WrongEvaluations(Heun):
    evaluations = 1


@dataclass(frozen=True)
class Singular(DDIM):
    """DDIM in `x / alpha`, which is not defined where alpha = 0."""

    def step(self, denoise, x, t, s, state, noise):
        m_t, m_s, estimate = denoise.schedule(t), denoise.schedule(s), denoise(x, t)
        return m_s.alpha * (x / m_t.alpha) + (m_s.sigma - m_s.alpha * m_t.sigma / m_t.alpha) * estimate.eps, state


@dataclass(frozen=True)
class Between(Heun):
    """A step by way of the middle of it, also on a table."""

    def step(self, denoise, x, t, s, state, noise):
        denoise(x, (t + s) / 2)
        return super().step(denoise, x, t, s, state, noise)


def test_faults_in_copies_of_samplers_are_found_and_named(subtests):
    for sampler, said in [
        (Heun(), None),
        (DDIM(0.5), None),
        (WrongSign(), "The observed order of convergence"),
        (WrongOrder(), "The observed order of convergence"),
        (WrongEvaluations(), "A step takes `evaluations` calls"),
        (Singular(), "From pure noise"),
        (Between(), "On a discrete schedule"),
    ]:
        with subtests.test(type(sampler).__name__):
            found = failing("sampler", sampler)
            assert any(law.startswith(said) for law in found) if said else not found, found


@dataclass(frozen=True)
class WrongRate(VP):
    def rate(self, t):
        alpha, sigma = super().rate(t)
        return Mix(-alpha, sigma)


@dataclass(frozen=True)
class NeverOff(ClassifierFree):
    def __call__(self, denoiser):
        return ClassifierFree(self.scale + 1)(denoiser)


class NoNull(nn.Module):
    """A network to which the null label is the first class."""

    shape, classes, learned_variance = (2,), 3, False

    def __init__(self):
        super().__init__()
        self.net = narrow("mlp", (2,))

    def forward(self, x, code, label):
        return self.net(x, code, label % 3)


@dataclass(frozen=True)
class Leaking(Digits):
    """Digits whose held-out images are trained on."""

    def load(self):
        images = super().load()
        return Images(images.train, images.train, images.names)


class WrongLoss(DDPM):
    def loss(self, noised):
        return {key: -value for key, value in super().loss(noised).items()}


def digits(source):
    return DataModule(source, [1, 8, 8], classes=10, sigma_data=0.753, batch_size=4)


def of(paradigm, cls):
    """The option's model with the loss of another class."""
    (part,) = parts([f"paradigm={paradigm}"])
    part.built.__class__ = cls
    return part.built


def test_faults_in_other_parts_are_found_and_named(subtests):
    pytest.importorskip("sklearn")
    for group, right, wrong, said in [
        ("schedule", VP(), WrongRate(), "`rate(t) = (alpha', sigma')`"),
        ("guidance", ClassifierFree(2.0), NeverOff(2.0), "Guidance that is off"),
        ("backbone", narrow("mlp", (2,)), NoNull(), "Every label and the null label"),
        ("data", digits(Digits()), digits(Leaking()), "No held-out sample is a training sample"),
        ("paradigm", only("paradigm=ddpm"), of("ddpm", WrongLoss), "What is off the optimum"),
    ]:
        with subtests.test(group):
            assert failing(group, right) == []
            assert any(law.startswith(said) for law in failing(group, wrong))


def test_an_error_that_a_part_raises_breaks_the_law():
    class Raising(DDIM):
        def step(self, denoise, x, t, s, state, noise):
            raise RuntimeError("no")

    found = [finding for finding in FINDINGS["sampler"](Part("sampler", "mine", Raising())) if finding.fails]
    assert any("RuntimeError: no" in finding.worst.case for finding in found)


def test_a_law_that_does_not_apply_says_why():
    for word, law, reason in [
        ("sampler=adaptive", "Steps that are taken up again", "it chooses its own steps"),
        ("sampler=langevin", "The observed order", "it declares the order 0.5"),
        ("range=clip", "Guidance that is off", "it has no scale"),
        ("weighting=simple", "`w(target)", "it is 1 on every target"),
        ("paradigm=exact", "After some steps of training", "it has no parameters"),
    ]:
        (part,) = parts([word])
        (found,) = [f for f in FINDINGS[part.group](part) if f.law.startswith(law)]
        assert found.worst is None, word
        assert found.reason.startswith(reason), word


def test_our_own_options_hold():
    """A group names all of its options. The suite holds each to its laws; here is one of every group."""
    for group in ("target", "times", "weighting", "grid", "guidance"):
        assert {option for _, option in options_of(group)} == {*options(group)}
    for part in parts(["target=v", "times=importance", "weighting=min_snr", "grid=karras", "guidance=rescale"]):
        assert [f"{part.title}: {f.worst}" for f in FINDINGS[part.group](part) if f.fails] == []


def test_samplers_take_settings_and_hold():
    for part in parts(["sampler=edm,predictor_corrector"]):
        assert [f.law for f in FINDINGS["sampler"](part) if f.fails] == []
    (part,) = parts(["sampler=ddim", "sampler.eta=0.5"])
    assert part.built == DDIM(0.5)
    assert part.title == "sampler=ddim sampler.eta=0.5"


def test_of_a_whole_group_what_needs_a_value_is_left_out_and_said_so():
    left = [part for part in parts(["data"]) if part.built is None]
    assert [part.option for part in left] == ["captioned_folder", "folder"]
    assert left[0].notes[0].startswith("please give a value: data.source.root")


def test_parts_are_what_difflab_trains_with():
    """But for what the notes say, and for the classes of a backbone."""
    assert only("schedule=vp") == VP()
    assert only("backbone=mlp").classes == 3
    (dit,) = parts(["backbone=dit_s"])
    assert "held to the laws with width=32 depth=2 heads=2" in dit.notes[0]
    (auto,) = parts(["guidance=autoguidance"])
    assert auto.notes == ("weak is an exact one, in place of a run",)
    assert type(only("data=moons").source) is type(only("data=moons").source)
    assert {*CONTEXTS} == {*FINDINGS}
    assert composed("schedule=vp")["schedule"]["beta_max"] == 20.0


def test_the_command_prints_laws_and_places_and_ends_by_the_verdict(tmp_path, monkeypatch):
    said = said_here("check", "grid=uniform", "target=v", cwd=tmp_path)
    for word in ("grid=uniform: all 1 laws hold", "target=v: all 4 laws hold", "> uniform", "holds", "dpm_solver_pp"):
        assert word in said
    monkeypatch.setattr("difflab.sampler.grid.Uniform.__call__", lambda self, schedule, steps: torch.zeros(steps + 1))
    monkeypatch.setattr("difflab.cli.check.placement.PLACEMENTS", {})
    said = said_here("check", "grid=uniform", cwd=tmp_path, status=1)
    assert "FAILS" in said
    assert "difflab-check: laws fail. grid=uniform: `steps + 1` times" in said


def test_errors_on_the_images_fall_with_the_evaluations_and_the_order():
    for sampler in (DDIM(), DPMSolverPP()):
        coarse, fine = (on_grid(sampler, VP(), Uniform(), nfe) for nfe in (10, 60))
        assert fine < 0.5 * coarse
    assert on_grid(DPMSolverPP(), VP(), Uniform(), 60) < on_grid(DDIM(), VP(), Uniform(), 60)
    many = on_grid(replace(DPMSolverPP(), solver_order=3), VP(), Uniform(), 400)
    assert many < 0.02, "the reference is the flow"


def test_the_place_of_a_part_counts_those_that_are_better():
    placed = Placement("error", ("a", "b"), {"mine": (2.0, 1.0), "x": (1.0, 3.0), "y": (float("nan"), 0.5)}, "mine")
    assert [placed.rank(k) for k in (0, 1)] == [2, 2]


def test_words_that_name_no_part_are_refused(subtests, capsys):
    for words, said in [
        (["samplr=heun"], "difflab-check: samplr=heun: there are no laws of 'samplr'; valid: .*Did you mean 'sampler'"),
        (["sampler=hein"], "difflab-check: sampler=hein does not exist; valid: .*Did you mean 'heun'"),
        (["sampler=heun", "grid.rho=3"], "difflab-check: grid.rho=3 sets no part that is named"),
        (["sampler=ddim", "sampler.et=1"], "difflab-check: .*'et'"),
        (["data=folder"], "difflab-check: data=folder: please give a value: data.source.root"),
    ]:
        with subtests.test(" ".join(words)), pytest.raises(SystemExit, match=said):
            run_here("check", *words)
    with pytest.raises(SystemExit) as help_:
        check.main(["difflab-check", "--help"])
    assert help_.value.code == 0
    assert "sampler=heun,ddim" in capsys.readouterr().out
