"""Samplers on Gaussian data, where every step is affine and the moments are exact; and parity with diffusers."""

import itertools
import math

import pytest
import torch

from conftest import built, options, schedules
from difflab.denoiser import AnyDenoiser, Denoiser
from difflab.exact import Gaussian
from difflab.gaussian import Mix, scale
from difflab.generate import generate, steps_for, trajectory
from difflab.grid import Leading, LogSNR, Uniform
from difflab.guidance import Chain
from difflab.guidance.clip import Clip
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.schedule import VP, Linear
from difflab.table import LinearTable
from difflab.target import Eps, V

MEAN, VAR = 0.3, 0.25
SAMPLERS = [pytest.param(built("sampler", option), id=option) for option in options("sampler")]


class Knowing(Gaussian):
    """An exact denoiser that also offers a learned variance, so that every sampler can be run."""

    def forward(self, x, t, label):
        return super().forward(x, t, label)._replace(spread=torch.full_like(x, 0.5))


def gaussian(schedule):
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    return Knowing(schedule, MEAN * one, VAR * one)


def bound(denoiser, n):
    return denoiser.bind(torch.zeros(n, dtype=torch.long))


def moments(sampler, denoiser, times):
    """Mean and variance of the samples, from the responses to x_T and to each draw of noise: no Monte Carlo."""
    draws = 2 * len(times)
    x = torch.zeros(2 + draws, 1, 1, 1, dtype=torch.float64)
    x[1] = 1

    def impulse(like, k):
        z = torch.zeros_like(like)
        z[1 + k] = 1
        return z

    *_, (_, out) = trajectory(bound(denoiser, len(x)), sampler, times, x, impulse)
    base, response, *kicks = out.flatten()
    m = denoiser.schedule(times[0])
    mean, var = m.alpha * MEAN, m.alpha**2 * VAR + m.sigma**2
    return (base + (response - base) * mean).item(), (
        (response - base) ** 2 * var + sum((k - base) ** 2 for k in kicks)
    ).item()


@pytest.mark.parametrize("schedule", schedules())
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_many_steps_end_in_the_datas_moments(sampler, schedule):
    steps = 800
    mean, var = moments(sampler, gaussian(schedule), LogSNR()(schedule, steps))
    assert mean == pytest.approx(MEAN, abs=5e-3)
    assert var == pytest.approx(VAR, abs=2e-2)


def test_fifty_of_a_thousand_ancestral_steps_have_the_known_discretisation_error():
    mean, var = moments(Ancestral(), gaussian(LinearTable()), Uniform()(LinearTable(), 50))
    assert mean == pytest.approx(0.3000, abs=1e-4)
    assert var == pytest.approx(0.1972, abs=1e-4)


def test_deterministic_samplers_follow_the_probability_flow_with_their_order():
    """x_s = a_s m + sqrt((a_s^2 v + s_s^2) / (a_t^2 v + s_t^2)) (x_t - a_t m), on log-SNR -3 to 3."""
    schedule = VP()
    denoiser = gaussian(schedule)

    def flow(t):
        m = schedule(t)
        return Mix(m.alpha * MEAN, (m.alpha**2 * VAR + m.sigma**2).sqrt())

    for option in options("sampler"):
        sampler = built("sampler", option)
        x = torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(5, 1, 1, 1)
        errors, silent = [], True
        for steps in (40, 80):
            times = schedule.time_at(torch.linspace(-3, 3, steps + 1, dtype=torch.float64))

            def no_noise(like, k):
                nonlocal silent
                silent = False
                return torch.zeros_like(like)

            *_, (_, out) = trajectory(bound(denoiser, 5), sampler, times, x, no_noise)
            start, end = flow(times[0]), flow(times[-1])
            exact = end.alpha + end.sigma * (x - start.alpha) / start.sigma
            errors.append((out - exact).abs().max().item())
        if silent:
            assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.order, abs=0.15)


