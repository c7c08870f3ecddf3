"""Paradigms: the laws, for every option of conf/paradigm, and what single ones promise."""

import copy
import functools
import itertools

import pytest
import torch
from torch import nn

from difflab.denoiser.base import Denoiser, velocity
from difflab.experiment.parts.build import build, target
from difflab.laws import close
from difflab.laws import paradigms as laws
from difflab.objective.coupling import Independent, OptimalTransport
from difflab.objective.times import Uniform
from difflab.objective.weighting import Simple
from difflab.paradigm.base import TRAINING
from difflab.paradigm.ddpm import ImprovedDDPM
from difflab.paradigm.optimisation import Optimisation
from difflab.paradigm.rectified_flow import FlowMatching, RectifiedFlow, straightness
from difflab.process.gaussian import Mix, scale
from difflab.process.schedule import Linear
from difflab.process.target import Velocity
from difflab.sampler.euler import Euler
from helpers.closed_forms import MEAN, VAR, bound, draw, f64, gaussian, normal
from helpers.conf import composed, every, options, settings
from helpers.laws import assert_law

TAUGHT = (
    *("consistency_distillation", "lagrangian_distillation", "progressive_distillation"),
    *("one_step_reflow", "reflow"),
)
# Taught by another run, without a network, and of no noise
OTHERS = (*TAUGHT, "exact", "vae", "gan", "autoencoder", "contrastive")
# levels: see test_vae, test_adversarial_games and test_autoencoder_loss
PRESETS = [p for p in options("paradigm") if "classifier" not in p and p not in OTHERS]
N = 2**15


@functools.cache
def preset(name):
    """A preset's model on points, as a plain dict that no test may change."""
    return composed(f"paradigm={name}", "experiment=toy", f"batch_size={N}", "coupling=independent")["model"]


@functools.cache
def models():
    """Every preset with a network of three classes, built once: the laws change none."""
    words = ["experiment=toy", "backbone.classes=3", "backbone.width=32", f"batch_size={N}", "coupling=independent"]
    return {name: build(composed(f"paradigm={name}", *words)["model"]) for name in PRESETS}


@functools.cache
def classifiers():
    """Both classifiers, on a small network."""
    words = ["backbone.width=16", "backbone.multipliers=[1,2]", "backbone.attention=[]", "batch_size=2048"]
    return [build(composed(f"paradigm={name}", *words)["model"]) for name in ("classifier", "noisy_classifier")]


def changed(name, **parts):
    """The same with other parts."""
    model = copy.deepcopy(preset(name))
    for key, value in parts.items():
        (model["denoiser"]["backbone"] if key == "learned_variance" else model)[key] = value
    return model


def test_every_paradigm_that_generates(subtests):
    known = [model for model in models().values() if laws.terms(model) <= {*laws.TERMS}]
    assert len(known) >= 12
    for law in (*laws.LAWS, *laws.OPTIMUM_LAWS, *laws.TRAINED_LAWS, *laws.TERM_LAWS):
        with subtests.test(law.__name__):
            assert_law(law(model) for model in (known if law in laws.TERM_LAWS else models().values()))


def test_bits_per_dim_of_every_likelihood():
    """Of one paradigm for each way to bits/dim: a chain's bound, by draws of it, the continuous one, and the flow."""
    one_each = ("ddpm", "hierarchical_vae", "vdm", "vp_sde", "rectified_flow")
    assert_law(law(models()[name]) for law in laws.DENSITY_LAWS for name in one_each)


def test_every_classifier(subtests):
    for law in (*laws.LAWS, *laws.OPTIMUM_LAWS, *laws.TRAINED_LAWS):
        with subtests.test(law.__name__):
            assert_law(law(model) for model in classifiers())


def test_a_coupling_is_for_flows_alone():
    for name in (name for name in PRESETS if "coupling" in preset(name)):
        model = changed(name, coupling=settings("coupling", "optimal_transport"))
        if issubclass(target(model["_target_"]), FlowMatching):
            assert isinstance(build(model).coupling, OptimalTransport), name
        else:
            with pytest.raises(ValueError, match=r"choose coupling=independent, or\s+paradigm=rectified_flow"):
                build(model)


def test_a_learned_variance_is_for_the_bound_alone():
    for name in PRESETS:
        model = changed(name, learned_variance=True)
        if issubclass(target(model["_target_"]), ImprovedDDPM):
            assert build(model).denoiser.learned_variance, name
        else:
            with pytest.raises(ValueError, match=r"backbone\.learned_variance=false, or paradigm=improved_ddpm"):
                build(model)


def test_vdm_needs_a_schedule_that_learns():
    model = changed("vdm")
    model["denoiser"]["schedule"] = settings("schedule", "vp")
    with pytest.raises(ValueError, match="choose schedule=learned"):
        build(model)


def test_a_bound_is_not_trained_at_times_that_make_it_another_mean():
    """But a model that was can be loaded; and times that are weighted back are the uniform ones."""
    for name, bounds in [("vp_sde", {"weighting": "likelihood"}), ("vdm", {}), ("improved_ddpm", {}), ("vp_sde", None)]:
        weighting = {"weighting": settings("weighting", bounds["weighting"])} if bounds else {}
        for times in options("times"):
            model = build(changed(name, times=settings("times", times), **weighting))
            if times in ("uniform", "stratified", "importance") or bounds is None:
                model.check_training()
            else:
                with pytest.raises(ValueError, match="choose times=uniform, stratified or importance"):
                    model.check_training()


