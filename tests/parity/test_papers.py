"""Formulas as the papers print them: weights, preconditioning, densities of training times, grids."""

import math

import numpy as np
import torch
from scipy.stats import kstest, logistic, lognorm, norm, uniform

from difflab.laws import close
from difflab.laws.schedules import inner_times
from difflab.objective.times import Importance, LogitNormal, LogNormal
from difflab.objective.weighting import EDM, Likelihood, MinSNR, Sigmoid
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import EDM as EDMSchedule
from difflab.process.schedule import VP, Linear
from difflab.process.target import X0, Eps, Preconditioned, V
from difflab.sampler.grid import Cosine
from helpers.closed_forms import f64, normal
from helpers.laws import assert_law


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_min_snr_on_eps_and_v():
    """Hang et al. 2023 (arXiv:2303.09556), section 3.4: min(snr, 5) / snr on eps, min(snr, 5) / (snr + 1) on v."""
    schedule, weighting = LinearBetas(), MinSNR(5.0)
    t = inner_times(schedule)
    snr = schedule.log_snr(t).exp()
    assert_law(
        close(str(target), weighting(schedule, target, t), snr.clamp(max=5) / by, rtol=1e-9, t=t)
        for target, by in ((Eps(), snr), (V(), snr + 1))
    )


def test_edm_s_weight_on_x0():
    """Karras et al. 2022 (arXiv:2206.00364), table 1: lambda = (sigma^2 + sd^2) / (sigma sd)^2."""
    schedule, sd = EDMSchedule(), 0.6
    t = inner_times(schedule)
    sigma = schedule(t).sigma
    expected = (sigma**2 + sd**2) / (sigma * sd) ** 2
    assert_law([close("lambda", EDM(sd)(schedule, X0(), t), expected, rtol=1e-9, t=t)])


def test_edm_s_preconditioning():
    """Karras et al. 2022, table 1: c_skip, c_out, c_in, c_noise on alpha = 1."""
    schedule, sd = EDMSchedule(), 0.5
    t = inner_times(schedule)
    sigma = schedule(t).sigma
    c_skip, c_out = sd**2 / (sigma**2 + sd**2), sigma * sd / (sigma**2 + sd**2).sqrt()
    target, (x0, eps) = Preconditioned(sd), normal(2, 25, 5, seed=2)
    x_t, f = schedule(t)(x0, eps), target.mix(schedule, t)(x0, eps)
    assert_law(
        [
            close("x0 = c_skip x_t + c_out F", Mix(c_skip, c_out)(x_t, f), x0, rtol=1e-7, atol=1e-7, t=t),
            close("c_in", target.c_in(schedule(t)), (sigma**2 + sd**2).rsqrt(), rtol=1e-7, atol=1e-7, t=t),
            close("c_noise", target.c_noise(schedule, t), sigma.log() / 4, rtol=1e-7, atol=1e-7, t=t),
        ]
    )


def test_sigmoid_is_its_factor_on_the_bound_s_eps_loss():
    """`1/2 w(log_snr) (-d log_snr / dt) |eps - eps_hat|^2`: Kingma & Gao 2023 (arXiv:2303.00848).

    The derivative is a finite difference.
    """
    schedule, h = VP(t_min=0.0), 1e-6
    t = inner_times(schedule)
    slope = (schedule.log_snr(t + h) - schedule.log_snr(t - h)) / (2 * h)
    expected = -0.5 * slope / (1 + (schedule.log_snr(t) - 1.5).exp())
    assert_law([close("weight", Sigmoid(1.5)(schedule, Eps(), t), expected, rtol=1e-7, t=t)])


def test_likelihood_on_a_discrete_schedule():
    """T/2 (snr_{t-1} - snr_t) on x0: Kingma et al. 2021 (arXiv:2107.00630), eq. 14."""
    schedule = LinearBetas(T=100)
    t = torch.arange(2, 101, dtype=torch.float64)
    snr = schedule.log_snr(torch.cat([t[:1] - 1, t])).exp()
    assert_law([close("weight", Likelihood()(schedule, X0(), t), -0.5 * 100 * snr.diff(), rtol=1e-9, t=t)])


