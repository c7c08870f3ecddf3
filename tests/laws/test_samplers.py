"""Samplers: the laws, for every option of conf/sampler on the schedules that it takes."""

import itertools
import math

import pytest
import torch

from difflab.denoiser.exact import Mixture
from difflab.laws import Worst, close
from difflab.laws import samplers as laws
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import VE, VP, Linear
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.resampling import Resampling
from difflab.sampler.reverse_diffusion import ReverseDiffusion
from difflab.sampler.runge_kutta import Midpoint
from helpers.closed_forms import MEAN, VAR, adapts, between, bound, column, end, f64, flow, gaussian, marginal, moments
from helpers.conf import samplers, schedules
from helpers.laws import assert_law
from helpers.samplers import convergent, every_schedule, pairs, takes

VARIED = [DDIM(0.5), EDM(churn=0.1), EulerMaruyama(0.0), PredictorCorrector(DDIM()), Resampling(DDIM(), 1)]
CONTINUOUS = [VP(), VE(), Linear()]


def home(sampler):
    """A schedule that the sampler takes: a discrete one if it can."""
    return VP() if between(sampler) else LinearBetas()


def test_a_chain_without_its_noise_collapses():
    """The deviation from the mean is multiplied by the regression of x_0 on x_t, in any number of steps."""
    cases = []
    for schedule, steps in itertools.product(every_schedule(), (1, 5, 40)):
        times = Uniform()(schedule, steps)
        first, last = schedule(times[0]), schedule(times[-1])
        before, after = marginal(first)[1] ** 2, marginal(last)[1] ** 2
        _, var = moments(Ancestral(noise=0.0), schedule, times)
        expected = before * (first.alpha * after / (last.alpha * before)) ** 2
        found, case = f64(var).reshape(1), f"{schedule} in {steps} steps"
        cases.append(close(case, found, expected.reshape(1), rtol=1e-9, atol=1e-12))
        assert var < 0.9 * VAR
    assert_law(cases)


def test_every_sampler_converges_with_its_order():
    """But for an adaptive one, and those without an order: 0."""
    some = [s for s in convergent() if s.order and not adapts(s)]
    special = (Midpoint(), Linear())  # of order 3 on Gaussian data
    assert_law(
        laws.order_is_the_declared_one(sampler, schedule, order=3 if (sampler, schedule) == special else None)
        for sampler, schedule in itertools.product(some, CONTINUOUS)
    )


def test_the_least_order_on_some_schedules_is_the_declared_one():
    assert_law(laws.least_order_is_the_declared_one(sampler, CONTINUOUS) for sampler in (Midpoint(), DDIM(), Heun()))


@pytest.mark.parametrize("law", laws.DISCRETE_LAWS)
def test_every_sampler_on_a_discrete_schedule(law):
    assert_law(law(sampler, LinearBetas()) for sampler in samplers().values() if not adapts(sampler))


@pytest.mark.parametrize("law", laws.PURE_NOISE_LAWS)
def test_every_sampler_from_pure_noise(law):
    assert_law(law(sampler, Linear()) for sampler in samplers().values())


def test_annealed_langevin_dynamics_is_of_order_one_half():
    """From end to end, as the excess of the variance falls from 250 to 1000 steps."""
    found = [moments(Langevin(2), VE(), LogSNR()(VE(), steps))[1] / VAR - 1 for steps in (250, 1000)]
    assert math.log(found[0] / found[1], 4) == pytest.approx(Langevin.order, abs=0.1)


def test_an_adaptive_sampler_follows_the_flow_from_end_to_end_to_its_tolerance():
    sampler, x, cases = Adaptive(1e-6, 1e-6), column(-2, -1, 0, 1, 2), []
    for schedule in schedules().values():
        if takes(sampler, schedule):
            noisy, clean, data = f64(schedule.t_max, schedule.t_min, 0)
            x_t = x * schedule(noisy).sigma
            exact = bound(gaussian(schedule), 5)(flow(schedule, noisy, clean, x_t), clean).x0
            found = end(sampler, schedule, torch.stack([noisy, data]), x_t)
            cases.append(close(f"{schedule}", found, exact, atol=1e-5))
    assert_law(cases)


