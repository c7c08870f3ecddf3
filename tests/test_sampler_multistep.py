"""Runge-Kutta methods and exponential integrators: their orders, their starts and ends, and which of them are one."""

import functools
import itertools
import math

import pytest
import torch
from scipy.integrate import quad

from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import VE, VP, Linear, Trigonometric
from difflab.process.target import X0, Eps, Preconditioned, V, Velocity
from difflab.sampler import exponential
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.deis import DEIS
from difflab.sampler.dpm_solver import DPMSolver, DPMSolverPP, DPMSolverPPSinglestep, DPMSolverSinglestep
from difflab.sampler.exponential import Node, moment
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.runge_kutta import RK4, Midpoint
from difflab.sampler.unipc import UniPC
from known import MEAN, VAR, bound, column, end, gaussian

RUNGE_KUTTA = [Midpoint(), RK4()]
MULTISTEP = [method(k) for method in (DPMSolver, DPMSolverPP, DEIS) for k in (1, 2, 3)]
SINGLESTEP = [method(k) for method in (DPMSolverSinglestep, DPMSolverPPSinglestep) for k in (1, 2, 3)]
UNIPC = [UniPC(k, bh, x0) for k in (1, 2, 3) for bh in (1, 2) for x0 in (True, False)]
EXPONENTIAL = MULTISTEP + SINGLESTEP + UNIPC
FIRST = [sampler for sampler in MULTISTEP + SINGLESTEP if sampler.solver_order == 1]
SOME = [DPMSolver(3), DPMSolverPP(2), DPMSolverPP(3), DPMSolverSinglestep(), DPMSolverPPSinglestep(), DEIS(), UniPC(3)]
X = column(-2, -1, 0, 1, 2)


def flow(schedule, t, s, x):
    """x_s = a_s m + sqrt((a_s^2 v + s_s^2) / (a_t^2 v + s_t^2)) (x_t - a_t m)."""
    start, end = (Mix(m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt()) for m in (schedule(t), schedule(s)))
    return end.alpha + end.sigma * (x - start.alpha) / start.sigma


def times_between(schedule, noisy, clean, steps):
    return schedule.time_at(torch.linspace(noisy, clean, steps + 1, dtype=torch.float64))


def observed(error, steps):
    """The order with which the error falls from so many steps to twice as many."""
    return math.log2(error(steps) / error(2 * steps))


def run(sampler, denoiser, times, x, noise=lambda like, k: torch.zeros_like(like)):
    *_, (_, out) = trajectory(bound(denoiser, len(x)), sampler, times, x, noise)
    return out


# --- orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", RUNGE_KUTTA + EXPONENTIAL, ids=str)
def test_the_flow_of_a_gaussian_is_followed_with_the_declared_order(sampler):
    """From where there is more signal than noise, so that the first step's error shows."""

    def error(steps):
        times = times_between(VP(), 1.0, 5.0, steps)
        return (end(sampler, VP(), times, X) - flow(VP(), times[0], times[-1], X)).abs().max().item()

    assert observed(error, 24 if sampler in RUNGE_KUTTA else 42) == pytest.approx(sampler.order, abs=0.25)


@pytest.mark.parametrize("sampler", SOME, ids=str)
def test_at_the_same_noise_levels_all_schedules_are_one(sampler):
    def scaled(schedule):
        times = times_between(schedule, -3.0, 3.0, 10)
        first, last = schedule(times[0]), schedule(times[-1])
        return end(sampler, schedule, times, first.sigma * X) / last.sigma

    for schedule in (VE(), Linear(), Trigonometric()):
        torch.testing.assert_close(scaled(schedule), scaled(VP()))


@functools.cache
def mixture(schedule):
    means = torch.tensor([[-1.0], [0.5]], dtype=torch.float64)
    return Mixture(schedule, means, torch.tensor([0.3, 0.2], dtype=torch.float64), torch.tensor([0.3, 0.7]).double())


@functools.cache
def transported():
    """Samples of a mixture's flow on VP between two log-SNRs."""
    x = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)[:, None]
    return x, run(Adaptive(1e-11, 1e-11), mixture(VP()), times_between(VP(), 1.0, 5.0, 1), x)


