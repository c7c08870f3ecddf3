"""Variational autoencoders against closed forms, and generators that know one step alone."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from difflab.backbone import Autoencoder
from difflab.denoiser import ElboBound, Generator, VariationalAutoencoder
from difflab.paradigm import VAE
from difflab.sampler import DDIM, Heun, Uniform, generate

D, K, VAR = 6, 2, 0.3


class LinearNetwork(nn.Module):
    """`x = W z + mu`, and the exact posterior of probabilistic PCA: Tipping & Bishop 1999, section 3.2."""

    shape, classes, latent_shape = (D,), 0, (K,)

    def __init__(self, stretch=1.0):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        axes = torch.linalg.qr(torch.randn(D, K, generator=g, dtype=torch.float64))[0]
        self.w = axes * torch.tensor([2.0, 0.7])  # principal axes: the posterior is diagonal
        self.mu = torch.randn(D, generator=g, dtype=torch.float64)
        self.m = (self.w.T @ self.w).diagonal() + VAR
        self.stretch = stretch

    def encode(self, x, label):
        mean = (x - self.mu) @ self.w / self.m
        return mean, (self.stretch * VAR / self.m).log().expand_as(mean)

    def decode(self, z, label):
        return (z.double() @ self.w.T + self.mu).to(z)


def linear(stretch=1.0):
    model = VariationalAutoencoder(LinearNetwork(stretch)).double()
    model.log_var.data.fill_(math.log(VAR))
    return model


def samples(n=64):
    return 2 * torch.randn(n, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def mean_elbo(model, x):
    """Its mean over the latents, exactly: it is quadratic in their noise, so that 2 K points are enough."""
    label, total = torch.zeros(len(x), dtype=torch.int64), 0.0
    for k in range(K):
        for sign in (-1, 1):
            eps = torch.zeros(D, dtype=torch.float64)
            eps[k] = sign * math.sqrt(K)
            total = total + model.elbo(x, eps.expand_as(x), label, None).total / (2 * K)
    return total


def test_a_linear_one_has_the_log_likelihood_of_probabilistic_pca():
    model, x = linear(), samples()
    net = model.backbone
    law = MultivariateNormal(net.mu, net.w @ net.w.T + VAR * torch.eye(D, dtype=torch.float64))
    assert torch.allclose(-mean_elbo(model, x), law.log_prob(x), atol=1e-9)


def test_another_posterior_has_a_looser_bound():
    x = samples()
    assert (mean_elbo(linear(1.5), x) > mean_elbo(linear(), x) + 1e-3).all()


def test_the_kl_term_is_that_of_two_normals():
    model, x = linear(), samples()
    mean, log_var = model.posterior(x, torch.zeros(len(x)))
    between = kl_divergence(Normal(mean, (0.5 * log_var).exp()), Normal(torch.zeros(K), torch.ones(K))).sum(1)
    assert torch.allclose(model.elbo(x, torch.zeros_like(x), torch.zeros(len(x)), None).kl, between)


def test_bits_per_dim_are_the_bound_on_average():
    model, x = linear(), samples()
    label = torch.zeros(len(x), dtype=torch.int64)
    found = ElboBound(draws=400)(model.bind(label), x, None)
    expected = mean_elbo(model, x).detach() / (D * math.log(2))
    assert torch.allclose(found, expected, atol=0.2)
    assert float((found - expected).mean().abs()) < 0.01


def test_samples_are_decoded_from_the_first_numbers_of_the_noise():
    model = linear().float()
    drawn = generate(model, DDIM(), Uniform(), nfe=1, labels=torch.zeros(2000, dtype=torch.int64))
    assert drawn.nfe == 1
    net = model.backbone
    covariance = torch.cov(drawn.images.double().T)
    assert (covariance - net.w @ net.w.T).abs().max() < 0.4  # of variances up to 4
    assert torch.linalg.matrix_rank(covariance, rtol=1e-3) == K


def test_a_step_that_does_not_go_the_whole_way_is_refused_with_the_way_out():
    model = Generator(Autoencoder((1, 8, 8), width=16, multipliers=(1, 1)))
    for sampler, nfe in ((DDIM(), 2), (Heun(), 3)):
        with pytest.raises(ValueError, match=r"sampler=ddim nfe=1 grid=uniform"):
            generate(model, sampler, Uniform(), nfe=nfe, labels=torch.zeros(2, dtype=torch.int64))


def test_latents_larger_than_samples_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.channels"):
        Generator(Autoencoder((1, 8, 8), channels=4, width=16, multipliers=(1,)))


def test_both_terms_of_the_loss_fall_in_sum_when_one_batch_is_learnt():
    torch.manual_seed(0)
    net = Autoencoder((1, 8, 8), classes=3, channels=2, width=16, multipliers=(1, 1))
    model = VAE(net, batch_size=16)
    x, label = torch.randn(16, 1, 8, 8).clamp(-1, 1), torch.arange(16) % 3
    x = (x * 127.5).round() / 127.5
    optimizer, sums = torch.optim.Adam(net.parameters(), 3e-3), []
    for _ in range(30):
        losses = model.loss(model.corrupt(x, label, 0.0, 0, 0))
        assert set(losses) == {"reconstruction", "kl"}
        total = sum(each.mean() for each in losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        sums.append(float(total))
    assert sums[-1] < 0.9 * sums[0]


def test_beta_weighs_the_kl_term_alone():
    net = Autoencoder((1, 8, 8), channels=2, width=16, multipliers=(1, 1))
    x = torch.zeros(4, 1, 8, 8)
    one, ten = (VAE(net, beta=beta, batch_size=4) for beta in (1.0, 10.0))
    a, b = (model.loss(model.corrupt(x, torch.zeros(4, dtype=torch.int64), 0.0, 0, 0)) for model in (one, ten))
    assert torch.equal(a["reconstruction"], b["reconstruction"])
    assert torch.allclose(10 * a["kl"], b["kl"])
    with pytest.raises(ValueError, match=r"model\.beta=-1"):
        VAE(net, beta=-1.0)
