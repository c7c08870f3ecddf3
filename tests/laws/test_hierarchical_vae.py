"""Hierarchical variational autoencoders: DDPM where the encoder is fixed, exact where all is linear, a VAE at T = 1."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from difflab.backbone import MLP, UNet
from difflab.denoiser import (
    Elbo,
    FixedEncoder,
    HierarchicalAutoencoder,
    HierarchicalBound,
    LearnedEncoder,
    Rescheduled,
    Separate,
    Shared,
    VariationalAutoencoder,
    variational_bits_per_dim,
)
from difflab.denoiser.hierarchical import cross_entropy
from difflab.guidance.classifier_free import ClassifierFree
from difflab.laws import Worst, close
from difflab.laws.backbones import perturbed
from difflab.paradigm import HierarchicalVAE
from difflab.process import VP, X0, CosineBetas, Eps, LinearBetas, Mix, Schedule, V
from difflab.process.noise import SampleNoise, keyed
from difflab.sampler import DDIM, Ancestral, Uniform, generate
from helpers.closed_forms import f64, normal, quantised
from helpers.laws import assert_law

BOTH = (Shared(), Separate())


def unet():
    return perturbed(UNet((1, 4, 4), 3, width=8, multipliers=(1,), blocks=1, attention=(), head_channels=None))


def mlp(classes=3):
    return perturbed(MLP((3,), classes, width=16, depth=1))


def fixed(backbone, schedule, layers):
    """A DDPM with networks that differ by layer, and another variance than the schedule's in each."""
    model = HierarchicalAutoencoder(backbone, schedule, V(), FixedEncoder(schedule), layers).double()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return model


def as_drawn(model, x0, seed=0):
    """The noise that `variational_bits_per_dim` draws."""
    g = keyed(seed)
    return torch.stack([torch.randn(x0.shape, generator=g) for _ in range(model.T)]).to(x0)


def labels(n, classes=3):
    return torch.arange(n) % (classes + 1)


def test_with_the_fixed_encoder_the_bound_is_that_of_ddpm():
    """All of its terms, of images on levels and of continuous samples; with a learned, a small and a large variance."""
    data = [(unet, quantised(normal(8, 1, 4, 4)), 256), (mlp, normal(8, 3), None)]
    cases = []
    for T, layers, (backbone, x0, levels) in itertools.product((2, 7), BOTH, data):
        schedule = CosineBetas(T=T)
        model, label = fixed(backbone(), schedule, layers), labels(len(x0))
        for v in (None, 0.0, 1.0):
            if v is not None:
                bounds = [schedule.bridge(f64(k - 1), f64(k)) for k in range(1, T + 1)]
                model.log_var.data = torch.cat([each.log_variance(f64(v)) for each in bounds])
            expected = variational_bits_per_dim(model.bind(label), x0, 0, v, v, levels)
            found, bits = model.elbo(x0, as_drawn(model, x0), label, levels), math.log(2) * x0[0].numel()
            case = f"T={T}, {layers}, levels={levels}, v={v}: "
            cases += [
                close(f"{case}L_0", found.reconstruction / bits, expected.reconstruction, atol=1e-9),
                close(f"{case}sum of L_1 .. L_(T-1)", found.kl[:, :-1].sum(1) / bits, expected.diffusion, atol=1e-9),
                close(f"{case}L_T", found.kl[:, -1] / bits, expected.prior, atol=1e-9),
                close(f"{case}score", HierarchicalBound()(model.bind(label), x0, levels), expected.total, atol=1e-9),
            ]
    assert_law(cases)


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


class OneLayer(Schedule):
    """A chain of a single step, to pure noise of variance 1 around the sample."""

    discrete, step, t_min, t_max = True, 1.0, 1.0, 1.0

    def __call__(self, t):
        return Mix(torch.ones_like(t), t)


