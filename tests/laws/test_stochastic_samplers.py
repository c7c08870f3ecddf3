"""Samplers that draw noise: consistency sampling, preconditioned Langevin dynamics, and noise put back."""

import itertools
import math
from dataclasses import dataclass

import pytest
import torch

from difflab.denoiser.base import Estimate
from difflab.denoiser.exact import Gaussian
from difflab.guidance.base import Guided
from difflab.laws import close
from difflab.laws.gaussian import impulse
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import scale, transition
from difflab.process.schedule import VE, VP, Schedule
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.adaptive_sde import AdaptiveSDE, BrownianPath
from difflab.sampler.consistency import Consistency
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate, trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.langevin import Langevin, update
from difflab.sampler.preconditioner import Preconditioner
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.resampling import Resampling
from helpers.closed_forms import MEAN, VAR, bound, column, f64, gaussian, marginal, moments
from helpers.conf import schedules
from helpers.laws import assert_law

# --- denoise and renoise ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FlowMap:
    """The consistency function of Gaussian data: x0 is the end of the probability flow through x_t."""

    schedule: Schedule

    def __call__(self, x, t, s=None):
        mean, std = marginal(self.schedule(t))
        x0 = MEAN + math.sqrt(VAR) * (x - mean) / std
        return Estimate(x0, x0, x0)


def test_a_consistency_model_is_sampled_exactly_in_any_number_of_steps():
    """The response to x_T and to all noise but the last vanishes, and the moments are the data's."""
    schedule, cases = VP(), []
    for steps in (1, 2, 7):
        times = torch.cat([Uniform()(schedule, steps)[:-1], f64(0)])
        mean, std = marginal(schedule(times[0]))
        x = torch.zeros(2 + steps, 1, 1, 1, dtype=torch.float64)
        x[1] = std
        *_, (_, out) = trajectory(FlowMap(schedule), Consistency(), times, x, impulse)
        base, *responses = out.flatten()
        var = sum((response - base) ** 2 for response in responses)
        found = torch.stack([base + (responses[0] - base) * mean / std, var])
        cases.append(close(f"{steps} steps: mean and variance", found, f64(MEAN, VAR), rtol=1e-6))
    assert_law(cases)


def test_of_a_denoisers_mean_many_steps_lose_half_of_the_variance():
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


def test_small_steps_of_langevin_dynamics_leave_the_law_as_it_is():
    """On pixels of unlike variance, with which M does not commute: the covariance that an update keeps tends to theirs.

    One update is x' = A x + B z; what it keeps solves P = A P A' + B B', and is off in proportion to the step.
    """
    variances = torch.linspace(0.1, 2, SIDE**2, dtype=torch.float64)
    schedule, t = VE(), f64(0.7)[0]
    denoise = bound(Gaussian(schedule, torch.zeros(IMAGE, dtype=torch.float64), variances.reshape(IMAGE)), 1)
    covariance = (variances + schedule(t).sigma ** 2).diag()

    def off(step, m):
        a = matrix(lambda x: update(denoise, x, t, step, torch.zeros_like, m))
        b = matrix(lambda z: update(denoise, torch.zeros_like(z), t, step, lambda _: z, m))
        whole = torch.eye(SIDE**4, dtype=torch.float64) - torch.kron(a, a)
        kept = torch.linalg.solve(whole, (b @ b.T).flatten()).reshape(covariance.shape)
        return ((kept - covariance).abs().max() / covariance.max()).item()

    for m in (None, Preconditioner(radius=0.6, gain=1.3)):
        large, small = off(0.02, m), off(0.01, m)
        assert small < 0.01, str(m)
        assert large / small == pytest.approx(2, rel=0.05), str(m)


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


def test_the_forward_step_leads_from_one_level_to_the_other():
    cases = []
    for schedule in schedules().values():
        times = Uniform()(schedule, 10).flip(0)
        m = schedule(times)
        a, variance = (
            torch.stack(part)
            for part in zip(*(transition(schedule(s), schedule(t)) for s, t in itertools.pairwise(times)), strict=True)
        )
        alpha, sigma = (part[:-1] for part in m)
        after = a**2 * sigma**2 + variance
        cases.append(close(f"{schedule}: alpha", a * alpha, m.alpha[1:], rtol=1e-7, atol=1e-7, t=times[1:]))
        cases.append(close(f"{schedule}: sigma^2", after, m.sigma[1:] ** 2, rtol=1e-7, atol=1e-7, t=times[1:]))
    assert_law(cases)


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


def test_a_divided_increment_is_two_independent_ones():
    """Of Brownian motion over 1, in two parts of .3 and .7, of which the first is divided again."""
    n, path, found = 100_000, BrownianPath(), []
    z = torch.randn(3, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    path.put_back(*path.take(1.0, z[0]))
    for length, each in ((0.3, z[1]), (1.0, z[2])):
        found.append(path.take(length, each))
    assert [length for length, _ in found] == [0.3, 0.7]
    (_, first), (_, second) = found
    torch.testing.assert_close(first + second, z[0])
    limit = 5 / n**0.5
    assert first.var().item() == pytest.approx(0.3, rel=limit)
    assert second.var().item() == pytest.approx(0.7, rel=limit)
    assert abs((first * second).mean().item()) < limit


def test_a_smaller_tolerance_takes_more_steps_of_the_reverse_sde():
    denoiser, labels = gaussian(VP()), torch.zeros(4, dtype=torch.long)
    nfe = [generate(denoiser, AdaptiveSDE(r, r), Uniform(), nfe=0, labels=labels).nfe for r in (0.1, 0.02)]
    assert nfe[0] < nfe[1]
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveSDE(0.0)


class Broken(Guided):
    """Has no estimate for label 1, as a network that diverged."""

    def forward(self, x, t, label, s=None):
        estimate = self.denoiser(x, t, label, s)
        return estimate._replace(eps=scale(torch.where(label == 1, torch.nan, 1.0), estimate.eps))


def test_a_sample_that_is_lost_is_not_followed_without_end_and_the_others_are_as_without_it():
    sampler, whole = AdaptiveSDE(0.1, 0.1), gaussian(VP())
    labels = torch.tensor([0, 1, 0])
    found = generate(Broken(whole), sampler, Uniform(), nfe=0, labels=labels).images
    expected = generate(whole, sampler, Uniform(), nfe=0, labels=0 * labels).images
    assert found[1].isnan().all()
    assert torch.equal(found[::2], expected[::2])


def test_nothing_is_corrected_between_steps_that_a_sampler_makes_of_its_own():
    for predictor in (Adaptive(), AdaptiveSDE()):
        with pytest.raises(ValueError, match="choose one that steps over a grid"):
            PredictorCorrector(predictor)
