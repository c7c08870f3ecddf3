"""Samplers that draw noise: their moments, what leaves a law as it is, and other people's steps."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    LCMScheduler,
    RePaintScheduler,
    ScoreSdeVeScheduler,
)

from conftest import built
from difflab.denoiser.base import Estimate
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import Mix, scale, transition
from difflab.process.schedule import VE, VP, Linear, Schedule
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.consistency import Consistency
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin, update
from difflab.sampler.preconditioner import Preconditioner
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.resampling import Resampling
from difflab.sampler.reverse_diffusion import ReverseDiffusion
from known import MEAN, SAMPLERS, SCHEDULES, VAR, adapts, bound, column, end, gaussian, moments

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers' own

NEW = [ReverseDiffusion(), Resampling(Ancestral(), 3), Resampling(DDIM(), 3)]
VARIED = [DDIM(0.5), EDM(churn=0.1), EulerMaruyama(0.0), PredictorCorrector(DDIM()), Resampling(DDIM(), 1)]


def law(m):
    """Mean and standard deviation of the noisy data."""
    return m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt()


@pytest.mark.parametrize("sampler", [*SAMPLERS, *VARIED])
def test_a_sampler_draws_noise_just_if_it_says_so(sampler):
    times, drawn = torch.tensor([0.6, 0.4, 0.2, 0.0], dtype=torch.float64)[-2 if adapts(sampler) else 0 :], []

    def noise(like, k):
        drawn.append(k)
        return torch.zeros_like(like)

    end(sampler, VP(), times, column(-1, 0, 1), noise)
    assert bool(drawn) == sampler.stochastic


@pytest.mark.parametrize("sampler", NEW, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_many_steps_end_in_the_datas_moments(sampler, schedule):
    mean, var = moments(sampler, schedule, LogSNR()(schedule, 100))
    assert mean == pytest.approx(MEAN, abs=2e-2)
    assert var == pytest.approx(VAR, abs=5e-2)


@pytest.mark.parametrize("sampler", NEW, ids=str)
@pytest.mark.parametrize("schedule", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
def test_their_variance_converges_with_their_order(sampler, schedule):
    errors = []
    for steps in (40, 80):
        times = schedule.time_at(torch.linspace(-3, 3, steps + 1, dtype=torch.float64))
        _, var = moments(sampler, schedule, times)
        errors.append(abs(var - law(schedule(times[-1]))[1].item() ** 2))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.order, abs=0.1)


@pytest.mark.parametrize("sampler", [ReverseDiffusion(), Resampling(Heun(), 2)], ids=str)
@pytest.mark.parametrize("schedule", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
def test_they_end_in_a_mixture(sampler, schedule):
    means, std, weights = torch.tensor([[-1.0], [0.5]]), torch.tensor([0.2, 0.1]), torch.tensor([0.3, 0.7])
    n, denoiser, generator = 2000, Mixture(schedule, means, std**2, weights), torch.Generator().manual_seed(0)
    times = LogSNR()(schedule, 200)
    x = schedule(times[0]).sigma.float() * torch.randn(n, 1, generator=generator)
    *_, (_, out) = trajectory(
        bound(denoiser, n), sampler, times, x, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    share = (weights * torch.special.ndtr((out.flatten().sort().values[:, None] - means.T) / std)).sum(1)
    assert (share - (torch.arange(n) + 0.5) / n).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov


# --- denoise and renoise ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowMap:
    """The consistency function of Gaussian data: x0 is the end of the probability flow through x_t."""

    schedule: Schedule

    def __call__(self, x, t, s=None):
        mean, std = law(self.schedule(t))
        x0 = MEAN + math.sqrt(VAR) * (x - mean) / std
        return Estimate(x0, x0, x0)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_consistency_model_is_sampled_exactly_in_any_number_of_steps(steps):
    """The response to x_T and to all noise but the last vanishes, and the moments are the data's."""
    schedule, sampler = VP(), Consistency()
    times = torch.cat([Uniform()(schedule, steps)[:-1], torch.zeros(1, dtype=torch.float64)])
    mean, std = law(schedule(times[0]))
    x = torch.zeros(2 + steps, 1, 1, 1, dtype=torch.float64)
    x[1] = std

    def impulse(like, k):
        z = torch.zeros_like(like)
        z[1 + k] = 1
        return z

    *_, (_, out) = trajectory(FlowMap(schedule), sampler, times, x, impulse)
    base, response, *kicks = out.flatten()
    var = (response - base) ** 2 + sum((k - base) ** 2 for k in kicks)
    assert (base + (response - base) * mean / std).item() == pytest.approx(MEAN)
    assert var.item() == pytest.approx(VAR)