def test_every_sampler_ends_in_data_of_one_point():
    assert_law(laws.ends_in_the_data(*pair) for pair in pairs(samplers().values(), every_schedule()))


@pytest.mark.parametrize("law", laws.GRID_LAWS)
def test_every_sampler_over_a_grid(law):
    assert_law(law(sampler, home(sampler)) for sampler in samplers().values() if not adapts(sampler))


def test_a_sample_is_a_function_of_seed_index_and_label_alone():
    assert_law(
        laws.a_sample_depends_on_its_own_noise_alone(
            s, home(s), tolerance=10 * s.rtol if isinstance(s, Adaptive) else 0
        )
        for s in samplers().values()
    )


def test_a_sampler_draws_noise_if_it_declares_so():
    assert_law(laws.noise_is_drawn_as_declared(sampler, VP()) for sampler in [*samplers().values(), *VARIED])


def test_fifty_of_a_thousand_ancestral_steps_have_the_discretisation_error_of_the_recursion():
    """By the definition of the chain: `v_s = a^2 v_t + var(q)`, from `E[x0 | x_t] = MEAN + g (x_t - alpha_t MEAN)`.

    With `q(x_s | x_t, x0)` of Ho et al. 2020 (arXiv:2006.11239), eq. 7, for the step from 20 k to 20 (k - 1).
    """
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    kept = torch.cat([f64(1), (1 - betas).cumprod(0)])[::20]  # alpha_bar at 0, 20 .. 1000
    mean, var = kept[-1].sqrt() * MEAN, kept[-1] * VAR + 1 - kept[-1]
    for a_t, a_s in zip(kept.flip(0)[:-1], kept.flip(0)[1:], strict=True):
        beta = 1 - a_t / a_s
        on_x0, on_x_t = a_s.sqrt() * beta / (1 - a_t), (1 - beta).sqrt() * (1 - a_s) / (1 - a_t)
        g = a_t.sqrt() * VAR / (a_t * VAR + 1 - a_t)
        slope = on_x0 * g + on_x_t
        mean = slope * mean + on_x0 * MEAN * (1 - g * a_t.sqrt())
        var = slope**2 * var + beta * (1 - a_s) / (1 - a_t)
    found = moments(Ancestral(), LinearBetas(), Uniform()(LinearBetas(), 50))
    assert found == (pytest.approx(mean.item(), abs=1e-9), pytest.approx(var.item(), abs=1e-9))
    assert var.item() == pytest.approx(VAR, rel=0.25)  # the error that fifty steps have: a fifth
    assert var.item() < 0.8 * VAR


def distance_from_a_mixture(sampler, schedule, steps, n=2000):
    """Kolmogorov and Smirnov's distance of n samples from a mixture of two Gaussians, at most 1.95 / sqrt(n)."""
    means, std, weights = torch.tensor([[-1.0], [0.5]]), torch.tensor([0.2, 0.1]), torch.tensor([0.3, 0.7])
    denoiser, generator = Mixture(schedule, means, std**2, weights), torch.Generator().manual_seed(0)
    times = LogSNR()(schedule, steps)
    x = schedule(times[0]).sigma.float() * torch.randn(n, 1, generator=generator)
    *_, (_, out) = trajectory(
        bound(denoiser, n), sampler, times, x, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    share = (weights * torch.special.ndtr((out.flatten().sort().values[:, None] - means.T) / std)).sum(1)
    distance = (share - (torch.arange(n) + 0.5) / n).abs().max().item()
    return Worst(f"{sampler} on {schedule}", distance, 1.95 / math.sqrt(n))  # exceeded once in a thousand


@torch.no_grad()
def test_flow_and_sdes_end_in_the_same_mixture():
    of_first_order = [EulerMaruyama(0.5), EulerMaruyama(), Ancestral(), PredictorCorrector(), ReverseDiffusion()]
    steps = dict.fromkeys([Heun(), EDM(churn=0.1), Resampling(Heun(), 2)], 50) | dict.fromkeys(of_first_order, 250)
    some = itertools.product((steps | {Adaptive(): 1}).items(), CONTINUOUS)
    assert_law(distance_from_a_mixture(sampler, schedule, n) for (sampler, n), schedule in some)
