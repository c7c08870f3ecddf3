"""A denoiser on another schedule: what is exact on one schedule is exact on every other."""

import itertools

import torch

from difflab.denoiser.base import AnyDenoiser, Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.denoiser.rescheduled import Rescheduled, matched
from difflab.guidance.base import Guided
from difflab.laws import close, violations
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import EDM, VE, VP, Linear
from difflab.process.target import Eps, Velocity
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.heun import Heun
from helpers.closed_forms import f64, normal
from helpers.conf import schedules
from helpers.laws import assert_law

MEANS = torch.tensor([[-1.0, 0.3], [0.5, -0.2]], dtype=torch.float64)
VAR, WEIGHTS = torch.tensor([0.04, 0.01], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)
LABEL = torch.zeros(6, dtype=torch.long)


def pairs():
    """Two schedules of conf/, not both discrete, whose steps are at other levels."""
    some = itertools.permutations(schedules().values(), 2)
    return [(own, new) for own, new in some if not (own.discrete and new.discrete)]


def exact(schedule):
    return Mixture(schedule, MEANS, VAR, WEIGHTS)


def shared(own, new):
    """Times of `new` at levels that both have; at the steps of a discrete schedule."""
    ends = [torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64) for schedule in (own, new)]
    levels = torch.stack([schedule.log_snr(end) for schedule, end in zip((own, new), ends, strict=True)])
    clean, noisy = levels[:, 0].min(), levels[:, 1].max()
    if own.discrete:
        return new.time_at(own.log_snrs[(own.log_snrs < clean) & (own.log_snrs > noisy)])[:: own.T // 10]
    inner = torch.linspace(clean.clamp(max=16).item(), noisy.clamp(min=-16).item(), 14, dtype=torch.float64)[1:-1]
    return new.time_at(inner)


@torch.no_grad()
def test_the_optimum_on_one_schedule_is_the_optimum_on_another():
    cases = []
    for own, new in pairs():
        t, eps = shared(own, new), normal(6, 2)
        assert len(t) >= 3
        m, labels = new(t.repeat_interleave(6)), LABEL.repeat(len(t))
        t = t.repeat_interleave(6)
        x = m(MEANS[:1].expand(len(t), -1), eps.repeat(len(t) // 6, 1))
        here, there = Rescheduled(exact(own), new)(x, t, labels), exact(new)(x, t, labels)
        noise = (m.sigma[:, None] * part.eps for part in (here, there))
        case = f"{own} on {new}"
        cases += [
            close(f"{case}: x0", here.x0, there.x0, rtol=1e-6, atol=1e-6, t=t),
            close(f"{case}: sigma eps", *noise, rtol=1e-6, atol=1e-6 * m.sigma.min().item(), t=t),
            close(f"{case}: the sample", m(here.x0, here.eps), x, rtol=1e-7, atol=1e-7, t=t),
        ]
    assert_law(cases)


def test_times_of_a_batch_are_matched_one_by_one():
    t, x = torch.linspace(0.1, 0.9, 6, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    whole = Rescheduled(exact(VP()), Linear())(x, t, LABEL)
    for k in range(6):
        one = Rescheduled(exact(VP()), Linear())(x[k : k + 1], t[k], LABEL[:1])
        torch.testing.assert_close(whole.x0[k : k + 1], one.x0)
        torch.testing.assert_close(whole.eps[k : k + 1], one.eps)


@torch.no_grad()
def test_beyond_the_trained_ends_all_is_finite_and_explains_the_sample():
    cases, x = [], normal(6, 2)
    for own, new in [*pairs(), (LinearBetas(), LinearBetas(T=50))]:
        for t in f64(0.0, new.t_min, new.t_max):
            m, case = new(t), f"{own} on {new} at t={t:.3g}"
            x_t = m.sigma * x + m.alpha
            estimate = Rescheduled(exact(own), new)(x_t, t, LABEL)
            cases.append(violations(f"{case}: finite", ~torch.stack(estimate[:3]).isfinite()))
            if m.sigma > 0:
                mixed = m(estimate.x0, estimate.eps)
                cases.append(close(f"{case}: the sample", mixed, x_t, rtol=1e-7, atol=1e-7))
    assert_law(cases)


@torch.no_grad()
def test_infinite_levels_are_the_trained_ends():
    one, none, x, cases = f64(1)[0], f64(0)[0], torch.ones(2, 3, dtype=torch.float64), []
    for own in schedules().values():
        (noise, late), (_, early) = matched(own, x, Mix(none, one)), matched(own, x, Mix(one, none))
        cases += [
            close(f"{own}: pure noise", late, f64(own.t_max)[0], rtol=1e-6),
            close(f"{own}: its scale", noise, x * torch.hypot(*own(late)), rtol=1e-7, atol=1e-7),
            close(f"{own}: data", early, f64(own.t_min)[0], rtol=1e-6),
        ]
    assert_law(cases)


def test_a_discrete_schedule_answers_with_its_nearest_step():
    """The level is off by half a step at most."""
    table, t = LinearBetas(), torch.linspace(0.05, 0.9, 400, dtype=torch.float64)
    _, step = matched(table, torch.zeros(400, 2, dtype=torch.float64), Linear()(t))
    assert torch.equal(step, step.round())
    off = (table.log_snr(step) - Linear().log_snr(t)).abs()
    below, above = (table.log_snrs[(step + by).clamp(1, table.T).long() - 1] for by in (-1, 1))
    assert (off <= (below - above).abs() / 2 + 1e-9).all()


def test_a_network_trained_on_vp_follows_the_same_flow_on_another_schedule():
    """The probability flow depends on the schedule by a change of scale alone: all lead to one end."""
    one, ends = torch.ones(1, dtype=torch.float64), []
    denoiser = Gaussian(VP(), 0.3 * one, 0.25 * one)
    others = [Rescheduled(denoiser, new) for new in (Linear(), VE(0.02, 30.0), EDM())]
    for along in (denoiser, *others):
        schedule = along.schedule
        times = schedule.time_at(torch.linspace(-6, 6, 60, dtype=torch.float64))
        x = torch.hypot(*schedule(times[0])) * f64(-1.5, 0.0, 1.0)[:, None]
        *_, (s, x) = trajectory(along.bind(LABEL[:3]), Heun(), times, x, lambda like, k: like)
        ends.append(x / torch.hypot(*schedule(s)))
    assert_law(close(f"{o.schedule}", x, ends[0], atol=2e-3) for o, x in zip(others, ends[1:], strict=True))


def test_straight_lines_to_alpha_0_end_where_the_schedule_ended():
    """From pure noise, which VP does not quite reach, in as many steps as leave little error of the grid."""
    denoiser, x = exact(VP()), normal(6, 2)
    ends = [
        [*trajectory(along.bind(LABEL), DDIM(), grid(along.schedule, 400), x, lambda like, k: like)][-1][1]
        for along, grid in ((denoiser, LogSNR()), (Rescheduled(denoiser, Linear()), Uniform()))
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=5e-2)


class Twice(Guided):
    """A guidance that takes two evaluations."""

    def nfe(self, t):
        return 2 * super().nfe(t)

    def forward(self, x, t, label, s=None):
        return [self.denoiser(x, t, label, s) for _ in range(2)][-1]


class Late(AnyDenoiser):
    """A denoiser that costs more where its own time is late."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.schedule, self.shape, self.classes = denoiser, denoiser.schedule, denoiser.shape, 0

    def nfe(self, t):
        return 3 if t > 0.5 else 1


def test_a_network_on_another_schedule_keeps_its_attributes():
    class Net(torch.nn.Linear):
        shape, classes, learned_variance = (2,), 3, True

        def forward(self, x, timestep, label):
            return super().forward(x)

    trained = Denoiser(Net(2, 4), VP(), Eps())
    trained.has_density = False
    along = Rescheduled(trained, Linear())
    assert (along.shape, along.classes, along.learned_variance, along.has_density) == ((2,), 3, True, False)
    assert along.device == trained.device
    x, t = torch.randn(6, 2), torch.tensor(0.4, dtype=torch.float64)
    variance = along(x, t, LABEL).v
    torch.testing.assert_close(variance, trained(*matched(VP(), x, Linear()(t)), LABEL).v)
    assert along.nfe(t) == 1
    assert Rescheduled(Late(exact(VP())), Linear()).nfe(torch.tensor(0.3, dtype=torch.float64)) == 1
    assert Rescheduled(Late(exact(VP())), Linear()).nfe(torch.tensor(0.99, dtype=torch.float64)) == 3


def test_guidance_wraps_a_rescheduled_network():
    along = Rescheduled(exact(VP()), Linear())
    guided, t, x = Twice(along), torch.tensor(0.4, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    assert guided.schedule is along.schedule
    assert guided.nfe(t) == 2
    estimate = along(x, t, LABEL)
    torch.testing.assert_close(guided(x, t, LABEL).x0, estimate.x0)
    other = guided.with_x0(estimate, x, t, 0.5 * estimate.x0)
    torch.testing.assert_close(Linear()(t)(other.x0, other.eps), x)
    torch.testing.assert_close(other.out, other.x0)


def test_its_own_schedule_changes_nothing(subtests):
    for target in [Eps(), Velocity()]:
        with subtests.test(str(target)):

            class Curved(torch.nn.Module):
                shape, classes, learned_variance = (2,), 0, False

                def forward(self, x, timestep, label):
                    return torch.tanh(x + timestep[:, None] / 1000)

            trained, t, x = Denoiser(Curved(), VP(), target), torch.tensor(0.4, dtype=torch.float64), torch.randn(6, 2)
            here, there = Rescheduled(trained, VP())(x, t, LABEL), trained(x, t, LABEL)
            torch.testing.assert_close(here.x0, there.x0)
            torch.testing.assert_close(here.eps, there.eps)
