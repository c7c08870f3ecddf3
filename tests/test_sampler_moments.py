"""Where samplers end: in the data's moments, in a mixture, and on the probability flow with their order."""

import dataclasses
import itertools
import math

import pytest
import torch

from difflab.denoiser.exact import Mixture
from difflab.process.discrete import Betas, LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import VE, VP, Linear
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.edm import EDM
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin, best_step
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.runge_kutta import Midpoint
from known import MEAN, SAMPLERS, SCHEDULES, VAR, adapts, between, bound, column, end, gaussian, moments


def excess(sampler, schedule, times):
    """The share by which the variance ends above the data's: none, but for annealed Langevin dynamics."""
    if not isinstance(sampler, Langevin):
        return 0
    log_fall = schedule.log_snr(times[:-1]).diff().median().item()
    return math.sqrt(log_fall / sampler.corrections) / 2


PAIRS = [
    pytest.param(*sampler.values, *schedule.values, id=f"{sampler.id}-{schedule.id}")
    for sampler, schedule in itertools.product(SAMPLERS, SCHEDULES)
    if not (between(*sampler.values) and schedule.values[0].discrete) and sampler.id not in ("consistency", "repaint")
]


@pytest.mark.parametrize(("sampler", "schedule"), PAIRS)
def test_many_steps_end_in_the_datas_moments(sampler, schedule):
    schedule = dataclasses.replace(schedule, T=1000) if schedule.discrete else schedule
    budget = 400 if isinstance(schedule, Betas) else 600  # tables of betas have 1000 steps
    times = LogSNR()(schedule, budget // (sampler.evaluations or budget))
    mean, var = moments(sampler, schedule, times)
    assert mean == pytest.approx(MEAN, abs=5e-3)
    assert var == pytest.approx(VAR * (1 + excess(sampler, schedule, times)), abs=2e-2)


def test_fifty_of_a_thousand_ancestral_steps_have_the_known_discretisation_error():
    mean, var = moments(Ancestral(), LinearBetas(), Uniform()(LinearBetas(), 50))
    assert mean == pytest.approx(0.3000, abs=1e-4)
    assert var == pytest.approx(0.1972, abs=1e-4)


def flow(schedule, t, s, x):
    """x_s = a_s m + sqrt((a_s^2 v + s_s^2) / (a_t^2 v + s_t^2)) (x_t - a_t m)."""
    start, end = (Mix(m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt()) for m in (schedule(t), schedule(s)))
    return end.alpha + end.sigma * (x - start.alpha) / start.sigma


class Drew(Exception):
    """A sampler asked for noise."""


DETERMINISTIC = [p for p in SAMPLERS if not (p.values[0].stochastic or adapts(p.values[0]))]


@pytest.mark.parametrize("schedule", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_deterministic_samplers_follow_the_probability_flow_with_their_order(sampler, schedule):
    def refuse(like, k):
        raise Drew

    x, errors = column(-2, -1, 0, 1, 2), []
    for steps in (42, 84):
        times = schedule.time_at(torch.linspace(1, 5, steps + 1, dtype=torch.float64))
        out = end(sampler, schedule, times, x, refuse)
        errors.append((out - flow(schedule, times[0], times[-1], x)).abs().max().item())
    order = math.log2(errors[0] / errors[1])
    better = isinstance(sampler, Midpoint) and isinstance(schedule, Linear)  # of order 3 on Gaussian data
    assert order == pytest.approx(3 if better else sampler.order, abs=0.15)


@pytest.mark.parametrize("sampler", [p for p in SAMPLERS if p.values[0].stochastic])
def test_stochastic_samplers_draw_noise(sampler):
    def refuse(like, k):
        raise Drew

    with pytest.raises(Drew):
        end(sampler, VP(), torch.tensor([0.6, 0.3], dtype=torch.float64), column(0, 1), refuse)


@pytest.mark.parametrize("schedule", [param for param in SCHEDULES if not param.values[0].discrete])
def test_adaptive_follows_the_flow_from_end_to_end_to_its_tolerance(schedule):
    tolerance, x = 1e-6, column(-2, -1, 0, 1, 2)
    ends = torch.tensor([schedule.t_max, schedule.t_min, 0], dtype=torch.float64)
    x = x * schedule(ends[0]).sigma
    exact = bound(gaussian(schedule), 5)(flow(schedule, ends[0], ends[1], x), ends[1]).x0
    found = end(Adaptive(tolerance, tolerance), schedule, ends[[0, 2]], x)
    torch.testing.assert_close(found, exact, rtol=0, atol=10 * tolerance)


def test_annealed_langevin_dynamics_is_of_order_one_half():
    schedule = VE()
    found = [moments(Langevin(2), schedule, LogSNR()(schedule, steps))[1] / VAR - 1 for steps in (250, 1000)]
    assert math.log(found[0] / found[1], 4) == pytest.approx(Langevin.order, abs=0.1)


@pytest.mark.parametrize(
    "sampler",
    [Heun(), Adaptive(), EDM(churn=0.1), EulerMaruyama(0.5), EulerMaruyama(), Ancestral(), PredictorCorrector()],
    ids=str,
)
@pytest.mark.parametrize("schedule", [VP(), VE(), Linear()], ids=["vp", "ve", "linear"])
def test_flow_and_sdes_end_in_the_same_mixture(sampler, schedule):
    means, std, weights = torch.tensor([[-1.0], [0.5]]), torch.tensor([0.2, 0.1]), torch.tensor([0.3, 0.7])
    n, denoiser = 2000, Mixture(schedule, means, std**2, weights)
    times = LogSNR()(schedule, 1 if adapts(sampler) else 250)
    generator = torch.Generator().manual_seed(0)
    x = schedule(times[0]).sigma.float() * torch.randn(n, 1, generator=generator)
    *_, (_, out) = trajectory(
        bound(denoiser, n), sampler, times, x, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    sorted_ = out.flatten().sort().values
    share = (weights * torch.special.ndtr((sorted_[:, None] - means.T) / std)).sum(1)
    distance = (share - (torch.arange(n) + 0.5) / n).abs().max()
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov, at one in a thousand


def test_the_best_step_leaves_less_than_its_neighbours():
    """On a long ladder around one point, where every level's variance is the last one's after some updates."""

    def left(step, fall, updates):
        variance = 1.0
        for _ in range(200):
            variance *= fall
            for _ in range(updates):
                variance = (1 - step) ** 2 * variance + 2 * step
        return variance

    for fall, updates in [(1.1, 1), (1.1, 5), (2.0, 3), (20.0, 5)]:
        best = best_step(fall, updates)
        assert left(best, fall, updates) < min(left(best * 0.9, fall, updates), left(best * 1.1, fall, updates))
