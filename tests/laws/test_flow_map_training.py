"""What the training of a flow map leads to, in closed form: fixed points, steps, gaps and trained guidance."""

import itertools
import math

import pytest
import torch

from difflab.denoiser import Estimate
from difflab.laws import close
from difflab.laws.gaussian import gaussian
from difflab.objective import (
    Dyadic,
    EulerianDiscrete,
    Half,
    Halved,
    Karras,
    KarrasRoot,
    KarrasUniform,
    Semigroup,
    Shrinking,
    Sorted,
    Step,
    Uniform,
)
from difflab.objective.draws import Noised
from difflab.paradigm import Slowing
from difflab.paradigm.drive import Conditional, Followed, Steered
from difflab.process import EDM, VP, Linear, SubVP, Trigonometric, V, Velocity
from difflab.process.chord import chord, output
from difflab.process.gaussian import scale, unmix
from helpers.closed_forms import normal
from helpers.flow_maps import LABEL, SHARES, Exact, U, samples
from helpers.laws import assert_law


class Composed(Exact):
    """The map from each of some times to data that is made of steps of a solver."""

    def __init__(self, schedule, target, times, back):
        super().__init__(schedule, target)
        self.times, self.by = times, back

    def __call__(self, x, t, s):
        if (t == s).any():
            return torch.where((t == s)[:, None], 0.0, self(x, torch.where(t == s, self.times[0], t), s))
        ends = []
        for row, start in zip(x.split(1), t, strict=True):
            k = int((self.times - start).abs().argmin())
            for a, b in itertools.pairwise(self.times[k:]):
                row = self.by(row, a[None], b[None])
            ends.append(row)
        return output(self.schedule, self.target, x, t, torch.cat(ends), s)

    fixed = __call__


class Next:
    """The next time of some."""

    def __init__(self, times):
        self.times = times

    def __call__(self, schedule, t, s, progress):
        return torch.stack([self.times[int((self.times - each).abs().argmin()) + 1] for each in t])


def conditional_mean(schedule, target, x, t):
    """The data's drive at the mean of `(x0, eps)` given `x_t`: the residual is affine, so this is its mean."""
    estimate = gaussian(schedule, x.shape[1:])(x, t, LABEL[: len(x)])
    return Conditional(Noised(t, t, x, estimate.x0, estimate.eps, LABEL[: len(x)]), schedule, target)


def test_discrete_consistency_training_ends_at_eulers_solution_on_its_grid():
    """In x / alpha by sigma / alpha, which is DDIM: Song et al. 2023 at a finite number of steps."""
    cases = []
    for schedule, target, n in itertools.product((EDM(), Trigonometric(), Linear()), (V(), Velocity()), (3, 10)):
        times = schedule.t_max * torch.linspace(1, 0, n + 1, dtype=torch.float64)

        def euler(x, t, r, schedule=schedule, target=target):
            return conditional_mean(schedule, target, x, t).back(x, t, r)

        composed = Composed(schedule, target, times, euler)
        t = times[:-1][:5]
        x = samples(schedule, t)
        drive = conditional_mean(schedule, target, x, t)
        found = EulerianDiscrete(Next(times))(composed, drive, Step(x, t, 0 * t, U[: len(t)], 1.0))
        cases.append(close(f"{schedule}, {target}, {n} steps", found, torch.zeros_like(found), atol=1e-10, t=t))
    assert_law(cases)


