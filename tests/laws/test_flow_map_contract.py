"""`denoise(x, t, s)`: the time `s` reaches every network, and a flow map makes a DDIM step of any length exact."""

import itertools

import pytest
import torch

from difflab.denoiser import AnyClassifier, AnyDenoiser, Estimate, Gaussian, Rescheduled
from difflab.guidance import (
    DPS,
    Autoguidance,
    Chain,
    ClassifierFree,
    ClassifierGuidance,
    Clip,
    DynamicThreshold,
    InpaintBox,
    Interval,
    PiGDM,
    PublishedDPS,
    Replacement,
    Rescale,
    Unguided,
)
from difflab.process import VP, X0, Linear
from difflab.process.gaussian import scale, unmix
from difflab.sampler import DDIM, Consistency
from difflab.sampler.evaluations import CountingProbe, Recorder
from difflab.sampler.generate import trajectory
from helpers.conf import built, options

SHAPE, CLASSES, MEAN, VAR = (1, 4, 4), 2, 0.3, 0.25
SCHEDULES = {option: built("schedule", option) for option in options("schedule")}
CONTINUOUS = {name: schedule for name, schedule in SCHEDULES.items() if not schedule.discrete}


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


class Spy(Gaussian):
    """An exact denoiser that notes the times and the `s` of its calls."""

    def __init__(self, schedule, shape=SHAPE):
        super().__init__(schedule, torch.full(shape, MEAN), torch.full(shape, VAR))
        self.classes, self.learned_variance, self.calls = CLASSES, True, []

    def forward(self, x, t, label, s=None):
        self.calls.append((t, s))
        return super().forward(x, t, label, s)._replace(v=torch.full_like(x, 0.5))


class Opinion(AnyClassifier):
    """A classifier with a gradient: `log p(y | x)` falls with |x|^2."""

    shape, classes = SHAPE, CLASSES

    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def forward(self, x, t):
        return torch.stack([-x.flatten(1).square().sum(1), x.flatten(1).sum(1)], 1).log_softmax(1)


class FlowMap(AnyDenoiser):
    """The exact flow map of N(MEAN, VAR I), and without `s` its denoiser.

    `x_s = alpha_s MEAN + sqrt((alpha_s^2 VAR + sigma_s^2) / (alpha_t^2 VAR + sigma_t^2)) (x_t - alpha_t MEAN)`: the
    probability flow of a Gaussian keeps each sample's distance from the mean in standard deviations.
    """

    is_network, target, classes = True, X0(), 0

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.shape = schedule, SHAPE
        self.register_buffer("nothing", torch.zeros(()), persistent=False)

    def transported(self, x, m_t, m_s):
        ratio = (m_s.alpha**2 * VAR + m_s.sigma**2) / (m_t.alpha**2 * VAR + m_t.sigma**2)
        one = torch.ones_like(x)
        return scale(m_s.alpha * MEAN, one) + scale(ratio.sqrt(), x - scale(m_t.alpha * MEAN, one))

    def forward(self, x, t, label, s=None):
        m_t = self.schedule(t)
        if s is None:
            one = torch.ones(SHAPE, dtype=x.dtype)
            return Gaussian(self.schedule, MEAN * one, VAR * one)(x, t, label)
        m_s = self.schedule(s)
        x0, eps = unmix(x, m_t, self.transported(x, m_t, m_s), m_s)
        return Estimate(x0, eps, out=x0)


def guidances(weak, classifier):
    """Each guidance that passes a denoiser's estimate on, by its option of guidance, range or restoration."""
    free, box = ClassifierFree(2.0), InpaintBox(SHAPE)
    y = box(torch.zeros(3, *SHAPE))
    return {
        "none": Unguided(),
        "clip": Clip(),
        "clip_points": Clip(3.0),
        "dynamic_threshold": DynamicThreshold(),
        "classifier_free": free,
        "autoguidance": Autoguidance(lambda: weak),
        "classifier": ClassifierGuidance(lambda: classifier),
        "interval": Chain((free, Interval())),
        "rescale": Chain((free, Rescale())),
        "replacement": Replacement()(box, y, 0.1),
        "dps": DPS()(box, y, 0.1),
        "dps_published": PublishedDPS()(box, y, 0.1),
        "pigdm": PiGDM()(box, y, 0.1),
    }


def test_every_guidance_passes_s_on():
    schedule = VP()
    assert set(guidances(None, None)) == {*options("guidance"), *options("range"), *options("restoration")}
    for name in guidances(None, None):
        for t, s in (
            (numbers(0.5).squeeze(), numbers(0.2).squeeze()),
            (numbers(0.9, 0.5, 0.1), numbers(0.4, 0.2, 0.0)),  # of interval, levels within and without
        ):
            spy, weak = Spy(schedule), Spy(schedule)
            guided = guidances(weak, Opinion(schedule))[name](spy)
            with torch.inference_mode():
                guided.bind(torch.tensor([0, 1, 1]))(torch.ones(3, *SHAPE), t, s)
            assert spy.calls, name
            assert bool(weak.calls) == (name == "autoguidance")
            for _, received in spy.calls + weak.calls:
                copies = received.numel() // s.numel()  # classifier-free guidance stacks two batches
                assert torch.equal(received, torch.cat(copies * [s]) if s.ndim else s), name


