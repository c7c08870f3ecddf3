"""Targets: the laws, for every target on every schedule, and what is refused."""

import itertools

import pytest
import torch

from difflab.denoiser.base import Denoiser
from difflab.laws import close, targets
from difflab.laws.schedules import inner_times
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import det
from difflab.process.schedule import Linear, Trigonometric
from difflab.process.target import Eps, PosteriorMean, Preconditioned, Score, V, Velocity
from helpers import conf
from helpers.closed_forms import f64
from helpers.laws import assert_law


def test_every_target_on_every_schedule(subtests):
    for law in targets.LAWS:
        with subtests.test(law.__name__):
            assert_law(law(*pair) for pair in itertools.product(conf.targets().values(), conf.schedules().values()))


def test_the_preconditioned_target_has_unit_variance_for_data_of_its_std():
    schedule, target = LinearBetas(), Preconditioned(0.5)
    t = inner_times(schedule)
    n = target.mix(schedule, t)
    assert_law([close("variance", n.alpha**2 * 0.25 + n.sigma**2, torch.ones_like(t), rtol=1e-7, atol=1e-7, t=t)])


def test_the_flows_velocity_is_the_derivative_of_the_path_and_v_is_not():
    t = f64(0.25)
    assert [c.item() for c in Velocity().mix(Linear(), t)] == [-1, 1]
    assert [c.item() for c in V().mix(Linear(), t)] == [-0.25, 0.75]


class Nothing(torch.nn.Module):
    shape, classes, learned_variance = (1, 4, 4), 0, False


def test_targets_that_are_singular_at_the_noise_end_are_refused_with_the_way_out(subtests):
    for schedule in [Linear, Trigonometric]:
        with subtests.test(schedule.__name__):
            end = torch.ones(1, dtype=torch.float64)
            for target in (Eps(), Score()):
                assert det(schedule()(end), target.mix(schedule(), end)).abs() < 1e-12
                with pytest.raises(ValueError, match=r"schedule\.t_max=0\.999"):
                    Denoiser(Nothing(), schedule(), target)
                assert Denoiser(Nothing(), schedule(t_max=0.999), target).target == target
            assert det(schedule()(end), PosteriorMean().mix(schedule(), end)).abs() > 1e-6
            assert Denoiser(Nothing(), schedule(), PosteriorMean()).target == PosteriorMean()
