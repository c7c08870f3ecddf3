"""Laws of samplers: where they end, how fast they converge, what they cost, and what a sample depends on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser
from difflab.laws.calls import Recorded, calls_by_step
from difflab.laws.gaussian import MEAN, VAR, bound, end, flow, gaussian, marginal, moments
from difflab.laws.worst import Worst, close, violations, worst
from difflab.process.schedule import Schedule
from difflab.sampler.base import Sampler
from difflab.sampler.generate import count_nfe, generate, no_noise, times_for, trajectory
from difflab.sampler.grid import LogSNR, Uniform


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64, a function of the seed."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def numbers(value: float, expected: float, atol: float, case: str) -> Worst:
    """Two numbers that differ by `atol` at most."""
    return Worst(case, abs(value - expected), atol)


def moments_are_the_datas(sampler: Sampler, schedule: Schedule) -> Worst:
    """In the limit of many steps, mean and variance of the samples are those of Gaussian data.

    The limit is Richardson's extrapolation from n and 2n steps by the declared order p, `(2^p m_2n - m_n) / (2^p - 1)`.
    A method of order 2 or more takes 40 evaluations for n steps, one of order 1 takes n = 50. An adaptive sampler is in
    the limit already; of one without an order, 0, the samples of 200 steps are taken as they are. The steps of an
    adaptive sampler that draws noise are not affine: 40 samples of 16 numbers are drawn, which says it to 4 standard
    errors.
    """
    if sampler.evaluations is None and sampler.stochastic:
        return drawn_moments_are_the_datas(sampler, schedule, 40)
    if sampler.evaluations is None:
        mean, var = moments(sampler, schedule, Uniform()(schedule, 1))
    elif sampler.order == 0:
        mean, var = moments(sampler, schedule, LogSNR()(schedule, min(200, round(schedule.t_max / schedule.step))))
    else:
        n, ratio = 50 if sampler.order < 2 else 40 // sampler.evaluations, 2**sampler.order
        coarse, fine = (moments(sampler, schedule, LogSNR()(schedule, steps)) for steps in (n, 2 * n))
        mean, var = (b + (b - a) / (ratio - 1) for a, b in zip(coarse, fine, strict=True))
    case = f"{sampler} on {schedule}"
    return worst([numbers(mean, MEAN, 5e-3, f"{case}: mean"), numbers(var, VAR, 2e-2, f"{case}: variance")])


def drawn_moments_are_the_datas(sampler: Sampler, schedule: Schedule, n: int) -> Worst:
    """The same of `n` samples of 16 numbers, to 4 standard errors and the tolerances of the exact ones."""
    times = LogSNR()(schedule, 1)
    mean, std = marginal(schedule(times[0]))
    x = end(sampler, schedule, times, mean + std * normal(n, 1, 4, 4), lambda like, k: normal(*like.shape, seed=k))
    at, error = f"{sampler} on {schedule}", 4 / x.numel() ** 0.5
    drawn = [
        numbers(x.mean().item(), MEAN, 5e-3 + error * VAR**0.5, f"{at}: mean"),
        numbers(x.var().item(), VAR, 2e-2 + error * 2**0.5 * VAR, f"{at}: variance"),
    ]
    return worst(drawn)


def levels(schedule: Schedule, noisy: float, clean: float, steps: int) -> Tensor:
    """`steps + 1` times between two log-SNRs, in equal steps of log-SNR."""
    return schedule.time_at(torch.linspace(noisy, clean, steps + 1, dtype=torch.float64))


def flow_error(sampler: Sampler, schedule: Schedule, steps: int) -> float:
    """The largest distance from the probability flow of Gaussian data, from log-SNR 1 to 5.

    There is more signal than noise, so that the error of a first step of lower order hardly counts.
    """
    times, x = levels(schedule, 1.0, 5.0, steps), torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return (end(sampler, schedule, times, x) - flow(schedule, times[0], times[-1], x)).abs().max().item()


def variance_error(sampler: Sampler, schedule: Schedule, steps: int) -> float:
    """The distance of the samples' variance from that of noisy Gaussian data, from log-SNR 1 to 5."""
    times = levels(schedule, 1.0, 5.0, steps)
    _, std = marginal(schedule(times[-1]))
    return abs(moments(sampler, schedule, times)[1] - std.item() ** 2)


def observed_order(sampler: Sampler, schedule: Schedule) -> float:
    """`log2(error of n steps / error of 2n steps)`: to the flow, or of the variance where the sampler draws noise.

    Infinite where 2n steps are exact.
    """
    error, steps = (variance_error, 60) if sampler.stochastic else (flow_error, 42)
    coarse, fine = (error(sampler, schedule, n) for n in (steps, 2 * steps))
    return math.log2(coarse / fine) if fine else math.inf


