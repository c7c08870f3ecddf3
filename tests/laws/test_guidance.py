"""Guidance against closed forms on a labelled mixture, against diffusers, and at the price that it says."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.guiders.guider_utils import rescale_noise_cfg

from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.guidance.rescale import Rescale
from difflab.process.discrete import CosineBetas
from difflab.process.gaussian import scale
from difflab.process.schedule import VE, VP, Linear
from difflab.process.target import X0, Eps, V, Velocity
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import generate
from difflab.sampler.grid import LogSNR
from difflab.sampler.heun import Heun
from difflab.sampler.predictor_corrector import PredictorCorrector

MEANS = torch.tensor([[1.0, 0.4], [0.2, -0.8], [-0.9, 0.1], [-0.3, -0.5]], dtype=torch.float64)
VAR = torch.tensor([0.04, 0.09, 0.02, 0.16], dtype=torch.float64)
WEIGHTS = torch.tensor([0.1, 0.4, 0.2, 0.3], dtype=torch.float64)
CLASS = torch.tensor([0, 0, 1, 1])
LABEL = torch.tensor([0, 1, 1, 2, 0])
OTHER = Gaussian(VP(), torch.zeros(7), torch.ones(7))
X = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Labelled(Mixture):
    """The optimal denoiser of a mixture two of whose components make a class."""

    classes = 2

    def __init__(self, schedule, var=VAR):
        super().__init__(schedule, MEANS, var, WEIGHTS)

    def log_prior(self, x, label):
        allowed = (label[:, None] == CLASS) | (label[:, None] == 2)
        return torch.where(allowed, super().log_prior(x, label), -math.inf)


class Network(torch.nn.Module):
    """A network that is not linear."""

    shape, learned_variance = (3, 4, 4), False

    def __init__(self, classes=2):
        super().__init__()
        self.classes = classes
        self.register_buffer("gain", torch.tensor(2.0))

    def forward(self, x, code, label):
        return 0.3 + torch.tanh(self.gain * x.flip(-1) + scale(1 + code / 1000 + label, torch.ones_like(x)))


def law(m, chosen, var=VAR):
    """The law of x_t under some components."""
    spread = (m.alpha**2 * var[chosen] + m.sigma**2).sqrt()[:, None].expand(-1, 2)
    parts = torch.distributions.Independent(torch.distributions.Normal(m.alpha * MEANS[chosen], spread), 1)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(WEIGHTS[chosen]), parts)


def score(log_density, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(log_density(x).sum(), x)[0]


def time(log_snr, schedule):
    return schedule.time_at(torch.tensor(log_snr, dtype=torch.float64))


def same(a, b):
    return all(map(torch.equal, a[:3], b[:3]))


@pytest.mark.parametrize("schedule", [VP(), VE(), CosineBetas()], ids=["vp", "ve", "table"])
@pytest.mark.parametrize("log_snr", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("strength", [0.0, 1.0, 2.5])
def test_classifier_free_guidance_is_the_score_of_the_tilted_density(schedule, log_snr, strength):
    t = time(log_snr, schedule)
    m = schedule(t)
    estimate = ClassifierFree(strength)(Labelled(schedule))(X, t, LABEL)
    for k, label in enumerate(LABEL.tolist()):
        everything, asked = law(m, slice(None)), law(m, slice(None) if label == 2 else label == CLASS)
        tilted = score(everything.log_prob, X) * (1 - strength) + score(asked.log_prob, X) * strength
        torch.testing.assert_close(estimate.eps[k], -m.sigma * tilted[k])
    torch.testing.assert_close(m(estimate.x0, estimate.eps), X)


@pytest.mark.parametrize("other", [VP(), VE()], ids=["same schedule", "another schedule"])
def test_autoguidance_is_the_score_of_the_ratio_of_strong_and_weak(other):
    schedule, strength, wide = VP(), 1.7, 4 * VAR
    t, null = time(0.5, schedule), torch.full_like(LABEL, 2)
    m = schedule(t)
    estimate = Autoguidance(lambda: Labelled(other, wide), strength)(Labelled(schedule))(X, t, null)
    strong, weak = (score(law(m, slice(None), var).log_prob, X) for var in (VAR, wide))
    torch.testing.assert_close(estimate.eps, -m.sigma * (strength * strong + (1 - strength) * weak))
    torch.testing.assert_close(estimate.out, estimate.x0)


@pytest.mark.parametrize("target", [Eps(), X0(), V(), Velocity()])
def test_the_weak_network_may_predict_another_target(target):
    schedule, g = VP(), torch.Generator().manual_seed(1)
    strong, weak = Denoiser(Network(), schedule, V()).double(), Denoiser(Network(classes=0), schedule, target).double()
    x, label = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=g), torch.tensor([0, 1])
    t = time(1.0, schedule)
    estimate = Autoguidance(lambda: weak, 3.0)(strong)(x, t, label)
    torch.testing.assert_close(estimate.x0, 3 * strong(x, t, label).x0 - 2 * weak(x, t, 0 * label).x0)
    torch.testing.assert_close(estimate.out, V().mix(schedule, t)(estimate.x0, estimate.eps))
    assert torch.equal(estimate.unguided, strong(x, t, label).out)


def test_a_guidance_that_is_off_is_no_guidance():
    denoiser = Labelled(VP())
    off = [ClassifierFree(1.0), Autoguidance(lambda: pytest.fail("loaded"), 1.0), Interval(), Rescale(0.0)]
    assert Chain(off)(denoiser) is denoiser
    t = time(0.0, VP())
    assert same(Rescale()(denoiser)(X, t, LABEL), denoiser(X, t, LABEL))


def test_the_interval_is_guided_between_its_levels_and_plain_elsewhere():
    schedule = VP()
    denoiser = Labelled(schedule)
    guided = ClassifierFree(3.0)(denoiser)
    limited = Interval(low=0.5, high=2.0)(Clip(0.2)(guided))
    times = schedule.time_at(-2 * torch.tensor([0.4, 0.51, 1.0, 1.99, 2.1], dtype=torch.float64).log())
    together = limited(X, times, LABEL)
    for k, (t, within) in enumerate(zip(times, [False, True, True, True, False], strict=True)):
        expected = (Clip(0.2)(guided) if within else denoiser)(X, t, LABEL)
        assert same(limited(X, t, LABEL), expected)
        torch.testing.assert_close(together.x0[k], expected.x0[k])
        torch.testing.assert_close(together.eps[k], expected.eps[k])
        assert limited.nfe(t) == (2 if within else 1)
    with counting(limited) as rows:
        limited(X, times, LABEL)
    assert sum(rows) == limited.nfe(times) * len(X)
    everywhere = Interval(0.0, math.inf)(ClassifierFree(3.0)(Labelled(Linear())))
    assert [everywhere.nfe(t) for t in torch.tensor([1e-5, 0.5, 1.0])] == [2, 2, 2]


def batch():
    """Images, their labels, and a network that predicts v for them."""
    x = 2 * torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return x, torch.tensor([0, 1, 1]), Denoiser(Network(), VP(), V())


def test_rescale_is_that_of_diffusers():
    x, label, denoiser = batch()
    t = time(0.0, VP())
    guided = ClassifierFree(4.0)(denoiser)
    before, after = guided(x, t, label), Rescale(0.7)(guided)(x, t, label)
    asked = denoiser(x, t, label).out
    torch.testing.assert_close(before.unguided, asked)
    torch.testing.assert_close(after.out, rescale_noise_cfg(before.out, asked, guidance_rescale=0.7))
    for mix, mixed in ((VP()(t), x), (V().mix(VP(), t), after.out)):
        torch.testing.assert_close(mix(after.x0, after.eps), mixed)


def test_rescale_leaves_an_untrained_network_finite():
    x, label, denoiser = batch()
    denoiser.backbone.forward = lambda x, code, label: torch.zeros_like(x)
    assert Rescale()(ClassifierFree()(denoiser))(x, time(0.0, VP()), label).x0.isfinite().all()


def test_the_dynamic_threshold_is_that_of_diffusers():
    x, label, denoiser = batch()
    t = time(-2.0, VP())
    guided = ClassifierFree(4.0)(denoiser)
    theirs = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=1e6)
    before, after = guided(x, t, label), DynamicThreshold(0.9)(guided)(x, t, label)
    assert before.x0.abs().flatten(1).quantile(0.9, 1).min() > 1
    torch.testing.assert_close(after.x0, theirs._threshold_sample(before.x0))
    torch.testing.assert_close(VP()(t)(after.x0, after.eps), x)
    assert same(DynamicThreshold(0.0, 0.7)(guided)(x, t, label), Clip(0.7)(guided)(x, t, label))
    half = DynamicThreshold(0.9, 0.5)(guided)(x, t, label)
    torch.testing.assert_close(half.x0, 0.5 * theirs._threshold_sample(before.x0 / 0.5))


def test_the_first_guidance_in_the_list_is_innermost():
    x, label, denoiser = batch()
    t = time(-2.0, VP())
    clip_last = Chain([ClassifierFree(5.0), Clip()])(denoiser)(x, t, label)
    clip_first = Chain([Clip(), ClassifierFree(5.0)])(denoiser)(x, t, label)
    assert clip_last.x0.abs().max() <= 1 < clip_first.x0.abs().max()
    asked, unasked = (denoiser(x, t, y).x0 for y in (label, torch.full_like(label, 2)))
    torch.testing.assert_close(clip_last.x0, torch.lerp(unasked, asked, 5.0).clamp(-1, 1))
    torch.testing.assert_close(clip_first.x0, torch.lerp(unasked.clamp(-1, 1), asked.clamp(-1, 1), 5.0))
    nested = Chain([ClassifierFree(2.0), ClassifierFree(3.0)])(denoiser)
    torch.testing.assert_close(nested(x, t, label).x0, torch.lerp(unasked, asked, 6.0))
    torch.testing.assert_close(nested(x, t, label).unguided, denoiser(x, t, label).out)
    assert nested.nfe(t) == 4


GUIDANCES = {
    "none": [],
    "classifier_free": [ClassifierFree(2.0)],
    "autoguidance": [Autoguidance(lambda: Labelled(VP(), 2 * VAR), 2.0)],
    "both": [ClassifierFree(2.0), Autoguidance(lambda: Labelled(VP(), 2 * VAR), 2.0)],
    "interval": [ClassifierFree(2.0), Interval(0.3, 1.5), Clip(3.0)],
    "all": [ClassifierFree(2.0), Rescale(), Interval(), DynamicThreshold(0.9, 3.0)],
}


@pytest.mark.parametrize("guidance", GUIDANCES.values(), ids=list(GUIDANCES))
@pytest.mark.parametrize("sampler", [DDIM(), Heun(), EDM(), PredictorCorrector()], ids=lambda s: type(s).__name__)
def test_what_is_counted_is_what_was_said(guidance, sampler):
    """The prices of the calls, added up, are the evaluations of the networks, and no more than asked for."""
    guided = Chain(guidance)(Labelled(VP()))
    labels, said = torch.tensor([0, 1, 2]), []
    with counting(guided) as rows:
        hook = guided.register_forward_hook(lambda module, args, _: said.append(module.nfe(args[1])))
        drawn = generate(guided, sampler, LogSNR(), nfe=40, labels=labels)
        hook.remove()
    assert sum(said) * 3 == sum(rows)
    assert sum(said) == drawn.nfe <= 40
    assert drawn.images.isfinite().all()


def test_guidance_needs_no_gradient_and_keeps_autocast():
    x, label, denoiser = batch()
    guided = Chain([ClassifierFree(2.0), Rescale(), DynamicThreshold()])(denoiser)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        estimate = guided(x, time(0.0, VP()), label)
    assert all(part.dtype == torch.float32 for part in estimate[:3])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierFree(1.0)(OTHER), "needs a run with classes"),
        (lambda: Autoguidance(lambda: OTHER)(Labelled(VP())), r"shape \(2,\).* not \(7,\)"),
        (lambda: Interval(2.0, 1.0), "low < high"),
        (lambda: Rescale(1.5), r"\[0, 1\]"),
        (lambda: DynamicThreshold(99.5), "99.5 percent is 0.995"),
        (lambda: DynamicThreshold(limit=0.0), "above 0"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("part", [Interval(), Rescale()])
def test_a_chain_that_begins_with_a_limit_of_nothing_is_refused(part):
    with pytest.raises(ValueError, match="limits the guidances before it"):
        Chain((part, ClassifierFree()))
