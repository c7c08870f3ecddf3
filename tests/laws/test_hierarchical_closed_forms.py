"""Hierarchical variational autoencoders with known numbers: linear chains, and a bent one by quadrature."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from difflab.denoiser import HierarchicalAutoencoder, LearnedEncoder
from difflab.denoiser.hierarchical import cross_entropy
from difflab.laws import close
from difflab.process import X0, CosineBetas, LinearBetas, V
from difflab.process.noise import SampleNoise
from difflab.sampler import Ancestral, Uniform, generate
from helpers.closed_forms import f64, normal
from helpers.laws import assert_law


class Affine(nn.Module):
    """`w x + b` with other numbers in each layer, which it knows by the code."""

    classes, learned_variance = 0, False

    def __init__(self, w, b, shape=(2,)):
        super().__init__()
        self.w, self.b, self.shape = nn.Parameter(w), nn.Parameter(b), shape

    def forward(self, x, code, label):
        layer = (code[0] * len(self.w) / 1000).round().long() - 1
        return self.w[layer] * x + self.b[layer]


@dataclass
class LinearChain:
    """A model whose decoder is affine, its marginals, and the encoder that is its exact posterior."""

    T: int = 3
    spread: float = 1.0  # of the encoder, 1 being the posterior's

    def __post_init__(self):
        self.schedule = CosineBetas(T=self.T)
        decoder = Affine(0.4 * normal(self.T, seed=1), 0.5 * normal(self.T, seed=2))
        encoder = LearnedEncoder(Affine(f64(*[0.0] * self.T), f64(*[0.0] * self.T)), self.schedule)
        self.model = HierarchicalAutoencoder(decoder, self.schedule, V(), encoder).double()
        log_var = self.model.log_var
        log_var.data = -1 + 0.3 * normal(self.T, seed=3)
        mean, var = 0.0, self.schedule(f64(self.T)).sigma.item() ** 2
        self.marginals = [(mean, var)]
        with torch.no_grad():
            for layer in range(self.T, 0, -1):
                zero, one = (self.model.below(x.expand(1, 2), layer, None)[0][0, 0].item() for x in f64(0, 1))
                slope, s2 = one - zero, log_var[layer - 1].exp().item()
                below = zero + slope * mean, slope**2 * var + s2
                gain = slope * var / below[1]  # of q(x_t | x_{t-1}), by Bayes' rule
                a = (1 - self.schedule.betas()[layer - 1]).sqrt().item()
                encoder.network.networks[0].w[layer - 1] = gain - a
                encoder.network.networks[0].b[layer - 1] = mean - gain * below[0]
                posterior = self.spread * (var - gain**2 * below[1])
                encoder.v[layer - 1] = math.log(posterior / self.schedule.betas()[layer - 1])
                mean, var = below
                self.marginals.insert(0, below)

    def mean_elbo(self, x0):
        """`-ELBO`, its mean over the noise, exactly: it is quadratic in it, so that two points a number are enough."""
        n, label, total = self.T * 2, torch.zeros(len(x0), dtype=torch.int64), 0.0
        for k, sign in itertools.product(range(n), (-1, 1)):
            noise = torch.zeros(n, dtype=torch.float64)
            noise[k] = sign * math.sqrt(n)
            each = self.model.elbo(x0, noise.reshape(self.T, 1, 2).expand(-1, len(x0), -1), label, None)
            total = total + each.total / (2 * n)
        return total


def test_a_linear_chain_with_the_exact_posterior_has_the_exact_likelihood():
    x0 = 2 * normal(32, 2)
    for T in (2, 3, 8):
        chain = LinearChain(T)
        mean, var = chain.marginals[0]
        exact = -Normal(f64(mean), f64(var).sqrt()).log_prob(x0).sum(1)
        assert_law([close(f"T={T}", chain.mean_elbo(x0), exact, rtol=1e-9, atol=1e-9)])
        assert (LinearChain(T, spread=1.3).mean_elbo(x0) > exact + 1e-3).all(), "another encoder has a looser bound"


def test_samples_have_the_moments_of_the_model_and_so_have_reconstructions_of_its_data():
    """But for the noise of the last step, which is not drawn."""
    chain, n = LinearChain(), 10_000
    mean, var = chain.marginals[0]
    last = chain.model.log_var[0].exp().item()
    x0 = mean + math.sqrt(var) * normal(n, 2)
    label, model = torch.zeros(n, dtype=torch.int64), chain.model
    drawn = generate(model.float(), Ancestral(v=None), Uniform(), nfe=3, labels=label)
    assert drawn.nfe == 3
    made = {"samples": drawn.images.double()}
    made |= {f"depth {d}": model.double().reconstruct(x0, label, SampleNoise(0, range(n)), d) for d in (None, 1, 2)}
    for case, x in made.items():
        moments = f64(x.mean().item(), x.var().item())
        assert_law([close(case, moments, f64(mean, var - last), atol=8 * var / math.sqrt(n))])
    for depth in (0, 4):
        with pytest.raises(ValueError, match=rf"depth={depth} is no layer: there are 1\.\.3"):
            model.reconstruct(x0, label, SampleNoise(0, range(n)), depth)


class Bent(nn.Module):
    """`sin(w x + b)`, with other numbers in each layer."""

    shape, classes, learned_variance = (1,), 0, False

    def __init__(self, seed):
        super().__init__()
        self.affine = Affine(normal(2, seed=seed), normal(2, seed=seed + 1))

    def forward(self, x, code, label):
        return self.affine(x, code, label).sin()


def test_a_bent_chain_has_the_bound_that_quadrature_gives_and_it_lies_above_the_density():
    """Two layers of one number: `E_q[log q(x_1, x_2 | x0) - log p(x0, x_1, x_2)]`, and `-log p(x0)`, on a lattice."""
    schedule = LinearBetas(T=2, beta_min=3e-4, beta_max=1.2e-3)
    model = HierarchicalAutoencoder(Bent(1), schedule, X0(), LearnedEncoder(Bent(3), schedule)).double()
    model.encoder.v.data, model.log_var.data = f64(0.4, -0.3), f64(-1.0, -0.4)
    x0, nodes = f64(-0.7, 0.2, 1.1)[:, None], np.polynomial.hermite_e.hermegauss(40)
    z, w = (torch.from_numpy(each) for each in nodes)
    noise = torch.stack(torch.meshgrid(z, z, indexing="ij")).reshape(2, 1, -1, 1).expand(2, 3, -1, 1)
    weight, n = torch.outer(w, w).flatten() / (2 * math.pi), len(z) ** 2
    every = model.elbo(x0.repeat_interleave(n, 0), noise.reshape(2, -1, 1), torch.zeros(3 * n).long(), None)
    found = every.total.reshape(3, n) @ weight
    lattice = torch.linspace(-8, 8, 801, dtype=torch.float64)
    step = (lattice[1] - lattice[0]).item()
    betas, column, free = schedule.betas(), lattice[:, None], torch.zeros(801, dtype=torch.int64)

    def up(x, k):
        """`q(x_k | x_{k-1})`."""
        std = (betas[k - 1] * model.encoder.v[k - 1].exp()).sqrt()
        return Normal((1 - betas[k - 1]).sqrt() * x + model.encoder.shift(x, k, free[: len(x)]), std)

    def down(k):
        """`p(x_{k-1} | x_k)` at the lattice's points as x_k."""
        mean, log_var = model.below(column, k, free)
        return Normal(mean, (0.5 * log_var).exp())

    with torch.no_grad():
        prior = Normal(f64(0), schedule(f64(2)).sigma).log_prob(lattice)  # of x_2
        p12 = prior[None, :] + down(2).log_prob(lattice).T  # (x_1, x_2)
        for row, x in enumerate(x0):
            joint = down(1).log_prob(x) + p12  # log p(x0, x_1, x_2)
            q = up(x[None], 1).log_prob(lattice).reshape(-1, 1) + up(column, 2).log_prob(lattice)
            bound = ((q - joint) * q.exp()).sum().item() * step**2
            exact = -joint.exp().sum().mul(step**2).log().item()
            assert found[row].item() == pytest.approx(bound, abs=1e-7)
            assert bound > exact + 1e-3


def test_the_term_of_two_normals_is_their_kl_divergence():
    mean_q, mean_p, log_var = normal(3, 4), normal(3, 4, seed=1), normal(3, 4, seed=2)
    var = f64(0.3)[0]
    q, p = Normal(mean_q, var.sqrt()), Normal(mean_p, (0.5 * log_var).exp())
    assert_law(
        [
            close("KL", cross_entropy(mean_q, var, mean_p, log_var) - q.entropy(), kl_divergence(q, p), atol=1e-12),
            close("point", cross_entropy(mean_q, 0 * var, mean_p, log_var), -p.log_prob(mean_q), atol=1e-12),
        ]
    )
