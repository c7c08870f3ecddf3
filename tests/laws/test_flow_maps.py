"""Flow maps: the exact one has no residual, and what training leads to is known in closed form."""

import itertools

import pytest
import torch

from difflab.backbone import MLP, DiT, UNet
from difflab.denoiser import Denoiser, Estimate, ExactFlowMap, FlowMap, Fraction, Gaussian, Mixture
from difflab.laws import close
from difflab.laws.gaussian import MEAN, VAR, flow, gaussian, marginal
from difflab.objective import (
    Anywhere,
    Difference,
    Dyadic,
    Eulerian,
    EulerianDiscrete,
    ForwardMode,
    Half,
    Halved,
    Karras,
    Lagrangian,
    Semigroup,
    Shrinking,
    Sorted,
    Step,
    Uniform,
)
from difflab.objective.draws import Noised
from difflab.paradigm.drive import Conditional, Followed, Steered
from difflab.process import EDM, X0, Eps, Linear, Preconditioned, Score, Trigonometric, V, Velocity
from difflab.process.chord import chord, output, slope
from difflab.process.gaussian import det, scale, unmix
from helpers.closed_forms import normal
from helpers.conf import schedules
from helpers.laws import assert_law

TARGETS = (X0(), Eps(), V(), Velocity(), Score(), Preconditioned())
SHARES = torch.tensor([[0.999, 0.0], [0.9, 0.3], [0.5, 0.45], [0.6, 0.01], [1.0, 0.2]], dtype=torch.float64)
U = torch.tensor([0.3, 0.5, 0.9, 0.1, 0.7], dtype=torch.float64)
LABEL = torch.zeros(5, dtype=torch.long)


class FixedGap:
    """A gap of half of the step."""

    def __call__(self, schedule, t, s, progress):
        return (s + t) / 2


RESIDUALS = {
    "eulerian": Eulerian(ForwardMode()),
    "lagrangian": Lagrangian(ForwardMode()),
    "semigroup": Semigroup(Anywhere()),
    "eulerian_discrete": EulerianDiscrete(FixedGap()),
}


class Exact:
    """The exact flow map of N(MEAN, VAR), and its drive."""

    def __init__(self, schedule, target):
        self.schedule, self.target = schedule, target

    def output(self, x, t):
        """In the closed form of the denoiser."""
        estimate = gaussian(self.schedule, x.shape[1:])(x, t, LABEL)
        return self.target.mix(self.schedule, t)(estimate.x0, estimate.eps)

    def __call__(self, x, t, s):
        (mean_t, std_t), (mean_s, std_s) = marginal(self.schedule(t)), marginal(self.schedule(s))
        end = scale(std_s / std_t, x - scale(mean_t, torch.ones_like(x))) + scale(mean_s, torch.ones_like(x))
        return output(self.schedule, self.target, x, t, end, s)

    fixed = __call__

    def back(self, x, t, r):
        return chord(self.schedule, self.target, t, r)(x, self(x, t, r))


def regular(schedule, target):
    """Whether the target determines the pair at both ends, as a denoiser asks."""
    t = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
    d = det(schedule(t), target.mix(schedule, t)).abs()
    return bool((d.isfinite() & (d > 1e-12)).all())


def samples(schedule, t, n=3):
    mean, std = marginal(schedule(t))
    return scale(std, normal(len(t), n)) + scale(mean, torch.ones(len(t), n, dtype=torch.float64))


def test_the_exact_map_has_no_residual_for_any_schedule_and_target():
    cases = []
    for schedule, target in itertools.product(schedules().values(), TARGETS):
        if not regular(schedule, target):
            continue
        t, s = (schedule.t_min + (schedule.t_max - schedule.t_min) * SHARES).unbind(1)
        x, exact = samples(schedule, t), Exact(schedule, target)
        stop = s.clamp(min=schedule.t_min)  # the Lagrangian residual is in the units of the output there
        size = 1 + exact(x, t, s).abs() + exact.output(exact.back(x, t, stop), stop).abs()
        for name, residual in RESIDUALS.items():
            found = residual(exact, exact, Step(x, t, s, U, 1.0)) / size
            digits = (schedule(stop).sigma / 1e-3).clamp(max=1) ** (2 if isinstance(target, Score) else 1)
            found = scale(digits, found)  # small differences are over sigma, or its square
            cases.append(close(f"{name} on {schedule}, {target}", found, torch.zeros_like(found), atol=1e-10, t=t))
    assert len(cases) > 200
    assert_law(cases)


