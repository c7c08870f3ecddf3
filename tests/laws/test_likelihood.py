"""Likelihoods against densities that are known: bits per dimension of Gaussians and mixtures."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from conftest import schedules
from difflab.denoiser.base import AnyDenoiser, Denoiser, Estimate
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.denoiser.likelihood import (
    ExactTrace,
    Hutchinson,
    bits,
    continuous_bits_per_dim,
    flow_bits_per_dim,
    variational_bits_per_dim,
)
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.gaussian import discretised_log_likelihood
from difflab.process.noise import keyed
from difflab.process.schedule import EDM, VP, Linear, Trigonometric
from difflab.process.target import V, Velocity
from difflab.sampler.evaluations import counting

MEAN, VAR = 0.3, 0.25
CONTINUOUS = [s for s in schedules() if not s.values[0].discrete]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def gaussian(schedule, shape=(1, 1, 1), mean=MEAN, var=VAR):
    one = torch.ones(shape, dtype=torch.float64)
    return Gaussian(schedule, mean * one, var * one)


def draw(n, shape=(1, 1, 1), mean=MEAN, var=VAR):
    return mean + var**0.5 * torch.randn(n, *shape, dtype=torch.float64, generator=keyed(3))


def bound(denoiser, n):
    return denoiser.bind(torch.zeros(n, dtype=torch.long))


def surprisal(x, mean, var):
    """`-log2 N(x; mean, var)` per dimension."""
    return -bits(Normal(f64(mean), f64(var).sqrt()).log_prob(x))


def quantised(x):
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def mass(x):
    """`-log2` of the mass that the Gaussian gives to the bin of `x`, per dimension."""
    return -bits(discretised_log_likelihood(x, torch.full_like(x, MEAN), torch.full_like(x, math.log(VAR))))


def pixels(schedule):
    """The optimal denoiser of the quantised Gaussian."""
    x = torch.linspace(-1, 1, 256, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return Mixture(schedule, x, torch.zeros(1, dtype=torch.float64), 2 ** -mass(x))


def assert_mean(gap, low, high):
    """The mean lies between, as far as its standard error tells."""
    mean, doubt = gap.mean(), 4 * gap.std() / len(gap) ** 0.5
    assert low - doubt < mean < high + doubt


@pytest.mark.parametrize("schedule", schedules())
def test_the_flows_likelihood_is_the_gaussians(schedule):
    """Its Jacobian is a multiple of the identity: one probe is exact, and the path has a closed form."""
    shape, n = (1, 4, 4), 64
    x, denoiser = draw(n, shape), gaussian(schedule, shape)
    x = MEAN + VAR**0.5 * (x - x.mean()) / x.std(correction=0)  # the law's own moments, which the mean depends on alone
    with counting(denoiser) as calls:
        found = flow_bits_per_dim(bound(denoiser, n), x, levels=None)
    first, last = schedule(f64(schedule.t_min)[0]), schedule(f64(schedule.t_max)[0])
    start, end = (m.alpha**2 * VAR + m.sigma**2 for m in (first, last))
    stretch = (end / start).sqrt()
    x_T = last.alpha * MEAN + stretch * (x - first.alpha * MEAN)
    model = surprisal(x_T, 0.0, last.sigma.item() ** 2) - stretch.log2()
    torch.testing.assert_close(found, model, rtol=0, atol=1e-3)
    # What is left between the model and the data is noise at t_min and signal at t_max: of second order in the mean.
    assert found.mean().item() == pytest.approx(surprisal(x, MEAN, VAR).mean().item(), abs=1e-3)
    assert sum(calls) / n < 200


@pytest.mark.parametrize("schedule", [VP(), Linear(), Trigonometric(), EDM(), CosineBetas()], ids=str)
def test_the_exact_trace_gives_the_density_of_a_mixture(schedule):
    means, var, weights = f64(-1, -0.6, 1, 0, 0.2, 1.2).reshape(3, 2), f64(0.1, 0.3, 0.05), f64(0.5, 0.2, 0.3)
    mixture = Mixture(schedule, means, var, weights)
    k = torch.multinomial(weights, 100, replacement=True, generator=keyed(1))
    x = means[k] + var[k, None].sqrt() * torch.randn(100, 2, dtype=torch.float64, generator=keyed(2))
    truth = -mixture.log_prob(x, f64(schedule.t_min)[0]) / (2 * math.log(2))
    found = flow_bits_per_dim(bound(mixture, 100), x, levels=None, trace=ExactTrace(), rtol=1e-6, atol=1e-6)
    # N(0, sigma_T^2) is not quite the law at t_max; where alpha = 0 it is.
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-3 if schedule(f64(schedule.t_max)).alpha == 0 else 2e-2)
    assert (found - truth).mean().abs() < 1e-3
    probed = [
        flow_bits_per_dim(bound(mixture, 100), x, levels=None, seed=s, trace=Hutchinson(4), rtol=1e-3, atol=1e-3)
        for s in range(3)
    ]
    assert_mean(torch.cat(probed) - found.repeat(3), -2e-3, 2e-3)


@pytest.mark.parametrize("trace", [ExactTrace(), Hutchinson(), Hutchinson(5)], ids=str)
def test_directions_sum_to_the_identity(trace):
    """Exactly, or on the diagonal exactly and beside it in the mean."""
    directions = trace(torch.zeros(4000, 2, 3, dtype=torch.float64), keyed(0)).flatten(2)
    outer = torch.einsum("pbi,pbj->bij", directions, directions)
    identity = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(outer.diagonal(dim1=1, dim2=2), torch.ones(4000, 6, dtype=torch.float64))
    torch.testing.assert_close(outer.mean(0), identity, rtol=0, atol=0.0 if trace == ExactTrace() else 0.08)


def test_dequantised_images_have_the_mass_of_their_bins():
    """Of a Gaussian that is almost straight across a bin; the bound's slack is of second order in the bin's width."""
    x0 = quantised(draw(2000, (1, 2, 2)))
    inside = (x0.abs() < 1).flatten(1).all(1)  # the outermost bins reach to infinity, their noise does not
    x0 = x0[inside]
    found = flow_bits_per_dim(bound(gaussian(Linear(), (1, 2, 2)), len(x0)), x0)
    assert (found - mass(x0)).mean().item() == pytest.approx(0, abs=1e-3)


def test_continuous_data_are_not_taken_for_pixels():
    x, denoise = draw(3), bound(gaussian(VP()), 3)
    for likelihood in (flow_bits_per_dim, continuous_bits_per_dim):
        with pytest.raises(ValueError, match="levels=None for continuous data"):
            likelihood(denoise, x)
    with pytest.raises(ValueError, match="levels=None for continuous data"):
        variational_bits_per_dim(bound(gaussian(LinearBetas()), 3), x)


def test_the_discrete_bound_lies_above_the_exact_value_and_closes_as_the_table_grows():
    n = 20_000
    x0 = draw(n)
    gaps = []
    for T in (10, 100, 1000):
        found = variational_bits_per_dim(bound(gaussian(CosineBetas(T=T)), n), x0, v=1.0, levels=None)
        torch.testing.assert_close(found.total, found.prior + found.diffusion + found.reconstruction)
        gap = found.total - surprisal(x0, MEAN, VAR)
        assert_mean(gap, 0, 1 / T)
        gaps.append(gap.mean().item())
    assert gaps[0] > 4 * max(gaps[1:])


def test_the_discrete_bound_of_pixels_lies_above_the_mass_of_their_bins():
    x0 = quantised(draw(2000))
    found = variational_bits_per_dim(bound(pixels(CosineBetas(T=100)), len(x0)), x0, v=1.0)
    assert_mean(found.total - mass(x0), 0, 0.02)


@pytest.mark.parametrize("schedule", CONTINUOUS)
def test_the_continuous_bound_of_the_truth_is_the_entropy(schedule):
    """And its integral is `1/2 log (1 + snr var)` between the ends, whatever the path."""
    x0 = draw(1000, (1, 4, 4))
    found = continuous_bits_per_dim(bound(gaussian(schedule, (1, 4, 4)), len(x0)), x0, n=50, levels=None)
    first, last = schedule.log_snr(f64(schedule.t_min, schedule.t_max)).exp()
    integral = 0.5 * ((1 + first * VAR) / (1 + last * VAR)).log2()
    assert_mean(found.diffusion - integral, -1e-3, 1e-3)
    assert_mean(found.total - surprisal(x0, MEAN, VAR), 0, 5e-3)
    torch.testing.assert_close(found.total, found.prior + found.diffusion + found.reconstruction)


def test_the_continuous_bound_of_pixels_is_the_mass_of_their_bins():
    x0 = quantised(draw(2000))
    found = continuous_bits_per_dim(bound(pixels(VP()), len(x0)), x0, n=50)
    assert_mean(found.total - mass(x0), 0, 1e-3)


def test_a_table_has_no_continuous_bound():
    with pytest.raises(ValueError, match="variational_bits_per_dim"):
        continuous_bits_per_dim(bound(gaussian(LinearBetas()), 1), quantised(draw(1)))


class Recording(AnyDenoiser):
    """Another denoiser that notes the times it is asked for."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.schedule, self.shape, self.classes, self.times = inner, inner.schedule, inner.shape, 0, []

    def forward(self, x, t, label) -> Estimate:
        self.times.append(t.item())
        return self.inner(x, t, label)