def test_the_density_of_logit_normal_times():
    """Esser et al. 2024 (arXiv:2403.03206), eq. 19: of the fraction of the axis."""
    t, weight = LogitNormal(mean=0.5, std=0.8)(Linear(t_min=0), 20_000, seeded())
    assert kstest(t.logit().numpy(), norm(0.5, 0.8).cdf).pvalue > 0.01
    assert (weight == 1).all()
    assert t.mean() > 0.5, "a positive mean favours noise"
    t, _ = LogitNormal()(Linear(t_min=0), 20_000, seeded())
    assert kstest(t.numpy(), uniform.cdf).pvalue < 1e-9
    assert kstest(t.logit().numpy(), logistic.cdf).pvalue < 1e-9


def test_the_density_of_log_normal_times_is_of_the_noise_level_on_any_schedule():
    """Karras et al. 2022, table 1: ln(sigma) ~ N(P_mean, P_std^2)."""
    law = lognorm(1.2, scale=math.exp(-1.2)).cdf
    for schedule in (EDMSchedule(sigma_min=1e-4, sigma_max=1e4), VP(t_min=1e-9), Linear(t_min=1e-6)):
        t, weight = LogNormal(mean=-1.2, std=1.2)(schedule, 20_000, seeded())
        alpha, sigma = schedule(t)
        assert kstest((sigma / alpha).numpy(), law).pvalue > 0.01, schedule
        assert (weight == 1).all(), schedule


def test_importance_draws_by_the_root_of_the_second_moment_of_each_step_s_last_losses():
    """Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 18, kept as one list of losses for each step."""
    schedule, history = LinearBetas(T=60), 4
    times = Importance(bins=100, history=history, uniform=0.1)
    losses = {step: [] for step in range(1, 61)}
    g = seeded(3)
    for batch in range(12):
        assert batch > 2 or torch.equal(times.law(schedule), torch.full((60,), 1 / 60, dtype=torch.float64))
        t = torch.randint(1, 61, (200,), generator=g).double()
        loss = torch.rand(200, generator=g) * t
        times.observe(schedule, t, loss)
        for step, value in zip(t.long().tolist(), loss.tolist(), strict=True):
            losses[step].append(value)
    assert min(map(len, losses.values())) >= history
    root = f64(*(sum(v**2 for v in seen[-history:]) / history for seen in losses.values())).sqrt()
    expected = 0.9 * root / root.sum() + 0.1 / 60
    torch.testing.assert_close(times.law(schedule), expected, rtol=1e-5, atol=0)
    t, weight = times(schedule, 100_000, g)
    torch.testing.assert_close(weight, 1 / (60 * expected[t.long() - 1]), rtol=1e-5, atol=0)
    counts = torch.bincount(t.long() - 1, minlength=60) / len(t)
    assert (counts - expected).abs().max() < 5 * (expected.max() / len(t)) ** 0.5


def test_the_noise_levels_of_ncsn():
    """Song & Ermon 2019: np.exp(np.linspace(np.log(sigma_begin), np.log(sigma_end), L)), noisiest first."""
    schedule = GeometricSigmas(T=10, sigma_min=0.01, sigma_max=1.0)
    theirs = np.exp(np.linspace(np.log(1.0), np.log(0.01), 10))
    alpha, sigma = schedule(torch.arange(10, 0, -1, dtype=torch.float64))
    torch.testing.assert_close(sigma, torch.from_numpy(theirs))
    assert (alpha == 1).all()
    between = schedule(f64(3.25)).sigma
    torch.testing.assert_close(between, f64(0.01 * 100 ** (2.25 / 9)), rtol=1e-12, atol=0)


def test_the_cosine_grid_has_equal_angles():
    """1 - cos(pi u / 2) counted from noise: Du et al. 2024 (arXiv:2407.05407), section 2.3."""
    angles = torch.linspace(0, math.pi / 2, 11, dtype=torch.float64)
    torch.testing.assert_close(1 - Cosine()(Linear(), 10), 1 - angles.cos())
    assert (Cosine()(Linear(), 10).diff().diff() < 0).all(), "steps grow towards data"