def order_is_the_declared_one(
    sampler: Sampler, schedule: Schedule, *, order: float | None = None, tolerance: float = 0.15
) -> Worst:
    """The observed order of convergence is `sampler.order`, or `order` where Gaussian data are a special case.

    For samplers that step over a grid, on continuous schedules.
    """
    declared = sampler.order if order is None else order
    found = observed_order(sampler, schedule)
    return numbers(
        found, declared, tolerance, f"order {found:.2f} in place of {declared:g} for {sampler} on {schedule}"
    )


def least_order_is_the_declared_one(
    sampler: Sampler, schedules: Sequence[Schedule], *, tolerance: float = 0.15
) -> Worst:
    """The observed order of convergence, the least of those on some schedules, is the declared one.

    A method may have a higher one on a single path, as the midpoint rule has 3 on Gaussian data along straight lines.
    """
    found, schedule = min(((observed_order(sampler, each), each) for each in schedules), key=lambda pair: pair[0])
    case = f"order {found:.2f} in place of {sampler.order:g} for {sampler} on {schedule}"
    return numbers(found, sampler.order, tolerance, case)


def evaluations_are_the_declared_ones(sampler: Sampler, denoiser: AnyDenoiser, nfe: int) -> Worst:
    """The evaluations counted in sampling are those of the dry run, at most `nfe`, and one step more exceeds `nfe`.

    They are also between those of the fewest and the most evaluations of the denoiser that a call takes at any time:
    `min * evaluations * (steps - 1) < counted <= max * evaluations * steps`. Where `nfe` is too small for one step at
    every time, the first of these claims is all that is tested. For samplers that step over a grid.
    """
    schedule, per_step = denoiser.schedule, sampler.evaluations or 0
    calls = [denoiser.nfe(t) for t in Uniform()(schedule, 50)[:-1]]
    times = times_for(denoiser, sampler, Uniform(), nfe)
    counted = generate(denoiser, sampler, Uniform(), nfe=nfe, labels=torch.zeros(2).long()).nfe
    steps, what = len(times) - 1, f"{sampler} with {type(denoiser).__name__}, nfe={nfe}"
    broken = [counted != count_nfe(denoiser, sampler, times), counted > nfe]
    if min(calls) == max(calls) or nfe >= max(calls) * per_step:
        more = count_nfe(denoiser, sampler, Uniform()(schedule, steps + 1))
        broken += [more <= nfe, counted <= min(calls) * per_step * (steps - 1), counted > max(calls) * per_step * steps]
    return violations(f"{what}: {counted:g} counted in {steps} steps of {per_step}", torch.tensor(broken))


def nfe_is_the_declared_one(sampler: Sampler, schedule: Schedule) -> Worst:
    """A step takes `evaluations` calls, the last at most so many, and sampling those that its dry run foresees."""
    *inner, last = calls_by_step(sampler, schedule)
    broken = [count != sampler.evaluations for count in inner] + [last > (sampler.evaluations or 0)]
    steps = violations(
        f"{sampler}: {min(inner)} to {max(inner)} calls in a step, {last} in the last", torch.tensor(broken)
    )
    return worst([steps, *(evaluations_are_the_declared_ones(sampler, gaussian(schedule), nfe) for nfe in (5, 12, 16))])


def ends_in_the_data(sampler: Sampler, schedule: Schedule) -> Worst:
    """Where all data are one point, every sample ends in it, for any number of steps and any noise."""
    denoiser = bound(gaussian(schedule, var=0.0), 4)
    times = LogSNR()(schedule, 1 if sampler.evaluations is None else 5)
    x = schedule(times[0]).sigma * normal(4, 1, 1, 1)
    with torch.no_grad():
        *_, (_, out) = trajectory(denoiser, sampler, times, x, lambda like, k: normal(*like.shape, seed=k))
    return close(f"{sampler} on {schedule}: one point", out, torch.full_like(out, MEAN), atol=1e-9)