@pytest.mark.parametrize("sampler", RUNGE_KUTTA + SOME, ids=str)
def test_the_flow_of_a_mixture_is_followed_with_the_declared_order(sampler):
    x, exact = transported()

    def error(steps):
        return (run(sampler, mixture(VP()), times_between(VP(), 1.0, 5.0, steps), x) - exact).abs().mean().item()

    assert observed(error, 24 if sampler in RUNGE_KUTTA else 42) > sampler.order - 0.3


def after_exact_nodes(sampler, steps):
    """The error at the end, if the first steps were exact and so the estimates there."""
    times, denoise = times_between(VP(), 1.0, 5.0, steps), bound(gaussian(VP()), len(X))
    exact = [flow(VP(), times[0], t, X) for t in times]
    estimates = [denoise(x, t) for x, t in zip(exact[:2], times, strict=False)]
    state = tuple(Node(VP()(t), (known.x0, known.eps)) for known, t in zip(estimates, times, strict=False))[::-1]
    x = exact[2]
    for t, s in itertools.pairwise(times[2:]):
        x, state = sampler.step(denoise, x, t, s, state, None)
    return (x - exact[-1]).abs().max().item()


@pytest.mark.parametrize(
    ("sampler", "order"),
    [(DPMSolver(3), 3), (DPMSolverPP(3), 3), (DEIS(3), 3), (UniPC(3), 4), (UniPC(3, predict_x0=False), 4)],
    ids=str,
)
def test_from_an_exact_start_the_third_order_is_seen(sampler, order):
    assert observed(lambda steps: after_exact_nodes(sampler, steps), 42) == pytest.approx(order, abs=0.15)


def test_with_the_published_third_coefficient_it_is_not(monkeypatch):
    """Half of that of the second difference."""
    monkeypatch.setattr(exponential, "moment", lambda h, rate, k: moment(h, rate, k) / (2 if k == 2 else 1))
    assert observed(lambda steps: after_exact_nodes(DPMSolverPP(3), steps), 42) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("sampler", [DPMSolverPP(k, noise) for k in (1, 2, 3) for noise in (0.5, 1.0)], ids=str)
def test_the_sdes_end_in_the_datas_variance_with_the_declared_order(sampler):
    def error(steps):
        times = times_between(VP(), -1.0, 4.0, steps)
        start, last = VP()(times[0]), VP()(times[-1])
        x = torch.zeros(2 + steps, 1, 1, 1, dtype=torch.float64)
        x[1] = (start.alpha**2 * VAR + start.sigma**2).sqrt()  # the responses to the start and to each draw

        def impulse(like, k):
            z = torch.zeros_like(like)
            z[1 + k] = 1
            return z

        out = end(sampler, VP(), times, x, impulse).flatten()
        var = (out[1:] - out[0]).square().sum()
        return (var - (last.alpha**2 * VAR + last.sigma**2)).abs().item()

    assert observed(error, 60) == pytest.approx(sampler.order, abs=0.25)


@pytest.mark.parametrize("rate", [-2.0, -1.0, 1.0])
@pytest.mark.parametrize("h", [-0.5, 1e-4, 0.1, 2.0, 20.0])
@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_moments_are_the_integrals(h, rate, k):
    exact = quad(lambda u: math.exp(rate * (h - u)) * u**k, 0, h, epsabs=0, epsrel=1e-12)[0]
    assert moment(torch.tensor(h, dtype=torch.float64), rate, k).item() == pytest.approx(exact, rel=1e-10, abs=0)


# --- starts and ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Linear(), LinearBetas()], ids=str)
@pytest.mark.parametrize("sampler", EXPONENTIAL, ids=str)
def test_they_run_from_the_noisiest_time_to_the_data(sampler, schedule):
    """Through alpha = 0, where there is one, and to an error that 60 steps do not have."""
    times = Uniform()(schedule, 60)
    denoise = bound(gaussian(schedule), len(X))
    *_, (_, before), (_, out) = trajectory(denoise, sampler, times, X, None)
    torch.testing.assert_close(out, denoise(before, times[-2]).x0, rtol=0, atol=0)
    last = torch.tensor(schedule.t_min, dtype=torch.float64)
    exact = denoise(flow(schedule, times[0], last, X), last).x0
    torch.testing.assert_close(out, exact, rtol=0, atol=0.1)


@pytest.mark.parametrize("sampler", EXPONENTIAL, ids=str)
def test_towards_noise_they_follow_the_flow_back(sampler):
    times = times_between(Linear(), -6.0, 3.0, 60).flip(0)
    there = flow(Linear(), times[0], times[-1], X)
    torch.testing.assert_close(
        end(sampler, Linear(), times, X), there, rtol=0.2 if sampler.order == 1 else 0.02, atol=0
    )
    assert end(sampler, Linear(), torch.cat([times, torch.ones(1).double()]), X).isfinite().all()


