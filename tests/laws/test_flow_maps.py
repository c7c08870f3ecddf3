"""The exact flow map has no residual, for any schedule and target; another one has."""

import itertools

import torch

from difflab.denoiser import ExactFlowMap, Gaussian, Mixture
from difflab.laws import close
from difflab.laws.gaussian import MEAN, VAR, flow
from difflab.objective import (
    Anywhere,
    Difference,
    Eulerian,
    EulerianDiscrete,
    ForwardMode,
    Lagrangian,
    Semigroup,
    Step,
)
from difflab.process import EDM, VP, X0, Eps, Linear, Preconditioned, Score, SubVP, Trigonometric, V, Velocity
from difflab.process.chord import slope
from difflab.process.gaussian import det, scale
from helpers.closed_forms import normal
from helpers.conf import schedules
from helpers.flow_maps import LABEL, SHARES, Exact, U, samples
from helpers.laws import assert_law

TARGETS = (X0(), Eps(), V(), Velocity(), Score(), Preconditioned())


class FixedGap:
    """A gap of half of the step."""

    def __call__(self, schedule, t, s, progress):
        return (s + t) / 2


RESIDUALS = {
    "eulerian": Eulerian(ForwardMode()),
    "lagrangian": Lagrangian(ForwardMode()),
    "semigroup": Semigroup(Anywhere()),
    "eulerian_discrete": EulerianDiscrete(FixedGap()),
}


def regular(schedule, target):
    """Whether the target determines the pair at both ends, as a denoiser asks."""
    t = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    d = det(schedule(t), target.mix(schedule, t)).abs()
    return bool((d.isfinite() & (d > 1e-12)).all())


def test_the_exact_map_has_no_residual_for_any_schedule_and_target():
    cases = []
    for schedule, target in itertools.product(schedules().values(), TARGETS):
        if not regular(schedule, target):
            continue
        t, s = (schedule.t_min + (schedule.t_max - schedule.t_min) * SHARES).unbind(1)
        x, exact = samples(schedule, t), Exact(schedule, target)
        stop = s.clamp(min=schedule.t_min)  # the Lagrangian residual is in the units of the output there
        size = 1 + exact(x, t, s).abs() + exact.output(exact.back(x, t, stop), stop).abs()
        for name, residual in RESIDUALS.items():
            found = residual(exact, exact, Step(x, t, s, U, 1.0)) / size
            digits = (schedule(stop).sigma / 1e-3).clamp(max=1) ** (2 if isinstance(target, Score) else 1)
            found = scale(digits, found)  # small differences are over sigma, or its square
            cases.append(close(f"{name} on {schedule}, {target}", found, torch.zeros_like(found), atol=1e-10, t=t))
    assert len(cases) > 200
    assert_law(cases)


def test_differences_are_derivatives_close_to_the_data():
    """The exact map has no residual by them either, at log-SNR 3 to 12, on schedules whose sigma changes fast there."""
    cases = []
    pairs = (EDM(), V()), (EDM(), Preconditioned()), (VP(), V()), (SubVP(), V()), (Linear(), Velocity())
    for schedule, target in pairs:
        t = schedule.time_at(torch.tensor([12.0, 9.0, 6.0, 3.0], dtype=torch.float64))
        x, exact = samples(schedule, t), Exact(schedule, target)
        found = Eulerian(Difference())(exact, exact, Step(x, t, t / 2, U[:4], 1.0)) / (1 + exact(x, t, t / 2).abs())
        cases.append(close(f"{schedule}, {target}", found, torch.zeros_like(found), atol=2e-3, t=t))
    assert_law(cases)