def test_consistency_distillation_ends_at_heuns_solution_and_progressive_distillation_at_two_ddim_steps():
    schedule, target = EDM(), Velocity()
    times = schedule.time_at(torch.linspace(-8, 6, 6, dtype=torch.float64))
    t = times[:-1]
    x = samples(schedule, t)

    def followed(n):
        return Followed(gaussian(schedule, (3,)).bind(LABEL[:n]), target)

    composed = Composed(schedule, target, times, lambda x, t, r: followed(len(x)).back(x, t, r))
    found = EulerianDiscrete(Next(times))(composed, followed(5), Step(x, t, times[-1].expand(5), U, 1.0))
    cases = [close("consistency distillation", found[:4], torch.zeros(4, 3, dtype=torch.float64), atol=1e-9)]

    class Teacher(Exact):
        """A denoiser's DDIM step, whatever its length."""

        def fixed(self, x, t, s):
            return self.output(x, t)

        def __call__(self, x, t, s):
            r = (s + t) / 2
            middle = chord(schedule, target, t, r)(x, self.output(x, t))
            end = chord(schedule, target, r, s)(middle, self.output(middle, r))
            return output(schedule, target, x, t, end, s)

    student, s = Teacher(schedule, target), t / 3
    found = Semigroup(Half())(student, None, Step(x, t, s, U, 1.0))
    cases.append(close("progressive distillation", found, torch.zeros_like(found), atol=1e-9))
    assert_law(cases)


def test_a_teachers_step_ends_close_to_narrow_data_on_schedules_whose_sigma_rises_without_bound():
    """From log-SNR 6: the trapezoid rule misses by half of the noise at most, and on VP that in time by 60 times it."""
    for schedule, std in itertools.product((VP(), SubVP(), Linear(), EDM()), (1e-4, 3e-3)):
        t = schedule.time_at(torch.tensor([6.0], dtype=torch.float64))
        exact = gaussian(schedule, (3,), mean=0.0, var=std**2)
        x = scale(schedule(t).sigma, normal(1, 3))
        end = Followed(exact.bind(LABEL[:1]), V()).back(x, t, 0 * t)
        m = schedule(t)
        flow = scale(std / (m.alpha**2 * std**2 + m.sigma**2).sqrt(), x)
        assert ((end - flow).abs() < 0.6 * x.abs()).all(), (schedule, std)


def test_trained_guidance_has_the_guided_velocity_as_its_fixed_point():
    """u + scale (c - u) for any kappa, and the data's own where the label is dropped."""
    c, u, x = normal(4, 2), normal(4, 2, seed=1), normal(4, 2, seed=2)
    t, label = SHARES[:4, 0], torch.tensor([0, 1, 2, 3])  # 3: the null label

    class Learned:
        schedule, target, classes = Linear(), Velocity(), 3

        def __init__(self, scale):
            self.scale = scale

        def __call__(self, x, t, label):
            guided = torch.where((label == 3)[:, None], u, u + self.scale * (c - u))
            return Estimate(x, x, guided)

    for factor, kappa in itertools.product((1.0, 2.0, 5.0), (0.0, 0.5, 0.9)):
        own = Learned(factor)
        way = Conditional(
            Noised(t, t, x, *unmix(x, Linear()(t), c, Velocity().mix(Linear(), t)), label), Linear(), Velocity()
        )
        found = Steered(way, own, factor, kappa).output(x, t)
        expected = torch.where((label == 3)[:, None], c, u + factor * (c - u))
        assert_law([close(f"scale {factor}, kappa {kappa}", found, expected, atol=1e-9)])


def test_pairs_are_steps_back_in_time():
    g = torch.Generator().manual_seed(0)
    for schedule in (Linear(), EDM()):
        t, _ = Uniform()(schedule, 4096, g)
        start, end = Sorted(0.75)(schedule, Uniform(), t, g, 1.0)
        assert (start >= end).all()
        assert (start == end).double().mean().item() == pytest.approx(0.75, abs=0.03)
        start, end = Dyadic(128, 0.5)(schedule, Uniform(), t, g, 1.0)
        assert (start >= end).all()
        far = start > end
        length = (start - end)[far & (end > 0)] / (schedule.t_max - schedule.t_min)
        # Frans et al. 2024: 2^-1 .. 2^-6 here, as the step of the whole axis ends at data
        assert set(length.log2().round(decimals=6).tolist()) == {-1.0, -2.0, -3.0, -4.0, -5.0, -6.0}
        assert far.double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_the_gap_of_easy_consistency_training_shrinks_as_published():
    """r(t) of the authors' code at sigma = 0.1, 1 and 10: t (1 - n(t) / 2^(stage + 1)), n(t) = 1 + 8 sigmoid(-t)."""
    schedule, sigma = EDM(), torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    t = schedule.time_at(-2 * sigma.log())
    n = 1 + 8 / (1 + sigma.exp())
    for stage in range(8):
        r = Shrinking()(schedule, t, 0 * t, (stage + 0.5) / 8)
        expected = sigma * (1 - n / 2 ** (stage + 1)).clamp(min=0)
        torch.testing.assert_close(schedule(r).sigma, expected, rtol=1e-6, atol=1e-3)  # below sigma_min it is data


