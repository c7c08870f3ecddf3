"""The autoencoder of latent diffusion: its terms in their units, the perceptual distance, and what it warns of."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from difflab.backbone import Autoencoder
from difflab.denoiser import FirstStage
from difflab.denoiser.first_stage import drawn, kl_to_standard_normal
from difflab.metric import Lite0Maps
from difflab.metric.features import lite0
from difflab.objective import L1, L2, perceptual
from difflab.paradigm import KLAutoencoder
from difflab.paradigm.latents import LatentSums


def model(**more):
    torch.manual_seed(0)
    return KLAutoencoder(Autoencoder((1, 8, 8), channels=2, width=16, multipliers=(1, 1)), batch_size=4, **more)


def batch():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(4, dtype=torch.int64)


def test_the_kl_is_that_of_quadrature():
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    for m, v in ((0.0, 1.0), (1.2, 0.3), (-0.5, 1e-2), (0.3, 2.5)):
        q = (-((z - m) ** 2) / (2 * v)).exp() / math.sqrt(2 * math.pi * v)
        log_ratio = -((z - m) ** 2) / (2 * v) - 0.5 * math.log(v) + z**2 / 2
        mean, log_var = torch.full((1, 3), m, dtype=torch.float64), torch.full((1, 3), math.log(v), dtype=torch.float64)
        assert float(kl_to_standard_normal(mean, log_var)) == pytest.approx(
            3 * float(torch.trapezoid(q * log_ratio, z))
        )


def test_the_loss_is_the_published_sum_over_the_numbers_of_an_image():
    """`sum |x - decode(z)| + weight KL`, over n: Rombach et al. 2022, with one draw by the first numbers of eps."""
    x, label = batch()
    for reconstruction, power in ((L1(), 1), (L2(), 2)):
        own = model(kl_weight=0.3, reconstruction=reconstruction)
        noised = own.corrupt(x, label, 0.0, 0, 0)
        stage = own.first_stage
        mean, log_var = stage.posterior(x, label)
        noise = noised.eps.flatten(1)[:, : 2 * 4 * 4].reshape(mean.shape)
        apart = (x - stage.decode(drawn(mean, log_var, noise), label)).abs().pow(power).flatten(1).sum(1)
        expected = (apart + 0.3 * kl_to_standard_normal(mean, log_var)) / 64
        assert torch.allclose(sum(own.loss(noised).values()), expected)
        assert {*own.loss(noised)} == {"reconstruction", "kl"}


def test_a_reconstruction_without_noise_is_of_the_mean():
    stage, (x, label) = FirstStage(Autoencoder((1, 8, 8), channels=2, width=16, multipliers=(1, 1))), batch()
    mean, log_var = stage.posterior(x, label)
    assert torch.equal(stage.reconstruct(x, label), stage.decode(mean, label))
    noise = torch.randn(mean.shape)
    assert torch.equal(
        stage.reconstruct(x, label, lambda *_: noise), stage.decode(mean + (0.5 * log_var).exp() * noise, label)
    )
    assert torch.equal(drawn(mean, log_var, None), mean)


def test_the_perceptual_distance_is_that_of_directions():
    """0 of maps that differ by a positive factor at each place, 2 of orthogonal ones, 4 of opposite ones."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 4, 4, generator=g)
    factor = torch.rand(3, 1, 4, 4, generator=g) + 0.1
    assert torch.allclose(perceptual(lambda x: [x], x, factor * x), torch.zeros(3), atol=1e-6)
    assert torch.allclose(perceptual(lambda x: [x, x], x, -x), torch.full((3,), 4.0))
    one, two = F.one_hot(torch.tensor([0, 1]), 5).float()[:, :, None, None].expand(2, 5, 3, 3)
    assert torch.allclose(perceptual(lambda x: [x, x[:, :, :1]], one[None], two[None]), torch.full((1,), 2.0))