def test_a_wrong_map_has_each_residual():
    """Of a map that stops short, so that the law above can fail."""

    class Short(Exact):
        def __call__(self, x, t, s):
            return super().__call__(x, t, s) * 1.01

        fixed = __call__

    schedule = Linear()
    t, s = SHARES[:3].unbind(1)
    x, exact, short = samples(schedule, t), Exact(schedule, Velocity()), Short(schedule, Velocity())
    for name, residual in RESIDUALS.items():
        if name != "semigroup":  # a map that is short by one factor is nearly one of the same semigroup
            assert residual(short, exact, Step(x, t, s, U[:3], 1.0)).abs().mean() > 1e-3, name


def test_published_methods_are_the_residuals_on_their_schedule_and_target():
    """MeanFlow's identity on straight paths; sCM's tangent on the circle with sigma_d = 1."""
    t, s = SHARES[1:4].unbind(1)
    x, y, dy, z = (normal(3, 2, seed=k) for k in range(4))

    class Told:
        schedule, target = Linear(), Velocity()

        def __call__(self, x, t, s):
            return y

        def fixed(self, x, t, s):
            return y

        def output(self, x, t):
            return z

    class Known:
        mixed = True

        def __call__(self, f, low, high, time):
            return dy

    told = Told()
    found = Eulerian(Known())(told, told, Step(x, t, s, U[:3], 1.0))
    assert_law([close("MeanFlow", found, y - (z - scale(t - s, dy)), atol=1e-12)])
    told.schedule, told.target = Trigonometric(), V()
    angle = told.schedule(t).sigma.asin()
    rate = torch.pi / 2  # of the angle by time
    dx = slope(told.schedule, told.target, x, t, z) / rate
    # f = cos(a) x - sin(a) F, df/da = -cos(a) (F - dx/da) - sin(a) (x + dF/da)
    tangent = -scale(angle.cos(), y - dx) - scale(angle.sin(), x + dy / rate)
    found = Eulerian(Known())(told, told, Step(x, t, 0 * s, U[:3], 1.0))
    assert_law([close("sCM", found, -tangent, atol=1e-12)])


def test_flow_maps_of_mixtures_are_exact():
    """The semigroup to 1e-10, and the maps of one Gaussian by both ways."""
    means = torch.tensor([[-1.0, 0.3], [0.5, -0.2], [1.2, 1.0]], dtype=torch.float64)
    law = torch.tensor([0.04, 0.01, 0.1], dtype=torch.float64), torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    cases = []
    for schedule in schedules().values():
        t, s = (schedule.t_min + (schedule.t_max - schedule.t_min) * SHARES[:4]).unbind(1)
        x = scale(torch.hypot(*schedule(t)), normal(4, 2)).detach()
        exact = ExactFlowMap(Mixture(schedule, means, *law))

        class Map(Exact):
            def __call__(self, x, t, s, exact=exact):
                return exact(x, t, LABEL[: len(x)], s).out

            fixed = __call__

        found = Semigroup(Anywhere())(Map(schedule, X0()), None, Step(x, t, s, U[:4], 1.0))
        cases.append(close(f"semigroup on {schedule}", found, torch.zeros_like(found), atol=1e-9))
        one = torch.tensor([[MEAN, MEAN]], dtype=torch.float64)
        single = Mixture(schedule, one, one[0, :1] * 0 + VAR, one[0, :1] * 0 + 1)
        by_solver, closed = ExactFlowMap(single), ExactFlowMap(Gaussian(schedule, one[0], one[0] * 0 + VAR))
        start = samples(schedule, t, 2).detach()
        ends = [schedule(s)(*each(start, t, LABEL[:4], s)[:2]) for each in (by_solver, closed)]
        cases.append(close(f"Gaussian on {schedule}", *ends, rtol=1e-9, atol=1e-9))
        cases.append(close(f"closed form on {schedule}", ends[1], rows(schedule, t, s, start), rtol=1e-9, atol=1e-9))
    assert_law(cases)


def rows(schedule, t, s, x):
    return torch.cat([flow(schedule, *ends, row[None]) for *ends, row in zip(t, s, x, strict=True)])