class AsLatents(nn.Module):
    """The one layer of a hierarchical VAE as the network of a VAE."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shape, self.classes, self.latent_shape = [model], model.shape, model.classes, model.shape

    def encode(self, x, label):
        (encoder,) = [self.model[0].encoder]
        return x + encoder.shift(x, 1, label), encoder.v.expand_as(x)

    def decode(self, z, label):
        return self.model[0].below(z, 1, label)[0]


def test_one_layer_is_a_vae():
    schedule, x0, label = OneLayer(), quantised(normal(6, 3)), labels(6)
    model = HierarchicalAutoencoder(mlp(), schedule, X0(), LearnedEncoder(mlp(), schedule)).double()
    model.encoder.v.data, model.log_var.data = f64(-0.7), f64(-1.5)
    vae = VariationalAutoencoder(AsLatents(model)).double()
    vae.log_var.data = f64(-1.5)[0]
    for levels in (None, 256):
        noise = normal(6, 3, seed=4)
        expected: Elbo = vae.elbo(x0, noise, label, levels)
        found = model.elbo(x0, noise[None], label, levels)
        assert_law(
            [
                close("reconstruction", found.reconstruction, expected.reconstruction, rtol=1e-12, atol=1e-12),
                close("KL", found.kl[:, 0], expected.kl, rtol=1e-12, atol=1e-12),
            ]
        )


def test_an_encoder_that_was_just_built_is_the_fixed_one():
    """Its chain has the same law: the same steps, and so the same marginals and entropies."""
    cases = []
    for schedule in (CosineBetas(T=2), LinearBetas(T=20, beta_max=0.01)):
        x0, label, T = normal(4, 3), labels(4), schedule.T
        rule = FixedEncoder(schedule)(x0, normal(T, 4, 3), label)
        for layers in BOTH if T == 2 else BOTH[:1]:
            learned = LearnedEncoder(MLP((3,), 3, width=8, depth=1), schedule, layers).double()
            chain = learned(x0, torch.zeros(T, 4, 3, dtype=torch.float64), label)
            alpha, variance = schedule(f64(T)).alpha, schedule(f64(T)).sigma ** 2
            cases += [
                close("x_T without noise", chain.layers[-1].x, alpha * x0, atol=1e-12),
                close("entropy", chain.entropy, rule.entropy, atol=1e-10),
            ]
            ones = torch.eye(T, dtype=torch.float64)[:, :, None, None].expand(T, T, 4, 3)
            by_each = [(learned(x0, noise, label).layers[-1].x - chain.layers[-1].x) ** 2 for noise in ones]
            cases.append(close("variance of x_T", sum(by_each), variance.expand_as(x0), atol=1e-12))
    assert_law(cases)


def test_layers_have_their_own_networks_or_share_one():
    """2T networks, two and one; each row of a batch meets the network of its layer."""
    schedule = CosineBetas(T=4)
    for layers, encoder, n in ((Separate(), LearnedEncoder, 8), (Shared(), LearnedEncoder, 2), (Shared(), None, 1)):
        up = LearnedEncoder(mlp(), schedule, layers) if encoder else FixedEncoder(schedule)
        model = HierarchicalAutoencoder(mlp(), schedule, V(), up, layers)
        assert sum(isinstance(each, MLP) for each in model.modules()) == n
    model, x, label = fixed(mlp(), schedule, Separate()), normal(6, 3), labels(6)
    t = f64(4, 1, 3, 3, 2, 1)
    each = torch.stack([model(x, t[k], label).x0[k] for k in range(6)])
    assert_law([close("rows", model(x, t, label).x0, each, atol=1e-12)])
    same = torch.stack([model(x, f64(k)[0], label).out for k in (1, 2)])
    assert not torch.allclose(*same)


def learned():
    schedule = CosineBetas(T=4)
    return HierarchicalAutoencoder(mlp(), schedule, V(), LearnedEncoder(mlp(), schedule))


def test_other_chains_than_its_own_are_refused_to_a_learned_encoder_and_allowed_to_a_fixed_one():
    label = torch.zeros(2, dtype=torch.int64)
    own, rule = learned(), fixed(mlp(), CosineBetas(T=4), Shared()).float()
    assert generate(own, Ancestral(v=None), Uniform(), nfe=4, labels=label).images.isfinite().all()
    guided = ClassifierFree(2.0)(own)
    assert generate(guided, Ancestral(v=None), Uniform(), nfe=8, labels=label).images.isfinite().all()
    refusal = r"choose sampler=ancestral_learned nfe=4, or train with encoder=fixed"
    for sampler, nfe in ((DDIM(), 4), (Ancestral(v=0.0), 4), (Ancestral(v=None), 3), (Ancestral(v=None), 2)):
        assert generate(rule, sampler, Uniform(), nfe=nfe, labels=label).images.isfinite().all()
        for model in (own, guided):
            with pytest.raises(ValueError, match=refusal):
                generate(model, sampler, Uniform(), nfe=nfe, labels=label)
    with pytest.raises(ValueError, match="as the path takes x_t to be"):
        Rescheduled(own, VP())


def test_parts_that_do_not_fit_are_refused():
    schedule = CosineBetas(T=4)
    for wrong, message in (
        (lambda: FixedEncoder(VP()), "choose schedule=ddpm_cosine"),
        (lambda: HierarchicalAutoencoder(mlp(), CosineBetas(T=5), V(), FixedEncoder(schedule)), "the encoder's layers"),
        (
            lambda: HierarchicalAutoencoder(
                MLP((3,), 3, width=8, learned_variance=True), schedule, Eps(), FixedEncoder(schedule)
            ),
            r"backbone\.learned_variance=false",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_backbone_alone_is_enough_and_its_loss_is_the_bound_in_bits():
    model = HierarchicalVAE(MLP((3,), 3, width=8, depth=1), batch_size=16)
    x0, label = normal(16, 3).float(), labels(16)
    noised = model.corrupt(x0, label, 0.0, 0, 0)
    terms = model.loss(noised)
    assert [*terms] == ["reconstruction", *(f"kl_layer_{k}" for k in range(1, 9))]
    elbo = model.denoiser.elbo(x0, noised.layers, label, None)
    total = torch.stack([*terms.values()]).sum(0)
    assert_law([close("loss", total, elbo.total / (3 * math.log(2)), rtol=1e-5)])
    again = model.corrupt(x0[:8], label[:8], 0.0, 0, 0)
    assert_law([Worst("noise by the place", (again.layers - noised.layers[:, :8]).abs().max().item(), 0.0)])