@pytest.mark.parametrize("sampler", RUNGE_KUTTA + SOME, ids=str)
def test_samples_stay_of_their_type(sampler):
    denoiser = Gaussian(VP(), torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    assert run(sampler, denoiser, LogSNR()(VP(), 6), X.float()).dtype == torch.float32


# --- which are one ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [VP(), VE(), Linear(), LinearBetas()], ids=str)
@pytest.mark.parametrize("sampler", FIRST, ids=str)
def test_of_first_order_all_are_ddim(sampler, schedule):
    times = Uniform()(schedule, 10)
    torch.testing.assert_close(end(sampler, schedule, times, X), end(DDIM(), schedule, times, X))


@pytest.mark.parametrize("schedule", [VP(), VE(), Linear(), LinearBetas()], ids=str)
def test_of_first_order_the_reverse_sde_is_the_ancestral_step(schedule):
    noise = torch.randn(20, *X.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, ancestral = (
        end(sampler, schedule, Uniform()(schedule, 10), X, lambda like, k: noise[k])
        for sampler in (DPMSolverPP(1, noise=1.0), Ancestral())
    )
    torch.testing.assert_close(ours, ancestral)


def test_deis_and_dpm_solver_differ_in_the_line_alone():
    times = times_between(VP(), -3.0, 3.0, 20)
    second, third = (
        (end(DEIS(k), VP(), times, X) - end(DPMSolver(k), VP(), times, X)).abs().max().item() for k in (2, 3)
    )
    assert 0 < third < second / 10, "the one step of second order in the start"


def test_a_block_goes_out_from_its_start():
    """Two steps of DPM-Solver++(2S) by Algorithm 1 of the paper, with the middle of the grid for its r."""
    times = times_between(VP(), -2.0, 1.0, 2)
    (t, u, s), denoise = times, bound(gaussian(VP()), len(X))
    (then, middle, now), first = (VP()(time) for time in (t, u, s)), denoise(X, t)
    half, h = ((m.log_snr - then.log_snr) / 2 for m in (middle, now))
    second = denoise(middle.sigma / then.sigma * X - middle.alpha * torch.expm1(-half) * first.x0, u)
    r = half / h
    x0 = (1 - 1 / (2 * r)) * first.x0 + second.x0 / (2 * r)
    exact = now.sigma / then.sigma * X - now.alpha * torch.expm1(-h) * x0
    torch.testing.assert_close(end(DPMSolverPPSinglestep(2), VP(), times, X), exact)


class Perfect(torch.nn.Module):
    """A network that knows the Gaussian and says of it what its target is."""

    shape, classes, learned_variance = (1, 1, 1), 0, False

    def __init__(self, target):
        super().__init__()
        self.target = target

    def forward(self, x, code, label):
        t = code[0].cpu() / 1000 if not isinstance(self.target, Preconditioned) else VP().time_at(-8 * code[0].cpu())
        x = x / self.target.c_in(VP()(t))
        estimate = gaussian(VP())(x, t, label)
        return self.target.mix(VP(), t)(estimate.x0, estimate.eps)


@pytest.mark.parametrize("sampler", [Midpoint(), *SOME], ids=str)
def test_what_the_network_predicts_does_not_matter(sampler):
    times = Uniform()(VP(), 12)
    for target in (X0(), Eps(), V(), Velocity(), Preconditioned()):
        out = run(sampler, Denoiser(Perfect(target), VP(), target), times, X)
        torch.testing.assert_close(out, end(sampler, VP(), times, X), rtol=1e-6, atol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", RUNGE_KUTTA, ids=str)
def test_runge_kutta_methods_refuse_a_table(sampler):
    with pytest.raises(ValueError, match=r"whole steps alone: choose sampler=heun"):
        end(sampler, LinearBetas(), Uniform()(LinearBetas(), 4), X)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DEIS(4), r"sampler\.solver_order=4 must be 1, 2 or 3"),
        (lambda: UniPC(0), r"sampler\.solver_order=0"),
        (lambda: UniPC(bh=3), r"sampler\.bh=3"),
        (lambda: DPMSolverPP(noise=-1.0), r"sampler\.noise=-1"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
