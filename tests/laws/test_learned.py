"""The learned schedule: monotone for any parameters, and trained to lower the variance of the bound."""

import copy

import pytest
import torch

from difflab.laws.schedules import LAWS
from difflab.objective.times import Stratified
from difflab.objective.weighting import Likelihood
from difflab.process.gaussian import scale
from difflab.process.learned import LearnedSchedule
from difflab.process.target import Eps
from helpers.closed_forms import f64
from helpers.laws import assert_law


def moved(seed, size=1.0):
    """A schedule after large random updates."""
    schedule, g = LearnedSchedule(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in schedule.parameters():
            p += size * torch.randn(p.shape, generator=g) * p.abs().mean()
    return schedule


def grid(n=2001):
    return torch.linspace(1e-5, 1, n, dtype=torch.float64)


def test_it_starts_almost_linear_in_the_log_snr():
    torch.testing.assert_close(LearnedSchedule().fraction(grid()), grid(), rtol=0, atol=1e-3)


def test_the_laws_of_schedules_hold_for_any_parameters(subtests):
    for law in LAWS:
        with subtests.test(law.__name__):
            assert_law(law(moved(seed, size)) for seed in range(5) for size in (1.0, 10.0))


def test_the_log_snr_keeps_its_ends_for_any_parameters():
    t = f64(0, 1e-12, 1)
    for seed in range(5):
        schedule = moved(seed, size=10.0)
        assert (schedule.fraction(grid()) - grid()).abs().max() > 0.02, "the updates did move it"
        assert (schedule.log_snr(grid()).diff() < 0).all(), seed
        torch.testing.assert_close(schedule.log_snr(t), f64(torch.inf, 13.3, -5), rtol=1e-8, atol=0)
        alpha, sigma = schedule(t)
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
        assert (alpha[0], sigma[0]) == (1, 0), seed


def test_the_rate_is_the_derivative_and_the_inverse_has_no_gradient():
    """The derivative to 1e-6 and the inverse to 1e-9: closer than the law for every schedule."""
    schedule, t = moved(0), grid()[20:-20]
    with torch.no_grad():
        rate, before, after = schedule.rate(t), schedule(t - 1e-6), schedule(t + 1e-6)
        for slope, low, high in zip(rate, before, after, strict=True):
            torch.testing.assert_close(slope, (high - low) / 2e-6, rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(schedule.time_at(schedule.log_snr(t)), t, rtol=1e-9, atol=1e-12)
    assert not schedule.time_at(schedule.log_snr(t)).requires_grad


def test_a_schedule_that_cannot_fall_is_refused(subtests):
    for settings in [{"log_snr_max": -5.0}, {"hidden": 0}]:
        with subtests.test(str(settings)), pytest.raises(ValueError, match="log_snr_max > log_snr_min and hidden >= 1"):
            LearnedSchedule(**settings)


class Model(torch.nn.Module):
    """A regression of the noise that depends on the schedule in every way that a denoiser does."""

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        g = torch.Generator().manual_seed(1)
        self.weight = torch.nn.Parameter(torch.randn(3, 3, generator=g, dtype=torch.float64))

    def losses(self, x0, eps, t):
        x_t = self.schedule(t)(x0, eps)
        out = x_t @ self.weight + scale(self.schedule.fraction(t), x_t).tanh()
        return Likelihood()(self.schedule, Eps(), t) * ((out - eps) ** 2).mean(1)


def gradients(loss, model):
    return torch.autograd.grad(loss, [model.weight, *model.schedule.parameters()])


def test_one_backward_pass_gives_the_schedule_the_squared_loss_and_the_rest_the_loss():
    model = Model(moved(2))
    x0, eps = torch.randn(2, 16, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = LearnedSchedule().time(torch.rand(16, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    plain = gradients(model.losses(x0, eps, t).mean(), model)
    squared = gradients((model.losses(x0, eps, t) ** 2).mean(), model)

    loss = model.losses(x0, eps, t)
    model.schedule.square(loss)
    found = gradients(loss.mean(), model)
    torch.testing.assert_close(found[0], plain[0])
    torch.testing.assert_close(found[1:], squared[1:], rtol=1e-5, atol=1e-12)
    assert not torch.allclose(found[1], plain[1], rtol=0.1)

    after = gradients(model.losses(x0, eps, t).mean(), model)  # the next step begins anew
    torch.testing.assert_close(after, plain)


def test_calls_of_other_shapes_keep_their_gradient():
    schedule, t = moved(2), torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    expected = torch.autograd.grad(schedule.log_snr(t[:1]).sum(), schedule.weight)
    other, own = schedule.log_snr(t[:1]), schedule.log_snr(t)
    schedule.square(own.detach() * 0)
    torch.testing.assert_close(torch.autograd.grad((other.sum() + own.mean()), schedule.weight), expected)


def test_a_copy_is_a_schedule_of_its_own():
    schedule = moved(2)
    schedule.square(schedule.log_snr(grid(4)))
    twin = copy.deepcopy(schedule)
    torch.testing.assert_close(twin.log_snr(grid()), schedule.log_snr(grid()))
    with torch.no_grad():
        twin.weight += 1
    assert (twin.log_snr(grid()) - schedule.log_snr(grid())).abs().max() > 0.01


def test_training_lowers_the_variance_of_the_bound_and_leaves_its_mean():
    """On the exact error of Gaussian data of variance v, whose mean over times is 1/2 log of a ratio of the ends."""
    schedule, v = LearnedSchedule(), 0.05
    adam = torch.optim.Adam(schedule.parameters(), 0.02)
    g = torch.Generator().manual_seed(0)

    def losses(t):
        alpha, sigma = schedule(t)
        on_eps = v * alpha**2 / (alpha**2 * v + sigma**2)
        return Likelihood()(schedule, Eps(), t) * on_eps

    with torch.no_grad():
        before = losses(grid())
    for _ in range(300):
        t, _ = Stratified()(schedule, 64, g)
        loss = losses(t)
        schedule.square(loss)
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
    with torch.no_grad():
        after = losses(grid())
    torch.testing.assert_close(torch.trapezoid(after, grid()), torch.trapezoid(before, grid()), rtol=1e-3, atol=0)
    assert after.var() < 0.25 * before.var()
