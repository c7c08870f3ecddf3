"""Classifiers of noisy samples: their networks, their training, and what they do as guidance."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from conftest import composed, schedules
from difflab.backbone.dit import DiT
from difflab.backbone.half_dit import HalfDiT
from difflab.backbone.half_unet import HalfUNet
from difflab.backbone.layers import AttentionPool
from difflab.backbone.unet import UNet
from difflab.denoiser.base import Denoiser
from difflab.denoiser.classifier import AnyClassifier, Classifier
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.experiment.training import Training
from difflab.experiment.weights import FromRun
from difflab.guidance.classifier import ClassifierGuidance
from difflab.guidance.classifier_free import ClassifierFree
from difflab.objective.draws import Noised
from difflab.objective.times import Uniform
from difflab.paradigm.base import Optimisation
from difflab.paradigm.noisy_classifier import BINS, NoisyClassifier
from difflab.process.schedule import EDM, VE, VP, Linear, Trigonometric
from difflab.process.target import Eps, Velocity
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate, times_for
from difflab.sampler.grid import Uniform as Even
from difflab.sampler.heun import Heun
from helpers.networks import inputs, perturbed

MEANS = torch.tensor([[-1.0, 0.3], [0.5, -0.2], [0.1, 0.9]], dtype=torch.float64)
VAR = torch.tensor([0.04, 0.09, 0.02], dtype=torch.float64)
WEIGHTS = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])
SHAPE = (2, 16, 24)
HALVES = {
    "half_unet": lambda: HalfUNet(SHAPE, 3, width=32, multipliers=(1, 2), blocks=1, head_channels=16),
    "half_dit": lambda: HalfDiT(SHAPE, 3, width=32, depth=2, heads=2),
}
every = pytest.mark.parametrize("option", HALVES)


def half(option):
    torch.manual_seed(0)
    return HALVES[option]()


# The networks


@every
def test_after_some_steps_every_parameter_learns(option):
    net = half(option)
    x, code, label = inputs(SHAPE, classes=2, batch=8)
    assert net(x, code).shape == (8, 3)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(4):  # zeroed layers open one after another
        optimiser.step()
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x, code), label).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@every
def test_a_sample_is_told_whatever_lies_beside_it_and_its_noise_level_matters(option):
    net = perturbed(half(option)).double()
    x, code, _ = inputs(SHAPE, dtype=torch.float64)
    together = net(x, code)
    for k in range(len(x)):
        torch.testing.assert_close(net(x[k, None], code[k, None])[0], together[k], rtol=0, atol=1e-11)
    assert not torch.allclose(net(x, code + 1), together)


@every
def test_autocast_is_close_to_float64_and_returns_the_dtype_of_the_input(option):
    net = perturbed(half(option))
    x, code, _ = inputs(SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(x, code)
    exact = net.double()(x.double(), code.double())
    assert (low.dtype, exact.dtype) == (torch.float32, torch.float64)
    assert (low - exact).square().mean() < 0.03**2 * exact.square().mean()


def test_the_halves_are_parts_of_the_whole_networks():
    """All but the pool, and the norm before it, has the name and the shape that it has in the whole network."""
    wholes = UNet(SHAPE, 0, 32, (1, 2), 1, (8,), 16), DiT(SHAPE, 0, 32, 2, 2)
    for option, whole in zip(HALVES, wholes, strict=True):
        shapes = {name: p.shape for name, p in whole.named_parameters()}
        ours = {n: p.shape for n, p in half(option).named_parameters() if n.partition(".")[0] not in ("pool", "norm")}
        assert ours.items() <= shapes.items()


def test_pooling_is_torchs_attention_from_the_mean():
    torch.manual_seed(0)
    ours, theirs = AttentionPool(32, 5, heads=4), nn.MultiheadAttention(32, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key_value.bias]))
        theirs.out_proj.weight.copy_(torch.eye(32))
    tokens = torch.randn(3, 7, 32)
    pooled, _ = theirs(tokens.mean(1, keepdim=True), tokens, tokens)
    torch.testing.assert_close(ours(tokens), ours.project(pooled[:, 0]))


def test_what_cannot_be_told_is_refused():
    with pytest.raises(ValueError, match=r"UNet gives samples and tells no classes: .*half_unet"):
        Classifier(UNet(SHAPE, 3, 32, (1, 2)), VP())
    with pytest.raises(ValueError, match="data of 0 classes leave nothing to tell"):
        HalfDiT(SHAPE, 0)


# What is exact: mixtures whose classes are their components


class Labelled(Mixture):
    """The mixture, or the component of the label."""

    classes = 3

    def log_prior(self, x, label):
        mine = (label[:, None] == torch.arange(3)) | (label[:, None] == 3)
        return torch.where(mine, super().log_prior(x, label), -torch.inf)


class Bayes(AnyClassifier):
    """p(k | x_t) ~ w_k p(x_t | k)."""

    shape, classes = (2,), 3

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.law = schedule, mixture(schedule)

    def forward(self, x, t):
        return self.law.log_joint(x, self.schedule(t), torch.zeros(len(x))).log_softmax(1)


def mixture(schedule, kind=Mixture):
    return kind(schedule, MEANS, VAR, WEIGHTS)


def by_bayes(schedule, scale=2.0):
    return ClassifierGuidance(lambda: Bayes(schedule), scale)


def noisy(schedule, t):
    torch.manual_seed(0)
    return schedule(t)(MEANS[LABEL], torch.randn(6, 2, dtype=torch.float64))


def middle(schedule):
    """Times inside the axis, from which something is left of the sample."""
    return schedule.time_at(torch.tensor([4.0, 1.0, -2.0], dtype=torch.float64))


@pytest.mark.parametrize("schedule", schedules())
@pytest.mark.parametrize("scale", [0.0, 1.5, 2.0, 5.0])
def test_the_guided_score_is_that_of_the_sharpened_law(schedule, scale):
    """`-eps / sigma = grad log [p(x_t) p(y | x_t)^(scale - 1)]`; at scale 2 the score of the component itself."""
    if isinstance(schedule, nn.Module):
        schedule.requires_grad_(False)
    guided = by_bayes(schedule, scale)(mixture(schedule))
    for t in middle(schedule):
        x, m = noisy(schedule, t).requires_grad_(), schedule(t)
        log_law = guided.denoiser.log_prob(x, t)
        log_law = log_law + (scale - 1) * guided.classifier(x, t)[torch.arange(6), LABEL]
        (score,) = torch.autograd.grad(log_law.sum(), x)
        found = guided(x.detach(), t, LABEL)
        torch.testing.assert_close(-found.eps / m.sigma, score, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(m(found.x0, found.eps), x.detach())
        torch.testing.assert_close(found.out, guided.target.mix(schedule, t)(found.x0, found.eps))
        assert torch.equal(found.unguided, guided.denoiser(x.detach(), t, LABEL).out)
        if scale == 2:
            for k in range(3):
                component, mine = Gaussian(schedule, MEANS[k], VAR[k].expand(2)), k == LABEL
                alone = component(x[mine].detach(), t, LABEL[mine])
                torch.testing.assert_close(found.eps[mine], alone.eps, rtol=1e-9, atol=1e-9)


def test_on_a_denoiser_with_classes_it_is_classifier_free_guidance():
    schedule = VP()
    conditional = mixture(schedule, Labelled)
    for t in middle(schedule):
        x = noisy(schedule, t)
        ours, theirs = (g(conditional)(x, t, LABEL) for g in (by_bayes(schedule, 3.0), ClassifierFree(3.0)))
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("other", [VE(), Linear(), EDM(), Trigonometric()])
def test_the_classifier_may_be_of_another_schedule(other):
    schedule = VP()
    own, foreign = by_bayes(schedule)(mixture(schedule)), by_bayes(other)(mixture(schedule))
    for t in middle(schedule):
        x = noisy(schedule, t)
        torch.testing.assert_close(foreign(x, t, LABEL).eps, own(x, t, LABEL).eps, rtol=1e-7, atol=1e-7)


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


def test_guided_samples_are_of_the_asked_class():
    """A denoiser without classes takes those of the classifier; at scale 2 it draws from the components."""
    schedule = VP(t_min=1e-3)
    guided = by_bayes(schedule)(mixture(schedule))
    assert guided.classes == 3
    labels = torch.arange(300) % 3
    drawn = generate(guided, Heun(), Even(), nfe=200, labels=labels).images.double()
    nearest = torch.cdist(drawn, MEANS).argmin(1)
    assert (nearest == labels).float().mean() > 0.98
    for k in range(3):
        error = 4 * (VAR[k] / 100).sqrt()
        assert (drawn[labels == k].mean(0) - MEANS[k]).abs().max() < error


# Trained networks


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
            self.drawn = generate(guided, DDIM(), Even(), nfe=4, labels=batch).images

    model = Validating()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", devices=1, precision="bf16-mixed", **quiet)
    trainer.validate(model, torch.utils.data.DataLoader([0, 1, 2], batch_size=3), verbose=False)
    assert model.drawn.isfinite().all()


def test_counted_evaluations_are_the_declared_ones_and_batches_change_no_sample():
    denoiser, classifier = networks()
    guided = ClassifierGuidance(lambda: classifier)(denoiser)
    drawn = generate(guided, DDIM(), Even(), nfe=9, labels=torch.arange(3))
    assert drawn.nfe == 8  # four steps of two
    assert len(times_for(guided, DDIM(), Even(), 9)) == 5
    parts = generate(guided, DDIM(), Even(), nfe=9, labels=torch.arange(3), batch_size=2)
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


# Training


def test_the_accuracy_is_told_by_noise_level():
    """Two equal components at -1 and 1: the best classifier is right with `Phi(alpha / sqrt(alpha^2 v + sigma^2))`."""
    schedule, n, v = VP(), 40_000, 0.5
    law = Bayes(schedule)
    law.law = Mixture(schedule, torch.tensor([[-1.0], [1.0]]), torch.tensor([v]), torch.tensor([0.5, 0.5]))
    law.classes = 2
    model = NoisyClassifier(law, Uniform(), Optimisation(), n).eval()
    label = torch.arange(n) % 2
    x0 = 2.0 * label[:, None] - 1 + v**0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    noised: Noised = model.corrupt(x0, label, 0.0, 1, 0)
    model.on_validation_epoch_start()
    losses = model.held_out_loss(noised)["cross_entropy"]
    assert torch.equal(losses, model.loss(noised)["cross_entropy"])
    m = schedule(noised.t)
    chance = torch.special.ndtr(m.alpha / (m.alpha**2 * v + m.sigma**2).sqrt())
    place = ((m.log_snr + 6) / 2).floor().clamp(0, len(BINS) - 1).long()
    right, seen = model.counts
    assert seen.sum() == n
    for k, bin_ in enumerate(BINS):
        inside = place == k
        assert seen[k] == inside.sum()
        error = 4 * (chance[inside] * (1 - chance[inside])).sum().sqrt()
        assert (right[k] - chance[inside].sum()).abs() < error, bin_


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of some seconds on 8x8 digits."""
    runs = tmp_path_factory.mktemp("runs")
    small = ["backbone.width=16", "backbone.multipliers=[1,2]", "backbone.attention=[4]", "batch_size=32"]
    budget = ["images=6400", "check_every=6400", "trainer=cpu", "precision=fp32", "logger=local", "ema=[0.9]"]
    config = composed("paradigm=noisy_classifier", "data=digits", *small, *budget, f"runs_dir={runs}")
    job = Training.of(config, "classifier")
    return runs, job.run, job()


