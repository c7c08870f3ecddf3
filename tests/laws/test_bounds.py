"""The variational bounds, of discrete chains and in continuous time, against densities that are known."""

import pytest
import torch

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.likelihood import continuous_bits_per_dim, variational_bits_per_dim, vlb_term
from difflab.laws import Worst, close
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.schedule import VE, VP, SubVP
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


@pytest.mark.long
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


def test_some_steps_estimate_the_whole_chain_without_bias():
    """And on Gaussian data every draw has almost the same value: a chain's terms are in proportion to their law."""
    x0 = draw(4000)

    def cases():
        for schedule in (CosineBetas(T=200), LinearBetas(T=200)):
            denoise = bound(plain(schedule), len(x0))
            whole = variational_bits_per_dim(denoise, x0, levels=None)
            for steps in (1, 8):
                some = variational_bits_per_dim(denoise, x0, seed=1, levels=None, steps=steps)
                yield mean_between(f"{schedule}, {steps} steps", some.diffusion - whole.diffusion, 0, 0)
                spread = some.diffusion.std() / (whole.diffusion.mean() / steps**0.5)
                yield Worst(f"{schedule}, {steps} steps: spread", spread.item(), 2**0.5 * 1.3)  # that of one chi-square
                assert torch.equal(some.prior, whole.prior)

    assert_law(cases())


def reverse_sde(schedule, denoise, steps=4000):
    """Mean and variance that a linear denoiser's reverse SDE reaches at t_min, from N(0, sigma_T^2), and there x0's.

    `dx = (f x - g^2 score) dt + g dw` with `score = -eps_hat / sigma`, in log-SNR, by the midpoint rule.
    """
    ends = schedule.log_snr(f64(schedule.t_min, schedule.t_max))
    times = schedule.time_at(torch.lerp(ends[1], ends[0], torch.linspace(0, 1, 2 * steps + 1, dtype=torch.float64)))
    times[0], times[-1] = schedule.t_max, schedule.t_min
    x = f64(0.0, 1.0).reshape(2, 1, 1, 1, 1)
    at_0, at_1 = (denoise(each.expand(len(times), 1, 4, 4), times).eps[:, 0, 0, 0] for each in x)
    m, drift, g2 = schedule(times), schedule.drift(times), schedule.diffusion(times) ** 2
    slope, shift = drift + g2 * (at_1 - at_0) / m.sigma, g2 * at_0 / m.sigma
    mean, var = 0.0, m.sigma[0].item() ** 2
    for k in range(1, 2 * steps, 2):
        h = (times[k + 1] - times[k - 1]).item()
        a, b, g = slope[k].item(), shift[k].item(), g2[k].item()
        mean, var = (
            mean + h * (a * (mean + h / 2 * (a * mean + b)) + b),
            var + h * (2 * a * (var + h / 2 * (2 * a * var - g)) - g),
        )
    alpha, sigma = m.alpha[-1].item(), m.sigma[-1].item()
    return mean / alpha, (var + sigma**2) / alpha**2


class Off(AnyDenoiser):
    """The optimal denoiser of a Gaussian, with the noise that it predicts scaled and shifted."""

    def __init__(self, schedule, scaled, shifted):
        super().__init__()
        self.inner, self.schedule = plain(schedule, shape=(1, 4, 4)), schedule
        self.scaled, self.shifted = scaled, shifted

    def forward(self, x, t, label, s=None):
        estimate = self.inner(x, t, label)
        return estimate._replace(eps=self.scaled * estimate.eps + self.shifted)


@pytest.mark.long
def test_the_continuous_bound_lies_above_the_likelihood_of_the_reverse_sde():
    """Of VE, VP and sub-VP, whose density for a linear score is a known Gaussian; the truth reaches it."""
    x0 = draw(4000, (1, 4, 4))

    def cases():
        for schedule in (VE(), VP(), SubVP()):
            for scaled, shifted in [(1.0, 0.0), (0.9, 0.0), (1.0, 0.1), (1.05, -0.1)]:
                denoiser = Off(schedule, scaled, shifted)
                law = reverse_sde(schedule, bound(denoiser, 8001))
                found = continuous_bits_per_dim(bound(denoiser, len(x0)), x0, n=32, levels=None).total
                slack = 5e-3 if (scaled, shifted) == (1.0, 0.0) else 10.0
                case = f"{schedule}: eps scaled by {scaled}, shifted by {shifted}"
                yield mean_between(case, found - surprisal(x0, *law), 0, slack)

    with torch.no_grad():
        assert_law(cases())


def test_the_continuous_bound_of_pixels_is_the_mass_of_their_bins():
    x0 = quantised(draw(2000))
    found = continuous_bits_per_dim(bound(pixels(VP()), len(x0)), x0, n=50)
    assert_law([mean_between("gap", found.total - mass(x0), 0, 1e-3)])


def test_a_discrete_schedule_has_no_continuous_bound():
    with pytest.raises(ValueError, match="variational_bits_per_dim"):
        continuous_bits_per_dim(bound(plain(LinearBetas()), 1), quantised(draw(1)))
