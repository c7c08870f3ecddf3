"""The variational bounds, of discrete chains and in continuous time, against densities that are known."""

import pytest
import torch

from difflab.denoiser.base import Estimate
from difflab.denoiser.likelihood import continuous_bits_per_dim, variational_bits_per_dim, vlb_term
from difflab.laws import close
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.schedule import VP
from difflab.process.target import Eps
from helpers.closed_forms import VAR, bound, draw, f64, gaussian, mass, normal, pixels, quantised, surprisal
from helpers.conf import schedules
from helpers.laws import assert_law, mean_between


def plain(schedule, **law):
    """The optimal denoiser of a Gaussian, whose variance is not learned."""
    return gaussian(schedule, learned_variance=False, **law)


def test_the_discrete_bound_lies_above_the_exact_value_and_closes_as_the_chain_grows():
    n = 20_000
    x0 = draw(n)
    gaps = []
    for T in (10, 100, 1000):
        found = variational_bits_per_dim(bound(plain(CosineBetas(T=T)), n), x0, v=1.0, decoder_v=1.0, levels=None)
        torch.testing.assert_close(found.total, found.prior + found.diffusion + found.reconstruction)
        gap = found.total - surprisal(x0)
        assert_law([mean_between(f"T={T}", gap, 0, 1 / T)])
        gaps.append(gap.mean().item())
    assert gaps[0] > 4 * max(gaps[1:])


def test_the_discrete_bound_of_a_gaussian_s_pixels_closes_too():
    """By the denoiser of the Gaussian itself, which knows nothing of the bins."""
    law = {"mean": 0.1, "var": 0.25**2}
    x0 = quantised(draw(4000, **law))
    gaps = []
    for T in (50, 200, 1000):
        found = variational_bits_per_dim(bound(plain(LinearBetas(T=T), **law), len(x0)), x0, v=1.0, decoder_v=1.0)
        torch.testing.assert_close(found.total, found.prior + found.diffusion + found.reconstruction)
        gap = found.total - mass(x0, **law)
        assert gap.mean() > -3 * gap.std() / len(x0) ** 0.5
        gaps.append(gap.mean().item())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.05


def test_the_discrete_bound_of_pixels_lies_above_the_mass_of_their_bins():
    x0 = quantised(draw(2000))
    found = variational_bits_per_dim(bound(pixels(CosineBetas(T=100)), len(x0)), x0, v=1.0, decoder_v=1.0)
    assert_law([mean_between("gap", found.total - mass(x0), 0, 0.02)])


def test_terms_of_the_bound_vanish_for_the_truth():
    """KL between the posterior and itself; the network that knows x0."""
    schedule, t, (x0, eps) = LinearBetas(), f64(2, 300, 700, 1000), normal(2, 4, 3, 5, 5, seed=5)
    true = Estimate(x0, eps, Eps().mix(schedule, t)(x0, eps))
    assert_law([close("L_{t-1}", vlb_term(schedule, true, x0, eps, t), torch.zeros_like(t), atol=1e-7, t=t)])


def test_the_continuous_bound_of_the_truth_is_the_entropy():
    """And its integral is `1/2 log (1 + snr var)` between the ends, for any path."""
    x0 = draw(1000, (1, 4, 4))

    def cases():
        for schedule in (schedule for schedule in schedules().values() if not schedule.discrete):
            denoise = bound(plain(schedule, shape=(1, 4, 4)), len(x0))
            found = continuous_bits_per_dim(denoise, x0, n=50, levels=None)
            first, last = schedule.log_snr(f64(schedule.t_min, schedule.t_max)).exp()
            integral = 0.5 * ((1 + first * VAR) / (1 + last * VAR)).log2()
            yield mean_between(f"{schedule}: diffusion", found.diffusion - integral, -1e-3, 1e-3)
            yield mean_between(f"{schedule}: total", found.total - surprisal(x0), 0, 5e-3)
            parts = found.prior + found.diffusion + found.reconstruction
            yield close(f"{schedule}: parts", parts, found.total, rtol=1e-7, atol=1e-7)

    with torch.no_grad():
        assert_law(cases())


def test_the_continuous_bound_of_pixels_is_the_mass_of_their_bins():
    x0 = quantised(draw(2000))
    found = continuous_bits_per_dim(bound(pixels(VP()), len(x0)), x0, n=50)
    assert_law([mean_between("gap", found.total - mass(x0), 0, 1e-3)])


def test_a_discrete_schedule_has_no_continuous_bound():
    with pytest.raises(ValueError, match="variational_bits_per_dim"):
        continuous_bits_per_dim(bound(plain(LinearBetas()), 1), quantised(draw(1)))
