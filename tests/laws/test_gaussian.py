"""Mixes, divergences and the likelihood of quantised values, against closed forms."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from difflab.laws import close
from difflab.process.gaussian import Mix, discretised_log_likelihood, kl, scale
from helpers.closed_forms import f64
from helpers.laws import assert_law


def test_coefficients_broadcast_over_the_batch_and_take_the_samples_type():
    x, y = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    mixed = Mix(f64(1, 2, 3), f64(0, 1, 0))(x, y)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, torch.stack([x[0], 2 * x[1] + y[1], 3 * x[2]]))
    torch.testing.assert_close(scale(f64(2)[0], x), 2 * x)


def test_kl_is_that_of_torch():
    a, b = Normal(f64(0.3), f64(0.5)), Normal(f64(-1), f64(2))
    found = kl(a.mean, 2 * a.stddev.log(), b.mean, 2 * b.stddev.log())
    torch.testing.assert_close(found, kl_divergence(a, b))


def test_the_discretised_likelihood_is_the_mass_of_each_bin():
    levels = torch.linspace(-1, 1, 256, dtype=torch.float64)
    edges = torch.cat([f64(-math.inf), (levels[1:] + levels[:-1]) / 2, f64(math.inf)])

    def cases():
        for mean, std in ((0.1, 0.3), (0.99, 0.01), (-3.0, 0.5)):
            mass, log_var = Normal(f64(mean), f64(std)).cdf(edges).diff(), torch.full_like(levels, 2 * math.log(std))
            found = discretised_log_likelihood(levels, torch.full_like(levels, mean), log_var).exp()
            there = mass > 1e-12  # beyond, the difference of two numbers near 1 has no digits
            yield close(f"N({mean}, {std}^2): sum", found.sum(), f64(1)[0], atol=1e-9)
            yield close(f"N({mean}, {std}^2): bin", found[there], mass[there], rtol=1e-3, atol=1e-12)

    assert_law(cases())


def test_the_discretised_likelihood_keeps_its_digits_in_both_tails():
    x, mean, log_var = f64(-0.5, 0.5), f64(0.5, -0.5), f64(math.log(0.01), math.log(0.01))
    left, right = discretised_log_likelihood(x, mean, log_var)
    torch.testing.assert_close(left, right, rtol=1e-12, atol=0)
    assert left < -40
