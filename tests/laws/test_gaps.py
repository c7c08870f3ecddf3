"""What changes over the budget of a distillation: gaps and the loss over them, rounds and their learning rate."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from difflab.backbone import MLP
from difflab.denoiser import FlowMap
from difflab.objective import EulerianDiscrete, Karras, KarrasRoot, PseudoHuber, Share, Shrinking, Step, ToData
from difflab.objective.gap import ramp
from difflab.paradigm import FlowMapMatching, Optimisation, Restarts
from difflab.paradigm.flow_map import steps_of
from difflab.paradigm.held import Rounds
from difflab.process import EDM, GeometricSigmas, Preconditioned, Velocity
from helpers.conf import every
from helpers.flow_maps import Exact, U, samples

GAPS = Shrinking(), Share(), Karras(), KarrasRoot(), Karras(first=10, last=1000)


def test_a_gap_ends_before_it_starts_wherever_it_is():
    """`s <= r < t` on every continuous schedule: at both ends of the axis, close to the data, and in short steps."""
    for name, schedule in every("schedule").items():
        if schedule.discrete:
            continue
        low, high = schedule.t_min, schedule.t_max
        t = torch.tensor([low, low * (1 + 1e-9), 1.001 * low + 1e-9, 0.1 * high, 0.5 * high, high], dtype=torch.float64)
        for gap in GAPS:
            for progress in (0.0, 0.3, 0.9, 1.0):
                for s in (0 * t, t * 0.999):
                    r = gap(schedule, t, s, progress)
                    assert (s <= r).all(), (name, gap, progress)
                    assert (r < t).all(), (name, gap, progress)


def test_the_ramp_of_a_table_ends_with_its_last_step():
    sigma = GeometricSigmas(T=50, sigma_min=0.01, sigma_max=50.0)
    low, high = ramp(sigma, 7.0)
    assert (low.item(), high.item()) == pytest.approx((0.01 ** (1 / 7), 50 ** (1 / 7)))


def test_residuals_over_a_gap_are_finite_where_there_is_noise_alone():
    for name, schedule in every("schedule").items():
        if schedule.discrete:
            continue
        t = torch.tensor([schedule.t_max, 0.5 * schedule.t_max], dtype=torch.float64)
        exact = Exact(schedule, Velocity())
        for gap in GAPS:
            found = EulerianDiscrete(gap)(exact, exact, Step(samples(schedule, t), t, 0 * t, U[:2], 0.9))
            assert found.isfinite().all(), (name, gap)


def test_a_gap_reaches_its_last_number_of_steps_whatever_the_ratio():
    """N(k) = min(s0 2^floor(k / K'), s1) + 1 with K' = K / (log2 floor(s1 / s0) + 1): Song & Dhariwal 2023."""
    for first, last in ((10, 1280), (10, 1000), (10, 100), (10, 150), (2, 150), (3, 3), (5, 7)):
        numbers = [Karras(first, last).steps(k / 1000) for k in range(1001)]
        turns = math.log2(last // first) + 1
        assert numbers == [min(first * 2 ** math.floor(k / 1000 * turns), last) for k in range(1001)]
        assert numbers == sorted(numbers)
        assert (numbers[0], numbers[-1]) == (first, last)


def test_a_gap_with_more_steps_at_first_than_at_last_is_refused():
    for kind in (Karras, KarrasRoot):
        with pytest.raises(ValueError, match=r"first=3 must be residual\.gap\.last=2 or less"):
            kind(first=3, last=2)


def test_the_loss_of_consistency_training_is_that_of_the_paper():
    """`(sqrt(|f(x_t, t) - f(x_r, r)|^2 + c^2) - c) / (t - r)` with `c = 0.00054 sqrt(d)`: Song & Dhariwal 2023."""
    torch.manual_seed(0)
    denoiser = FlowMap(MLP((2,), 0, width=32, second_time=True), EDM(), Preconditioned())
    gap = Karras()
    parts = {"steps": ToData(), "distance": PseudoHuber(), "batch_size": 64}
    model = FlowMapMatching(denoiser, EulerianDiscrete(gap), **parts)
    noised = model.corrupt(torch.randn(64, 2), torch.zeros(64, dtype=torch.long), 0.0, 0, progress=0.5)
    found = model.loss_against(model.denoiser, noised)["residual"]
    step, schedule = steps_of(noised), denoiser.schedule
    r = gap(schedule, step.t, step.s, 0.5)
    ends = [
        x if k == 1 and not t else denoiser(x[None], t[None], noised.label[:1], 0 * t[None]).x0[0]
        for k, times in enumerate((step.t, r))
        for x, t in zip(schedule(times)(noised.x0, noised.eps), times, strict=True)
    ]
    f, g = torch.stack(ends[:64]), torch.stack(ends[64:])
    c = 0.00054 * 2**0.5
    expected = ((f - g).square().sum(1) + c**2).sqrt() - c
    torch.testing.assert_close(found.double(), expected.double() / (step.t - r), rtol=2e-3, atol=1e-5)


def test_the_rate_restarts_where_the_teacher_is_replaced():
    """In trainings whose steps the rounds divide, and do not: the first step of a round has the peak rate."""
    for rounds, steps in itertools.product((1, 3, 6), (6, 7, 100, 390, 600, 625, 626, 3125)):
        o, starts = Optimisation(lr_schedule=Restarts(rounds)), [0]
        factors = [o.factor(step, steps, 128) for step in range(steps)]
        held = SimpleNamespace(load_state_dict=starts.append)
        for done in range(1, steps):
            trained = SimpleNamespace(state_dict=lambda done=done: done)
            Rounds(rounds).follow(held, trained, (done - 1) / steps, done / steps)
        assert len(starts) == rounds
        for start, end in zip(starts, [*starts[1:], steps], strict=True):
            assert factors[start] > 1 - rounds / steps
            assert all(a > b > 0 for a, b in itertools.pairwise(factors[start:end]))
