"""Exponential integrators against diffusers: the full loops that its tests assert, and its installed schedulers."""

import itertools

import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    UniPCMultistepScheduler,
)

from difflab.denoiser.base import Denoiser
from difflab.laws import close
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import scale
from difflab.process.schedule import EDM
from difflab.process.target import X0, Eps, V
from difflab.sampler import exponential
from difflab.sampler.deis import DEIS
from difflab.sampler.dpm_solver import DPMSolver, DPMSolverPP, DPMSolverPP3M, DPMSolverPPSinglestep, DPMSolverSinglestep
from difflab.sampler.exponential import moment
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import Karras
from difflab.sampler.unipc import UniPC
from helpers.laws import assert_law

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own
STEPS = 12


class Dummy(torch.nn.Module):
    """diffusers' dummy_model: x t / (t + 1), with t zero-based."""

    shape, classes, learned_variance = (3, 8, 8), 0, False

    def forward(self, x, timestep, label):
        t = scale(timestep - 1, torch.ones_like(x))
        return x * t / (t + 1)


class Curved(Dummy):
    """A network that is not linear."""

    def forward(self, x, timestep, label):
        return torch.sin(x) * (1 - timestep[:, None, None, None] / 1e4)


SAMPLE = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
FRESH = torch.randn(STEPS, *SAMPLE.shape, generator=torch.Generator().manual_seed(1))


def whole(timesteps, end):
    """Their zero-based times as ours, and the end: 0, the data, or 1, where their sigma_min is."""
    return torch.cat([timesteps.double() + 1, torch.tensor([end], dtype=torch.float64)])


def theirs_from(scheduler, network, timesteps, **draws):
    x = SAMPLE
    for k, t in enumerate(timesteps):
        extra = {name: values[k] for name, values in draws.items()}
        x = scheduler.step(network(x, (t + 1).expand(4), None), t, x, **extra).prev_sample
    return x


def ours_from(samplers, network, times, target):
    """The steps of one sampler each, which take up each other's state, as where the last is to be of a lower order."""
    denoise, draws = Denoiser(network, LinearBetas(), target).bind(torch.zeros(4, dtype=torch.long)), iter(FRESH)
    x, state = SAMPLE, ()
    for sampler, (t, s) in zip(samplers, itertools.pairwise(times), strict=True):
        x, state = sampler.step(denoise, x, t, s, state, lambda like: next(draws))
    return x


def lowered(make, order, steps):
    """`lower_order_final`: the last step of order 1, the last but one of at most 2."""
    return [make(min(order, steps - k)) for k in range(steps)]


def same(case, ours, theirs):
    return close(case, ours, theirs, atol=1e-4 * theirs.abs().max().item())  # their coefficients are float32


def test_multistep_dpm_solvers_are_theirs():
    makes = {
        "dpmsolver": DPMSolver,
        "dpmsolver++": DPMSolverPP,
        "sde-dpmsolver++": lambda order: DPMSolverPP(order, noise=1.0),
    }
    cases = []
    for (algorithm, make), order in itertools.product(makes.items(), (1, 2)):
        last = {"final_sigmas_type": "sigma_min"} if algorithm == "dpmsolver" else {}
        theirs = DPMSolverMultistepScheduler(
            1000, 1e-4, 0.02, solver_order=order, algorithm_type=algorithm, lower_order_final=False, **last
        )
        theirs.set_timesteps(STEPS)
        times = whole(theirs.timesteps, 1 if last else 0)
        draws = {"variance_noise": FRESH} if algorithm.startswith("sde") else {}
        ours = ours_from([make(order)] * STEPS, Curved(), times, Eps())
        cases.append(same(f"{algorithm}, {order}", ours, theirs_from(theirs, Curved(), theirs.timesteps, **draws)))
    assert_law(cases)


def third_order(algorithm, **more):
    """Their multistep solver of order 3, and where it ends."""
    theirs = DPMSolverMultistepScheduler(
        1000,
        1e-4,
        0.02,
        solver_order=3,
        algorithm_type=algorithm,
        lower_order_final=False,
        final_sigmas_type="sigma_min",
        **more,
    )
    theirs.set_timesteps(STEPS)
    return theirs_from(theirs, Curved(), theirs.timesteps), whole(theirs.timesteps, 1)


@pytest.mark.parametrize(("algorithm", "make"), [("dpmsolver", DPMSolver), ("dpmsolver++", DPMSolverPP)])
def test_their_third_order_has_half_the_second_moment(algorithm, make, monkeypatch):
    """Their coefficient of the second divided difference, and so that of the authors' code, lacks the factor 2!."""
    expected, times = third_order(algorithm)
    exact = ours_from([make(3)] * STEPS, Curved(), times, Eps())
    assert (exact - expected).abs().max() > 1e-3 * expected.abs().max()
    monkeypatch.setattr(exponential, "moment", lambda h, rate, k: moment(h, rate, k) / (2 if k == 2 else 1))
    assert_law([same(algorithm, ours_from([make(3)] * STEPS, Curved(), times, Eps()), expected)])


