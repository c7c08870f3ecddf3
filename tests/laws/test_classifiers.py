"""Classifiers of noisy samples: their networks, and their accuracy by noise level in closed form."""

import pytest
import torch
from torch import nn

from difflab.backbone.dit import DiT
from difflab.backbone.half_dit import HalfDiT
from difflab.backbone.unet import UNet
from difflab.denoiser.classifier import Classifier
from difflab.objective.draws import Noised
from difflab.objective.times import Uniform
from difflab.paradigm.noisy_classifier import BINS, NoisyClassifier
from difflab.paradigm.optimisation import Optimisation
from difflab.process.schedule import VP
from helpers.classifiers import HALVES, SHAPE, BayesOfMixture, half
from helpers.networks import inputs, perturbed


def test_after_some_steps_every_parameter_learns():
    for option in HALVES:
        net = half(option)
        x, timestep, label = inputs(SHAPE, classes=2, batch=8)
        assert net(x, timestep).shape == (8, 3)
        optimiser = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(4):  # zeroed layers open one after another
            optimiser.step()
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x, timestep), label).backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == [], option


def test_a_sample_depends_on_itself_alone_and_on_its_timestep():
    for option in HALVES:
        net = perturbed(half(option)).double()
        x, timestep, _ = inputs(SHAPE, dtype=torch.float64)
        together = net(x, timestep)
        alone = torch.cat([net(x[k, None], timestep[k, None]) for k in range(len(x))])
        torch.testing.assert_close(alone, together, rtol=0, atol=1e-11)
        assert not torch.allclose(net(x, timestep + 1), together), option


def test_autocast_is_close_to_float64_and_returns_the_dtype_of_the_input():
    for option in HALVES:
        net = perturbed(half(option))
        x, timestep, _ = inputs(SHAPE)
        with torch.autocast("cpu", torch.bfloat16):
            low = net(x, timestep)
        exact = net.double()(x.double(), timestep.double())
        assert (low.dtype, exact.dtype) == (torch.float32, torch.float64), option
        assert (low - exact).square().mean() < 0.03**2 * exact.square().mean(), option


def test_the_halves_are_parts_of_the_whole_networks():
    """All but the pool, and the norm before it, has the name and the shape that it has in the whole network."""
    wholes = UNet(SHAPE, 0, 32, (1, 2), 1, (8,), 16), DiT(SHAPE, 0, 32, 2, 2)
    for option, whole in zip(HALVES, wholes, strict=True):
        shapes = {name: p.shape for name, p in whole.named_parameters()}
        ours = {n: p.shape for n, p in half(option).named_parameters() if n.partition(".")[0] not in ("pool", "norm")}
        assert ours.items() <= shapes.items()


def test_what_is_no_classifier_is_refused():
    with pytest.raises(ValueError, match=r"UNet gives samples and does not classify: .*half_unet"):
        Classifier(UNet(SHAPE, 3, 32, (1, 2)), VP())
    with pytest.raises(ValueError, match="data of 0 classes leave nothing to tell"):
        HalfDiT(SHAPE, 0)


def test_the_accuracy_is_reported_by_noise_level():
    """Two equal components at -1 and 1: the best classifier is right with `Phi(alpha / sqrt(alpha^2 v + sigma^2))`."""
    schedule, n, v = VP(), 40_000, 0.5
    means, var, weights = torch.tensor([[-1.0], [1.0]]), torch.tensor([v]), torch.tensor([0.5, 0.5])
    model = NoisyClassifier(BayesOfMixture(schedule, means, var, weights), Uniform(), Optimisation(), n).eval()
    label = torch.arange(n) % 2
    x0 = 2.0 * label[:, None] - 1 + v**0.5 * torch.randn(n, 1, generator=torch.Generator().manual_seed(0))
    noised: Noised = model.corrupt(x0, label, 0.0, 1, 0)
    model.on_validation_epoch_start()
    losses = model.held_out_loss(noised)["cross_entropy"]
    assert torch.equal(losses, model.loss(noised)["cross_entropy"])
    m = schedule(noised.t)
    chance = torch.special.ndtr(m.alpha / (m.alpha**2 * v + m.sigma**2).sqrt())
    place = ((m.log_snr + 6) / 2).floor().clamp(0, len(BINS) - 1).long()
    right, seen = model.right.compute().unbind(1)
    assert seen.sum() == n
    for k, bin_ in enumerate(BINS):
        inside = place == k
        assert seen[k] == inside.sum()
        error = 4 * (chance[inside] * (1 - chance[inside])).sum().sqrt()
        assert (right[k] - chance[inside].sum()).abs() < error, bin_
