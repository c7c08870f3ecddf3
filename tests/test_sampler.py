"""What holds for every sampler: its count of evaluations, its state, its noise; and which of them are one."""

import itertools

import pytest
import torch

from difflab.denoiser.classifier import AnyClassifier
from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import EDM as SigmaTime
from difflab.process.schedule import VE, VP, Linear
from difflab.sampler.adaptive import Adaptive
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.euler import Euler
from difflab.sampler.euler_maruyama import EulerMaruyama
from difflab.sampler.generate import count_nfe, generate, times_for, trajectory
from difflab.sampler.grid import Explicit, Leading, Sections, Uniform
from difflab.sampler.heun import Heun
from difflab.sampler.langevin import Langevin
from difflab.sampler.predictor_corrector import PredictorCorrector
from known import SAMPLERS, SCHEDULES, adapts, between, bound, column, end, gaussian


def home(sampler):
    """A schedule that the sampler takes: a table if it can."""
    return VP() if between(sampler) else LinearBetas()


@pytest.mark.parametrize("schedule", SCHEDULES)
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


@pytest.mark.parametrize(
    ("one", "other", "schedule"),
    [
        (Euler(), DDIM(), Linear()),
        (EulerMaruyama(0.0), Euler(), Linear()),
        (EulerMaruyama(0.0), Euler(), VP()),
        (EDM(), Heun(), SigmaTime()),
        (EDM(), Heun(), VE()),
    ],
)
def test_samplers_that_are_the_same_on_a_schedule(one, other, schedule):
    x, times = column(-2, -1, 0, 1, 2), Uniform()(schedule, 8)
    torch.testing.assert_close(end(one, schedule, times, x), end(other, schedule, times, x))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_state_is_a_value_that_steps_can_be_taken_up_from_again_and_again(sampler):
    schedule = home(sampler)
    times = Uniform()(schedule, 10)
    denoise = bound(gaussian(schedule), 3)
    noise = torch.randn(200, 3, 1, 1, 1, dtype=torch.float64)
    x = torch.randn(3, 1, 1, 1, dtype=torch.float64)

    def steps(x, state, times, draws):
        for t, s in itertools.pairwise(times):
            x, state = sampler.step(denoise, x, t, s, state, lambda like: noise[next(draws)])
        return x, state

    whole = [out for _, out in trajectory(denoise, sampler, times, x, lambda like, k: noise[k])][-1]
    draws = itertools.count(1)
    half, state = steps(x, sampler.init(x), times[:6], draws)
    drawn = next(draws)
    for _ in range(2):
        torch.testing.assert_close(steps(half, state, times[5:], itertools.count(drawn))[0], whole, rtol=0, atol=0)


class Doubtful(AnyClassifier):
    """A classifier that has no opinion."""

    shape, classes = (1, 1, 1), 2

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule
        self.register_buffer("nothing", torch.zeros(()))

    def forward(self, x, t):
        return 0 * x.flatten(1)[:, :1].expand(-1, 2)


def labelled(schedule):
    denoiser = gaussian(schedule)
    denoiser.classes = 2
    return denoiser


GUIDANCES = {
    "clip": lambda schedule: Clip(),
    "classifier_free": lambda schedule: ClassifierFree(3.0),
    "autoguidance": lambda schedule: Autoguidance(lambda: labelled(schedule), 3.0),
    "classifier": lambda schedule: ClassifierGuidance(lambda: Doubtful(schedule), 3.0),
    "interval": lambda schedule: Chain((ClassifierFree(3.0), Interval(0.2, 2.0), DynamicThreshold())),
}


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("sampler", [param for param in SAMPLERS if not adapts(param.values[0])])
@pytest.mark.parametrize("nfe", [5, 12, 16])
def test_counted_evaluations_are_those_declared_and_the_most_that_fit(sampler, guidance, nfe):
    schedule = home(sampler)
    denoiser = GUIDANCES[guidance](schedule)(labelled(schedule))
    prices = {denoiser.nfe(t) for t in Uniform()(schedule, 50)[:-1]}
    if nfe < max(prices) * sampler.evaluations and len(prices) > 1:
        pytest.skip("less than a step")
    samples = generate(denoiser, sampler, Uniform(), nfe=nfe, labels=torch.zeros(7, dtype=torch.long), batch_size=3)
    times = times_for(denoiser, sampler, Uniform(), nfe)
    steps = len(times) - 1
    assert samples.nfe == count_nfe(denoiser, sampler, times) <= nfe
    assert count_nfe(denoiser, sampler, Uniform()(schedule, steps + 1)) > nfe
    assert min(prices) * sampler.evaluations * (steps - 1) < samples.nfe
    assert samples.nfe <= max(prices) * sampler.evaluations * steps


