"""Targets: the 2x2 solve for every schedule, target and time."""

import pytest
import torch

from conftest import schedules, targets
from difflab.denoiser.base import Denoiser
from difflab.objective.weighting import error_ratio
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix, det, unmix
from difflab.process.schedule import Linear, Trigonometric
from difflab.process.target import Eps, PosteriorMean, Preconditioned, Score, V, Velocity


def inner_times(schedule):
    return schedule.time(torch.linspace(0.02, 0.98, 25, dtype=torch.float64))


@pytest.mark.parametrize("schedule", schedules())
@pytest.mark.parametrize("target", targets())
def test_unmixing_undoes_mixing(schedule, target):
    t = inner_times(schedule)
    x0, eps = torch.randn(2, 25, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m, n = schedule(t), target.mix(schedule, t)
    found = unmix(m(x0, eps), m, n(x0, eps), n)
    torch.testing.assert_close(found, (x0, eps), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("schedule", schedules())
@pytest.mark.parametrize("a", targets())
@pytest.mark.parametrize("b", targets())
def test_errors_convert_by_the_determinant(schedule, a, b):
    """Two estimates that agree on x_t: the ratio of their squared differences in two targets."""
    t = inner_times(schedule)
    x0, eps, d = torch.randn(3, 25, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    m = schedule(t)
    moved = x0 + d, eps - Mix(m.alpha / m.sigma, torch.zeros_like(t))(d, d)
    in_a, in_b = (n(*moved) - n(x0, eps) for n in (a.mix(schedule, t), b.mix(schedule, t)))
    ratio = (in_a**2).sum(1) / (in_b**2).sum(1)
    torch.testing.assert_close(ratio, error_ratio(schedule, t, a, b), rtol=1e-6, atol=0)


def test_edm_preconditioning_is_the_papers():
    """Karras et al. 2022, table 1: c_skip, c_out, c_in, c_noise on alpha = 1."""
    from difflab.process.schedule import Preconditioned as Schedule

    schedule, sd = Schedule(), 0.5
    t = inner_times(schedule)
    sigma = schedule(t).sigma
    c_skip, c_out = sd**2 / (sigma**2 + sd**2), sigma * sd / (sigma**2 + sd**2).sqrt()
    target = Preconditioned(sd)
    x0, eps = torch.randn(2, 25, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    f = target.mix(schedule, t)(x0, eps)
    torch.testing.assert_close(Mix(c_skip, c_out)(schedule(t)(x0, eps), f), x0)
    torch.testing.assert_close(target.c_in(schedule(t)), (sigma**2 + sd**2).rsqrt())
    torch.testing.assert_close(target.c_noise(schedule, t), sigma.log() / 4)


def test_edm_target_has_unit_variance_for_data_of_that_std():
    schedule, target = LinearBetas(), Preconditioned(0.5)
    t = inner_times(schedule)
    n = target.mix(schedule, t)
    torch.testing.assert_close(n.alpha**2 * 0.25 + n.sigma**2, torch.ones_like(t))


def test_the_flows_velocity_is_the_path_s_derivative_and_v_is_not():
    t = torch.tensor([0.25], dtype=torch.float64)
    assert [c.item() for c in Velocity().mix(Linear(), t)] == [-1, 1]
    assert [c.item() for c in V().mix(Linear(), t)] == [-0.25, 0.75]


class Nothing(torch.nn.Module):
    shape, classes, learned_variance = (1, 4, 4), 0, False


@pytest.mark.parametrize("schedule", [Linear(), Trigonometric()])
@pytest.mark.parametrize("target", [Eps(), Score(), PosteriorMean()])
def test_singular_combinations_are_refused_with_the_way_out(schedule, target):
    singular = det(schedule(torch.ones(1)), target.mix(schedule, torch.ones(1))).abs() < 1e-6
    if target == PosteriorMean():
        assert not singular
        Denoiser(Nothing(), schedule, target)
        return
    with pytest.raises(ValueError, match=r"schedule\.t_max=0\.999"):
        Denoiser(Nothing(), schedule, target)
    Denoiser(Nothing(), type(schedule)(t_max=0.999), target)