def test_the_maps_of_lite0_are_those_that_it_measures_by():
    """The fourth is the one whose mean is block 10, on images of the network's own size; gradients reach the image."""
    images = torch.randint(256, (2, 3, 128, 128), generator=torch.Generator().manual_seed(0)).float()
    net = lite0()
    maps = net.maps((images - 127) / 128)
    assert [tuple(each.shape[1:]) for each in maps] == [
        (16, 64, 64),
        (24, 32, 32),
        (40, 16, 16),
        (112, 8, 8),
        (320, 4, 4),
    ]
    assert torch.allclose(maps[3].mean((2, 3)), net(images)["block10"], atol=1e-4)
    x = torch.rand(2, 1, 16, 16).requires_grad_()
    found = Lite0Maps()
    (slope,) = torch.autograd.grad(perceptual(found, x, torch.zeros_like(x)).sum(), x)
    assert slope.isfinite().all()
    assert all(each.any() for each in slope)
    assert not any(p.requires_grad for p in found.network.parameters())
    grey, colour = found(x), found(x.expand(-1, 3, -1, -1))
    assert all(torch.allclose(ours, theirs, atol=1e-4) for ours, theirs in zip(grey, colour, strict=True))
    with pytest.raises(ValueError, match="1 or 3 channels"):
        found(torch.zeros(2, 4, 8, 8))


def test_a_frozen_network_is_no_part_of_the_model():
    """It is neither trained nor saved, and what it is enters the loss."""
    x, label = batch()
    own = model(perceptual=Lite0Maps(), perceptual_weight=0.0)
    losses = own.loss(own.corrupt(x, label, 0.0, 0, 0))
    assert {*losses} == {"reconstruction", "kl", "perceptual"}
    assert not losses["perceptual"].any()
    assert {*own.state_dict()} == {*model().state_dict()}


def test_what_is_logged_of_latents_is_their_law():
    g, sums = torch.Generator().manual_seed(0), LatentSums(2)
    mean = torch.stack([0.5 + torch.randn(5000, 3, 3, generator=g), 2 * torch.randn(5000, 3, 3, generator=g)], 1)
    log_var = torch.tensor([0.25, 0.04]).log()[None, :, None, None].expand_as(mean)
    for rows in (slice(1000), slice(1000, None)):
        sums.update(mean[rows], log_var[rows])
    facts = sums.compute()
    draws = mean + (0.5 * log_var).exp() * torch.randn(mean.shape, generator=g)
    assert facts.std.tolist() == pytest.approx(draws.transpose(0, 1).flatten(1).std(1).tolist(), rel=0.01)
    assert facts.posterior_std.tolist() == pytest.approx([0.5, 0.2])
    assert float(facts.kl.sum()) * 9 == pytest.approx(float(kl_to_standard_normal(mean, log_var).mean()), rel=1e-5)
    assert facts.warnings() == []


def test_latents_that_are_points_or_say_nothing_are_warned_of_in_one_line():
    mean = torch.randn(500, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    narrow, silent = LatentSums(2), LatentSums(2)
    narrow.update(mean, torch.full_like(mean, 2 * math.log(5e-3)))
    (said,) = narrow.compute().warnings()
    assert "Whiten" in said
    assert "\n" not in said
    mean[:, 1] = 0.01
    silent.update(mean, torch.stack([torch.full((500, 3, 3), -2.0), torch.zeros(500, 3, 3)], 1))
    (said,) = silent.compute().warnings()
    assert said.startswith("1 of 2 latent channels")


def test_wrong_settings_are_refused_with_their_word(subtests):
    for more, message in (
        ({"kl_weight": -1.0}, r"model\.kl_weight=-1\.0"),
        ({"perceptual_weight": math.nan}, r"model\.perceptual_weight=nan"),
        ({"adversarial_start": 1.0}, r"model\.adversarial_start=1\.0"),
    ):
        with subtests.test(message), pytest.raises(ValueError, match=message):
            model(**more)
    with pytest.raises(ValueError, match=r"backbone\.channels"):
        KLAutoencoder(Autoencoder((1, 8, 8), channels=8, width=16, multipliers=(1, 1)))
    with pytest.raises(ValueError, match="choose backbone=autoencoder"):
        KLAutoencoder(nn.Linear(1, 1))
