"""Weightings: the laws, for every weighting, target and schedule, and the bound in closed form."""

import itertools
import math

import pytest
import torch

from difflab.denoiser.base import Estimate
from difflab.denoiser.likelihood import vlb_term
from difflab.laws import close, weightings
from difflab.laws.schedules import inner_times
from difflab.objective.weighting import EDM, Likelihood, MinSNR, Sigmoid, Simple, error_ratio
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import unmix
from difflab.process.schedule import Linear
from difflab.process.target import X0, Eps, Score, Velocity
from helpers.closed_forms import normal
from helpers.conf import every, schedules, targets
from helpers.laws import assert_law


def continuous():
    """The schedules of conf/ in continuous time."""
    return [schedule for schedule in schedules().values() if not schedule.discrete]


def test_errors_convert_by_the_determinant():
    triples = itertools.product(targets().values(), targets().values(), schedules().values())
    assert_law(weightings.errors_convert_by_the_determinant(*triple) for triple in triples)


@pytest.mark.parametrize("law", weightings.LAWS)
def test_every_weighting(law):
    triples = itertools.product(every("weighting").values(), targets().values(), schedules().values())
    assert_law(law(*triple) for triple in triples)


@pytest.mark.parametrize("law", weightings.CARRIED_LAWS)
def test_every_weighting_that_is_stated_on_one_target(law):
    carried = [weighting for weighting in every("weighting").values() if not isinstance(weighting, Simple)]
    assert_law(law(*triple) for triple in itertools.product(carried, targets().values(), schedules().values()))


def test_at_alpha_0_the_weights_of_the_velocity_are_their_limits():
    """A unit error of the velocity is one of x0: min(snr, 5), snr and -snr' vanish, EDM's weight stays."""
    t, sd = torch.ones(1, dtype=torch.float64), 0.5
    for weighting, expected in [(MinSNR(), 0), (Likelihood(), 0), (Sigmoid(), 0), (EDM(sd), 1 / sd**2)]:
        assert weighting(Linear(), Velocity(), t).item() == pytest.approx(expected, abs=1e-15)


def test_likelihood_is_g_squared_on_the_score():
    """`g^2 / 2`, times the length of the axis: Song et al. 2021b (arXiv:2101.09258), eq. 7."""

    def cases():
        for schedule in continuous():
            t = inner_times(schedule)
            expected = 0.5 * (schedule.t_max - schedule.t_min) * schedule.diffusion(t) ** 2
            yield close(str(schedule), Likelihood()(schedule, Score(), t), expected, rtol=1e-8, t=t)

    assert_law(cases())


def test_the_mean_of_likelihood_over_uniform_times_is_the_bound_of_gaussian_data():
    """Posterior variance v sigma^2 / (alpha^2 v + sigma^2): the integral is 1/2 log (1 + v snr) between the ends."""
    v = 0.3

    def cases():
        for schedule in continuous():
            start, end = schedule.t_min, min(schedule.t_max, 1 - 1e-9)  # where alpha = 0, eps and score say nothing
            t = torch.logspace(0, 1, 4001, base=end / start, dtype=torch.float64) * start
            t = torch.cat([t, torch.linspace(start, end, 4001, dtype=torch.float64)]).clamp(max=end).unique()
            alpha, sigma = schedule(t)
            first, last = (1 + v * schedule.log_snr(t[[0, -1]]).exp()).log()
            for target in targets().values():
                error = v * sigma**2 / (alpha**2 * v + sigma**2) * error_ratio(schedule, t, target, X0())
                weighted = Likelihood()(schedule, target, t) * error
                mean = torch.trapezoid(weighted, t) / (schedule.t_max - schedule.t_min)
                yield close(f"{target} on {schedule}", mean, 0.5 * (first - last), rtol=1e-4)

    with torch.no_grad():
        assert_law(cases())


def test_likelihood_on_a_discrete_schedule_is_the_term_of_the_bound():
    """The weighted error of any estimate, over T, is the term `L_{t-1}` of a model with fixed small variance."""
    schedule, target = LinearBetas(T=50), Eps()
    x0, eps, out = normal(3, 49, 6, seed=5)
    t = torch.arange(2, 51, dtype=torch.float64)
    x_t = schedule(t)(x0, eps)
    estimate = Estimate(*unmix(x_t, schedule(t), out, target.mix(schedule, t)), out)
    terms = vlb_term(schedule, estimate, x0, eps, t, levels=None) * math.log(2)
    weighted = Likelihood()(schedule, target, t) * ((out - eps) ** 2).mean(1)
    assert_law([close("L_{t-1}", weighted / 50, terms, rtol=1e-6, atol=1e-9, t=t)])