@pytest.mark.parametrize("schedule", schedules())
def test_the_flow_stays_within_the_times_that_are_trained(schedule):
    denoiser = Recording(gaussian(schedule))
    flow_bits_per_dim(bound(denoiser, 4), draw(4).float(), levels=None, rtol=1e-3, atol=1e-3)
    assert min(denoiser.times) == pytest.approx(schedule.t_min)
    assert max(denoiser.times) == pytest.approx(schedule.t_max)
    assert max(denoiser.times) <= schedule.t_max


class Pointwise(nn.Module):
    """A tiny network for one-pixel images that heeds time and label."""

    shape, classes, learned_variance = (1, 1, 1), 2, False

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x, code, label):
        return self.layers(torch.stack([x.flatten(), code / 1000, label.float()], 1)).reshape(x.shape)


@pytest.mark.parametrize(("schedule", "target"), [(VP(), V()), (Linear(), Velocity())])
def test_a_networks_likelihood_integrates_to_one(schedule, target):
    """Whatever its weights: p is the change of variables of N(0, sigma^2). And nothing is left of the gradients."""
    torch.manual_seed(0)
    denoiser = Denoiser(Pointwise().double(), schedule, target)
    x = torch.linspace(-12, 12, 801, dtype=torch.float64).reshape(-1, 1, 1, 1)
    for label in (0, 1):
        with torch.no_grad():
            found = flow_bits_per_dim(denoiser.bind(torch.full((801,), label)), x, levels=None)
        assert torch.trapezoid(2**-found, x.flatten()).item() == pytest.approx(1, abs=1e-3)
    assert not found.requires_grad
    assert all(p.grad is None for p in denoiser.parameters())
