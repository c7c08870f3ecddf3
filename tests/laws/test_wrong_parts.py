"""The laws of samplers, guidance and backbones can fail: each breaks on a part that is wrong in one way."""

from dataclasses import dataclass

import torch
from torch import nn

from difflab.denoiser.exact import Mixture
from difflab.guidance.base import Guided
from difflab.laws import backbones, guidance, samplers
from difflab.process.schedule import VP
from difflab.sampler.ddim import DDIM
from helpers.closed_forms import MEAN, f64
from helpers.networks import narrow


def each_fault_breaks_its_law(laws, part, subtests):
    """Each law holds for the part without a fault, and not for the part with the fault that the law is named by."""
    for fault, law in laws.items():
        with subtests.test(fault):
            assert law(*part("")).holds
            assert not law(*part(fault)).holds


@dataclass(frozen=True)
class FaultyDDIM(DDIM):
    """DDIM that is wrong in one way."""

    fault: str = ""

    @property
    def order(self):
        return 2 if self.fault == "order" else 1

    @property
    def evaluations(self):
        return 2 if self.fault == "evaluations" else 1

    def init(self, x):
        return [0]

    def step(self, denoise, x, t, s, state, noise):
        out, _ = super().step(denoise, x, t, s, None, noise)
        m_s = denoise.schedule(s)
        match self.fault:
            case "moments":
                out = m_s.alpha * MEAN + 0.99 * (out - m_s.alpha * MEAN)
            case "end" if m_s.sigma == 0:
                out = out + 1e-6 * x
            case "batch":
                out = out + 1e-6 * (x - x.mean(0))
            case "noise":
                noise(x)
            case "state":
                state[0] += 1  # changed in place, so that it is no value
                out = out + 1e-6 * state[0]
        return out, state


SAMPLERS = {
    "moments": samplers.moments_are_the_datas,
    "order": samplers.order_is_the_declared_one,
    "end": samplers.ends_in_the_data,
    "batch": samplers.a_sample_depends_on_its_own_noise_alone,
    "noise": samplers.noise_is_drawn_as_declared,
    "state": samplers.a_state_is_a_value,
    "evaluations": samplers.nfe_is_the_declared_one,
}


def test_a_wrong_sampler_breaks_its_law(subtests):
    each_fault_breaks_its_law(SAMPLERS, lambda fault: (FaultyDDIM(fault=fault), VP()), subtests)


class Labelled(Mixture):
    classes = 2

    def __init__(self):
        super().__init__(VP(), f64(-1, 1)[:, None], f64(0.1), f64(0.5, 0.5))


class FaultyGuided(Guided):
    """A denoiser whose clean estimate is halved, and that is wrong in one way."""

    def __init__(self, denoiser, fault):
        super().__init__(denoiser)
        self.fault = fault

    def nfe(self, t):
        return 2 if self.fault == "evaluations" else 1

    def forward(self, x, t, label, s=None):
        estimate = self.denoiser(x, t, label)
        x0 = 0.5 * estimate.x0
        if self.fault == "noise":
            return estimate._replace(x0=x0)
        return self.with_x0(estimate, x, t, x0 - x0.mean(0) if self.fault == "batch" else x0)


@dataclass(frozen=True)
class Halved:
    fault: str = ""

    def __call__(self, denoiser):
        return denoiser if self.fault == "off" else FaultyGuided(denoiser, self.fault)


GUIDANCES = {
    "noise": guidance.estimates_explain_the_sample,
    "evaluations": guidance.nfe_is_counted,
    "batch": guidance.a_sample_depends_on_itself_alone,
}


def test_a_wrong_guidance_breaks_its_law(subtests):
    each_fault_breaks_its_law(GUIDANCES, lambda fault: (Halved(fault), Labelled()), subtests)


def test_guidance_that_is_on_is_not_the_identity():
    assert guidance.off_is_the_identity(Halved("off"), Labelled()).holds
    assert not guidance.off_is_the_identity(Halved(), Labelled()).holds


class FaultyNet(nn.Module):
    """A network for points that is wrong in one way."""

    def __init__(self, fault=""):
        super().__init__()
        self.net, self.fault = narrow("mlp", (2,)), fault
        self.shape, self.classes, self.learned_variance = (2,), 3, False
        if fault == "idle":
            self.unused = nn.Linear(1, 1)
        if fault == "saved":
            self.register_buffer("scale", torch.ones(()))

    def forward(self, x, timestep, label):
        match self.fault:
            case "type":
                return self.net(x, timestep, label).double()
            case "initialisation":
                return self.net(x, timestep, label) + 1e-3
            case "batch":
                return self.net(x - x.mean(0), timestep, label)
            case "label":
                return self.net(x, timestep, 0 * label)
            case "timestep":
                return self.net(x, 0 * timestep, label)
            case "autocast":
                return self.net(x, timestep, label) * (1.1 if torch.is_autocast_enabled("cpu") else 1)
        return self.net(x, timestep, label)


BACKBONES = {
    "type": backbones.output_is_like_the_input,
    "initialisation": backbones.output_is_zero_at_initialisation,
    "batch": backbones.a_sample_depends_on_itself_alone,
    "label": backbones.labels_differ,
    "timestep": backbones.timesteps_differ,
    "autocast": backbones.autocast_is_close,
    "idle": backbones.every_parameter_learns,
    "saved": backbones.the_state_is_all_that_it_is,
}


def test_a_wrong_backbone_breaks_its_law(subtests):
    each_fault_breaks_its_law(BACKBONES, lambda fault: (FaultyNet(fault),), subtests)


def test_no_law_is_left_out():
    of_samplers = samplers.LAWS + samplers.GRID_LAWS + samplers.CONVERGENT_LAWS + samplers.ORDER_LAWS
    assert set(SAMPLERS.values()) == set(of_samplers)
    assert set(GUIDANCES.values()) == set(guidance.LAWS)
    assert set(BACKBONES.values()) == set(backbones.LAWS)