def test_a_denoisers_mean_loses_half_of_the_variance_so():
    mean, var = moments(Consistency(), VE(0.005, 50.0), LogSNR()(VE(0.005, 50.0), 500))
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert var == pytest.approx(VAR / 2, rel=1e-2)


# --- preconditioned Langevin dynamics ---------------------------------------------------------------------------------

SIDE = 4
IMAGE = (1, SIDE, SIDE)


def matrix(function):
    """A linear map of images as a matrix."""
    return torch.stack([function(e.reshape(1, *IMAGE)).flatten() for e in torch.eye(SIDE**2, dtype=torch.float64)], 1)


def test_the_filter_is_symmetric_and_keeps_what_it_does_not_raise():
    m = matrix(Preconditioner(radius=0.6, gain=1.3))
    torch.testing.assert_close(m, m.T)
    values = torch.linalg.eigvalsh(m)
    assert sorted(set(values.round(decimals=6).tolist())) == [1.0, 1.3]
    ones = torch.ones(2, 3, 6, 5)
    torch.testing.assert_close(Preconditioner()(ones), 1.25 * ones)  # odd and even sides; flat images are raised


@pytest.mark.parametrize("precondition", [None, Preconditioner(radius=0.6, gain=1.3)], ids=["plain", "preconditioned"])
def test_small_steps_of_langevin_dynamics_leave_the_law_as_it_is(precondition):
    """On pixels of unlike variance, with which M does not commute: the covariance that an update keeps tends to theirs.

    One update is x' = A x + B z; what it keeps solves P = A P A' + B B', and is off in proportion to the step.
    """
    variances = torch.linspace(0.1, 2, SIDE**2, dtype=torch.float64)
    schedule, t = VE(), torch.tensor(0.7, dtype=torch.float64)
    denoise = Gaussian(schedule, torch.zeros(IMAGE, dtype=torch.float64), variances.reshape(IMAGE)).bind(
        torch.zeros(1, dtype=torch.long)
    )
    covariance = (variances + schedule(t).sigma ** 2).diag()
    off = []
    for step in (0.02, 0.01):
        a = matrix(lambda x, h=step: update(denoise, x, t, h, torch.zeros_like, precondition))
        b = matrix(lambda z, h=step: update(denoise, torch.zeros_like(z), t, h, lambda _: z, precondition))
        whole = torch.eye(SIDE**4, dtype=torch.float64) - torch.kron(a, a)
        kept = torch.linalg.solve(whole, (b @ b.T).flatten()).reshape(covariance.shape)
        off.append(((kept - covariance).abs().max() / covariance.max()).item())
    assert off[1] < 0.01
    assert off[0] / off[1] == pytest.approx(2, rel=0.05)


