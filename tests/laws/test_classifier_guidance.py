"""Guidance by a classifier: exact on mixtures whose classes are their components, and by networks."""

import itertools

import lightning.pytorch as pl
import pytest
import torch

from difflab.backbone.unet import UNet
from difflab.denoiser.base import Denoiser
from difflab.denoiser.classifier import Classifier
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.laws import close
from difflab.process.schedule import EDM, VE, VP, Linear, Trigonometric
from difflab.process.target import Eps
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate, times_for
from difflab.sampler.grid import Uniform
from difflab.sampler.heun import Heun
from helpers.classifiers import SHAPE, BayesOfMixture, half
from helpers.conf import schedules
from helpers.laws import assert_law
from helpers.networks import inputs, perturbed

MEANS = torch.tensor([[-1.0, 0.3], [0.5, -0.2], [0.1, 0.9]], dtype=torch.float64)
VAR = torch.tensor([0.04, 0.09, 0.02], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


class Labelled(Mixture):
    """The mixture, or the component of the label."""

    classes = 3

    def log_prior(self, x, label):
        mine = (label[:, None] == torch.arange(3)) | (label[:, None] == 3)
        return torch.where(mine, super().log_prior(x, label), -torch.inf)


def mixture(schedule, kind=Mixture):
    return kind(schedule, MEANS, VAR, WEIGHTS)


def by_bayes(schedule, scale=2.0):
    return ClassifierGuidance(lambda: BayesOfMixture(schedule, MEANS, VAR, WEIGHTS), scale)


def noisy(schedule, t):
    torch.manual_seed(0)
    return schedule(t)(MEANS[LABEL], torch.randn(6, 2, dtype=torch.float64))


def middle(schedule):
    """Times inside the axis, from which something is left of the sample."""
    return schedule.time_at(torch.tensor([4.0, 1.0, -2.0], dtype=torch.float64))


def test_the_guided_score_is_that_of_the_sharpened_law():
    """`-eps / sigma = grad log [p(x_t) p(y | x_t)^(scale - 1)]`; at scale 2 the score of the component itself."""
    cases = []
    for schedule, scale in itertools.product(schedules().values(), (0.0, 1.5, 2.0, 5.0)):
        guided, exact = by_bayes(schedule, scale)(mixture(schedule).requires_grad_(False)), {"rtol": 1e-9, "atol": 1e-9}
        for t in middle(schedule):
            x, m, case = noisy(schedule, t).detach().requires_grad_(), schedule(t), f"{scale} on {schedule} at {t:.3g}"
            log_density = guided.denoiser.log_prob(x, t)
            log_density = log_density + (scale - 1) * guided.classifier(x, t)[torch.arange(6), LABEL]
            (score,) = torch.autograd.grad(log_density.sum(), x)
            x = x.detach()
            found = guided(x, t, LABEL)
            out = guided.target.mix(schedule, t)(found.x0, found.eps)
            cases += [
                close(f"{case}: score", -found.eps / m.sigma, score, **exact),
                close(f"{case}: sample", m(found.x0, found.eps), x, rtol=1e-7, atol=1e-7),
                close(f"{case}: output", found.out, out, rtol=1e-7, atol=1e-7),
                close(f"{case}: unguided", found.unguided, guided.denoiser(x, t, LABEL).out),
            ]
            for k in range(3 if scale == 2 else 0):
                component, mine = Gaussian(schedule, MEANS[k], VAR[k].expand(2)), k == LABEL
                alone = component(x[mine], t, LABEL[mine])
                cases.append(close(f"{case}: component {k}", found.eps[mine], alone.eps, **exact))
    assert_law(cases)


def test_on_a_denoiser_with_classes_it_is_classifier_free_guidance():
    schedule = VP()
    conditional = mixture(schedule, Labelled)
    for t in middle(schedule):
        x = noisy(schedule, t)
        ours, theirs = (g(conditional)(x, t, LABEL) for g in (by_bayes(schedule, 3.0), ClassifierFree(3.0)))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_the_classifier_may_be_of_another_schedule():
    schedule, cases = VP(), []
    own = by_bayes(schedule)(mixture(schedule))
    for other in (VE(), Linear(), EDM(), Trigonometric()):
        foreign = by_bayes(other)(mixture(schedule))
        for t in middle(schedule):
            x = noisy(schedule, t)
            found, expected = foreign(x, t, LABEL).eps, own(x, t, LABEL).eps
            cases.append(close(f"{other} at t={t:.3g}", found, expected, rtol=1e-7, atol=1e-7))
    assert_law(cases)


def test_scale_one_is_the_denoiser_itself_and_the_null_label_is_left_alone():
    schedule = VP()
    plain, t = mixture(schedule), torch.tensor(0.4, dtype=torch.float64)
    assert by_bayes(schedule, 1.0)(plain) is plain
    x, label = noisy(schedule, t), torch.where(torch.arange(6) < 3, LABEL, 3)
    guided, unguided = by_bayes(schedule)(plain)(x, t, label), plain(x, t, label)
    assert guided.unguided is not None
    assert torch.equal(guided.eps[3:], unguided.eps[3:])
    assert (guided.eps[:3] != unguided.eps[:3]).all()


def test_pure_noise_is_left_alone():
    schedule, t = Linear(), torch.tensor(1.0, dtype=torch.float64)
    x = torch.randn(6, 2, dtype=torch.float64)
    guided, unguided = by_bayes(schedule)(mixture(schedule))(x, t, LABEL), mixture(schedule)(x, t, LABEL)
    assert torch.equal(guided.x0, unguided.x0)
    assert torch.equal(guided.eps, unguided.eps)


def test_it_can_be_differentiated_through():
    """As guidance by gradients on top of it, and likelihoods, need."""
    schedule, t = VP(), torch.tensor(0.3, dtype=torch.float64)
    guided = by_bayes(schedule, 3.0)(mixture(schedule))
    x = noisy(schedule, t).requires_grad_()
    torch.autograd.gradcheck(lambda x: guided(x, t, LABEL).eps, x)
    with torch.no_grad():
        assert not guided(x, t, LABEL).eps.requires_grad


@pytest.mark.parametrize("option", ["half_unet", "half_dit"])
def test_networks_with_attention_can_be_differentiated_through(option):
    """torch's fused attention has no second derivative."""
    schedule, t = VP(), torch.tensor(0.3, dtype=torch.float64)
    classifier = perturbed(Classifier(half(option), schedule)).double()
    denoiser = Gaussian(schedule, torch.zeros(SHAPE, dtype=torch.float64), torch.ones(SHAPE, dtype=torch.float64))
    guided = ClassifierGuidance(lambda: classifier, 3.0)(denoiser)
    x = torch.randn(1, *SHAPE, dtype=torch.float64, requires_grad=True)
    weights, way = torch.randn(2, 1, *SHAPE, dtype=torch.float64)

    def value(x):
        return (weights * guided(x, t, torch.tensor([1])).eps).sum()

    (slope,) = torch.autograd.grad(value(x), x)
    h = 1e-5
    with torch.no_grad():
        difference = (value(x + h * way) - value(x - h * way)) / (2 * h)
    assert (slope * way).sum() == pytest.approx(difference.item(), rel=1e-5)


def test_guided_samples_are_of_the_class_of_their_label():
    """A denoiser without classes takes those of the classifier; at scale 2 it draws from the components."""
    schedule = VP(t_min=1e-3)
    guided = by_bayes(schedule)(mixture(schedule))
    assert guided.classes == 3
    labels = torch.arange(300) % 3
    drawn = generate(guided, Heun(), Uniform(), nfe=200, labels=labels).images.double()
    nearest = torch.cdist(drawn, MEANS).argmin(1)
    assert (nearest == labels).float().mean() > 0.98
    for k in range(3):
        error = 4 * (VAR[k] / 100).sqrt()
        assert (drawn[labels == k].mean(0) - MEANS[k]).abs().max() < error


def networks(classes=3, schedule=None):
    """A denoiser without classes and a classifier."""
    torch.manual_seed(0)
    schedule = schedule or VP()
    unet = UNet(SHAPE, classes, 32, (1, 2), blocks=1, head_channels=16)
    denoiser = Denoiser(perturbed(unet), schedule, Eps())
    return denoiser, Classifier(perturbed(half("half_unet")), schedule).requires_grad_(False)


def test_modes_of_torch_change_nothing():
    denoiser, classifier = networks(classes=0)
    guidance = ClassifierGuidance(lambda: classifier, 3.0)
    x, _, label = inputs(SHAPE, classes=2)
    t = torch.tensor([0.9, 0.5, 0.3, 0.1], dtype=torch.float64)
    usual = guidance(denoiser)(x, t, label).eps.detach()
    with torch.no_grad():
        torch.testing.assert_close(guidance(denoiser)(x, t, label).eps, usual)
    with torch.inference_mode():
        fresh = ClassifierGuidance(lambda: networks()[1], 3.0)  # built in inference mode, as its inputs are
        torch.testing.assert_close(fresh(denoiser)(x + 0, t + 0, label + 0).eps, usual)
    pull = usual - denoiser(x, t, label).eps
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = guidance(denoiser)(x, t, label)
    assert found.eps.dtype == torch.float32
    error = found.eps - usual
    assert error.square().mean() < 0.05**2 * usual.square().mean()
    assert pull.square().mean() > 0


def test_it_works_inside_lightnings_validation():
    denoiser, classifier = networks()

    class Validating(pl.LightningModule):
        def validation_step(self, batch, batch_idx):
            assert torch.is_inference_mode_enabled()
            guided = ClassifierGuidance(lambda: classifier)(denoiser)
            self.drawn = generate(guided, DDIM(), Uniform(), nfe=4, labels=batch).images

    model = Validating()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, precision="bf16-mixed", **quiet)
    trainer.validate(model, torch.utils.data.DataLoader([0, 1, 2], batch_size=3), verbose=False)
    assert model.drawn.isfinite().all()


def test_counted_evaluations_are_the_declared_ones_and_batches_change_no_sample():
    denoiser, classifier = networks()
    guided = ClassifierGuidance(lambda: classifier)(denoiser)
    drawn = generate(guided, DDIM(), Uniform(), nfe=9, labels=torch.arange(3))
    assert drawn.nfe == 8  # four steps of two
    assert len(times_for(guided, DDIM(), Uniform(), 9)) == 5
    parts = generate(guided, DDIM(), Uniform(), nfe=9, labels=torch.arange(3), batch_size=2)
    assert parts.nfe == drawn.nfe
    torch.testing.assert_close(parts.images, drawn.images, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused():
    denoiser, classifier = networks(classes=5)
    with pytest.raises(ValueError, match=r"of 5 classes, not \(2, 16, 24\) and 3"):
        ClassifierGuidance(lambda: classifier)(denoiser)
    with pytest.raises(ValueError, match="paradigm=noisy_classifier trains, and this one is a denoiser"):
        ClassifierGuidance(lambda: denoiser)(denoiser)
    with pytest.raises(ValueError, match=r"samples of shape \(2,\)"):
        ClassifierGuidance(lambda: classifier)(mixture(VP()))
