"""A chord of the probability flow: where it ends, as a mix of where it starts and of the output of a flow map."""

from __future__ import annotations

from torch import Tensor

from difflab.process.gaussian import Mix, det, scale, unmix
from difflab.process.schedule import Schedule, derivative
from difflab.process.target import Target


def chord(schedule: Schedule, target: Target, t: Tensor, s: Tensor) -> Mix:
    """The step of a flow map, `x_s = A x_t + B y`: the mix `(A, B)` of `(x_t, y)`.

    `y = n_t(x0, eps)` is the network's output, for the pair `(x0, eps)` with `m_t(x0, eps) = x_t` and
    `m_s(x0, eps) = x_s`. So `A = det(m_s, n_t) / det(m_t, n_t)` and `B = det(m_t, m_s) / det(m_t, n_t)`, which are 1
    and 0 for `s = t`. With the velocity on straight paths `A = 1` and `B = s - t`: y is the mean velocity of Geng et
    al. 2025 (arXiv:2505.13447). With v on the circle `A = cos(t - s)` and `B = -sin(t - s)`: Lu & Song 2024
    (arXiv:2410.11081), for s = 0. Times are `()` or `(B,)`.
    """
    m, n, end = schedule(t), target.mix(schedule, t), schedule(s)
    d = det(m, n)
    return Mix(det(end, n) / d, det(m, end) / d)


def from_start(schedule: Schedule, target: Target, t: Tensor, s: Tensor) -> Mix:
    """The derivatives `(dA/dt, dB/dt)` of `chord` by its start, at a fixed end."""
    return Mix(*derivative(lambda u: tuple(chord(schedule, target, u, s)), t))


def from_end(schedule: Schedule, target: Target, t: Tensor, s: Tensor) -> Mix:
    """The derivatives `(dA/ds, dB/ds)` of `chord` by its end, at a fixed start."""
    rate = schedule.rate(s)
    m, n = schedule(t), target.mix(schedule, t)
    d = det(m, n)
    return Mix(det(rate, n) / d, det(m, rate) / d)


def output(schedule: Schedule, target: Target, x: Tensor, t: Tensor, end: Tensor, s: Tensor) -> Tensor:
    """The output `y` of a flow map that steps from `x` at `t` to `end` at `s < t`."""
    return target.mix(schedule, t)(*unmix(x, schedule(t), end, schedule(s)))


def slope(schedule: Schedule, target: Target, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """`dx/dt = -(A' x + B' y)` where a chord of no length has the output `y`; `A'` and `B'` are `from_start`."""
    rate = from_start(schedule, target, t, t)
    return -(scale(rate.alpha, x) + scale(rate.sigma, y))