def test_another_schedule_passes_the_matching_time_on():
    log_snrs = numbers(-3.0, 0.0, 3.0)
    for (name, inner), (other, outer) in itertools.product(CONTINUOUS.items(), SCHEDULES.items()):
        spy = Spy(inner)
        denoise = Rescheduled(spy, outer).bind(torch.zeros(3, dtype=torch.long))
        s = torch.cat([outer.time_at(log_snrs)[:2], numbers(0.0)])
        with torch.no_grad():
            denoise(torch.ones(3, *SHAPE), outer.time_at(log_snrs - 1), s)
            received = spy.calls[-1][1]
            torch.testing.assert_close(
                inner.log_snr(received[:2]), outer.log_snr(s[:2]), rtol=0, atol=1e-6, msg=f"{other} on {name}"
            )
            assert received[2] == 0, "clean data are at t = 0 of every schedule"
            denoise(torch.ones(3, *SHAPE), outer.time_at(log_snrs - 1))
        assert spy.calls[-1][1] is None


def test_meters_pass_s_on():
    schedule = Linear()
    spy, t, s = Spy(schedule), numbers(0.5).squeeze(), numbers(0.2).squeeze()
    Recorder(spy.bind(torch.zeros(1, dtype=torch.long)))(torch.ones(1, *SHAPE), t, s)
    assert spy.calls == [(t, s)]
    probe = CountingProbe(spy)
    probe(torch.ones(1, *SHAPE), t, s)
    assert probe.nfe == 1


def test_of_the_samplers_those_of_one_jump_state_s(subtests):
    """DDIM goes to `s` along a chord, consistency sampling to the data; the others need the flow's derivative at t."""
    for option in options("sampler"):
        with subtests.test(option):
            sampler, spy = built("sampler", option), Spy(VP(), (1, 8, 8))
            times = numbers(0.8, 0.5, 0.2, 0.0)
            noise = iter(range(10**6))
            denoise = spy.bind(torch.zeros(1, dtype=torch.long))

            def draw(like, k, noise=noise):
                return torch.randn(like.shape, generator=torch.Generator().manual_seed(next(noise))).to(like)

            list(trajectory(denoise, sampler, times, torch.ones(1, 1, 8, 8), draw))
            received = [s for _, s in spy.calls]
            if isinstance(sampler, DDIM):
                assert received == [0.5, 0.2, 0.0]
            elif isinstance(sampler, Consistency):
                assert received == [0.0, 0.0, 0.0]
            else:
                assert received == [None] * len(received)


def falling(schedule, steps):
    """Times of a grid in `steps` from the noisiest to data."""
    return schedule.snap(torch.linspace(schedule.t_max, 0, steps + 1, dtype=torch.float64).round(decimals=9))


@torch.no_grad()
def test_ddim_is_exact_at_any_number_of_steps_with_a_flow_map():
    x = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {}
    for name, schedule in SCHEDULES.items():
        flow = FlowMap(schedule)
        m_T = schedule(numbers(schedule.t_max).squeeze())
        x_T = scale(m_T.sigma, x)
        expected = MEAN + (VAR / (m_T.alpha**2 * VAR + m_T.sigma**2)).sqrt() * (x_T - m_T.alpha * MEAN)
        for steps in (1, 2, 5):
            *_, (_, end) = trajectory(flow.bind(torch.zeros(4)), DDIM(), falling(schedule, steps), x_T, None)
            errors[name, steps] = (end - expected).abs().max().item()
    assert max(errors.values()) < 1e-9, max(errors, key=errors.get)


@torch.no_grad()
def test_ddim_is_exact_with_a_flow_map_that_was_trained_on_another_schedule():
    x = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = {}
    for (name, inner), (other, outer) in itertools.product(CONTINUOUS.items(), SCHEDULES.items()):
        t = outer.time_at(numbers(-4.0).squeeze())
        m_t = outer(t)
        flow = Rescheduled(FlowMap(inner), outer).bind(torch.zeros(4))
        *_, (_, end) = trajectory(flow, DDIM(), torch.stack([t, numbers(0.0).squeeze()]), x, None)
        expected = MEAN + (VAR / (m_t.alpha**2 * VAR + m_t.sigma**2)).sqrt() * (x - m_t.alpha * MEAN)
        errors[name, other] = (end - expected).abs().max().item()
    assert max(errors.values()) < 1e-6, max(errors, key=errors.get)


@torch.no_grad()
def test_consistency_sampling_has_the_exact_moments_with_a_flow_map():
    """The response of the samples to x_T and to each draw: their squares add up to the variance of the data."""
    for name, schedule in SCHEDULES.items():
        m_T = schedule(numbers(schedule.t_max).squeeze())
        x_T = torch.zeros(6, *SHAPE, dtype=torch.float64)
        x_T[1] = (m_T.alpha**2 * VAR + m_T.sigma**2).sqrt()

        def impulse(like, k):
            z = torch.zeros_like(like)
            z[1 + k] = 1
            return z

        denoise = FlowMap(schedule).bind(torch.zeros(6))
        *_, (_, end) = trajectory(denoise, Consistency(), falling(schedule, 4), x_T + m_T.alpha * MEAN, impulse)
        base, *responses = end[:, 0, 0, 0]
        variance = sum((response - base) ** 2 for response in responses)
        assert base.item() == pytest.approx(MEAN, abs=1e-9), name
        assert variance.item() == pytest.approx(VAR, rel=1e-9), name


@torch.no_grad()
def test_a_short_chord_is_the_denoiser():
    """As s -> t the chord of the flow is its tangent, of which the denoiser gives (x0, eps)."""
    x = torch.randn(4, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name, schedule in CONTINUOUS.items():
        flow, t = FlowMap(schedule), schedule.time_at(numbers(0.5).squeeze())
        chord, tangent = flow(x, t, None, t * (1 - 1e-6)), flow(x, t, None)
        for a, b in zip(chord[:2], tangent[:2], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-4, msg=name)
