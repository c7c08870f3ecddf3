"""The autoencoder of points: shapes, labels, gradients, and the refusals that lead to it."""

import math

import pytest
import torch

from difflab.backbone import MLP, Autoencoder, AutoencoderMLP
from difflab.denoiser import Generator, VariationalAutoencoder
from difflab.laws.backbones import perturbed
from difflab.paradigm import VAE
from difflab.sampler import DDIM, Uniform, generate


def network(classes=0, latents=2, size=3):
    torch.manual_seed(0)
    return AutoencoderMLP((size,), classes, latents, width=32, depth=2)


def points(n=5, size=3):
    return torch.randn(n, size, generator=torch.Generator().manual_seed(1))


def test_points_go_to_latents_and_back_each_by_itself():
    for classes, latents in ((0, 1), (3, 2)):
        net, x, label = perturbed(network(classes, latents)).double(), points().double(), torch.arange(5) % 4
        mean, log_var = net.encode(x, label)
        back = net.decode(mean, label)
        assert mean.shape == log_var.shape == (5, latents)
        assert (back.shape, back.dtype) == (x.shape, x.dtype)
        for k in range(len(x)):
            alone, rows = net.encode(x[k, None], label[k, None]), slice(k, k + 1)
            assert torch.allclose(torch.cat(alone), torch.cat([mean[rows], log_var[rows]]), atol=1e-12)
            assert torch.allclose(net.decode(mean[rows], label[rows]), back[rows], atol=1e-12)


def test_labels_are_read_both_ways_and_ignored_without_classes():
    x, z = points(), points(size=2)
    for classes in (0, 3):
        net = perturbed(network(classes))
        for way, given in ((net.encode, x), (net.decode, z)):
            outputs = [torch.cat([*way(given, torch.full((5,), k))], dim=-1) for k in range(4)]
            apart = [not torch.equal(a, b) for k, a in enumerate(outputs) for b in outputs[:k]]
            assert all(apart) if classes else not any(apart)


def test_every_parameter_learns():
    for classes in (0, 3):
        model = VAE(network(classes), batch_size=16)
        x, label = points(16), torch.arange(16) % 3
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(3):
            optimiser.zero_grad()
            sum(term.mean() for term in model.loss(model.corrupt(x, label, 0.0, 0, 0)).values()).backward()
            optimiser.step()
        assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_vae_of_a_gaussian_has_its_entropy_and_its_moments():
    """The bound reaches the entropy of the data, here of a correlated Gaussian, and samples have its covariance."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    torch.manual_seed(0)
    model = VAE(AutoencoderMLP((2,), width=32, depth=1), batch_size=512)
    optimiser, label = torch.optim.Adam(model.parameters(), 3e-3), torch.zeros(512, dtype=torch.int64)
    root, g, bounds = torch.linalg.cholesky(covariance), torch.Generator().manual_seed(2), []
    for step in range(800):
        x = torch.randn(512, 2, generator=g) @ root.T
        loss = sum(term.mean() for term in model.loss(model.corrupt(x, label, 0.0, 0, step)).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        bounds.append(loss.item())
    entropy = (math.log(2 * math.pi * math.e) * 2 + float(torch.logdet(covariance))) / 4  # in nats/dim
    bound = sum(bounds[-100:]) / 100
    assert entropy - 0.02 < bound < entropy + 0.05
    drawn = generate(model.denoiser, DDIM(), Uniform(), nfe=1, labels=torch.zeros(4000, dtype=torch.int64)).images
    noise = model.denoiser.log_var.exp() * torch.eye(2)  # which the means of p(x | z) leave out
    assert (torch.cov(drawn.T) + noise - covariance).abs().max() < 0.15


def test_refusals_lead_to_the_autoencoder_of_the_kind():
    for shape, refused, option in (((2,), Autoencoder, "autoencoder_mlp"), ((1, 8, 8), AutoencoderMLP, "autoencoder")):
        with pytest.raises(ValueError, match=rf"choose backbone={option}$"):
            refused(shape)
    with pytest.raises(ValueError, match=r"MLP has no latents: .* autoencoder_mlp for points"):
        VariationalAutoencoder(MLP((2,), 0))
    with pytest.raises(ValueError, match=r"fewer backbone\.latents for points"):
        Generator(network(latents=4))
    for settings in ({"width": 33}, {"latents": 0}):
        with pytest.raises(ValueError, match="even width, and latents"):
            AutoencoderMLP((2,), **settings)