def test_a_short_training_tells_clean_digits_and_is_at_a_loss_in_noise(trained):
    _, run, result = trained
    assert result["accuracy@4.."] > 0.5
    assert result["accuracy@..-4"] < 0.3
    assert result["accuracy@..-4"] < result["accuracy"] < result["accuracy@4.."]
    assert "metrics" not in result
    assert not (run.folder / "samples").exists()


def test_weights_from_a_run_are_named_by_what_they_are(trained):
    runs, run, _ = trained
    by_name, by_folder = FromRun("class", str(runs)), FromRun(str(run.folder), "elsewhere", 0.9)
    assert str(by_name) == str(by_folder) == f"FromRun({run.folder.name}, ema=0.9)"
    assert str(runs) not in str(ClassifierGuidance(by_name))
    classifier = by_name()
    assert isinstance(classifier, Classifier)
    assert not classifier.training
    assert not any(p.requires_grad for p in classifier.parameters())
    with pytest.raises(ValueError, match=r"ema=0\.5 is not in"):
        FromRun("class", str(runs), 0.5)
    with pytest.raises(ValueError, match="no run in"):
        FromRun("nothing", str(runs))


def test_velocities_are_guided_too(trained):
    """A flow along straight paths, guided by the trained classifier of a cosine table."""
    runs, _, _ = trained
    torch.manual_seed(0)
    flow = Denoiser(perturbed(UNet((1, 8, 8), 0, 16, (1, 2), 1, (4,), None)), Linear(), Velocity())
    guided = ClassifierGuidance(FromRun("class", str(runs)))(flow)
    drawn = generate(guided, DDIM(), Even(), nfe=8, labels=torch.arange(10))
    assert drawn.images.isfinite().all()
    assert drawn.nfe == 8
