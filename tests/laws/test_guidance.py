"""Guidance: the laws for every option of conf/guidance, and closed forms on a labelled mixture."""

import itertools
import math

import pytest
import torch
from omegaconf import OmegaConf

from difflab.denoiser.base import Denoiser
from difflab.denoiser.exact import Gaussian
from difflab.denoiser.rescheduled import Rescheduled
from difflab.experiment.parts.build import build
from difflab.experiment.parts.search_path import conf_dir
from difflab.guidance.autoguidance import Autoguidance
from difflab.guidance.base import Chain, Unguided
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.guidance.clip import Clip
from difflab.guidance.dynamic_threshold import DynamicThreshold
from difflab.guidance.interval import Interval
from difflab.guidance.rescale import Rescale
from difflab.laws import close
from difflab.laws import guidance as laws
from difflab.process.discrete import CosineBetas
from difflab.process.schedule import VE, VP, Linear
from difflab.process.target import V
from difflab.sampler.ddim import DDIM
from difflab.sampler.edm import EDM
from difflab.sampler.evaluations import counting
from difflab.sampler.generate import generate
from difflab.sampler.grid import LogSNR
from difflab.sampler.heun import Heun
from difflab.sampler.predictor_corrector import PredictorCorrector
from helpers.conf import options
from helpers.guided import LABEL, Network, X, score, time
from helpers.labelled import CLASS, VAR, Bayes, Labelled, density
from helpers.laws import assert_law

OTHER = Gaussian(VP(), torch.zeros(7), torch.ones(7))


def same(a, b):
    return all(map(torch.equal, a[:3], b[:3]))


def weak():
    return Labelled(VP(), 4 * VAR)


AT_SCALE = {  # the options that need another network have an exact one here, and the defaults of conf/ otherwise
    "autoguidance": lambda scale: Autoguidance(weak, scale),
    "classifier": lambda scale: ClassifierGuidance(lambda: Bayes(VP()), scale),
    "classifier_free": lambda scale: ClassifierFree(scale),
}
LIMITS = {"interval", "rescale"}  # that need a guidance before them


def guidances():
    """Every option of conf/guidance at its default."""
    found = {}
    for option in options("guidance"):
        node = OmegaConf.to_container(OmegaConf.load(f"{conf_dir()}/guidance/{option}.yaml"))[option]
        own = AT_SCALE[option](node["scale"]) if option in AT_SCALE else build(node)
        found[option] = Chain((ClassifierFree(3.0), own)) if option in LIMITS else own
        assert ("scale" in node) == (option in AT_SCALE), f"{option}: how is it tested at scale 1?"
    return found


def test_every_guidance(subtests):
    for law in laws.LAWS:
        with subtests.test(law.__name__):
            assert_law(law(guidance, Labelled(VP())) for guidance in guidances().values())


def test_guidance_at_scale_1_is_the_denoiser_itself(subtests):
    for law in laws.OFF_LAWS:
        with subtests.test(law.__name__):
            off = [make(1.0) for make in AT_SCALE.values()]
            assert_law(
                law(guidance, Labelled(VP())) for guidance in [*off, Unguided(), Interval(), Rescale(0.0), Chain(off)]
            )


def test_classifier_free_guidance_is_the_score_of_the_tilted_density():
    cases = []
    for schedule, log_snr in itertools.product((VP(), VE(), CosineBetas()), (-3.0, 0.0, 3.0)):
        t = time(log_snr, schedule)
        m = schedule(t)
        unconditional = score(density(m, slice(None)).log_prob, X)
        conditional = [
            score(density(m, slice(None) if k == 2 else k == CLASS).log_prob, X)[i] for i, k in enumerate(LABEL)
        ]
        for strength in (0.0, 1.0, 2.5):
            estimate = ClassifierFree(strength)(Labelled(schedule))(X, t, LABEL)
            tilted = unconditional * (1 - strength) + torch.stack(conditional) * strength
            case = f"scale {strength} on {schedule} at log-SNR {log_snr}"
            cases.append(close(f"{case}: eps", estimate.eps, -m.sigma * tilted, rtol=1e-7, atol=1e-7))
            cases.append(close(f"{case}: sample", m(estimate.x0, estimate.eps), X, rtol=1e-7, atol=1e-7))
    assert_law(cases)


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


