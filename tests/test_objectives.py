"""Every paradigm's objective, on data whose optimal denoiser is known: collected from conf/paradigm."""

import itertools

import pytest
import torch
from torch import nn

from conftest import composed, options
from difflab.denoiser.base import AnyDenoiser, Denoiser, velocity
from difflab.denoiser.exact import Gaussian
from difflab.experiment.build import build
from difflab.objective.coupling import Independent, OptimalTransport
from difflab.objective.times import Uniform
from difflab.objective.weighting import Simple
from difflab.paradigm.base import TRAINING, Optimisation
from difflab.paradigm.rectified_flow import RectifiedFlow, straightness
from difflab.process.gaussian import Mix, det, scale
from difflab.process.schedule import Linear
from difflab.process.target import Velocity
from difflab.sampler.euler import Euler

MEAN, VAR = 0.3, 0.25
GENERATIVE = [p for p in options("paradigm") if "classifier" not in p]
PRESETS = [p for p in GENERATIVE if p not in ("improved_ddpm", "improved_ddpm_vlb", "exact")]


class Optimal(AnyDenoiser):
    """The optimal denoiser of N(MEAN, VAR), whose output is in any target."""

    def __init__(self, schedule, target):
        super().__init__()
        one = torch.ones(2, dtype=torch.float64)
        self.gaussian, self.schedule, self.target = Gaussian(schedule, MEAN * one, VAR * one), schedule, target
        self.shape, self.classes = (2,), 0

    def forward(self, x, t, label):
        estimate = self.gaussian(x, t, label)
        return estimate._replace(out=self.target.mix(self.schedule, t)(estimate.x0, estimate.eps))


def data(n):
    g = torch.Generator().manual_seed(0)
    x0 = MEAN + VAR**0.5 * torch.randn(n, 2, dtype=torch.float64, generator=g)
    return x0, torch.zeros(n, dtype=torch.long)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_optimal_network_has_the_irreducible_loss(preset):
    """Var(x0 | x_t) = v sigma^2 / (alpha^2 v + sigma^2), carried to the target by the determinant, times the weight."""
    n = 8192
    config = composed(f"paradigm={preset}", "experiment=toy", f"batch_size={n}", "coupling=independent")
    model = build(config["model"])
    model.denoiser = Optimal(model.denoiser.schedule, model.denoiser.target)
    schedule, target = model.denoiser.schedule, model.denoiser.target
    with torch.no_grad():
        noised = model.corrupt(*data(n), 0.0, TRAINING, 0)
        (loss,) = model.loss(noised).values()
        m = schedule(noised.t)
        variance = VAR * m.sigma**2 / (m.alpha**2 * VAR + m.sigma**2)
        expected = variance * (det(m, target.mix(schedule, noised.t)) / m.sigma) ** 2
        expected = expected * model.weighting(schedule, target, noised.t)
    # of chi-square with 2 degrees of freedom: a relative standard deviation of 1 for each sample
    tolerance = 4 * expected.norm() / expected.sum()
    assert loss.sum().item() == pytest.approx(expected.sum().item(), rel=tolerance.item())
    assert tolerance < 0.2


@pytest.mark.parametrize("preset", GENERATIVE)
def test_a_coupling_is_for_flows_alone(preset):
    config = composed(f"paradigm={preset}", "experiment=toy", "coupling=optimal_transport")
    if "RectifiedFlow" in config["model"]["_target_"]:
        assert build(config["model"]).coupling == OptimalTransport()
    else:
        with pytest.raises(ValueError, match=r"choose coupling=independent, or\s+paradigm=rectified_flow"):
            build(config["model"])


@pytest.mark.parametrize("preset", GENERATIVE)
def test_a_learned_variance_is_for_the_bound_alone(preset):
    if preset == "exact":
        return
    config = composed(f"paradigm={preset}", "experiment=toy", "backbone.learned_variance=true")
    if preset.startswith("improved_ddpm"):
        assert build(config["model"]).denoiser.learned_variance
    else:
        with pytest.raises(ValueError, match=r"backbone\.learned_variance=false, or paradigm=improved_ddpm"):
            build(config["model"])


