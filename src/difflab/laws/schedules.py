"""Laws of noise schedules: time zero is data, the log-SNR falls, and what is derived from the mix agrees with it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from difflab.laws.worst import Worst, close, violations, worst
from difflab.process.gaussian import scale
from difflab.process.schedule import Schedule


def training_times(schedule: Schedule, n: int = 200) -> Tensor:
    """`n` times from t_min to t_max, in equal steps of the training distribution; float64, shape `(n,)`."""
    return schedule.time(torch.linspace(0, 1 - 1e-9, n, dtype=torch.float64))


def inner_times(schedule: Schedule, n: int = 25) -> Tensor:
    """`n` training times away from both ends, where every target determines the noise and the clean sample."""
    return schedule.time(torch.linspace(0.02, 0.98, n, dtype=torch.float64))


def time_zero_is_data(schedule: Schedule) -> Worst:
    """`alpha = 1` and `sigma = 0` at `t = 0`."""
    m = schedule(torch.zeros((), dtype=torch.float64))
    return close(f"{schedule}: alpha, sigma at t=0", torch.stack([*m]), torch.tensor([1.0, 0.0], dtype=torch.float64))


def training_times_lie_on_the_axis(schedule: Schedule) -> Worst:
    """`t_min <= time(u) <= t_max` for u in [0, 1)."""
    t = training_times(schedule)
    return violations(f"{schedule}: t_min <= time(u) <= t_max", (t < schedule.t_min) | (t > schedule.t_max), t)


def log_snr_falls(schedule: Schedule) -> Worst:
    """The log-SNR falls strictly with time."""
    t = torch.unique_consecutive(training_times(schedule))
    rises = ~(schedule.log_snr(t).diff() < 0)  # so that NaN breaks the law
    return violations(f"{schedule}: the log-SNR falls", rises, t[1:])


def time_at_inverts_log_snr(schedule: Schedule) -> Worst:
    """`time_at(log_snr(t)) = t`, but for t_max, where alpha = 0 has an infinite log-SNR."""
    t = training_times(schedule)[:-1]
    return close(
        f"{schedule}: time_at(log_snr(t))", schedule.time_at(schedule.log_snr(t)), t, rtol=1e-6, atol=1e-9, t=t
    )


def rate_is_the_derivative(schedule: Schedule) -> Worst:
    """`rate(t) = (alpha', sigma')` by central differences, on the axis of length 1."""
    length = schedule.t_max
    t, h = length * torch.linspace(0.05, 0.95, 200, dtype=torch.float64), 1e-6 * length  # also between discrete steps
    before, rate, after = schedule(t - h), schedule.rate(t), schedule(t + h)
    return worst(
        close(f"{schedule}: rate of {part}", slope * length, (high - low) / (2 * h) * length, rtol=1e-5, atol=1e-5, t=t)
        for part, low, slope, high in zip(rate._fields, before, rate, after, strict=True)
    )


def the_sde_has_the_marginals(schedule: Schedule) -> Worst:
    """`d alpha = f alpha dt` and `d sigma^2 = (2 f sigma^2 + g^2) dt` for `dx = f x dt + g dw`.

    Särkkä & Solin 2019, eqs. 5.50-5.51, as used by Song et al. 2021 (arXiv:2011.13456), appendix B.
    """
    t = training_times(schedule)[20:-20]
    m, rate, f, g = schedule(t), schedule.rate(t), schedule.drift(t), schedule.diffusion(t)
    growth = 2 * f * m.sigma**2 + g**2
    return worst(
        [
            close(f"{schedule}: f alpha", f * m.alpha, rate.alpha, rtol=1e-9, atol=1e-12, t=t),
            close(f"{schedule}: 2 f sigma^2 + g^2", growth, 2 * m.sigma * rate.sigma, rtol=1e-6, atol=1e-10, t=t),
        ]
    )


def the_bridge_is_gaussian_conditioning(schedule: Schedule) -> Worst:
    """`bridge(s, t)` is q(x_s | x_t, x0), from the joint covariance of `(x_s, x_t)` given x0, which is Markov.

    Its upper variance is that of q(x_s | x_t) for x0 ~ N(0, I), and no smaller than the lower one.
    """
    s = schedule.time(torch.linspace(0.1, 0.5, 5, dtype=torch.float64))
    t = schedule.time(torch.linspace(0.3, 0.9, 5, dtype=torch.float64))
    m_s, m_t = schedule(s), schedule(t)
    posterior = schedule.bridge(s, t)
    kept = m_t.alpha / m_s.alpha
    covariance = kept * m_s.sigma**2
    gain = covariance / m_t.sigma**2
    x0, eps = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    conditioned = scale(m_s.alpha, x0) + scale(gain, m_t(x0, eps) - scale(m_t.alpha, x0))
    total_s, total_t = m_s.alpha**2 + m_s.sigma**2, m_t.alpha**2 + m_t.sigma**2
    lower, upper = m_s.sigma**2 - gain * covariance, total_s - (kept * total_s) ** 2 / total_t
    return worst(
        [
            close(f"{schedule}: mean of the bridge", posterior.mean(x0, eps), conditioned, rtol=1e-7, atol=1e-10, t=t),
            close(f"{schedule}: lower variance", posterior.lower, lower, rtol=1e-7, atol=1e-12, t=t),
            close(f"{schedule}: upper variance", posterior.upper, upper, rtol=1e-7, atol=1e-12, t=t),
            violations(f"{schedule}: lower <= upper variance", ~(posterior.lower <= posterior.upper), t),
        ]
    )


def snapped_times_fall_to_data(schedule: Schedule) -> Worst:
    """`snap` keeps the number of times, their noisy end and the data end, and leaves them strictly falling."""
    cases = []
    room = round(schedule.t_max / schedule.step)
    for steps in sorted({1, min(7, room), min(200, room)}):
        wanted = schedule.t_max * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 3
        times, case = schedule.snap(wanted), f"{schedule}: {steps} snapped steps"
        if times.shape != wanted.shape:
            return Worst(f"{case}: {len(times)} times in place of {steps + 1}", math.inf, 0.0)
        cases += [
            close(f"{case}: their ends", times[[0, -1]], wanted[[0, -1]]),
            violations(f"{case} fall", ~(times.diff() < 0), times[1:]),
        ]
    return worst(cases)


def discrete_times_are_steps(schedule: Schedule) -> Worst:
    """On a discrete schedule `time` and `time_at` give integers from 1 to T."""
    T = schedule.t_max / schedule.step
    levels = schedule.time_at(torch.linspace(-9, 9, 50, dtype=torch.float64))
    t = torch.cat([levels, training_times(schedule)])
    return violations(f"{schedule}: integers from 1 to {T:g}", (t != t.round()) | (t < 1) | (t > T), t)


def discrete_log_snr_falls_between_the_steps(schedule: Schedule) -> Worst:
    """The interpolated log-SNR falls strictly, at 50 times a step."""
    T = round(schedule.t_max)
    t = torch.linspace(0, T, 50 * T + 1, dtype=torch.float64)
    return violations(f"{schedule}: the log-SNR falls between the steps", ~(schedule.log_snr(t).diff() < 0), t[1:])


def discrete_rate_is_continuous(schedule: Schedule) -> Worst:
    """The rate is the same on both sides of an inner step."""
    T = round(schedule.t_max)
    if T < 3:  # there is no inner step
        return Worst(f"{schedule}: the rate is continuous", 0.0, 0.0)
    t = torch.arange(2, T, dtype=torch.float64)
    before, after = schedule.rate(t - 1e-9), schedule.rate(t + 1e-9)
    return worst(
        close(f"{schedule}: rate of {part} on both sides", low, high, rtol=1e-5, atol=1e-7, t=t)
        for part, low, high in zip(before._fields, before, after, strict=True)
    )


def discrete_noise_is_linear_below_the_first_step(schedule: Schedule) -> Worst:
    """`sigma^2 / alpha^2` is linear in time between 0 and 1."""
    t = torch.tensor([0, 0.25, 0.5, 1 - 1e-12, 1], dtype=torch.float64)
    m = schedule(t)
    ratio = (m.sigma / m.alpha) ** 2
    return close(f"{schedule}: sigma^2 / alpha^2 below 1", ratio, t * ratio[-1], rtol=1e-9, t=t)


Law = Callable[[Schedule], Worst]

LAWS: tuple[Law, ...] = (
    time_zero_is_data,
    training_times_lie_on_the_axis,
    log_snr_falls,
    time_at_inverts_log_snr,
    rate_is_the_derivative,
    the_sde_has_the_marginals,
    the_bridge_is_gaussian_conditioning,
    snapped_times_fall_to_data,
)
DISCRETE_LAWS: tuple[Law, ...] = (  # of schedules that are trained at integers only
    discrete_times_are_steps,
    discrete_log_snr_falls_between_the_steps,
    discrete_rate_is_continuous,
    discrete_noise_is_linear_below_the_first_step,
)