def test_rescale_leaves_an_untrained_network_finite():
    x, label, denoiser = batch()
    denoiser.backbone.forward = lambda x, code, label: torch.zeros_like(x)
    assert Rescale()(ClassifierFree()(denoiser))(x, time(0.0, VP()), label).x0.isfinite().all()


def test_the_first_guidance_in_the_list_is_innermost():
    x, label, denoiser = batch()
    t = time(-2.0, VP())
    clip_last = Chain([ClassifierFree(5.0), Clip()])(denoiser)(x, t, label)
    clip_first = Chain([Clip(), ClassifierFree(5.0)])(denoiser)(x, t, label)
    assert clip_last.x0.abs().max() <= 1 < clip_first.x0.abs().max()
    given, null = (denoiser(x, t, y).x0 for y in (label, torch.full_like(label, 2)))
    torch.testing.assert_close(clip_last.x0, torch.lerp(null, given, 5.0).clamp(-1, 1))
    torch.testing.assert_close(clip_first.x0, torch.lerp(null.clamp(-1, 1), given.clamp(-1, 1), 5.0))
    nested = Chain([ClassifierFree(2.0), ClassifierFree(3.0)])(denoiser)
    torch.testing.assert_close(nested(x, t, label).x0, torch.lerp(null, given, 6.0))
    torch.testing.assert_close(nested(x, t, label).unguided, denoiser(x, t, label).out)
    assert nested.nfe(t) == 4


def test_the_evaluations_of_all_calls_add_up():
    """The declared evaluations of the calls, added up, are those counted in the networks, and no more than `nfe`."""
    weak = Labelled(VP(), 2 * VAR)
    some = [
        Chain(),
        ClassifierFree(2.0),
        Autoguidance(lambda: weak, 2.0),
        Chain((ClassifierFree(2.0), Autoguidance(lambda: weak, 2.0))),
        Chain((ClassifierFree(2.0), Interval(0.3, 1.5), Clip(3.0))),
        Chain((ClassifierFree(2.0), Rescale(), Interval(), DynamicThreshold(0.9, 3.0))),
    ]
    labels = torch.tensor([0, 1, 2])
    for guidance, sampler in itertools.product(some, (DDIM(), Heun(), EDM(), PredictorCorrector())):
        guided, declared = guidance(Labelled(VP())), []
        hook = guided.register_forward_hook(lambda module, args, _, d=declared: d.append(module.nfe(args[1])))
        with counting(guided) as rows:
            drawn = generate(guided, sampler, LogSNR(), nfe=40, labels=labels)
        hook.remove()
        case = f"{guidance} with {sampler}"
        assert sum(declared) * 3 == sum(rows), case
        assert sum(declared) == drawn.nfe <= 40, case
        assert drawn.images.isfinite().all(), case


def test_guidance_needs_no_gradient_and_keeps_autocast():
    x, label, denoiser = batch()
    guided = Chain([ClassifierFree(2.0), Rescale(), DynamicThreshold()])(denoiser)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        estimate = guided(x, time(0.0, VP()), label)
    assert all(part.dtype == torch.float32 for part in estimate[:3])


def trained_with_guidance():
    denoiser = Labelled(VP())
    denoiser.guidance_learned = True
    return denoiser


def test_what_cannot_be_is_refused(subtests):
    for make, message in [
        (lambda: ClassifierFree(1.0)(OTHER), "needs a run with classes"),
        (lambda: ClassifierFree(2.0)(trained_with_guidance()), "would guide this run twice"),
        (lambda: ClassifierFree(2.0)(Rescale(0.5)(trained_with_guidance())), "would guide this run twice"),
        (lambda: ClassifierFree(2.0)(Rescheduled(trained_with_guidance(), VE())), "would guide this run twice"),
        (lambda: Autoguidance(lambda: OTHER)(Labelled(VP())), r"shape \(2,\).* not \(7,\)"),
        (lambda: Interval(2.0, 1.0), "low < high"),
        (lambda: Rescale(1.5), r"\[0, 1\]"),
        (lambda: DynamicThreshold(99.5), "99.5 percent is 0.995"),
        (lambda: DynamicThreshold(limit=0.0), "above 0"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()


def test_a_chain_that_begins_with_a_limit_of_nothing_is_refused(subtests):
    for part in [Interval(), Rescale()]:
        with subtests.test(str(part)), pytest.raises(ValueError, match="limits the guidances before it"):
            Chain((part, ClassifierFree()))