@pytest.mark.parametrize(("grid", "steps"), [(Explicit((900, 500, 100, 1)), 4), (Sections((2, 3)), 5)])
def test_a_grid_of_its_own_steps_names_the_evaluations_that_they_take(grid, steps):
    denoiser = Chain((ClassifierFree(3.0), Interval(0.2, 2.0)))(labelled(LinearBetas()))
    taken = count_nfe(denoiser, DDIM(), grid(LinearBetas(), steps))
    assert len(times_for(denoiser, DDIM(), grid, taken)) == steps + 1
    with pytest.raises(ValueError, match=f"nfe={taken - 1} does not pay for {steps} steps"):
        times_for(denoiser, DDIM(), grid, taken - 1)
    with pytest.raises(ValueError, match=f"give nfe={taken}"):
        times_for(denoiser, DDIM(), grid, 30)


def test_what_an_adaptive_sampler_takes_is_counted_and_needs_no_grid(caplog):
    denoiser, labels = gaussian(VP()), torch.zeros(4, dtype=torch.long)
    assert torch.equal(times_for(denoiser, Adaptive(), Leading(), 50), Uniform()(VP(), 1))
    counts = [
        generate(denoiser, Adaptive(rtol, rtol), Leading(), nfe=5, labels=labels, batch_size=2).nfe
        for rtol in (1e-2, 1e-3, 1e-5)
    ]
    assert 5 < counts[0] < counts[1] < counts[2] < 200
    assert sum("nfe=5 is not used" in message for message in caplog.messages) == 3, "once for each sampler"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sample_is_a_function_of_seed_index_and_label_alone(sampler):
    denoiser, labels, grid = gaussian(home(sampler)), torch.zeros(7, dtype=torch.long), Uniform()
    whole = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=4).images
    parts = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=4, batch_size=2).images
    fifth = generate(denoiser, sampler, grid, nfe=6, labels=labels[:1], indices=[5], seed=4).images
    other = generate(denoiser, sampler, grid, nfe=6, labels=labels, seed=5).images
    tolerance = 10 * sampler.rtol if adapts(sampler) else 0
    torch.testing.assert_close(parts, whole, rtol=0, atol=tolerance)
    torch.testing.assert_close(fifth, whole[5:6], rtol=0, atol=tolerance)
    assert not torch.equal(whole, other)
    assert len(whole.unique()) == 7


def test_too_few_evaluations_for_a_step_are_refused():
    with pytest.raises(ValueError, match="nfe=0"):
        times_for(gaussian(LinearBetas()), DDIM(), Uniform(), 0)


@pytest.mark.parametrize(
    ("sampler", "schedule", "remedy"),
    [
        (Adaptive(), LinearBetas(), "sampler=ddim or heun"),
        (EulerMaruyama(), Linear(), "sampler=ancestral"),
        (Langevin(), Linear(), "grid=log_snr"),
    ],
)
def test_what_cannot_work_is_refused_with_what_does(sampler, schedule, remedy):
    with pytest.raises(ValueError, match=remedy):
        end(sampler, schedule, Uniform()(schedule, 4), column(0, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EDM(churn=0.5), r"sampler\.churn=0\.5 .* \[0, 0\.4142\]"),
        (lambda: EulerMaruyama(-1.0), r"sampler\.noise=-1"),
        (lambda: Langevin(0), r"sampler\.corrections=0"),
        (lambda: Langevin(step_size=2.0), r"sampler\.step_size=2"),
        (lambda: PredictorCorrector(snr=0.0), r"snr=0"),
        (lambda: Adaptive(rtol=0.0), r"sampler\.rtol=0"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_clipping_keeps_estimates_consistent_and_within_the_range():
    schedule = LinearBetas()
    x, t = 3 * torch.randn(6, 1, 1, 1, dtype=torch.float64), torch.tensor(700.0, dtype=torch.float64)
    estimate = bound(Chain([Clip(0.4)])(gaussian(schedule)), 6)(x, t)
    assert estimate.x0.abs().max() <= 0.4
    torch.testing.assert_close(schedule(t)(estimate.x0, estimate.eps), x)
