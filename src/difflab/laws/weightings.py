"""Laws of loss weights: finite and positive, and the same objective for every target."""

from __future__ import annotations

from collections.abc import Callable

import torch

from difflab.laws.schedules import inner_times
from difflab.laws.worst import Worst, close, violations, worst
from difflab.objective.weighting import Weighting, error_ratio
from difflab.process.gaussian import Mix, det
from difflab.process.schedule import Schedule
from difflab.process.target import X0, Target


def errors_convert_by_the_determinant(a: Target, b: Target, schedule: Schedule) -> Worst:
    """`|y_a - y_a'|^2 / |y_b - y_b'|^2 = (det_a / det_b)^2` for two estimates of the pair that agree on `x_t`."""
    t = inner_times(schedule)
    x0, eps, d = torch.randn(3, len(t), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    m = schedule(t)
    other = x0 + d, eps - Mix(m.alpha / m.sigma, torch.zeros_like(t))(d, d)
    in_a, in_b = (n(*other) - n(x0, eps) for n in (a.mix(schedule, t), b.mix(schedule, t)))
    ratio = (in_a**2).sum(1) / (in_b**2).sum(1)
    return close(f"error in {a} by error in {b} on {schedule}", ratio, error_ratio(schedule, t, a, b), rtol=1e-6, t=t)


def weights_are_finite_and_positive(weighting: Weighting, target: Target, schedule: Schedule) -> Worst:
    """Weights are finite and not negative, to both ends of the trained axis, and positive where alpha > 0.

    At every time where the target determines the clean sample. At alpha = 0 a weight may vanish. Shape of `t`, float64.
    """
    ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    t = torch.cat([ends, inner_times(schedule)])
    d = det(schedule(t), target.mix(schedule, t)).abs()
    t = t[d.isfinite() & (d > 1e-12)]
    weight, case = weighting(schedule, target, t), f"weight {weighting} of {target} on {schedule}"
    lost = ~weight.isfinite() | ~torch.where(schedule(t).alpha > 0, weight > 0, weight >= 0)
    return worst([violations(case, lost, t), close(f"{case}: shape and type", torch.zeros_like(weight), 0 * t)])


def the_objective_is_the_same_for_every_target(weighting: Weighting, target: Target, schedule: Schedule) -> Worst:
    """`w(target) |error in target|^2 = w(x0) |error in x0|^2`, of a weight that is stated on one target and carried."""
    t = inner_times(schedule)
    carried = weighting(schedule, target, t) * error_ratio(schedule, t, target, X0())
    return close(f"{weighting} of {target} on {schedule}", carried, weighting(schedule, X0(), t), rtol=1e-8, t=t)


Law = Callable[[Weighting, Target, Schedule], Worst]

LAWS: tuple[Law, ...] = (weights_are_finite_and_positive,)
CARRIED_LAWS: tuple[Law, ...] = (the_objective_is_the_same_for_every_target,)  # not of `Simple`, 1 on every target
