"""Samplers against diffusers: the full loops that its tests assert, and the schedulers of the installed package."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    ScoreSdeVeScheduler,
)

from difflab.denoiser.base import AnyDenoiser, Denoiser, Estimate
from difflab.guidance.clip import Clip
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import scale
from difflab.process.schedule import EDM as SigmaTime
from difflab.process.schedule import VE, Linear, Schedule
from difflab.process.target import Eps, Preconditioned, V, Velocity
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.euler import Euler
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import Karras, Leading, Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import update

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers' own


class Dummy(torch.nn.Module):
    """diffusers' dummy_model: x t / (t + 1), with t zero-based."""

    shape, classes, learned_variance = (3, 8, 8), 0, False

    def forward(self, x, timestep, label):
        t = scale(timestep - 1, torch.ones_like(x))
        return x * t / (t + 1)


class ClippedX0(AnyDenoiser):
    """diffusers' DDIM clips x0 and keeps the network's eps."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def forward(self, x, t, label, s=None):
        estimate = self.denoiser(x, t, label, s)
        return estimate._replace(x0=estimate.x0.clamp(-1, 1))


class Curved(torch.nn.Module):
    """A network that is not linear."""

    shape, classes, learned_variance = (3, 8, 8), 0, False

    def forward(self, x, timestep, label):
        return torch.tanh(x + timestep[:, None, None, None])


SAMPLE = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
NOISE = (torch.arange(768).flip(-1) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
FRESH = torch.randn(40, *SAMPLE.shape, generator=torch.Generator().manual_seed(1))
TEN = Leading()(LinearBetas(), 10)
DUMMY = Denoiser(Dummy(), LinearBetas(), Eps())


def end(denoiser, sampler, times, x, noise=lambda like, k: FRESH[k]):
    *_, (_, out) = trajectory(denoiser.bind(torch.zeros(4, dtype=torch.long)), sampler, times, x, noise)
    return out


def published_loop(denoiser, sampler, times, x):
    generator = torch.manual_seed(0)
    out = end(denoiser, sampler, times, x, lambda like, k: torch.randn(like.shape, generator=generator))
    return out.abs().sum().item(), out.abs().mean().item()


def test_the_thousand_ancestral_steps_of_diffusers(subtests):
    for target, total, mean in [(Eps(), 258.9606, 0.3372), (V(), 202.0296, 0.2631)]:
        with subtests.test(str(target)):
            denoiser = Clip()(Denoiser(Dummy(), LinearBetas(), target))
            found = published_loop(denoiser, Ancestral(), Uniform()(LinearBetas(), 1000), SAMPLE)
            assert found == (pytest.approx(total, abs=1e-2), pytest.approx(mean, abs=1e-3))


def test_the_last_ancestral_steps_of_diffusers():
    times = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    found = published_loop(Clip()(DUMMY), Ancestral(), times, LinearBetas()(times[0])(SAMPLE, NOISE))
    # diffusers' 1 - alpha_bar is float32: at t = 1 its noise is right to three digits, its sum of 768 to 3e-2
    assert found == (pytest.approx(387.9466, abs=3e-2), pytest.approx(0.5051, abs=1e-3))


def test_the_ten_ddim_steps_of_diffusers(subtests):
    for table, target, times, total, mean in [
        (LinearBetas(), Eps(), TEN, 172.0067, 0.223967),
        (LinearBetas(), V(), TEN, 52.5302, 0.0684),
        (LinearBetas(beta_min=0.01), Eps(), TEN, 149.8295, 0.1951),
        (LinearBetas(beta_min=0.01), Eps(), torch.cat([TEN[:-1], TEN[-2:-1]]), 149.0784, 0.1941),
    ]:
        with subtests.test(f"{table}, {target}"):
            found = published_loop(ClippedX0(Denoiser(Dummy(), table, target)), DDIM(), times, SAMPLE)
            assert found == (pytest.approx(total, abs=1e-2), pytest.approx(mean, abs=1e-3))


def test_the_last_ddim_steps_of_diffusers():
    found = published_loop(ClippedX0(DUMMY), DDIM(), TEN[-3:], LinearBetas()(TEN[-3])(SAMPLE, NOISE))
    assert found == (pytest.approx(354.5418, abs=1e-2), pytest.approx(0.4616, abs=1e-3))


# --- the schedulers of the installed package: they step in float32 ----------------------------------------------------


def test_ddim_is_that_of_the_installed_diffusers(subtests):
    for eta in [0.0, 0.5, 1.0]:
        with subtests.test(f"eta={eta}"):
            theirs = DDIMScheduler(1000, 1e-4, 0.02, clip_sample=False, timestep_spacing="trailing")
            theirs.set_timesteps(20)
            x = SAMPLE
            for k, t in enumerate(theirs.timesteps):
                out = Dummy()(x, (t + 1).expand(4), None)
                x = theirs.step(out, t, x, eta=eta, variance_noise=FRESH[k + 1]).prev_sample
            ours = end(DUMMY, DDIM(eta), Uniform()(LinearBetas(), 20), SAMPLE)
            torch.testing.assert_close(ours, x, rtol=2e-4, atol=2e-4)


def test_samplers_in_sigma_over_alpha_are_theirs(subtests):
    for sampler, scheduler in [
        (DDIM(), EulerDiscreteScheduler),
        (Ancestral(), EulerAncestralDiscreteScheduler),
        (EDM(), HeunDiscreteScheduler),
    ]:
        with subtests.test(str(sampler)):
            theirs = scheduler(1000, 1e-4, 0.02, timestep_spacing="trailing")
            theirs.set_timesteps(20)
            times, generator = Uniform()(LinearBetas(), 20), torch.manual_seed(3)
            draws = {"generator": generator} if scheduler is EulerAncestralDiscreteScheduler else {}
            x = scale(1 / LinearBetas()(times[0]).alpha, SAMPLE)
            for t in theirs.timesteps:
                out = Dummy()(theirs.scale_model_input(x, t), (t + 1).expand(4), None)
                x = theirs.step(out, t, x, **draws).prev_sample
            generator.manual_seed(3)
            ours = end(DUMMY, sampler, times, SAMPLE, lambda like, k, g=generator: torch.randn(like.shape, generator=g))
            torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_flows_are_stepped_as_theirs(subtests):
    for sampler, scheduler in [(Euler(), FlowMatchEulerDiscreteScheduler), (Heun(), FlowMatchHeunDiscreteScheduler)]:
        with subtests.test(str(sampler)):
            theirs = scheduler()
            theirs.set_timesteps(10)
            flow, x = Denoiser(Dummy(), Linear(), Velocity()), SAMPLE
            for t in theirs.timesteps:
                scaled = scale(flow.target.c_in(Linear()(t.double() / 1000)), x)
                x = theirs.step(Dummy()(scaled, t.expand(4), None), t, x).prev_sample
            ours = end(flow, sampler, theirs.sigmas.unique().flip(0).double(), SAMPLE)
            torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_euler_on_edm_with_its_preconditioning_and_grid_is_theirs():
    theirs = EDMEulerScheduler()
    theirs.set_timesteps(12)
    x = start = 80 * FRESH[0]
    for t in theirs.timesteps:
        x = theirs.step(Curved()(theirs.scale_model_input(x, t), t.expand(4), None), t, x).prev_sample
    denoiser = Denoiser(Curved(), SigmaTime(), Preconditioned())
    ours = end(denoiser, Euler(), Karras()(SigmaTime(), 12), start)
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


@dataclass(frozen=True)
class FromEps:
    """A denoiser whose noise estimate at noise level sigma is `eps(x, sigma)`."""

    schedule: Schedule
    eps: object

    def __call__(self, x, t, s=None):
        m = self.schedule(t)
        eps = self.eps(x, m.sigma.float())
        return Estimate((x - scale(m.sigma, eps)) / m.alpha.float(), eps, eps)


def test_edm_with_churn_is_their_karras_ve():
    KarrasVeScheduler = pytest.importorskip(
        "diffusers.schedulers.deprecated.scheduling_karras_ve", reason="this diffusers has no KarrasVeScheduler"
    ).KarrasVeScheduler
    theirs, schedule, generator = KarrasVeScheduler(s_churn=4), VE(0.02, 100.0, t_min=1e-12), torch.manual_seed(3)
    theirs.set_timesteps(20)
    times = torch.cat([torch.linspace(1, 1e-12, 20, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)])
    sigmas = schedule(times).sigma.float()

    def eps(x, sigma):
        return torch.tanh(x / (1 + sigma))

    x = 100 * FRESH[0]
    for sigma, after in itertools.pairwise(sigmas):
        if theirs.config.s_min <= sigma <= theirs.config.s_max:
            x, raised = theirs.add_noise_to_input(x, sigma, generator)
        else:
            raised = sigma
        step = theirs.step(-eps(x, raised), raised, after, x)
        ahead = step.prev_sample
        if after > 0:
            ahead = theirs.step_correct(-eps(ahead, after), raised, after, x, ahead, step.derivative).prev_sample
        x = ahead
    generator.manual_seed(3)
    draws = iter(lambda: torch.randn(SAMPLE.shape, generator=generator), None)
    sampler = EDM(churn=4 / 20, sigma_min=0.05, sigma_max=50.0, noise=1.007)
    *_, (_, ours) = trajectory(FromEps(schedule, eps), sampler, times, 100 * FRESH[0], lambda like, k: next(draws))
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def draw(seed):
    return torch.randn(SAMPLE.shape, generator=torch.Generator().manual_seed(seed))


def test_predictor_and_corrector_are_those_of_their_score_sde():
    """Their batch means of norms are the ratio expected, sigma, for a score that is noise of the draw's own length."""
    theirs, table, eps = ScoreSdeVeScheduler(10, 0.16, 0.01, 50.0), GeometricSigmas(10), draw(5).flip(0)
    theirs.set_timesteps(10)
    theirs.set_sigmas(10)
    denoise = FromEps(table, lambda x, sigma: eps)
    for k, time in enumerate(theirs.timesteps[:-1]):
        t, s = torch.tensor([10.0 - k, 9.0 - k], dtype=torch.float64)
        mean, _ = Ancestral().step(denoise, SAMPLE, t, s, None, torch.zeros_like)
        predicted = theirs.step_pred(-eps / table(t).sigma.float(), time, SAMPLE)
        torch.testing.assert_close(mean, predicted.prev_sample_mean, rtol=1e-4, atol=1e-4)
        ours = update(denoise, SAMPLE, s, 2 * 0.16**2, lambda like: draw(5))
        corrected = theirs.step_correct(-eps / table(s).sigma.float(), SAMPLE, torch.manual_seed(5))
        torch.testing.assert_close(ours, corrected.prev_sample, rtol=1e-5, atol=1e-5)