def a_sample_depends_on_its_own_noise_alone(sampler: Sampler, schedule: Schedule, tolerance: float = 0.0) -> Worst:
    """Sample k is the same at any batch size and alone, for the same evaluations, and another with another seed.

    `tolerance` is 0 but for an adaptive sampler whose samples share their steps.
    """
    denoiser, labels, grid = gaussian(schedule), torch.zeros(7, dtype=torch.long), Uniform()
    whole, nfe = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=4)
    parts, nfe_of_parts = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=4, batch_size=2)
    sixth, _ = generate(denoiser, sampler, grid, nfe=6, labels=labels[:1], indices=[5], seed=4)
    other, _ = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=5)
    case, adaptive = f"{sampler} on {schedule}", sampler.evaluations is None
    return worst(
        [
            close(f"{case}: in batches of 2", parts, whole, atol=tolerance),
            close(f"{case}: sample 5 alone", sixth, whole[5:6], atol=tolerance),
            violations(f"{case}: another seed", other == whole),
            violations(f"{case}: seven samples", torch.tensor([len(set(whole.flatten().tolist())) < 7])),
            violations(f"{case}: evaluations in batches of 2", torch.tensor([nfe != nfe_of_parts and not adaptive])),
        ]
    )


def a_state_is_a_value(sampler: Sampler, schedule: Schedule) -> Worst:
    """Steps that are taken up again from a state in the middle lead to the same end, each time."""
    times, x, denoise = Uniform()(schedule, 10), normal(3, 1, 1, 1), bound(gaussian(schedule), 3)

    def steps(x: Tensor, state: object, times: Tensor, draws: Iterator[int]) -> tuple[Tensor, object]:
        for t, s in itertools.pairwise(times.unbind()):
            x, state = sampler.step(denoise, x, t, s, state, lambda like: normal(*like.shape, seed=next(draws)))
        return x, state

    with torch.no_grad():
        whole, _ = steps(x, sampler.init(x), times, itertools.count())
        draws = itertools.count()
        half, state = steps(x, sampler.init(x), times[:6], draws)
        drawn = next(draws)
        again = [steps(half, state, times[5:], itertools.count(drawn))[0] for _ in range(2)]
    return worst(close(f"{sampler} on {schedule}: taken up again", out, whole) for out in again)


def discrete_schedules_are_taken_at_their_steps(sampler: Sampler, schedule: Schedule) -> Worst:
    """On a discrete schedule the denoiser is called at the times that it was trained at, or the schedule is refused."""
    denoise = Recorded(bound(gaussian(schedule), 3), [])
    try:
        for _ in trajectory(denoise, sampler, Uniform()(schedule, 7), normal(3, 1, 1, 1), no_noise):
            pass
    except ValueError:
        pass
    t = torch.stack([*denoise.times, torch.ones((), dtype=torch.float64)])
    return violations(f"{sampler} between the steps of {schedule}", t != t.round(), t)


def pure_noise_is_taken_or_refused(sampler: Sampler, schedule: Schedule) -> Worst:
    """From pure noise, where alpha = 0, a step leads to finite samples, or is refused by a ValueError."""
    times = Uniform()(schedule, 1 if sampler.evaluations is None else 4)
    try:
        out = end(sampler, schedule, times, normal(3, 1, 1, 1), lambda like, k: normal(*like.shape, seed=k))
    except ValueError:
        out = torch.zeros(1)
    return violations(f"{sampler} on {schedule}: samples that are not finite", ~out.isfinite())


def noise_is_drawn_as_declared(sampler: Sampler, schedule: Schedule) -> Worst:
    """A sampler draws noise if it is `stochastic`, and none otherwise."""
    times, drawn = LogSNR()(schedule, 1 if sampler.evaluations is None else 4), []

    def noise(like: Tensor, k: int) -> Tensor:
        drawn.append(k)
        return torch.zeros_like(like)

    end(sampler, schedule, times, normal(3, 1, 1, 1), noise)
    case = f"{sampler}: {len(drawn)} draws with stochastic={sampler.stochastic}"
    return violations(case, torch.tensor([bool(drawn) != sampler.stochastic]))


Law = Callable[[Sampler, Schedule], Worst]

LAWS: tuple[Law, ...] = (ends_in_the_data, a_sample_depends_on_its_own_noise_alone, noise_is_drawn_as_declared)
GRID_LAWS: tuple[Law, ...] = (a_state_is_a_value, nfe_is_the_declared_one)  # of samplers that step over a grid
CONVERGENT_LAWS: tuple[Law, ...] = (moments_are_the_datas,)  # of samplers of order 1 and more
ORDER_LAWS: tuple[Law, ...] = (order_is_the_declared_one,)  # of samplers over a grid, on continuous schedules
DISCRETE_LAWS: tuple[Law, ...] = (discrete_schedules_are_taken_at_their_steps,)  # on discrete schedules
PURE_NOISE_LAWS: tuple[Law, ...] = (pure_noise_is_taken_or_refused,)  # on schedules that end where alpha = 0
