"""Laws of targets: together with `x_t` the target determines the pair, and the network's inputs are well scaled."""

from __future__ import annotations

from collections.abc import Callable

import torch

from difflab.laws.schedules import inner_times, training_times
from difflab.laws.worst import Worst, close, violations, worst
from difflab.process.gaussian import unmix
from difflab.process.schedule import Schedule
from difflab.process.target import Target


def unmixing_undoes_mixing(target: Target, schedule: Schedule) -> Worst:
    """`unmix(m(x0, eps), m, n(x0, eps), n) = (x0, eps)` for the mixes m of `x_t` and n of the target."""
    t = inner_times(schedule)
    x0, eps = torch.randn(2, len(t), 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m, n = schedule(t), target.mix(schedule, t)
    solved = unmix(m(x0, eps), m, n(x0, eps), n)
    return worst(
        close(f"{target} on {schedule}: {part}", found, true, rtol=1e-6, atol=1e-6, t=t)
        for part, found, true in zip(("x0", "eps"), solved, (x0, eps), strict=True)
    )


def c_in_gives_unit_variance(target: Target, schedule: Schedule) -> Worst:
    """`c_in^2 (alpha^2 sd^2 + sigma^2) = 1`, where sd is the target's `sigma_data`, and 1 if it has none."""
    t = training_times(schedule)
    m, sd = schedule(t), getattr(target, "sigma_data", 1.0)
    variance = target.c_in(m) ** 2 * (m.alpha**2 * sd**2 + m.sigma**2)
    return close(f"{target} on {schedule}: variance of c_in x_t", variance, torch.ones_like(t), rtol=1e-12, t=t)


def c_noise_rises(target: Target, schedule: Schedule) -> Worst:
    """`c_noise`, the number that the time embedding sees, is finite inside the axis and rises strictly with time."""
    t = torch.unique_consecutive(training_times(schedule)[:-1])
    c_noise = target.c_noise(schedule, t)
    broken = ~((c_noise.diff() > 0) & c_noise.isfinite()[1:])
    return violations(f"{target} on {schedule}: c_noise rises", broken, t[1:])


Law = Callable[[Target, Schedule], Worst]

LAWS: tuple[Law, ...] = (unmixing_undoes_mixing, c_in_gives_unit_variance, c_noise_rises)
