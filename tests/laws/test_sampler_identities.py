"""Which samplers are one on which schedules, and what cannot work."""

import itertools

import pytest
import torch

from difflab.guidance.base import Chain
from difflab.guidance.clip import Clip
from difflab.laws import close
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import EDM as SigmaTime
from difflab.process.schedule import VE, VP, Linear
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.deis import DEIS
from difflab.sampler.dpm_solver import DPMSolver, DPMSolverPP, DPMSolverPPSinglestep, DPMSolverSinglestep
from difflab.sampler.edm import EDM
from difflab.sampler.euler import Euler
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin
from difflab.sampler.preconditioner import Preconditioner
from difflab.sampler.predictor_corrector import PredictorCorrector
from difflab.sampler.resampling import Resampling
from difflab.sampler.reverse_diffusion import ReverseDiffusion
from difflab.sampler.runge_kutta import RK4, Midpoint
from difflab.sampler.unipc import UniPC
from helpers.closed_forms import bound, column, end, f64, gaussian, normal
from helpers.conf import schedules
from helpers.laws import assert_law

X = column(-2, -1, 0, 1, 2)
NOISE = normal(100, *X.shape)
SOME = [VP(), VE(), Linear(), LinearBetas()]


def same(one, other, schedule, steps=10, tolerance=1e-7):
    """The two samplers lead to the same samples, at each step, with the same noise."""
    times = Uniform()(schedule, steps)
    paths = (
        trajectory(bound(gaussian(schedule), len(X)), sampler, times, X, lambda like, k: NOISE[k])
        for sampler in (one, other)
    )
    a, b = (torch.stack([x for _, x in path]) for path in paths)
    return close(f"{one} and {other} on {schedule}", a, b, rtol=tolerance, atol=tolerance)


def test_ddim_with_eta_1_is_ancestral_on_every_schedule():
    assert_law(same(DDIM(1.0), Ancestral(), schedule, 20) for schedule in schedules().values())


def test_samplers_that_are_the_same_on_a_schedule():
    assert_law(
        [
            same(Euler(), DDIM(), Linear()),
            same(EulerMaruyama(0.0), Euler(), Linear()),
            same(EulerMaruyama(0.0), Euler(), VP()),
            same(EDM(), Heun(), SigmaTime()),
            same(EDM(), Heun(), VE()),
        ]
    )


def test_exponential_integrators_of_first_order_are_ddim():
    solvers = (DPMSolver, DPMSolverPP, DEIS, DPMSolverSinglestep, DPMSolverPPSinglestep)
    assert_law(same(solver(1), DDIM(), schedule) for solver, schedule in itertools.product(solvers, SOME))


def test_the_reverse_sde_of_first_order_is_the_ancestral_step():
    assert_law(same(DPMSolverPP(1, noise=1.0), Ancestral(), schedule) for schedule in SOME)


def test_steps_taken_once_are_the_samplers_own():
    some = (DDIM(), Heun(), PredictorCorrector())
    assert_law(same(sampler, Resampling(sampler, 1), LinearBetas(), 8, tolerance=0.0) for sampler in some)


def test_clipping_keeps_estimates_consistent_and_within_the_range():
    schedule, x, t = LinearBetas(), 3 * normal(6, 1, 1, 1), f64(700)[0]
    estimate = bound(Chain([Clip(0.4)])(gaussian(schedule)), 6)(x, t)
    assert estimate.x0.abs().max() <= 0.4
    torch.testing.assert_close(schedule(t)(estimate.x0, estimate.eps), x)


def test_what_cannot_work_is_refused_with_what_does(subtests):
    for sampler, schedule, remedy in [
        (Adaptive(), LinearBetas(), "sampler=ddim or heun"),
        (Midpoint(), LinearBetas(), "whole steps alone: choose sampler=heun"),
        (RK4(), LinearBetas(), "whole steps alone: choose sampler=heun"),
        (EulerMaruyama(), Linear(), "sampler=ancestral"),
        (Langevin(), Linear(), "grid=log_snr"),
        (ReverseDiffusion(), Linear(), "sampler=ancestral or grid=log_snr"),
    ]:
        with subtests.test(str(sampler)), pytest.raises(ValueError, match=remedy):
            end(sampler, schedule, Uniform()(schedule, 4), column(0, 1))


def test_settings_out_of_range_are_named(subtests):
    for make, message in [
        (lambda: EDM(churn=0.5), r"sampler\.churn=0\.5 .* \[0, 0\.4142\]"),
        (lambda: EulerMaruyama(-1.0), r"sampler\.noise=-1"),
        (lambda: Langevin(0), r"sampler\.corrections=0"),
        (lambda: Langevin(step_size=2.0), r"sampler\.step_size=2"),
        (lambda: Langevin(precondition=Preconditioner(gain=1.5)), r"square of sampler\.precondition\.gain, here 1\.5"),
        (lambda: Langevin(step_size=1.9, precondition=Preconditioner()), r"sampler\.step_size=1\.9"),
        (lambda: Preconditioner(radius=0.0), "radius=0.0"),
        (lambda: Preconditioner()(torch.zeros(3, 2)), r"sampler\.precondition=null"),  # points have no frequencies
        (lambda: PredictorCorrector(snr=0.0), r"snr=0"),
        (lambda: Resampling(repeats=0), r"sampler\.repeats=0"),
        (lambda: Resampling(Adaptive()), "that steps over a grid"),
        (lambda: Adaptive(rtol=0.0), r"sampler\.rtol=0"),
        (lambda: DEIS(4), r"sampler\.solver_order=4 must be 1, 2 or 3"),
        (lambda: UniPC(0), r"sampler\.solver_order=0"),
        (lambda: UniPC(bh=3), r"sampler\.bh=3"),
        (lambda: DPMSolverPP(noise=-1.0), r"sampler\.noise=-1"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()
