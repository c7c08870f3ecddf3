"""Laws of weightings: finite wherever the target is, the same for every target, and the bound in closed form."""

import math

import pytest
import torch

from conftest import built, options, schedules, targets
from difflab.denoiser.base import Estimate
from difflab.denoiser.likelihood import vlb_term
from difflab.objective.weighting import EDM, Likelihood, MinSNR, Sigmoid, error_ratio
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import det, unmix
from difflab.process.schedule import EDM as EDMSchedule
from difflab.process.schedule import VP, Linear
from difflab.process.target import X0, Eps, Score, V, Velocity

WEIGHTINGS = [pytest.param(built("weighting", option), id=option) for option in options("weighting")]
CARRIED = [w for w in WEIGHTINGS if w.id != "simple"]  # simple says nothing of other targets
CONTINUOUS = [s for s in schedules() if not s.values[0].discrete]


def inner_times(schedule):
    return schedule.time(torch.linspace(0.02, 0.98, 25, dtype=torch.float64))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("schedule", schedules())
@pytest.mark.parametrize("target", targets())
def test_weights_are_finite_to_both_ends_and_positive_where_there_is_signal(weighting, schedule, target):
    """Wherever the target determines the clean sample; at alpha = 0 the bound has no weight left to give."""
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    t = torch.cat([ends, inner_times(schedule)])
    d = det(schedule(t), target.mix(schedule, t)).abs()
    t = t[d.isfinite() & (d > 1e-12)]
    weight = weighting(schedule, target, t)
    assert weight.shape == t.shape
    assert weight.dtype == torch.float64
    assert weight.isfinite().all()
    assert (weight >= 0).all()
    assert (weight[schedule(t).alpha > 0] > 0).all()


@pytest.mark.parametrize("weighting", CARRIED)
@pytest.mark.parametrize("target", targets())
@pytest.mark.parametrize("schedule", [LinearBetas(), VP(), Linear()])
def test_a_weighting_weighs_the_same_error_whatever_the_network_predicts(weighting, target, schedule):
    """w(target) * error(target) does not depend on the target."""
    t = inner_times(schedule)
    on_x0 = weighting(schedule, X0(), t)
    carried = weighting(schedule, target, t) * error_ratio(schedule, t, target, X0())
    torch.testing.assert_close(carried, on_x0, rtol=1e-8, atol=0)


def test_rectified_flow_s_noise_end_needs_no_rule_of_its_own():
    """At alpha = 0 a unit error of the velocity is one of x0: min(snr, 5), snr and -snr' vanish, EDM's weight stays."""
    t, sd = torch.ones(1, dtype=torch.float64), 0.5
    for weighting, expected in [(MinSNR(), 0), (Likelihood(), 0), (Sigmoid(), 0), (EDM(sd), 1 / sd**2)]:
        assert weighting(Linear(), Velocity(), t).item() == pytest.approx(expected, abs=1e-15)


def test_min_snr_on_eps_and_v_is_the_papers():
    """Hang et al. 2023, section 3.4: min(snr, 5) / snr on eps, min(snr, 5) / (snr + 1) on v."""
    schedule, weighting = LinearBetas(), MinSNR(5.0)
    t = inner_times(schedule)
    snr = schedule.log_snr(t).exp()
    torch.testing.assert_close(weighting(schedule, Eps(), t), snr.clamp(max=5) / snr, rtol=1e-9, atol=0)
    torch.testing.assert_close(weighting(schedule, V(), t), snr.clamp(max=5) / (snr + 1), rtol=1e-9, atol=0)


def test_edm_on_x0_is_the_papers():
    """Karras et al. 2022, table 1: lambda = (sigma^2 + sd^2) / (sigma sd)^2."""
    schedule, sd = EDMSchedule(), 0.6
    t = inner_times(schedule)
    sigma = schedule(t).sigma
    torch.testing.assert_close(EDM(sd)(schedule, X0(), t), (sigma**2 + sd**2) / (sigma * sd) ** 2, rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_likelihood_is_g_squared_on_the_score(schedule):
    """Song et al. 2021b, eq. 7: 1/2 of the integral of g^2 |s - s_theta|^2 over the axis."""
    t = inner_times(schedule)
    length = schedule.t_max - schedule.t_min
    expected = 0.5 * length * schedule.diffusion(t) ** 2
    torch.testing.assert_close(Likelihood()(schedule, Score(), t), expected, rtol=1e-8, atol=0)


def test_sigmoid_is_its_factor_on_the_bound_s_eps_loss():
    """Kingma & Gao 2023: 1/2 w(log_snr) (-d log_snr / dt) |eps - eps_hat|^2, the derivative by finite difference."""
    schedule, h = VP(t_min=0.0), 1e-6
    t = inner_times(schedule)
    slope = (schedule.log_snr(t + h) - schedule.log_snr(t - h)) / (2 * h)
    expected = -0.5 * slope / (1 + (schedule.log_snr(t) - 1.5).exp())
    torch.testing.assert_close(Sigmoid(1.5)(schedule, Eps(), t), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("schedule", CONTINUOUS)
@pytest.mark.parametrize("target", targets())
def test_the_mean_of_likelihood_over_uniform_times_is_the_bound_of_gaussian_data(schedule, target):
    """Posterior variance v sigma^2 / (alpha^2 v + sigma^2): the integral is 1/2 log (1 + v snr) between the ends."""
    v, start, end = 0.3, schedule.t_min, min(schedule.t_max, 1 - 1e-9)  # where alpha = 0, eps and score say nothing
    t = torch.logspace(0, 1, 20_001, base=end / start, dtype=torch.float64) * start
    t = torch.cat([t, torch.linspace(start, end, 20_001, dtype=torch.float64)]).clamp(max=end).unique()
    alpha, sigma = schedule(t)
    error = v * sigma**2 / (alpha**2 * v + sigma**2) * error_ratio(schedule, t, target, X0())
    length = schedule.t_max - schedule.t_min
    mean = torch.trapezoid(Likelihood()(schedule, target, t) * error, t) / length
    ends = (1 + v * schedule.log_snr(t[[0, -1]]).exp()).log()
    torch.testing.assert_close(mean, 0.5 * (ends[0] - ends[1]), rtol=1e-4, atol=0)


def test_likelihood_of_a_table_is_the_exact_term_of_its_bound():
    """T/2 (snr_{t-1} - snr_t) on x0: Kingma et al. 2021, eq. 14."""
    table = LinearBetas(T=100)
    t = torch.arange(2, 101, dtype=torch.float64)
    snr = table.log_snr(torch.cat([t[:1] - 1, t])).exp()
    torch.testing.assert_close(Likelihood()(table, X0(), t), -0.5 * 100 * snr.diff(), rtol=1e-9, atol=0)


def test_the_likelihoods_weight_on_a_table_is_the_bounds():
    """The weighted error of any estimate, over T, is the term `L_{t-1}` of a model with fixed small variance."""
    table, target = LinearBetas(T=50), Eps()
    g = torch.Generator().manual_seed(5)
    x0, eps, out = torch.randn(3, 49, 6, dtype=torch.float64, generator=g)
    t = torch.arange(2, 51, dtype=torch.float64)
    x_t = table(t)(x0, eps)
    estimate = Estimate(*unmix(x_t, table(t), out, target.mix(table, t)), out)
    terms = vlb_term(table, estimate, x0, eps, t, levels=None) * math.log(2)
    weighted = built("weighting", "likelihood")(table, target, t) * ((out - eps) ** 2).mean(1)
    torch.testing.assert_close(weighted / 50, terms, rtol=1e-6, atol=1e-9)
