"""Laws of training times: on the trained axis, a function of the generator, and weights that are unbiased."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from difflab.laws.worst import Worst, close, violations, worst
from difflab.objective.times import Times
from difflab.process.schedule import Schedule


def times_lie_on_the_axis(times: Times, schedule: Schedule) -> Worst:
    """Times in [t_min, t_max], integers on a discrete schedule, and positive weights, at each stage of training."""
    cases = []
    for progress in (0.0, 0.3, 1.0):
        t, weight = times(schedule, 500, torch.Generator().manual_seed(0), progress)
        case, like = f"{times} on {schedule} at progress {progress}", torch.zeros(500, dtype=torch.float64)
        outside = (t < schedule.t_min) | (t > schedule.t_max) | ((t != t.round()) & schedule.discrete)
        cases += [
            close(f"{case}: shape and type of the times", torch.zeros_like(t), like),
            close(f"{case}: shape and type of the weights", torch.zeros_like(weight), like),
            violations(f"{case}: trained times", outside | t.isnan(), t),
            violations(f"{case}: positive weights", ~(weight > 0), t),
        ]
    return worst(cases)


def draws_follow_the_generator(times: Times, schedule: Schedule) -> Worst:
    """The same seed draws the same times, another seed others."""
    (t, _), (again, _), (other, _) = (times(schedule, 64, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    case = f"{times} on {schedule}"
    return worst(
        [
            close(f"{case}: the same seed", again, t),
            violations(f"{case}: another seed", torch.tensor([torch.equal(t, other)])),
        ]
    )


def weights_keep_the_uniform_mean(times: Times, schedule: Schedule, n: int = 200_000) -> Worst:
    """`E[weight f(t)] = E_uniform[f(t)]` for `f = exp(3 fraction(t))` and for `f = 1`, within 5 standard errors.

    For times whose weight is `p_uniform(t) / p(t)`; not for those that are part of the objective, whose weight is 1.
    """

    def f(t: torch.Tensor) -> torch.Tensor:
        return (3 * schedule.fraction(t)).exp()

    t, weight = times(schedule, n, torch.Generator().manual_seed(0))
    true = f(schedule.time((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)).mean()
    terms, case = weight * f(t), f"{times} on {schedule}"
    return worst(
        [
            close(f"{case}: mean of f", terms.mean(), true, atol=5 * terms.std().item() / n**0.5 + 1e-4),
            close(f"{case}: mean weight", weight.mean(), 0 * true + 1, atol=5 * weight.std().item() / n**0.5 + 1e-12),
        ]
    )


def with_losses(times: Times, schedule: Schedule) -> Times:
    """A copy of the times that, if it observes losses, has observed ones that grow a hundredfold along the axis."""
    times = copy.deepcopy(times)
    if times.observes:
        place = (torch.arange(5000, dtype=torch.float64) + 0.5) / 5000
        times.observe(schedule, schedule.time(place), 0.01 + place**3)
    return times


def weights_are_unbiased(times: Times, schedule: Schedule) -> Worst:
    """`E[weight f(t)] = E_uniform[f(t)]` of times whose weights are not all 1, also after losses were observed."""
    times = with_losses(times, schedule)
    _, weight = times(schedule, 64, torch.Generator().manual_seed(0))
    if (weight == 1).all():
        return Worst(f"{times} on {schedule} are part of the objective", 0.0, 0.0)
    return weights_keep_the_uniform_mean(times, schedule)


Law = Callable[[Times, Schedule], Worst]

LAWS: tuple[Law, ...] = (times_lie_on_the_axis, draws_follow_the_generator, weights_are_unbiased)
