"""Mixes, the bridge, and likelihoods, against closed forms."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from conftest import schedules
from difflab.denoiser.exact import Gaussian
from difflab.denoiser.likelihood import variational_bits_per_dim, vlb_term
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix, bridge, discretised_log_likelihood, kl, scale
from difflab.process.target import Eps


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_coefficients_broadcast_over_the_batch_and_take_the_samples_type():
    x, y = torch.randn(2, 3, 2, 4, 4)
    mixed = Mix(f64(1, 2, 3), f64(0, 1, 0))(x, y)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, torch.stack([x[0], 2 * x[1] + y[1], 3 * x[2]]))
    torch.testing.assert_close(scale(f64(2)[0], x), 2 * x)


@pytest.mark.parametrize("schedule", schedules())
def test_the_bridge_is_gaussian_conditioning(schedule):
    """q(x_s | x_t, x0) from the joint covariance of (x_s, x_t) given x0, which is Markov."""
    t = schedule.time(torch.linspace(0.3, 0.9, 5, dtype=torch.float64))
    s = schedule.time(torch.linspace(0.1, 0.5, 5, dtype=torch.float64))
    now, then = schedule(s), schedule(t)
    carried = then.alpha / now.alpha
    covariance = carried * now.sigma**2
    gain = covariance / then.sigma**2
    posterior = bridge(now, then)
    torch.testing.assert_close(posterior.lower, now.sigma**2 - gain * covariance, rtol=1e-7, atol=1e-12)
    x0, eps = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = then(x0, eps)
    conditioned = scale(now.alpha, x0) + scale(gain, x_t - scale(then.alpha, x0))
    torch.testing.assert_close(posterior.mean(x0, eps), conditioned, rtol=1e-7, atol=1e-10)
    # x0 ~ N(0, I): q(x_s | x_t) has total variance less what x_t tells
    total_s, total_t = now.alpha**2 + now.sigma**2, then.alpha**2 + then.sigma**2
    upper = total_s - (carried * total_s) ** 2 / total_t
    torch.testing.assert_close(posterior.upper, upper, rtol=1e-7, atol=1e-12)
    assert (posterior.lower <= posterior.upper).all()


def test_where_variance_is_preserved_the_upper_variance_is_beta():
    table = LinearBetas()
    t = torch.arange(1, 1001, dtype=torch.float64)
    torch.testing.assert_close(bridge(table(t - 1), table(t)).upper, table.betas(), rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("t", "s", "variance"), [(420, 400, 0.14771), (980, 960, 0.32460), (487, 486, 0.00979), (999, 998, 0.02)]
)
def test_strided_variances_are_those_of_diffusers(t, s, variance):
    table = LinearBetas()
    assert bridge(table(f64(s + 1)), table(f64(t + 1))).lower.item() == pytest.approx(variance, abs=1e-5)


def test_kl_is_that_of_torch():
    a, b = Normal(f64(0.3), f64(0.5)), Normal(f64(-1), f64(2))
    found = kl(a.mean, 2 * a.stddev.log(), b.mean, 2 * b.stddev.log())
    torch.testing.assert_close(found, kl_divergence(a, b))


@pytest.mark.parametrize(("mean", "std"), [(0.1, 0.3), (0.99, 0.01), (-3.0, 0.5)])
def test_the_discretised_likelihood_is_the_mass_of_each_bin(mean, std):
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    normal = Normal(f64(mean), f64(std))
    edges = torch.cat([f64(-math.inf), (levels[1:] + levels[:-1]) / 2, f64(math.inf)])
    mass = normal.cdf(edges).diff()
    found = discretised_log_likelihood(
        levels, torch.full_like(levels, mean), torch.full_like(levels, 2 * math.log(std))
    )
    assert found.exp().sum().item() == pytest.approx(1, abs=1e-9)
    there = mass > 1e-12  # beyond, the difference of two numbers near 1 has no digits
    torch.testing.assert_close(found.exp()[there], mass[there], rtol=1e-3, atol=1e-12)


def test_the_discretised_likelihood_keeps_its_digits_in_both_tails():
    x, mean, log_var = f64(-0.5, 0.5), f64(0.5, -0.5), f64(math.log(0.01), math.log(0.01))
    left, right = discretised_log_likelihood(x, mean, log_var)
    assert left.item() == pytest.approx(right.item(), rel=1e-12)
    assert left < -40


def quantised_gaussian(n, mean, std):
    x = mean + std * torch.randn(n, 1, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def test_the_bound_lies_above_the_exact_value_and_closes_as_steps_shrink():
    """Exact denoiser of N(m, v): -log2 of the bin's mass is the truth, and the bound must not beat it on average."""
    mean, std = 0.1, 0.25
    x0 = quantised_gaussian(4000, mean, std)
    truth = -discretised_log_likelihood(x0, torch.full_like(x0, mean), torch.full_like(x0, 2 * math.log(std)))
    truth = (truth / math.log(2)).flatten()
    gaps = []
    for steps in (50, 200, 1000):
        denoiser = Gaussian(LinearBetas(T=steps), f64(mean)[:, None, None], f64(std**2)[:, None, None])
        bound = variational_bits_per_dim(denoiser.bind(torch.zeros(len(x0), dtype=torch.long)), x0, v=1.0)
        torch.testing.assert_close(bound.total, bound.prior + bound.diffusion + bound.reconstruction)
        gap = bound.total - truth
        gaps.append(gap.mean().item())
        assert gap.mean() > -3 * gap.std() / len(x0) ** 0.5
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.05


def test_terms_of_the_bound_vanish_for_the_truth():
    """KL between the posterior and itself; the network that knows x0."""
    from difflab.denoiser.base import Estimate

    table = LinearBetas()
    x0, eps = torch.randn(2, 4, 3, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    t = f64(2, 300, 700, 1000)
    knowing = Estimate(x0, eps, Eps().mix(table, t)(x0, eps))
    torch.testing.assert_close(vlb_term(table, knowing, x0, eps, t), torch.zeros(4, dtype=torch.float64))