def test_a_wrong_map_has_each_residual():
    """Of a map that stops short, so that the law above can fail."""

    class Short(Exact):
        def __call__(self, x, t, s):
            return super().__call__(x, t, s) * 1.01

        fixed = __call__

    schedule = Linear()
    t, s = SHARES[:3].unbind(1)
    x, exact, short = samples(schedule, t), Exact(schedule, Velocity()), Short(schedule, Velocity())
    for name, residual in RESIDUALS.items():
        if name != "semigroup":  # a map that is short by one factor is nearly one of the same semigroup
            assert residual(short, exact, Step(x, t, s, U[:3], 1.0)).abs().mean() > 1e-3, name


def test_published_methods_are_the_residuals_on_their_schedule_and_target():
    """MeanFlow's identity on straight paths; sCM's tangent on the circle, eq. 6 with sigma_d = 1."""
    t, s = SHARES[1:4].unbind(1)
    x, y, dy, z = (normal(3, 2, seed=k) for k in range(4))

    class Told:
        schedule, target = Linear(), Velocity()

        def __call__(self, x, t, s):
            return y

        def fixed(self, x, t, s):
            return y

        def output(self, x, t):
            return z

    class Known:
        mixed = True

        def __call__(self, f, low, high):
            return dy

    told = Told()
    found = Eulerian(Known())(told, told, Step(x, t, s, U[:3], 1.0))
    assert_law([close("MeanFlow", found, y - (z - scale(t - s, dy)), atol=1e-12)])
    told.schedule, told.target = Trigonometric(), V()
    angle = told.schedule(t).sigma.asin()
    rate = torch.pi / 2  # of the angle by time
    dx = slope(told.schedule, told.target, x, t, z) / rate
    # f = cos(a) x - sin(a) F, df/da = -cos(a) (F - dx/da) - sin(a) (x + dF/da)
    tangent = -scale(angle.cos(), y - dx) - scale(angle.sin(), x + dy / rate)
    found = Eulerian(Known())(told, told, Step(x, t, 0 * s, U[:3], 1.0))
    assert_law([close("sCM", found, -tangent, atol=1e-12)])


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
    """In x / alpha by sigma / alpha, which is DDIM: Song et al. 2023, theorem 2 at a finite number of steps."""
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


def networks(second_time=True):
    """A network of each kind, in float64, whose outputs are not zero."""
    kinds = [
        lambda: UNet((1, 8, 8), 3, width=16, blocks=1, head_channels=8, second_time=second_time),
        lambda: DiT((1, 8, 8), 3, width=32, depth=2, second_time=second_time),
        lambda: MLP((2,), 3, width=32, second_time=second_time),
    ]
    for make in kinds:
        torch.manual_seed(0)
        net = make().double()
        for layer in net.modules():  # those that start at zero
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and not layer.weight.any():
                torch.nn.init.kaiming_normal_(layer.weight)
        yield net


def test_derivatives_in_forward_mode_are_those_of_differences():
    cases, label = [], torch.tensor([0, 1, 2, 3])
    t, s = SHARES[:4].unbind(1)
    for net in networks():
        x, u = normal(4, *net.shape), normal(4, *net.shape, seed=1)
        flow_map = FlowMap(net, Linear(), Velocity(), Fraction())

        def along(h, x=x, u=u, flow_map=flow_map):
            return flow_map.output(x + scale(h, u), t + h, label, s)[0]

        with torch.no_grad():
            exact, near = (way(along, s - t, 1 - t) for way in (ForwardMode(), Difference(1e-5)))
        assert exact.abs().max() > 1e-3
        cases.append(close(type(net).__name__, near[1:], exact[1:], atol=1e-6))
    assert_law(cases)


def test_the_weights_of_a_denoiser_give_its_outputs_at_steps_of_no_length():
    label, t = torch.tensor([0, 1, 2, 3]), SHARES[:4, 0]
    for one, two in zip(networks(second_time=False), networks(), strict=True):
        x = normal(4, *one.shape)
        trained, flow_map = Denoiser(one, Linear(), Velocity()), FlowMap(two, Linear(), Velocity())
        torch.nn.init.zeros_(two.condition.end.linear2.weight)
        torch.nn.init.zeros_(two.condition.end.linear2.bias)
        flow_map.load_state_dict(trained.state_dict())
        with torch.no_grad():
            for s in (None, t, t / 2):  # the second time starts without a say
                for a, b in zip(flow_map(x, t, label, s)[:3], trained(x, t, label)[:3], strict=True):
                    assert torch.equal(a, b)
        with pytest.raises(RuntimeError, match="Unexpected key"):
            trained.load_state_dict(flow_map.state_dict())


