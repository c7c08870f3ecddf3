"""Hierarchical variational autoencoders: DDPM where the encoder is fixed, a VAE at T = 1, their layers and chains."""

import itertools
import math

import pytest
import torch
from torch import nn

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
from difflab.guidance.classifier_free import ClassifierFree
from difflab.laws import Worst, close
from difflab.laws.backbones import perturbed
from difflab.paradigm import HierarchicalVAE
from difflab.process import VP, X0, CosineBetas, Eps, LinearBetas, Mix, Schedule, V
from difflab.process.noise import keyed
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
