"""Runge-Kutta methods and exponential integrators of every order: their orders, their starts and their ends."""

import functools
import itertools
import math

import torch
from scipy.integrate import quad

from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.laws import Worst, close, violations
from difflab.laws.samplers import levels, order_is_the_declared_one
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import VE, VP, Linear, Trigonometric
from difflab.process.target import X0, Eps, Preconditioned, V, Velocity
from difflab.sampler import exponential
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.deis import DEIS
from difflab.sampler.dpm_solver import DPMSolver, DPMSolverPP, DPMSolverPPSinglestep, DPMSolverSinglestep
from difflab.sampler.exponential import Node, moment
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.runge_kutta import RK4, Midpoint
from difflab.sampler.unipc import UniPC
from helpers.closed_forms import bound, column, end, f64, flow, gaussian
from helpers.laws import assert_law

RUNGE_KUTTA = [Midpoint(), RK4()]
MULTISTEP = [method(k) for method in (DPMSolver, DPMSolverPP, DEIS) for k in (1, 2, 3)]
SINGLESTEP = [method(k) for method in (DPMSolverSinglestep, DPMSolverPPSinglestep) for k in (1, 2, 3)]
UNIPC = [UniPC(k, bh, x0) for k in (1, 2, 3) for bh in (1, 2) for x0 in (True, False)]
EXPONENTIAL = MULTISTEP + SINGLESTEP + UNIPC
SDES = [DPMSolverPP(k, noise) for k in (1, 2, 3) for noise in (0.5, 1.0)]
SOME = [DPMSolver(3), DPMSolverPP(2), DPMSolverPP(3), DPMSolverSinglestep(), DPMSolverPPSinglestep(), DEIS(), UniPC(3)]
X = column(-2, -1, 0, 1, 2)


def run(sampler, denoiser, times, x):
    *_, (_, out) = trajectory(bound(denoiser, len(x)), sampler, times, x, None)
    return out


def observed(error, steps):
    """The order with which the error falls from so many steps to twice as many."""
    return math.log2(error(steps) / error(2 * steps))


# --- orders -----------------------------------------------------------------------------------------------------------


def test_gaussian_data_are_followed_with_the_declared_order():
    assert_law(order_is_the_declared_one(s, VP(), tolerance=0.25) for s in RUNGE_KUTTA + EXPONENTIAL + SDES)


def test_at_the_same_noise_levels_all_schedules_are_one():
    def scaled(sampler, schedule):
        times = levels(schedule, -3.0, 3.0, 10)
        first, last = schedule(times[0]), schedule(times[-1])
        return end(sampler, schedule, times, first.sigma * X) / last.sigma

    assert_law(
        close(f"{sampler} on {schedule}", scaled(sampler, schedule), scaled(sampler, VP()), rtol=1e-7, atol=1e-7)
        for sampler, schedule in itertools.product(SOME, (VE(), Linear(), Trigonometric()))
    )


def test_a_mixture_is_followed_with_the_declared_order():
    x = torch.linspace(-1.5, 1.5, 5, dtype=torch.float64)[:, None]
    mixture = Mixture(VP(), f64(-1, 0.5)[:, None], f64(0.3, 0.2), f64(0.3, 0.7))
    exact = run(Adaptive(1e-11, 1e-11), mixture, levels(VP(), 1.0, 5.0, 1), x)
    cases = []
    for sampler in RUNGE_KUTTA + SOME:

        def error(steps, sampler=sampler):
            return (run(sampler, mixture, levels(VP(), 1.0, 5.0, steps), x) - exact).abs().mean().item()

        found = observed(error, 24 if sampler in RUNGE_KUTTA else 42)
        cases.append(Worst(f"{sampler}: order {found:.2f}", max(0.0, sampler.order - found), 0.3))
    assert_law(cases)


@functools.cache
def exact_nodes(steps):
    """Times, and at each the flow of Gaussian data from X and its estimates."""
    times, denoise = levels(VP(), 1.0, 5.0, steps), bound(gaussian(VP()), len(X))
    exact = [flow(VP(), times[0], t, X) for t in times]
    return times, exact, [denoise(x, t) for x, t in zip(exact, times, strict=True)]


def after_exact_nodes(sampler, steps):
    """The error at the end, if the first steps were exact and so the estimates there."""
    times, exact, estimates = exact_nodes(steps)
    nodes = zip(times[:2], estimates, strict=False)
    x, state = exact[2], tuple(Node(t, (known.x0, known.eps)) for t, known in nodes)[::-1]
    denoise = bound(gaussian(VP()), len(X))
    for t, s in itertools.pairwise(times[2:]):
        x, state = sampler.step(denoise, x, t, s, state, None)
    return (x - exact[-1]).abs().max().item()


def test_from_an_exact_start_the_third_order_is_seen():
    orders = {DPMSolver(3): 3, DPMSolverPP(3): 3, DEIS(3): 3, UniPC(3): 4, UniPC(3, predict_x0=False): 4}
    cases = []
    for sampler, order in orders.items():
        found = observed(functools.partial(after_exact_nodes, sampler), 42)
        cases.append(Worst(f"{sampler}: order {found:.2f}", abs(found - order), 0.15))
    assert_law(cases)