def test_low_frequencies_settle_sooner_when_preconditioned():
    """On images of spectrum 1 / f^2, at the same evaluations, the pixels' variance ends nearer to the data's."""
    side = 8
    rows = torch.fft.fftfreq(side, dtype=torch.float64)
    power = torch.hypot(rows[:, None], rows).clamp(min=0.5 / side) ** -2
    power = power / power.mean() * VAR

    @dataclass(frozen=True)
    class Spectrum:
        schedule: Schedule

        def __call__(self, x, t, s=None):
            m = self.schedule(t)
            gain = m.alpha * power / (m.alpha**2 * power + m.sigma**2)
            x0 = torch.fft.ifft2(gain * torch.fft.fft2(x)).real
            eps = (x - m.alpha * x0) / m.sigma
            return Estimate(x0, eps, x0)

    schedule, off = VE(0.02, 20.0), []
    times = LogSNR()(schedule, 30)
    for sampler in (Langevin(2), Langevin(2, precondition=Preconditioner())):
        x = torch.zeros(1 + 2 * len(times), 1, side, side, dtype=torch.float64)
        x[0, 0, 0, 0] = 20.0

        def impulse(like, k):
            z = torch.zeros_like(like)
            z[k, 0, 0, 0] = 1
            return z

        *_, (_, out) = trajectory(Spectrum(schedule), sampler, times, x, impulse)
        found = torch.fft.fft2(out[:, 0]).abs().square().sum(0)
        off.append((found.sqrt() - power.sqrt()).square().sum().item())
    assert off[1] < 0.9 * off[0]


# --- noise put back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_forward_step_leads_from_one_level_to_the_other(schedule):
    times = Uniform()(schedule, 10).flip(0)
    for s, t in itertools.pairwise(times):
        now, then = schedule(s), schedule(t)
        a, variance = transition(now, then)
        torch.testing.assert_close(a * now.alpha, then.alpha)
        torch.testing.assert_close(a**2 * now.sigma**2 + variance, then.sigma**2)


def test_noise_is_put_back_as_their_repaint_does():
    theirs, table = RePaintScheduler(1000, 1e-4, 0.02), LinearBetas()
    theirs.set_timesteps(1000)
    x = torch.randn(4, 3, 8, 8)
    for tick in (1, 300, 999):
        a, variance = transition(*(table(torch.tensor(float(k), dtype=torch.float64)) for k in (tick, tick + 1)))
        ours = Mix(a, variance.sqrt())(x, torch.randn(x.shape, generator=torch.manual_seed(3)))
        torch.testing.assert_close(ours, theirs.undo_step(x, tick, generator=torch.manual_seed(3)))


@pytest.mark.parametrize("sampler", [DDIM(), Heun(), PredictorCorrector()], ids=str)
def test_steps_taken_once_are_the_samplers_own(sampler):
    times, x = Uniform()(LinearBetas(), 8), column(-1, 0, 2)
    noise = torch.randn(40, *x.shape, dtype=torch.float64)
    ends = [end(s, LinearBetas(), times, x, lambda like, k: noise[k]) for s in (sampler, Resampling(sampler, 1))]
    torch.testing.assert_close(*ends, rtol=0, atol=0)


@dataclass(frozen=True)
class Recording(DDIM):
    """A sampler whose state is the steps that led to it."""

    def init(self, x):
        return ()

    def step(self, denoise, x, t, s, state, noise):
        return super().step(denoise, x, t, s, None, noise)[0], (*state, t.item())


def test_each_repetition_has_the_state_of_the_first_and_the_last_step_is_taken_once():
    sampler, denoise, x = Resampling(Recording(), 4), bound(gaussian(LinearBetas()), 2), column(0, 1)
    states = [sampler.init(x)]
    for t, s in itertools.pairwise(Uniform()(LinearBetas(), 4)):
        draws = []
        x, state = sampler.step(denoise, x, t, s, states[-1], lambda like, d=draws: d.append(1) or like)
        assert len(draws) == (3 if s > 0 else 0)
        states.append(state)
    assert states[-1] == (1000, 750, 500, 250)


# --- other people's steps ---------------------------------------------------------------------------------------------

X = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


@dataclass(frozen=True)
class Says:
    """A denoiser whose noise is a function of x and the time."""

    schedule: Schedule

    def eps(self, x, t):
        return torch.tanh(x + t.item() / 1000)

    def __call__(self, x, t, s=None):
        m, eps = self.schedule(t), self.eps(x, t)
        return Estimate(scale(1 / m.alpha, x - scale(m.sigma, eps)), eps, eps)