def test_the_published_third_order_is_theirs_and_that_of_k_diffusion():
    """With the second step of diffusers' `heun`; `phi` are k-diffusion's coefficients of `sample_dpmpp_3m_sde`."""
    expected, times = third_order("dpmsolver++", solver_type="heun")
    cases = [same("diffusers", ours_from([DPMSolverPP3M()] * STEPS, Curved(), times, Eps()), expected)]

    denoiser, sigmas = Denoiser(Curved(), EDM(), X0()), Karras(rho=7.0)(EDM(), 12)
    denoise = denoiser.bind(torch.zeros(len(FRESH[0]), dtype=torch.long))
    for eta in (0.0, 0.7):
        x, past, lengths = 80 * FRESH[0].double(), [], []
        for t, s in itertools.pairwise(sigmas[:-1]):
            x0 = denoise(x, t).x0
            h = (denoise.schedule(t).sigma / denoise.schedule(s).sigma).log()
            g = h * (1 + eta)
            x = (-g).exp() * x - (-g).expm1() * x0
            phi_2 = (-g).expm1() / g + 1
            if len(past) == 1:
                x = x + phi_2 * (x0 - past[0]) * h / lengths[0]
            if len(past) > 1:
                first, second = ((a - b) * h / k for a, b, k in zip((x0, *past), past, lengths, strict=False))
                share = lengths[0] / (lengths[0] + lengths[1])
                slope = first + (first - second) * share
                bend = (first - second) * h / (lengths[0] + lengths[1])
                x = x + phi_2 * slope - (phi_2 / g - 0.5) * bend
            past, lengths = [x0, *past][:2], [h, *lengths][:2]
        *_, (_, ours) = trajectory(
            denoise, DPMSolverPP3M(noise=eta**0.5), sigmas[:-1], 80 * FRESH[0].double(), lambda like, k: 0 * like
        )
        cases.append(close(f"k-diffusion, eta={eta}", ours, x, rtol=1e-9, atol=1e-9))
    assert_law(cases)


def test_singlestep_dpm_solvers_are_theirs():
    """Their `heun` is the exact moment, which the paper has in its third order; the blocks do not all come out even."""
    makes = {"dpmsolver": DPMSolverSinglestep, "dpmsolver++": DPMSolverPPSinglestep}
    rules = {1: "midpoint", 2: "midpoint", 3: "heun"}
    cases = []
    for (algorithm, make), (order, rule), steps in itertools.product(makes.items(), rules.items(), (10, 11, 12)):
        theirs = DPMSolverSinglestepScheduler(
            1000,
            1e-4,
            0.02,
            solver_order=order,
            algorithm_type=algorithm,
            solver_type=rule,
            lower_order_final=True,
            final_sigmas_type="zero" if algorithm == "dpmsolver++" else "sigma_min",
        )
        theirs.set_timesteps(steps)
        n = steps - (algorithm == "dpmsolver")  # it does not go to the data, and of its last step it lowers the order
        ours = ours_from([make(order)] * n, Curved(), whole(theirs.timesteps, 0)[: n + 1], Eps())
        expected = theirs_from(theirs, Curved(), theirs.timesteps[:n])
        cases.append(same(f"{algorithm}, {order}, {steps} steps", ours, expected))
    assert_law(cases)


def test_deis_is_theirs():
    cases = []
    for order in (1, 2, 3):
        theirs = DEISMultistepScheduler(1000, 1e-4, 0.02, solver_order=order)
        theirs.set_timesteps(STEPS)
        ours = ours_from(lowered(DEIS, order, STEPS), Curved(), whole(theirs.timesteps, 1), Eps())
        cases.append(same(f"order {order}", ours, theirs_from(theirs, Curved(), theirs.timesteps)))
    assert_law(cases)


def test_unipc_is_theirs():
    cases = []
    for order, bh, predict_x0 in itertools.product((1, 2, 3), (1, 2), (True, False)):
        theirs = UniPCMultistepScheduler(
            1000,
            1e-4,
            0.02,
            solver_order=order,
            solver_type=f"bh{bh}",
            predict_x0=predict_x0,
            lower_order_final=False,
            final_sigmas_type="sigma_min",
        )
        theirs.set_timesteps(STEPS)
        sampler = UniPC(order, bh, predict_x0)
        ours = ours_from([sampler] * STEPS, Curved(), whole(theirs.timesteps, 1), Eps())
        cases.append(same(f"{sampler}", ours, theirs_from(theirs, Curved(), theirs.timesteps)))
    assert_law(cases)


LINSPACE = torch.linspace(999, 0, 11, dtype=torch.float64)[:-1].round()


def test_the_ten_steps_that_their_tests_assert(subtests):
    """test_full_loop_no_noise and .._with_v_prediction of their test_scheduler_*.py, to the tolerance there."""
    for samplers, eps, v in [
        ([DPMSolverPP(2)] * 10, 0.3301, 0.2251),
        ([DPMSolverPPSinglestep(2)] * 10, 0.2791, 0.1453),
        (lowered(DEIS, 2, 10), 0.23916, 0.091),
        (lowered(UniPC, 2, 10), 0.2464, 0.1014),
    ]:
        with subtests.test(str(samplers[0])):
            for target, mean in ((Eps(), eps), (V(), v)):
                found = ours_from(samplers, Dummy(), whole(LINSPACE, 1), target)
                assert found.abs().mean().item() == pytest.approx(mean, abs=1e-3)