def test_with_the_published_third_coefficient_it_is_not(monkeypatch):
    """Half of that of the second difference."""
    monkeypatch.setattr(exponential, "moment", lambda h, rate, k: moment(h, rate, k) / (2 if k == 2 else 1))
    found = observed(functools.partial(after_exact_nodes, DPMSolverPP(3)), 42)
    assert_law([Worst(f"order {found:.2f}", abs(found - 2), 0.15)])


def test_moments_are_the_integrals():
    cases = []
    for rate, h, k in itertools.product((-2.0, -1.0, 1.0), (-0.5, 1e-4, 0.1, 2.0, 20.0), (0, 1, 2, 3)):
        exact = quad(lambda u, a=rate, h=h, k=k: math.exp(a * (h - u)) * u**k, 0, h, epsabs=0, epsrel=1e-12)[0]
        cases.append(close(f"rate={rate}, h={h}, k={k}", moment(f64(h)[0], rate, k), f64(exact)[0], rtol=1e-10))
    assert_law(cases)


# --- starts and ends --------------------------------------------------------------------------------------------------


def test_they_run_from_the_noisiest_time_to_the_data():
    """Through alpha = 0, where there is one, and to an error that 60 steps do not have."""
    cases = []
    for sampler, schedule in itertools.product(EXPONENTIAL, (Linear(), LinearBetas())):
        times, denoise = Uniform()(schedule, 60), bound(gaussian(schedule), len(X))
        *_, (_, before), (_, out) = trajectory(denoise, sampler, times, X, None)
        last = f64(schedule.t_min)[0]
        exact = denoise(flow(schedule, times[0], last, X), last).x0
        cases.append(close(f"{sampler} on {schedule}: last step", out, denoise(before, times[-2]).x0))
        cases.append(close(f"{sampler} on {schedule}: end", out, exact, atol=0.1))
    assert_law(cases)


def test_towards_noise_they_follow_the_flow_back():
    times, cases = levels(Linear(), -6.0, 3.0, 60).flip(0), []
    there = flow(Linear(), times[0], times[-1], X)
    for sampler in EXPONENTIAL:
        found = end(sampler, Linear(), torch.cat([times, f64(1)]), X)  # and on to pure noise
        cases.append(violations(f"{sampler}: finite", ~found.isfinite()))
        rtol = 0.2 if sampler.order == 1 else 0.02
        cases.append(close(f"{sampler}: there", end(sampler, Linear(), times, X), there, rtol=rtol))
    assert_law(cases)


def test_samples_stay_of_their_type():
    denoiser, times = Gaussian(VP(), torch.zeros(1, 1, 1), torch.ones(1, 1, 1)), LogSNR()(VP(), 6)
    for sampler in RUNGE_KUTTA + SOME:
        assert run(sampler, denoiser, times, X.float()).dtype == torch.float32, str(sampler)


def test_deis_and_dpm_solver_differ_in_the_line_alone():
    times = levels(VP(), -3.0, 3.0, 20)
    second, third = (
        (end(DEIS(k), VP(), times, X) - end(DPMSolver(k), VP(), times, X)).abs().max().item() for k in (2, 3)
    )
    assert 0 < third < second / 10, "the one step of second order in the start"


def test_a_block_goes_out_from_its_start():
    """Two steps of DPM-Solver++(2S) by Algorithm 1 of the paper, with the middle of the grid for its r."""
    times = levels(VP(), -2.0, 1.0, 2)
    (t, u, s), denoise = times, bound(gaussian(VP()), len(X))
    (m_t, m_u, m_s), first = (VP()(time) for time in (t, u, s)), denoise(X, t)
    half, h = ((m.log_snr - m_t.log_snr) / 2 for m in (m_u, m_s))
    second = denoise(m_u.sigma / m_t.sigma * X - m_u.alpha * torch.expm1(-half) * first.x0, u)
    r = half / h
    x0 = (1 - 1 / (2 * r)) * first.x0 + second.x0 / (2 * r)
    exact = m_s.sigma / m_t.sigma * X - m_s.alpha * torch.expm1(-h) * x0
    torch.testing.assert_close(end(DPMSolverPPSinglestep(2), VP(), times, X), exact)


class Perfect(torch.nn.Module):
    """A network that knows the Gaussian and gives it in the target."""

    shape, classes, learned_variance = (1, 1, 1), 0, False

    def __init__(self, target):
        super().__init__()
        self.target = target

    def forward(self, x, timestep, label):
        t = timestep[0].cpu()
        t = VP().time_at(-8 * t) if isinstance(self.target, Preconditioned) else t / 1000
        x = x / self.target.c_in(VP()(t))
        estimate = gaussian(VP())(x, t, label)
        return self.target.mix(VP(), t)(estimate.x0, estimate.eps)


def test_what_the_network_predicts_does_not_matter():
    times, cases = Uniform()(VP(), 12), []
    for sampler in [Midpoint(), *SOME]:
        exact = end(sampler, VP(), times, X)
        for target in (X0(), Eps(), V(), Velocity(), Preconditioned()):
            found = run(sampler, Denoiser(Perfect(target), VP(), target), times, X)
            cases.append(close(f"{sampler} of {target}", found, exact, rtol=1e-6, atol=1e-6))
    assert_law(cases)
