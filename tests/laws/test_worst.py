"""The laws can fail: parts that are wrong are named, and a law without a case is an error."""

import dataclasses
import math

import pytest
import torch

from difflab.laws import Worst, close, grids, schedules, targets, times, violations, weightings, worst
from difflab.objective.times import Uniform as UniformTimes
from difflab.objective.weighting import MinSNR
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import VP, Linear, Schedule
from difflab.process.target import X0, Eps, Target
from difflab.sampler.grid import Grid, Uniform
from helpers.closed_forms import f64


def test_the_worst_case_is_the_largest_error_by_its_tolerance():
    fine, near, none = Worst("fine", 1.0, 100.0), Worst("near", 0.1, 0.2), Worst("none", 0.0, 0.0)
    assert worst([fine, near, none]) is near
    assert fine.holds
    assert none.holds
    for broken in (Worst("nan", math.nan, 1.0), Worst("exact", 1e-300, 0.0), Worst("far", 3.0, 2.0)):
        assert not broken.holds
        assert worst([fine, broken, near]) is broken
    assert str(Worst("far, t=1", 3.0, 2.0)) == "far, t=1: error 3, allowed 2"


def test_the_worst_element_is_named_by_its_time():
    found = f64(1, 2, 3.5, 400, 5, 6).reshape(3, 2)
    expected = f64(1, 2, 3, 401, 5, 6).reshape(3, 2)
    assert close("x", found, expected, rtol=0.01, atol=0.1, t=f64(0.1, 0.2, 0.3)) == Worst("x, t=0.2", 0.5, 0.13)
    assert violations("x", torch.tensor([False, True, True]), f64(0.1, 0.2, 0.3)) == Worst("x, t=0.2", 2.0, 0.0)


def test_what_is_not_a_number_or_of_another_kind_breaks_a_law():
    one, infinite = f64(1), f64(math.inf)
    assert close("equal", infinite, infinite).holds
    for found, expected in ((f64(math.nan), one), (one, infinite), (infinite, one), (-infinite, infinite)):
        assert not close("x", found, expected, rtol=1.0, atol=1.0).holds
    assert not close("type", one.float(), one, atol=1.0).holds
    assert not close("shape", one[0], one, atol=1.0).holds


def test_a_law_without_a_case_is_an_error():
    for make in (lambda: worst([]), lambda: close("x", f64(), f64()), lambda: violations("x", f64() > 0)):
        with pytest.raises(ValueError, match="empty"):
            make()


@dataclasses.dataclass(frozen=True)
class Bent(VP):
    """A schedule that is wrong in one way."""

    fault: str = ""

    def __call__(self, t):
        m = super().__call__(t)
        match self.fault:
            case "time zero":
                return super().__call__(t + 1e-3)
            case "rising":
                return super().__call__(1 - t)
            case "noise":
                return Mix(m.alpha, m.sigma * torch.where(t > 0.5, -1, 1))
        return m

    def rate(self, t):
        rate = super().rate(t)
        return Mix(rate.alpha, 1.001 * rate.sigma) if self.fault == "rate" else rate

    def diffusion(self, t):
        return super().diffusion(t) * (1.001 if self.fault == "diffusion" else 1)

    def time(self, fraction):
        return 1.01 * super().time(fraction) if self.fault == "axis" else super().time(fraction)

    def time_at(self, log_snr):
        return super().time_at(log_snr) + (1e-3 if self.fault == "inverse" else 0)

    def bridge(self, s, t):
        bridge = super().bridge(s, t)
        return bridge._replace(lower=bridge.lower * (1.001 if self.fault == "bridge" else 1))

    def snap(self, times):
        return times[:-1] if self.fault == "snap" else times


def test_a_wrong_schedule_breaks_its_law(subtests):
    for fault, law in [
        ("time zero", schedules.time_zero_is_data),
        ("rising", schedules.log_snr_falls),
        ("noise", schedules.log_snr_falls),
        ("rate", schedules.rate_is_the_derivative),
        ("diffusion", schedules.the_sde_has_the_marginals),
        ("axis", schedules.training_times_lie_on_the_axis),
        ("inverse", schedules.time_at_inverts_log_snr),
        ("bridge", schedules.the_bridge_is_gaussian_conditioning),
        ("snap", schedules.snapped_times_fall_to_data),
    ]:
        with subtests.test(fault):
            assert law(Bent()).holds
            assert not law(Bent(fault=fault)).holds


class Kinked(LinearBetas):
    """Levels that are interpolated by straight lines, with half a step added to the inverse."""

    def log_snr(self, t):
        k = t.floor().clamp(1, self.T - 1).long()
        return torch.lerp(self.log_snrs[k - 1], self.log_snrs[k], t - k)

    def rate(self, t):
        return Schedule.rate(self, t)  # that of the lines

    def time_at(self, log_snr):
        return super().time_at(log_snr) + 0.5


class Flat(LinearBetas):
    """Levels that do not change between the steps."""

    def log_snr(self, t):
        return super().log_snr(t.floor())


def test_a_wrong_discrete_schedule_breaks_its_laws():
    for law in schedules.DISCRETE_LAWS:
        assert law(LinearBetas(T=30)).holds
        wrong = Flat(T=30) if law is schedules.discrete_log_snr_falls_between_the_steps else Kinked(T=30)
        assert not law(wrong).holds


class SameAsInput(Target):
    """`x_t` itself, which does not determine the pair, under a constant time code."""

    def mix(self, schedule: Schedule, t):
        return schedule(t)

    def c_in(self, m):
        return 1.1 * super().c_in(m)

    def c_noise(self, schedule: Schedule, t):
        return 0 * t


def test_a_wrong_target_breaks_every_law():
    for law in targets.LAWS:
        assert law(X0(), Linear()).holds
        assert not law(SameAsInput(), Linear()).holds


class Uncarried(MinSNR):
    """`min(snr, gamma)` on the network's target, which is another objective for each; negative at little noise."""

    def __call__(self, schedule, target, t):
        return schedule.log_snr(t).exp().clamp(max=self.gamma) * torch.where(t < 0.1, -1, 1)


def test_a_wrong_weighting_breaks_every_law():
    for law in (*weightings.LAWS, *weightings.CARRIED_LAWS):
        assert law(MinSNR(), Eps(), VP()).holds
        assert not law(Uncarried(), Eps(), VP()).holds


class Biased(UniformTimes):
    """Times of no generator, below t_min, whose weights are not those of their density."""

    def __call__(self, schedule, n, generator, progress=1.0):
        t = torch.rand(n, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        return t**2 - 0.01, torch.full_like(t, 1.1)


def test_wrong_times_break_every_law():
    for law in times.LAWS:
        assert law(UniformTimes(), VP()).holds
        assert not law(Biased(), VP()).holds


class Short(Grid):
    """One step fewer than it should make, or no step to the data."""

    def __init__(self, cut):
        self.cut = cut

    def __call__(self, schedule, steps):
        return Uniform()(schedule, steps)[self.cut]


def test_a_wrong_grid_breaks_every_law():
    for law in grids.LAWS:
        assert law(Uniform(), VP(), 10).holds
        for cut in (slice(0, -1), slice(1, None), [*range(10), 9], [0, *range(2, 10), 9, 10]):
            assert not law(Short(cut), VP(), 10).holds
