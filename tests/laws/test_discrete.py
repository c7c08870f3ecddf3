"""Discrete schedules: short, long and steep ones, and what they discretise."""

import pytest
import torch

from difflab.laws import close
from difflab.laws.schedules import DISCRETE_LAWS, LAWS
from difflab.process.discrete import Betas, CosineBetas, GeometricSigmas, LinearBetas, QuadraticBetas, SigmoidBetas
from difflab.process.gaussian import bridge
from difflab.process.schedule import VP
from helpers.closed_forms import f64
from helpers.laws import assert_law


class Steep(Betas):
    """Betas that leap, which an unlimited spline would overshoot."""

    def betas(self):
        return f64(1e-4, 1e-4, 0.99, 1e-4, 0.5, 0.999)


SCHEDULES = [
    LinearBetas(),
    QuadraticBetas(),
    QuadraticBetas(beta_min=0.00085, beta_max=0.012),
    SigmoidBetas(),
    CosineBetas(),
    CosineBetas(T=4000),
    CosineBetas(T=10),
    LinearBetas(T=25),
    GeometricSigmas(),
    GeometricSigmas(T=2),
    Steep(T=6),
]


def test_every_length_and_shape(subtests):
    for law in [*LAWS, *DISCRETE_LAWS]:
        with subtests.test(law.__name__):
            assert_law(law(schedule) for schedule in SCHEDULES)


def test_uniform_training_times_are_exactly_the_steps():
    fractions = (torch.arange(10000, dtype=torch.float64) + 0.5) / 10000
    steps, counts = LinearBetas(T=100).time(fractions).unique(return_counts=True)
    assert steps.tolist() == list(range(1, 101))
    assert counts.tolist() == [100] * 100


def test_at_the_integers_alpha_squared_is_the_product_of_the_betas():
    def cases():
        for schedule in (s for s in SCHEDULES if isinstance(s, Betas)):
            t = torch.arange(schedule.T + 1, dtype=torch.float64)
            product = torch.cat([f64(1), torch.cumprod(1 - schedule.betas(), 0)])
            alpha, sigma = schedule(t)
            yield close(f"{schedule}: alpha", alpha, product.sqrt(), rtol=2e-15, t=t)
            yield close(f"{schedule}: sigma", sigma, (1 - product).sqrt(), rtol=2e-15, t=t)

    assert_law(cases())


def test_where_variance_is_preserved_the_upper_variance_of_the_bridge_is_beta():
    schedule, t = LinearBetas(), torch.arange(1, 1001, dtype=torch.float64)
    upper = bridge(schedule(t - 1), schedule(t)).upper
    assert_law([close("upper variance", upper, schedule.betas(), rtol=1e-9, t=t)])


def test_a_fine_chain_is_the_process_that_it_discretises():
    """Betas b / T with b linear from 0.1 to 20, T times finer than a step: VP, whose alpha at 1 differs by O(1 / T)."""
    for T, tolerance in ((1000, 2e-2), (10000, 2e-3)):
        t = torch.linspace(0.1, 0.99, 7, dtype=torch.float64)
        fine, vp = LinearBetas(T=T), VP()
        torch.testing.assert_close(fine.log_snr(t * T), vp.log_snr(t), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(T * fine.rate(t * T).sigma, vp.rate(t).sigma, rtol=5 * tolerance, atol=tolerance)


def test_more_steps_than_there_are_is_refused():
    with pytest.raises(ValueError, match="at most 50 are possible"):
        LinearBetas(T=50).snap(torch.linspace(50, 0, 52, dtype=torch.float64))


def test_betas_outside_the_unit_interval_are_refused(subtests):
    for settings in [{"T": 1}, {"T": 10}, {"beta_min": -1e-4}]:
        with subtests.test(str(settings)), pytest.raises(ValueError, match="every beta in"):
            LinearBetas(**settings)


def test_noise_levels_that_do_not_rise_are_refused(subtests):
    for settings, message in [
        ({"sigma_min": 0.0}, "sigma_min must lie"),
        ({"sigma_min": 2.0, "sigma_max": 1.0}, "sigma_min must lie"),
        ({"T": 1}, "T >= 2"),
    ]:
        with subtests.test(str(settings)), pytest.raises(ValueError, match=message):
            GeometricSigmas(**settings)