def test_times_with_a_uniform_mean_are_those_that_weigh_back():
    """The mean of the weighted places on the axis, and of their squares, is that of U[0, 1]; others have another."""
    for name, times in every("times").items():
        t, weight = times(Linear(), 2**16, torch.Generator().manual_seed(0), 0.1)
        off = max(((weight * t**k).mean() - 1 / (k + 1)).abs().item() for k in (1, 2))
        assert (off < 0.006) == times.uniform_mean, name


def test_vdm_s_schedule_follows_the_variance_of_the_estimate_that_is_trained():
    """The gradient of `mean((w loss)^2)` with the weights w of times, and of `mean(w loss)` for the network."""
    model = copy.deepcopy(models()["vdm"]).double()
    schedule, network = [*model.denoiser.schedule.parameters()], [*model.denoiser.backbone.parameters()]
    x0, label = draw(64, (2,)), torch.zeros(64, dtype=torch.long)
    weight = 0.5 + torch.rand(64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def terms():
        noised = model.corrupt(x0, label, 0.0, TRAINING, 0)._replace(weight=weight)
        estimate = model.denoiser(noised.x_t, noised.t, noised.label)
        return noised, weight * model.regress(estimate, noised)

    squared = torch.autograd.grad((terms()[1] ** 2).mean(), schedule, allow_unused=True)
    plain = torch.autograd.grad(terms()[1].mean(), network, allow_unused=True)
    noised, _ = terms()
    model.denoiser.schedule.factors.clear()
    (loss,) = model.loss(noised).values()
    (weight * loss).mean().backward()
    for found, expected in zip([p.grad for p in (*schedule, *network)], [*squared, *plain], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


class Reflowed(nn.Module):
    """The velocity `(1 - sqrt v) eps - m` after an exact reflow, of N(m, v) in two dimensions."""

    shape, classes, learned_variance = (2,), 0, False

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1 - VAR**0.5, dtype=torch.float64))

    def forward(self, x, code, label):
        t = code.double() / 1000
        x = x / scale(((1 - t) ** 2 + t**2).rsqrt(), torch.ones_like(x))  # as the target scaled it
        eps = scale(1 / ((1 - t) * VAR**0.5 + t), x - scale((1 - t) * MEAN, torch.ones_like(x)))
        return self.gain * eps - MEAN


def reflowed(n):
    denoiser = Denoiser(Reflowed(), Linear(), Velocity())
    return RectifiedFlow(denoiser, Uniform(), Simple(), Independent(), Optimisation(), n)


def test_the_pairs_of_an_exact_flow_leave_no_loss():
    """(eps, m + sqrt(v) eps): Liu et al. 2023, whose 2-rectified flow of Gaussians is known."""
    model, eps = reflowed(64), normal(64, 2, seed=1)
    noised = model.corrupt(MEAN + VAR**0.5 * eps, torch.zeros(64, dtype=torch.long), 0.0, TRAINING, 0, eps=eps)
    assert torch.equal(noised.eps, eps)
    (loss,) = model.loss(noised).values()
    assert loss.max() < 1e-12


def test_after_an_exact_reflow_any_number_of_eulers_steps_is_exact():
    denoise, eps = bound(reflowed(8).denoiser, 8), normal(8, 2, seed=2)
    for steps in (1, 3, 10):
        x = eps
        for t, s in itertools.pairwise(torch.linspace(1, 0, steps + 1, dtype=torch.float64)):
            x, _ = Euler().step(denoise, x, t, s, None, torch.zeros_like)
        torch.testing.assert_close(x, MEAN + VAR**0.5 * eps)


def test_straightness_is_zero_on_straight_paths_and_the_integral_on_bent_ones():
    """x_t = (1 - t) m + s(t) eps with s^2 = (1 - t)^2 v + t^2, so that S = eps^2 int (s' - (1 - sqrt v))^2 dt."""
    eps = normal(5, 2, seed=3)
    assert straightness(bound(reflowed(5).denoiser, 5), eps).max() < 1e-8
    t = torch.linspace(0, 1, 100_001, dtype=torch.float64)

    def cases():
        for var in (VAR, 0.01, 4.0):
            rate = (t - (1 - t) * var) / ((1 - t) ** 2 * var + t**2).sqrt()
            integral = torch.trapezoid((rate - (1 - var**0.5)) ** 2, t)
            found = straightness(bound(gaussian(Linear(), (2,), var=var), 5), eps)
            yield close(f"N(m, {var})", found, (eps**2).mean(1) * integral, rtol=1e-2, atol=1e-5)

    assert_law(cases())


def test_the_velocity_is_the_derivative_of_the_exact_path():
    """d/dt of x_t = (1 - t) m + s(t) eps."""
    t, eps = f64(0.3)[0], normal(4, 2)
    s = ((1 - t) ** 2 * VAR + t**2).sqrt()
    x = Mix((1 - t) * MEAN, s)(torch.ones_like(eps), eps)
    expected = -MEAN + (t - (1 - t) * VAR) / s * eps
    torch.testing.assert_close(velocity(bound(gaussian(Linear(), (2,)), 4), x, t), expected)
