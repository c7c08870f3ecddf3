"""`difflab check` finds and names each fault that is planted in a part."""

from dataclasses import dataclass

import pytest
from torch import nn

from difflab.cli.check.laws import FINDINGS
from difflab.cli.parts import Part, parts
from difflab.data import DataModule
from difflab.data.digits import Digits
from difflab.data.images import Images
from difflab.guidance.classifier_free import ClassifierFree
from difflab.paradigm.ddpm import DDPM
from difflab.process.gaussian import Mix
from difflab.process.schedule import VP
from difflab.sampler.ddim import DDIM
from difflab.sampler.heun import Heun
from helpers.networks import narrow
from helpers.parts import only


def failing(group, built):
    """The laws that a part breaks, by their first words."""
    return [finding.law for finding in FINDINGS[group](Part(group, "mine", built)) if finding.fails]


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


@pytest.mark.long
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