def test_vdm_needs_a_schedule_that_learns():
    config = composed("paradigm=vdm", "experiment=toy", "schedule=vp")
    with pytest.raises(ValueError, match="choose schedule=learned"):
        build(config["model"])


class Reflowed(nn.Module):
    """The velocity `(1 - sqrt v) eps - m` after an exact reflow, of N(m, v) in two dimensions."""

    shape, classes, learned_variance = (2,), 0, False

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1 - VAR**0.5, dtype=torch.float64))

    def forward(self, x, code, label):
        t = code.double() / 1000
        x = x / scale(((1 - t) ** 2 + t**2).rsqrt(), torch.ones_like(x))  # as the target scaled it
        eps = scale(1 / ((1 - t) * VAR**0.5 + t), x - scale((1 - t) * MEAN, torch.ones_like(x)))
        return self.gain * eps - MEAN


def reflowed(n):
    denoiser = Denoiser(Reflowed(), Linear(), Velocity())
    return RectifiedFlow(denoiser, Uniform(), Simple(), Independent(), Optimisation(), n)


def test_the_pairs_of_an_exact_flow_leave_no_loss():
    """(eps, m + sqrt(v) eps): Liu et al. 2023, whose 2-rectified flow of Gaussians is known."""
    model = reflowed(64)
    eps = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x0 = MEAN + VAR**0.5 * eps
    noised = model.corrupt(x0, torch.zeros(64, dtype=torch.long), 0.0, TRAINING, 0, eps=eps)
    assert torch.equal(noised.eps, eps)
    (loss,) = model.loss(noised).values()
    assert loss.max() < 1e-12


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_after_an_exact_reflow_any_number_of_eulers_steps_is_exact(steps):
    denoise = reflowed(8).denoiser.bind(torch.zeros(8, dtype=torch.long))
    eps = x = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for t, s in itertools.pairwise(torch.linspace(1, 0, steps + 1, dtype=torch.float64)):
        x, _ = Euler().step(denoise, x, t, s, None, torch.zeros_like)
    torch.testing.assert_close(x, MEAN + VAR**0.5 * eps)


def test_straightness_is_zero_on_straight_paths_and_the_integral_on_bent_ones():
    """x_t = (1 - t) m + s(t) eps with s^2 = (1 - t)^2 v + t^2, so that S = eps^2 int (s' - (1 - sqrt v))^2 dt."""
    eps = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    label = torch.zeros(5, dtype=torch.long)
    assert straightness(reflowed(5).denoiser.bind(label), eps).max() < 1e-8
    one = torch.ones(2, dtype=torch.float64)
    denoise = Gaussian(Linear(), MEAN * one, VAR * one).bind(label)
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    rate = (t - (1 - t) * VAR) / ((1 - t) ** 2 * VAR + t**2).sqrt()
    integral = torch.trapezoid((rate - (1 - VAR**0.5)) ** 2, t)
    found = straightness(denoise, eps, steps=4000)
    torch.testing.assert_close(found, (eps**2).mean(1) * integral, rtol=5e-3, atol=1e-5)


def test_the_velocity_is_the_derivative_of_the_exact_path():
    """d/dt of x_t = (1 - t) m + s(t) eps."""
    t = torch.tensor(0.3, dtype=torch.float64)
    eps = torch.randn(4, 2, dtype=torch.float64)
    spread = ((1 - t) ** 2 * VAR + t**2).sqrt()
    denoise = Gaussian(Linear(), torch.full((2,), MEAN).double(), torch.full((2,), VAR).double()).bind(
        torch.zeros(4, dtype=torch.long)
    )
    x = Mix((1 - t) * MEAN, spread)(torch.ones_like(eps), eps)
    expected = -MEAN + (t - (1 - t) * VAR) / spread * eps
    torch.testing.assert_close(velocity(denoise, x, t), expected)