def test_fresh_networks_change_slowly_with_time_by_the_share_of_the_axis_and_fast_by_thousandths():
    t, label = SHARES[:4, 0] * 0.9, torch.tensor([0, 1, 2, 3])

    def rate(net, code):
        flow_map, x = FlowMap(net, Linear(), Velocity(), code), normal(4, *net.shape)
        with torch.no_grad():
            dy = ForwardMode()(lambda h: flow_map.output(x, t + h, label, t / 2)[0], -t, 1 - t)
            return (dy.square().mean() / flow_map.output(x, t, label, t / 2)[0].square().mean()).sqrt().item()

    for net in networks():
        slow, fast = rate(net, Fraction()), rate(net, None)
        assert slow < 1, type(net).__name__
        assert fast > 10 * slow, type(net).__name__


def test_a_flow_map_needs_a_network_with_two_times():
    with pytest.raises(ValueError, match=r"backbone\.second_time=true"):
        FlowMap(MLP((2,), 0), Linear(), Velocity())


def test_flow_maps_of_mixtures_are_exact():
    """The semigroup to 1e-10, and the maps of one Gaussian by both ways."""
    means = torch.tensor([[-1.0, 0.3], [0.5, -0.2], [1.2, 1.0]], dtype=torch.float64)
    law = torch.tensor([0.04, 0.01, 0.1], dtype=torch.float64), torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    cases = []
    for schedule in schedules().values():
        t, s = (schedule.t_min + (schedule.t_max - schedule.t_min) * SHARES[:4]).unbind(1)
        x = scale(torch.hypot(*schedule(t)), normal(4, 2)).detach()
        exact = ExactFlowMap(Mixture(schedule, means, *law))

        class Map(Exact):
            def __call__(self, x, t, s, exact=exact):
                return exact(x, t, LABEL[: len(x)], s).out

            fixed = __call__

        found = Semigroup(Anywhere())(Map(schedule, X0()), None, Step(x, t, s, U[:4], 1.0))
        cases.append(close(f"semigroup on {schedule}", found, torch.zeros_like(found), atol=1e-9))
        one = torch.tensor([[MEAN, MEAN]], dtype=torch.float64)
        single = Mixture(schedule, one, one[0, :1] * 0 + VAR, one[0, :1] * 0 + 1)
        by_solver, closed = ExactFlowMap(single), ExactFlowMap(Gaussian(schedule, one[0], one[0] * 0 + VAR))
        start = samples(schedule, t, 2).detach()
        ends = [schedule(s)(*each(start, t, LABEL[:4], s)[:2]) for each in (by_solver, closed)]
        cases.append(close(f"Gaussian on {schedule}", *ends, rtol=1e-9, atol=1e-9))
        cases.append(close(f"closed form on {schedule}", ends[1], rows(schedule, t, s, start), rtol=1e-9, atol=1e-9))
    assert_law(cases)


def rows(schedule, t, s, x):
    return torch.cat([flow(schedule, *ends, row[None]) for *ends, row in zip(t, s, x, strict=True)])


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
    """N(k) - 1 = min(s0 2^floor(k / K'), s1), K' = floor(K / (log2(s1 / s0) + 1)): Song & Dhariwal 2023, eq. 10."""
    K = 400_000
    for k in (0, 1, 49_999, 50_000, 123_456, 349_999, 350_000, 399_999):
        assert Karras().steps(k / K) == min(10 * 2 ** (k // (K // 8)), 1280)
    schedule = EDM()
    ramp = torch.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 11, dtype=torch.float64) ** 7  # Karras et al. 2022, eq. 5
    t = schedule.time_at(-2 * ramp.log())
    r = Karras()(schedule, t[:-1], 0 * t[:-1], 0.0)
    torch.testing.assert_close(schedule(r).sigma[:-1], ramp[1:-1], rtol=1e-6, atol=0)
    assert schedule(r[-1]).sigma <= 0.002 * (1 + 1e-6)


def test_progressive_distillation_halves_its_steps():
    """Salimans & Ho 2022, algorithm 2: the student of 8, 4, 2, 1 steps."""
    g, t, schedule = torch.Generator().manual_seed(0), torch.zeros(512, dtype=torch.float64), Linear()
    for turn, pieces in enumerate((8, 4, 2, 1)):
        start, end = Halved(4)(schedule, Uniform(), t, g, (turn + 0.5) / 4)
        torch.testing.assert_close(start.unique(), schedule.time(torch.arange(1, pieces + 1).double() / pieces))
        torch.testing.assert_close(end.unique()[0], torch.zeros((), dtype=torch.float64))
        assert len(end.unique()) == pieces