def test_reverse_diffusion_is_their_predictor_of_the_score_sde():
    theirs, table = ScoreSdeVeScheduler(10, 0.16, 0.01, 50.0), GeometricSigmas(10)
    theirs.set_timesteps(10)
    theirs.set_sigmas(10)
    says = Says(table)
    for k, time in enumerate(theirs.timesteps[:-1]):
        t, s = torch.tensor([10.0 - k, 9.0 - k], dtype=torch.float64)
        score = -says.eps(X, t) / table(t).sigma.float()
        found = theirs.step_pred(score, time, X, generator=torch.manual_seed(5)).prev_sample
        z = torch.randn(X.shape, generator=torch.manual_seed(5))
        ours, _ = ReverseDiffusion().step(says, X, t, s, None, lambda like, z=z: z)
        torch.testing.assert_close(ours, found, rtol=1e-4, atol=1e-4)


def test_reverse_diffusion_on_a_table_is_that_of_its_betas():
    """`(2 - sqrt(1 - beta)) x + beta score + sqrt(beta) z`. Song et al. 2021 (arXiv:2011.13456), eq. 48."""
    table, z = LinearBetas(), torch.randn(X.shape)
    says = Says(table)
    for tick in (2, 500, 1000):
        t, s = torch.tensor([tick, tick - 1], dtype=torch.float64)
        beta = table.betas()[tick - 1].float()
        score = -says.eps(X, t) / table(t).sigma.float()
        ours, _ = ReverseDiffusion().step(says, X, t, s, None, lambda like: z)
        torch.testing.assert_close(ours, (2 - (1 - beta).sqrt()) * X + beta * score + beta.sqrt() * z)


def test_euler_ancestral_is_theirs():
    theirs = EulerAncestralDiscreteScheduler(1000, 1e-4, 0.02, timestep_spacing="trailing")
    theirs.set_timesteps(20)
    table, times, generator = LinearBetas(), Uniform()(LinearBetas(), 20), torch.manual_seed(3)
    x = scale(1 / table(times[0]).alpha, X)
    for t, tick in zip(theirs.timesteps, times, strict=False):
        out = Says(table).eps(theirs.scale_model_input(x, t), tick)
        x = theirs.step(out, t, x, generator=generator).prev_sample
    generator.manual_seed(3)
    sampler = built("sampler", "euler_ancestral")
    *_, (_, ours) = trajectory(
        Says(table), sampler, times, X, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)


def test_denoising_and_renoising_is_that_of_their_latent_consistency_models():
    theirs, table = LCMScheduler(1000, 1e-4, 0.02, beta_schedule="linear", clip_sample=False), LinearBetas()
    theirs.set_timesteps(4, original_inference_steps=50)
    times = torch.cat([theirs.timesteps.double() + 1, torch.zeros(1, dtype=torch.float64)])
    x = X
    generator = torch.manual_seed(3)
    for t in theirs.timesteps:
        x = theirs.step(Says(table).eps(x, t + 1), t, x, generator=generator).prev_sample
    generator.manual_seed(3)
    *_, (_, ours) = trajectory(
        Says(table), Consistency(), times, X, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    torch.testing.assert_close(ours, x, rtol=1e-3, atol=1e-3)  # they mix in x_t by 0.25 / (100 t^2)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_reverse_diffusion_cannot_start_where_alpha_is_0():
    with pytest.raises(ValueError, match="sampler=ancestral or grid=log_snr"):
        end(ReverseDiffusion(), Linear(), Uniform()(Linear(), 4), column(0, 1))


def test_points_have_no_frequencies():
    with pytest.raises(ValueError, match=r"sampler\.precondition=null"):
        Preconditioner()(torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resampling(repeats=0), r"sampler\.repeats=0"),
        (lambda: Resampling(Adaptive()), "that steps over a grid"),
        (lambda: Preconditioner(radius=0.0), "radius=0.0"),
        (lambda: Langevin(precondition=Preconditioner(gain=1.5)), r"square of sampler\.precondition\.gain, here 1\.5"),
        (lambda: Langevin(step_size=1.9, precondition=Preconditioner()), r"sampler\.step_size=1\.9"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
