"""Another path for a trained network: what is exact on one schedule is exact along every other."""

import itertools

import pytest
import torch

from conftest import schedules
from difflab.denoiser.base import AnyDenoiser, Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.denoiser.rescheduled import Rescheduled, matched
from difflab.guidance.base import Guided
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import EDM, VE, VP, Linear
from difflab.process.target import Eps, Velocity
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import trajectory
from difflab.sampler.grid import LogSNR, Uniform
from difflab.sampler.heun import Heun

MEANS = torch.tensor([[-1.0, 0.3], [0.5, -0.2]], dtype=torch.float64)
VAR, WEIGHTS = torch.tensor([0.04, 0.01], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)
LABEL = torch.zeros(6, dtype=torch.long)
OURS = [param.values[0] for param in schedules()]
PAIRS = [
    pytest.param(own, new, id=f"{type(own).__name__}-{type(new).__name__}")
    for own, new in itertools.permutations(OURS, 2)
    if not (own.discrete and new.discrete)  # whose steps are at other levels
]


def exact(schedule):
    return Mixture(schedule, MEANS, VAR, WEIGHTS)


def shared(own, new):
    """Times of `new` at levels that both have; at the steps of a table."""
    ends = [torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64) for schedule in (own, new)]
    levels = torch.stack([schedule.log_snr(end) for schedule, end in zip((own, new), ends, strict=True)])
    clean, noisy = levels[:, 0].min(), levels[:, 1].max()
    if own.discrete:
        return new.time_at(own.log_snrs[(own.log_snrs < clean) & (own.log_snrs > noisy)])[:: own.T // 10]
    inner = torch.linspace(clean.clamp(max=16).item(), noisy.clamp(min=-16).item(), 14, dtype=torch.float64)[1:-1]
    return new.time_at(inner)


@pytest.mark.parametrize(("own", "new"), PAIRS)
@torch.no_grad()
def test_the_optimum_on_one_schedule_is_the_optimum_along_another(own, new):
    times = shared(own, new)
    assert len(times) >= 3
    for t in times:
        m = new(t)
        x = m(MEANS[:1], torch.randn(6, 2, dtype=torch.float64))
        here, there = Rescheduled(exact(own), new)(x, t, LABEL), exact(new)(x, t, LABEL)
        torch.testing.assert_close(here.x0, there.x0, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(m.sigma * here.eps, m.sigma * there.eps, rtol=1e-6, atol=1e-6 * m.sigma.item())
        torch.testing.assert_close(m(here.x0, here.eps), x)


def test_times_of_a_batch_are_matched_one_by_one():
    t, x = torch.linspace(0.1, 0.9, 6, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    whole = Rescheduled(exact(VP()), Linear())(x, t, LABEL)
    for k in range(6):
        one = Rescheduled(exact(VP()), Linear())(x[k : k + 1], t[k], LABEL[:1])
        torch.testing.assert_close(whole.x0[k : k + 1], one.x0)
        torch.testing.assert_close(whole.eps[k : k + 1], one.eps)


@pytest.mark.parametrize(("own", "new"), [*PAIRS, (LinearBetas(), LinearBetas(T=50))])
@torch.no_grad()
def test_beyond_the_trained_ends_all_is_finite_and_explains_x(own, new):
    for end in (0.0, new.t_min, new.t_max):
        t = torch.tensor(end, dtype=torch.float64)
        m, x = new(t), torch.randn(6, 2, dtype=torch.float64)
        said = Rescheduled(exact(own), new)(m.sigma * x + m.alpha, t, LABEL)
        assert all(part.isfinite().all() for part in (said.x0, said.eps, said.out))
        if m.sigma > 0:
            torch.testing.assert_close(m(said.x0, said.eps), m.sigma * x + m.alpha)


@pytest.mark.parametrize("own", OURS)
@torch.no_grad()
def test_infinite_levels_are_the_trained_ends(own):
    one, none = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    x = torch.ones(2, 3, dtype=torch.float64)
    noise, t = matched(own, x, Mix(none, one))
    assert t.item() == pytest.approx(own.t_max)
    torch.testing.assert_close(noise, x * torch.hypot(*own(t)))
    assert matched(own, x, Mix(one, none))[1].item() == pytest.approx(own.t_min)


def test_a_table_speaks_for_the_nearest_step():
    """The level is off by half a step at most, and so little is what is said."""
    table, t = LinearBetas(), torch.linspace(0.05, 0.9, 400, dtype=torch.float64)
    _, step = matched(table, torch.zeros(400, 2, dtype=torch.float64), Linear()(t))
    assert torch.equal(step, step.round())
    off = (table.log_snr(step) - Linear().log_snr(t)).abs()
    below, above = (table.log_snrs[(step + by).clamp(1, table.T).long() - 1] for by in (-1, 1))
    assert (off <= (below - above).abs() / 2 + 1e-9).all()


@pytest.mark.parametrize("new", [Linear(), VE(0.02, 30.0), EDM()])
def test_a_network_trained_on_vp_follows_the_same_flow_along_another_path(new):
    """The probability flow depends on the path by a change of scale alone: both paths lead to one end."""
    one, ends = torch.ones(1, dtype=torch.float64), []
    denoiser = Gaussian(VP(), 0.3 * one, 0.25 * one)
    for along in (denoiser, Rescheduled(denoiser, new)):
        path = along.schedule
        times = path.time_at(torch.linspace(-6, 6, 60, dtype=torch.float64))
        m = path(times[0])
        x = torch.hypot(*m) * torch.tensor([[-1.5], [0.0], [1.0]], dtype=torch.float64)
        *_, (s, x) = trajectory(along.bind(LABEL[:3]), Heun(), times, x, lambda like, k: like)
        ends.append(x / torch.hypot(*path(s)))
    torch.testing.assert_close(*ends, rtol=0, atol=2e-3)


def test_straight_lines_to_alpha_0_end_where_the_schedule_ended():
    """From pure noise, which VP does not quite reach, in as many steps as leave little error of the grid."""
    denoiser, x = exact(VP()), torch.randn(6, 2, dtype=torch.float64)
    ends = [
        [*trajectory(along.bind(LABEL), DDIM(), grid(along.schedule, 100), x, lambda like, k: like)][-1][1]
        for along, grid in ((denoiser, LogSNR()), (Rescheduled(denoiser, Linear()), Uniform()))
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=5e-2)


class Twice(Guided):
    """A guidance that asks twice."""

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


def test_a_network_along_a_path_keeps_what_is_known_of_it():
    class Net(torch.nn.Linear):
        shape, classes, learned_variance = (2,), 3, True

        def forward(self, x, code, label):
            return super().forward(x)

    trained = Denoiser(Net(2, 4), VP(), Eps())
    trained.has_density = False
    along = Rescheduled(trained, Linear())
    assert (along.shape, along.classes, along.learned_variance, along.has_density) == ((2,), 3, True, False)
    assert along.device == trained.device
    x, t = torch.randn(6, 2), torch.tensor(0.4, dtype=torch.float64)
    spread = along(x, t, LABEL).v
    torch.testing.assert_close(spread, trained(*matched(VP(), x, Linear()(t)), LABEL).v)
    assert along.nfe(t) == 1
    assert Rescheduled(Late(exact(VP())), Linear()).nfe(torch.tensor(0.3, dtype=torch.float64)) == 1
    assert Rescheduled(Late(exact(VP())), Linear()).nfe(torch.tensor(0.99, dtype=torch.float64)) == 3


def test_guidance_goes_around_a_path():
    along = Rescheduled(exact(VP()), Linear())
    guided, t, x = Twice(along), torch.tensor(0.4, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    assert guided.schedule is along.schedule
    assert guided.nfe(t) == 2
    said = along(x, t, LABEL)
    torch.testing.assert_close(guided(x, t, LABEL).x0, said.x0)
    other = guided.with_x0(said, x, t, 0.5 * said.x0)
    torch.testing.assert_close(Linear()(t)(other.x0, other.eps), x)
    torch.testing.assert_close(other.out, other.x0)


@pytest.mark.parametrize("target", [Eps(), Velocity()])
def test_its_own_schedule_is_a_path_that_changes_nothing(target):
    class Curved(torch.nn.Module):
        shape, classes, learned_variance = (2,), 0, False

        def forward(self, x, code, label):
            return torch.tanh(x + code[:, None] / 1000)

    trained, t, x = Denoiser(Curved(), VP(), target), torch.tensor(0.4, dtype=torch.float64), torch.randn(6, 2)
    here, there = Rescheduled(trained, VP())(x, t, LABEL), trained(x, t, LABEL)
    torch.testing.assert_close(here.x0, there.x0)
    torch.testing.assert_close(here.eps, there.eps)