def test_the_grid_of_consistency_training_doubles_as_published():
    """N(k) - 1 = min(s0 2^floor(k / K'), s1), K' = floor(K / (log2(s1 / s0) + 1)): Song & Dhariwal 2023."""
    K = 400_000
    for k in (0, 1, 49_999, 50_000, 123_456, 349_999, 350_000, 399_999):
        assert Karras().steps(k / K) == min(10 * 2 ** (k // (K // 8)), 1280)
    schedule = EDM()
    ramp = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 11, dtype=torch.float64) ** 7  # Karras et al. 2022, eq. 5
    t = schedule.time_at(-2 * ramp.log())
    r = Karras()(schedule, t[:-1], 0 * t[:-1], 0.0)
    torch.testing.assert_close(schedule(r).sigma[:-1], ramp[1:-1], rtol=1e-6, atol=0)
    assert schedule(r[-1]).sigma <= 0.002 * (1 + 1e-6)


def test_the_grid_and_the_average_of_the_first_consistency_training_grow_as_published():
    """N(k) and mu(k) of Song et al. 2023, appendix C, with the constants of CIFAR-10: s0 = 2, s1 = 150, mu0 = 0.9."""
    K, gap = 800_000, KarrasRoot()
    rule = Slowing(gap, 0.9)
    for k in (0, 1, 100, 20_000, 123_456, 400_000, 799_999, 800_000):
        N = math.ceil(math.sqrt(k / K * (151**2 - 2**2) + 2**2) - 1) + 1
        assert gap.steps(k / K) == N - 1, k
        assert rule.mu(k / K) == pytest.approx(math.exp(2 * math.log(0.9) / N), rel=1e-12)
    assert (gap.steps(0.0), gap.steps(1.0)) == (1, 150)


def test_the_times_of_the_first_consistency_training_are_spread_as_its_grid():
    """As many lie in each step of the grid."""
    t, weight = KarrasUniform()(EDM(), 4000, torch.Generator().manual_seed(0))
    ramp = torch.linspace(0.002 ** (1 / 7), 80 ** (1 / 7), 9, dtype=torch.float64) ** 7  # Karras et al. 2022, eq. 5
    counts = torch.histogram(EDM()(t).sigma, ramp * (1 + 1e-12)).hist
    assert counts.sum() >= 3999
    assert (counts - 500).abs().max() < 5 * 500**0.5
    assert (weight == 1).all()


def test_progressive_distillation_halves_its_steps():
    """Salimans & Ho 2022, algorithm 2: the student of 8, 4, 2, 1 steps."""
    g, t, schedule = torch.Generator().manual_seed(0), torch.zeros(512, dtype=torch.float64), Linear()
    for turn, pieces in enumerate((8, 4, 2, 1)):
        start, end = Halved(4)(schedule, Uniform(), t, g, (turn + 0.5) / 4)
        torch.testing.assert_close(start.unique(), schedule.time(torch.arange(1, pieces + 1).double() / pieces))
        torch.testing.assert_close(end.unique()[0], torch.zeros((), dtype=torch.float64))
        assert len(end.unique()) == pieces