@pytest.mark.parametrize("schedule", schedules())
def test_ddim_with_eta_1_is_ancestral(schedule):
    times = Uniform()(schedule, 20)
    x = torch.randn(6, 1, 1, 1, dtype=torch.float64)
    noise = torch.randn(100, 6, 1, 1, 1, dtype=torch.float64)
    for (_, a), (_, b) in zip(
        *(
            trajectory(bound(gaussian(schedule), 6), s, times, x, lambda like, k: noise[k])
            for s in (DDIM(1.0), Ancestral())
        ),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


def test_ddim_on_the_straight_path_is_eulers_step():
    denoise = bound(gaussian(Linear()), 4)
    x = torch.randn(4, 1, 1, 1, dtype=torch.float64)
    for t, s in itertools.pairwise(torch.linspace(1, 0, 8, dtype=torch.float64)):
        estimate = denoise(x, t)
        euler = x + (s - t) * (estimate.eps - estimate.x0)
        x, _ = DDIM().step(denoise, x, t, s, None, torch.zeros_like)
        torch.testing.assert_close(x, euler)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_taken_up_again_are_the_steps_not_interrupted(sampler):
    schedule = LinearTable()
    times = Uniform()(schedule, 10)
    denoise = bound(gaussian(schedule), 3)
    noise = torch.randn(100, 3, 1, 1, 1, dtype=torch.float64)
    x = torch.randn(3, 1, 1, 1, dtype=torch.float64)

    def draw(like, k):
        return noise[k]

    whole = [out for _, out in trajectory(denoise, sampler, times, x, draw)]
    draws = itertools.count(1)
    first = list(itertools.islice(trajectory(denoise, sampler, times, x, draw, draws), 5))
    rest = [out for _, out in trajectory(denoise, sampler, times[5:], first[-1][1], draw, draws)]
    torch.testing.assert_close(rest, whole[5:], rtol=0, atol=0)


@pytest.mark.parametrize("guidance", options("guidance"))
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("nfe", [5, 12])
def test_counted_evaluations_are_those_declared(sampler, guidance, nfe):
    denoiser = built("guidance", guidance)(gaussian(LinearTable()))
    samples = generate(denoiser, sampler, Uniform(), nfe=nfe, labels=torch.zeros(7, dtype=torch.long), batch_size=3)
    assert samples.evaluations == steps_for(denoiser, sampler, nfe) * sampler.evaluations * denoiser.evaluations
    assert samples.evaluations <= nfe


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_a_function_of_seed_index_and_label_alone(sampler):
    denoiser = gaussian(LinearTable())
    labels = torch.zeros(7, dtype=torch.long)
    whole = generate(denoiser, sampler, Uniform(), nfe=6, labels=labels, seed=4).images
    parts = generate(denoiser, sampler, Uniform(), nfe=6, labels=labels, seed=4, batch_size=2).images
    fifth = generate(denoiser, sampler, Uniform(), nfe=6, labels=labels[:1], indices=[5], seed=4).images
    other = generate(denoiser, sampler, Uniform(), nfe=6, labels=labels, seed=5).images
    assert torch.equal(whole, parts)
    assert torch.equal(whole[5:6], fifth)
    assert not torch.equal(whole, other)
    assert len(whole.unique()) == 7


def test_too_few_evaluations_for_a_step_are_refused():
    with pytest.raises(ValueError, match="nfe=0"):
        steps_for(gaussian(LinearTable()), DDIM(), 0)


def test_clipping_keeps_estimates_consistent_and_within_the_range():
    schedule = LinearTable()
    x, t = 3 * torch.randn(6, 1, 1, 1, dtype=torch.float64), torch.tensor(700.0, dtype=torch.float64)
    estimate = bound(Chain([Clip(0.4)])(gaussian(schedule)), 6)(x, t)
    assert estimate.x0.abs().max() <= 0.4
    torch.testing.assert_close(schedule(t)(estimate.x0, estimate.eps), x)


# --- full loops that diffusers' tests assert --------------------------------------------------------------------------


class Dummy(torch.nn.Module):
    """diffusers' dummy_model: x t / (t + 1), with t zero-based."""

    shape, classes = (3, 8, 8), 0

    def forward(self, x, code, label):
        t = scale(code - 1, torch.ones_like(x))
        return x * t / (t + 1)


class ClippedX0(AnyDenoiser):
    """diffusers' DDIM clips x0 and keeps the network's eps."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.schedule = denoiser, denoiser.schedule

    def forward(self, x, t, label):
        estimate = self.denoiser(x, t, label)
        return estimate._replace(x0=estimate.x0.clamp(-1, 1))


SAMPLE = (torch.arange(768) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)
NOISE = (torch.arange(768).flip(-1) / 768).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


def run_loop(denoiser, sampler, times, x):
    generator = torch.manual_seed(0)
    *_, (_, out) = trajectory(
        bound(denoiser, 4), sampler, times, x, lambda like, k: torch.randn(like.shape, generator=generator)
    )
    return out.abs().sum().item(), out.abs().mean().item()


@pytest.mark.parametrize(("target", "total", "mean"), [(Eps(), 258.9606, 0.3372), (V(), 202.0296, 0.2631)])
def test_the_thousand_ancestral_steps_of_diffusers(target, total, mean):
    denoiser = Clip()(Denoiser(Dummy(), LinearTable(), target))
    found = run_loop(denoiser, Ancestral(), Uniform()(LinearTable(), 1000), SAMPLE)
    assert found == (pytest.approx(total, abs=1e-2), pytest.approx(mean, abs=1e-3))


def test_the_last_ancestral_steps_of_diffusers():
    denoiser = Clip()(Denoiser(Dummy(), LinearTable(), Eps()))
    times = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    found = run_loop(denoiser, Ancestral(), times, LinearTable()(times[0])(SAMPLE, NOISE))
    # diffusers' 1 - alpha_bar is float32: at t = 1 its noise is right to three digits, its sum of 768 to 3e-2
    assert found == (pytest.approx(387.9466, abs=3e-2), pytest.approx(0.5051, abs=1e-3))


TEN = Leading()(LinearTable(), 10)


@pytest.mark.parametrize(
    ("table", "target", "times", "total", "mean"),
    [
        (LinearTable(), Eps(), TEN, 172.0067, 0.223967),
        (LinearTable(), V(), TEN, 52.5302, 0.0684),
        (LinearTable(beta_min=0.01), Eps(), TEN, 149.8295, 0.1951),
        (LinearTable(beta_min=0.01), Eps(), torch.cat([TEN[:-1], TEN[-2:-1]]), 149.0784, 0.1941),
    ],
)
def test_the_ten_ddim_steps_of_diffusers(table, target, times, total, mean):
    found = run_loop(ClippedX0(Denoiser(Dummy(), table, target)), DDIM(), times, SAMPLE)
    assert found == (pytest.approx(total, abs=1e-2), pytest.approx(mean, abs=1e-3))


def test_the_last_ddim_steps_of_diffusers():
    found = run_loop(
        ClippedX0(Denoiser(Dummy(), LinearTable(), Eps())), DDIM(), TEN[-3:], LinearTable()(TEN[-3])(SAMPLE, NOISE)
    )
    assert found == (pytest.approx(354.5418, abs=1e-2), pytest.approx(0.4616, abs=1e-3))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_is_that_of_the_installed_diffusers(eta):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(1000, 1e-4, 0.02, clip_sample=False, timestep_spacing="trailing")
    theirs.set_timesteps(20)
    noise = torch.randn(30, *SAMPLE.shape, generator=torch.Generator().manual_seed(1))
    x = SAMPLE
    for k, t in enumerate(theirs.timesteps):
        out = Dummy()(x, (t + 1).expand(4), None)
        x = theirs.step(out, t, x, eta=eta, variance_noise=noise[k + 1]).prev_sample
    denoise = bound(Denoiser(Dummy(), LinearTable(), Eps()), 4)
    *_, (_, ours) = trajectory(denoise, DDIM(eta), Uniform()(LinearTable(), 20), SAMPLE, lambda like, k: noise[k])
    torch.testing.assert_close(ours, x, rtol=2e-4, atol=2e-4)
