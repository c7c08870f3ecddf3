"""The likelihood of the probability flow against densities that are known: Gaussians, mixtures, pixels."""

import math

import pytest
import torch
from torch import nn

from difflab.denoiser.base import AnyDenoiser, Denoiser, Estimate
from difflab.denoiser.exact import Mixture
from difflab.denoiser.likelihood import (
    ExactTrace,
    Hutchinson,
    continuous_bits_per_dim,
    flow_bits_per_dim,
    variational_bits_per_dim,
)
from difflab.laws import Worst, close
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.noise import keyed
from difflab.process.schedule import EDM, VP, Linear, Trigonometric
from difflab.process.target import V, Velocity
from difflab.sampler.evaluations import counting
from helpers.closed_forms import MEAN, VAR, bound, draw, f64, gaussian, mass, quantised, surprisal
from helpers.conf import schedules
from helpers.laws import assert_law, mean_between


def test_the_flows_likelihood_is_the_gaussians():
    """Its Jacobian is a multiple of the identity: one probe is exact, and the path has a closed form."""
    shape, n = (1, 4, 4), 64
    x = draw(n, shape)
    x = MEAN + VAR**0.5 * (x - x.mean()) / x.std(correction=0)  # the law's own moments, which the mean depends on alone

    def cases():
        for schedule in schedules().values():
            denoiser = gaussian(schedule, shape)
            with counting(denoiser) as calls:
                found = flow_bits_per_dim(bound(denoiser, n), x, levels=None)
            first, last = schedule(f64(schedule.t_min)[0]), schedule(f64(schedule.t_max)[0])
            start, end = (m.alpha**2 * VAR + m.sigma**2 for m in (first, last))
            stretch = (end / start).sqrt()
            x_T = last.alpha * MEAN + stretch * (x - first.alpha * MEAN)
            model = surprisal(x_T, 0.0, last.sigma.item() ** 2) - stretch.log2()
            yield close(f"{schedule}: the model's value", found, model, atol=1e-3)
            # Left between the model and the data: noise at t_min, signal at t_max; of second order in the mean.
            yield close(f"{schedule}: the data's value", found.mean(), surprisal(x).mean(), atol=1e-3)
            yield Worst(f"{schedule}: evaluations", sum(calls) / n, 199)

    assert_law(cases())


def test_the_exact_trace_gives_the_density_of_a_mixture():
    means, var, weights = f64(-1, -0.6, 1, 0, 0.2, 1.2).reshape(3, 2), f64(0.1, 0.3, 0.05), f64(0.5, 0.2, 0.3)
    k = torch.multinomial(weights, 100, replacement=True, generator=keyed(1))
    x = means[k] + var[k, None].sqrt() * torch.randn(100, 2, dtype=torch.float64, generator=keyed(2))

    def cases():
        for schedule in (VP(), Linear(), Trigonometric(), EDM(), CosineBetas()):
            denoise = bound(Mixture(schedule, means, var, weights), 100)
            truth = -denoise.denoiser.log_prob(x, f64(schedule.t_min)[0]) / (2 * math.log(2))
            exact = flow_bits_per_dim(denoise, x, levels=None, trace=ExactTrace(), rtol=1e-6, atol=1e-6)
            # N(0, sigma_T^2) is not quite the law at t_max; where alpha = 0 it is.
            atol = 1e-3 if schedule(f64(schedule.t_max)).alpha == 0 else 2e-2
            yield close(f"{schedule}: exact", exact, truth, atol=atol)
            yield close(f"{schedule}: exact, in the mean", exact.mean(), truth.mean(), atol=1e-3)
            probed = [
                flow_bits_per_dim(denoise, x, levels=None, seed=seed, trace=Hutchinson(4), rtol=1e-3, atol=1e-3)
                for seed in range(3)
            ]
            yield mean_between(f"{schedule}: probed", torch.cat(probed) - exact.repeat(3), -2e-3, 2e-3)

    assert_law(cases())


def test_directions_sum_to_the_identity(subtests):
    """Exactly, or on the diagonal exactly and beside it in the mean."""
    for trace in [ExactTrace(), Hutchinson(), Hutchinson(5)]:
        with subtests.test(str(trace)):
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
    x = draw(3)
    for likelihood in (flow_bits_per_dim, continuous_bits_per_dim, variational_bits_per_dim):
        schedule = LinearBetas() if likelihood is variational_bits_per_dim else VP()
        with pytest.raises(ValueError, match="levels=None for continuous data"):
            likelihood(bound(gaussian(schedule), 3), x)


class Recording(AnyDenoiser):
    """Another denoiser, and the times of its calls."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.schedule, self.shape, self.classes, self.times = inner, inner.schedule, inner.shape, 0, []

    def forward(self, x, t, label, s=None) -> Estimate:
        self.times.append(t.item())
        return self.inner(x, t, label, s)


def test_the_flow_stays_within_the_times_that_are_trained():
    def cases():
        for schedule in schedules().values():
            denoiser = Recording(gaussian(schedule))
            flow_bits_per_dim(bound(denoiser, 4), draw(4).float(), levels=None, rtol=1e-3, atol=1e-3)
            ends, axis = f64(min(denoiser.times), max(denoiser.times)), f64(schedule.t_min, schedule.t_max)
            yield close(f"{schedule}: ends", ends, axis, rtol=1e-6)
            yield Worst(f"{schedule}: beyond t_max", max(ends[1].item() - schedule.t_max, 0.0), 0.0)

    assert_law(cases())


class Pointwise(nn.Module):
    """A tiny network for one-pixel images that depends on time and label."""

    shape, classes, learned_variance = (1, 1, 1), 2, False

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 16), nn.SiLU(), nn.Linear(16, 1))

    def forward(self, x, code, label):
        return self.layers(torch.stack([x.flatten(), code / 1000, label.float()], 1)).reshape(x.shape)


@pytest.mark.parametrize(("schedule", "target"), [(VP(), V()), (Linear(), Velocity())])
def test_a_networks_likelihood_integrates_to_one(schedule, target):
    """For any weights: p is the change of variables of N(0, sigma^2). And nothing is left of the gradients."""
    torch.manual_seed(0)
    denoiser = Denoiser(Pointwise().double(), schedule, target)
    x = torch.linspace(-12, 12, 801, dtype=torch.float64).reshape(-1, 1, 1, 1)
    for label in (0, 1):
        with torch.no_grad():
            found = flow_bits_per_dim(denoiser.bind(torch.full((801,), label)), x, levels=None)
        assert torch.trapezoid(2**-found, x.flatten()).item() == pytest.approx(1, abs=1e-3)
    assert not found.requires_grad
    assert all(p.grad is None for p in denoiser.parameters())
