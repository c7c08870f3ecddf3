"""Samplers that draw noise, against the schedulers of the installed diffusers."""

from dataclasses import dataclass

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    RePaintScheduler,
    ScoreSdeVeScheduler,
)

from difflab.denoiser.base import Estimate
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import Mix, scale, transition
from difflab.process.schedule import Schedule
from difflab.sampler.consistency import Consistency
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import Uniform
from difflab.sampler.reverse_diffusion import ReverseDiffusion
from helpers.conf import samplers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers' own

X = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


@dataclass(frozen=True)
class FromEps:
    """A denoiser whose noise estimate is a function of x and the time."""

    schedule: Schedule

    def eps(self, x, t):
        return torch.tanh(x + t.item() / 1000)

    def __call__(self, x, t, s=None):
        m, eps = self.schedule(t), self.eps(x, t)
        return Estimate(scale(1 / m.alpha, x - scale(m.sigma, eps)), eps, eps)


def test_reverse_diffusion_is_their_predictor_of_the_score_sde():
    theirs, schedule = ScoreSdeVeScheduler(10, 0.16, 0.01, 50.0), GeometricSigmas(10)
    theirs.set_timesteps(10)
    theirs.set_sigmas(10)
    denoise = FromEps(schedule)
    for k, time in enumerate(theirs.timesteps[:-1]):
        t, s = torch.tensor([10.0 - k, 9.0 - k], dtype=torch.float64)
        score = -denoise.eps(X, t) / schedule(t).sigma.float()
        found = theirs.step_pred(score, time, X, generator=torch.manual_seed(5)).prev_sample
        z = torch.randn(X.shape, generator=torch.manual_seed(5))
        ours, _ = ReverseDiffusion().step(denoise, X, t, s, None, lambda like, z=z: z)
        torch.testing.assert_close(ours, found, rtol=1e-4, atol=1e-4)


def test_reverse_diffusion_on_a_schedule_is_that_of_its_betas():
    """`(2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z`. Song et al. 2021 (arXiv:2011.13456), eq. 48."""
    schedule, z = LinearBetas(), torch.randn(X.shape)
    denoise = FromEps(schedule)
    for timestep in (2, 500, 1000):
        t, s = torch.tensor([timestep, timestep - 1], dtype=torch.float64)
        beta = schedule.betas()[timestep - 1].float()
        score = -denoise.eps(X, t) / schedule(t).sigma.float()
        ours, _ = ReverseDiffusion().step(denoise, X, t, s, None, lambda like: z)
        torch.testing.assert_close(ours, (2 - (1 - beta).sqrt()) * X + beta * score + beta.sqrt() * z)


def test_euler_ancestral_is_theirs():
    theirs = EulerAncestralDiscreteScheduler(1000, 1e-4, 0.02, timestep_spacing="trailing")
    theirs.set_timesteps(20)
    schedule, times, generator = LinearBetas(), Uniform()(LinearBetas(), 20), torch.manual_seed(3)
    x = scale(1 / schedule(times[0]).alpha, X)
    for t, timestep in zip(theirs.timesteps, times, strict=False):
        out = FromEps(schedule).eps(theirs.scale_model_input(x, t), timestep)
        x = theirs.step(out, t, x, generator=generator).prev_sample
    generator.manual_seed(3)
    sampler = samplers()["euler_ancestral"]
    *_, (_, ours) = trajectory(
        FromEps(schedule), sampler, times, X, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_denoising_and_renoising_is_that_of_their_latent_consistency_models():
    theirs, schedule = LCMScheduler(1000, 1e-4, 0.02, beta_schedule="linear", clip_sample=False), LinearBetas()
    theirs.set_timesteps(4, original_inference_steps=50)
    times = torch.cat([theirs.timesteps.double() + 1, torch.zeros(1, dtype=torch.float64)])
    x = X
    generator = torch.manual_seed(3)
    for t in theirs.timesteps:
        x = theirs.step(FromEps(schedule).eps(x, t + 1), t, x, generator=generator).prev_sample
    generator.manual_seed(3)
    *_, (_, ours) = trajectory(
        FromEps(schedule), Consistency(), times, X, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)  # they mix in x_t by 0.25 / (100 t^2)


def test_noise_is_put_back_as_their_repaint_does():
    theirs, schedule = RePaintScheduler(1000, 1e-4, 0.02), LinearBetas()
    theirs.set_timesteps(1000)
    x = torch.randn(4, 3, 8, 8)
    for step in (1, 300, 999):
        a, variance = transition(*(schedule(torch.tensor(float(k), dtype=torch.float64)) for k in (step, step + 1)))
        ours = Mix(a, variance.sqrt())(x, torch.randn(x.shape, generator=torch.manual_seed(3)))
        torch.testing.assert_close(ours, theirs.undo_step(x, step, generator=torch.manual_seed(3)))
