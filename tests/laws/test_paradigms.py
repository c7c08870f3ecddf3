"""What training computes, on data whose optimal network is known."""

import math

import pytest
import torch
from torch import nn

from difflab.data.codec import Points
from difflab.denoiser.base import Denoiser
from difflab.denoiser.likelihood import ChainBound
from difflab.objective.coupling import Independent
from difflab.objective.draws import Chain, One, Two
from difflab.objective.times import Stratified
from difflab.objective.weighting import SNR, Simple
from difflab.paradigm.base import TRAINING
from difflab.paradigm.ddpm import DDPM
from difflab.paradigm.defaults import Sampling
from difflab.paradigm.ema import average_of, decaying
from difflab.paradigm.optimisation import Optimisation
from difflab.process.discrete import LinearBetas
from difflab.process.gaussian import scale
from difflab.process.target import Eps
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.ddim import DDIM

MEAN, VAR = 0.2, 0.25


class OptimalEps(nn.Module):
    """E[eps | x_t] of N(MEAN, VAR): sigma (x - alpha m) / (alpha^2 v + sigma^2), with as many channels again for v."""

    shape, classes = (1, 2, 2), 3

    def __init__(self, schedule, learned_variance=False):
        super().__init__()
        self.schedule, self.learned_variance = schedule, learned_variance
        self.v = nn.Parameter(torch.zeros(())) if learned_variance else None
        self.off = nn.Parameter(torch.zeros(()))

    def forward(self, x, timestep, label):
        alpha, sigma = self.schedule((timestep.double() * self.schedule.T / 1000).round())
        eps = scale(sigma / (alpha**2 * VAR + sigma**2), x - scale(alpha * MEAN, torch.ones_like(x))) + self.off
        return eps if self.v is None else torch.cat([eps, self.v.expand_as(eps)], 1)


ONE = One()


def ddpm(schedule, batch_size=4096, learned_variance=False, draws=ONE, **settings):
    denoiser = Denoiser(OptimalEps(schedule, learned_variance), schedule, Eps())
    return DDPM(denoiser, Stratified(), Simple(), Independent(), Optimisation(), batch_size, draws, **settings)


def data(n):
    g = torch.Generator().manual_seed(0)
    return MEAN + VAR**0.5 * torch.randn(n, 1, 2, 2, dtype=torch.float64, generator=g), torch.zeros(n, dtype=torch.long)


def test_the_hybrid_loss_teaches_the_variance_and_leaves_the_mean_alone():
    model = ddpm(LinearBetas(T=100), batch_size=64, learned_variance=True, vlb_weight=1.0)
    x0, label = data(64)
    terms = model.loss(model.corrupt(x0, label, 0.0, TRAINING, 0))
    off, v = model.denoiser.backbone.off, model.denoiser.backbone.v
    on_off, on_v = torch.autograd.grad(terms["vlb"].mean(), (off, v))
    assert on_off == 0
    assert on_v != 0
    assert torch.autograd.grad(terms["simple"].mean(), v)[0] == 0


def test_the_bound_of_the_optimal_network_is_near_the_density():
    """Bits/dim of 8-bit values: `-log2 N(x0; m, v)`, less the log2 of the bin's width 2 / 255.

    By the decoder that is best for data as wide as these, beta_1.
    """
    model = ddpm(LinearBetas(T=1000), decoder_v=1.0)
    x0, label = data(2000)
    inside = (x0.abs() < 0.95).flatten(1).all(1)  # the outermost bins are wider
    x0, label = ((x0[inside] + 1) * 127.5).round() / 127.5 - 1, label[inside]
    nats = 0.5 * (x0 - MEAN) ** 2 / VAR + 0.5 * math.log(2 * math.pi * VAR)
    exact = nats.mean().item() / math.log(2) - math.log2(2 / 255)
    assert exact - 0.03 < model.bits_per_dim(x0, label)["bits_per_dim_bound"].mean().item() < exact + 0.05


def test_the_chain_that_is_sampled_is_the_one_measured():
    """Small or large as the sampler has it; where it draws no chain that of the model's own sampling; learned if so."""
    small, large = ChainBound(v=0.0), ChainBound(v=1.0)
    model = ddpm(LinearBetas(T=100))
    for sampler, expected in [
        (Ancestral(v=0.0), small),
        (Ancestral(v=1.0), large),
        (DDIM(eta=1.0), small),
        (DDIM(), large),  # of Ho et al.
        (None, large),
    ]:
        assert model.likelihoods(sampler) == (expected,), sampler
    model.sampling = Sampling(Ancestral(v=0.0))
    assert model.likelihoods(DDIM()) == (small,)
    learned = ddpm(LinearBetas(T=100), learned_variance=True, vlb_weight=1.0)
    assert learned.likelihoods(Ancestral(v=None)) == (ChainBound(v=None, decoder_v=None),)
    assert learned.likelihoods(Ancestral(v=0.0)) == (small,)


def test_the_decoder_is_the_published_one_unless_it_is_chosen():
    """The clipped posterior variance; and beta_1 for continuous samples, whose density the clipped one cannot give."""
    model = ddpm(LinearBetas(T=100))
    (found,) = model.likelihoods()
    assert (found.decoder_v, found.limit) == (0.0, 1.0)
    (found,) = ddpm(LinearBetas(T=100), decoder_v=1.0).likelihoods()
    assert found.decoder_v == 1.0
    model.codec = Points()
    (found,) = model.likelihoods()
    assert (found.decoder_v, found.limit) == (1.0, None)


def test_weighting_by_snr_on_x0_is_weighting_by_one_on_eps():
    x0, label = data(256)
    simple = ddpm(LinearBetas(), batch_size=256)
    weighted = DDPM(simple.denoiser, Stratified(), SNR(), Independent(), Optimisation(), 256, One())
    noised = simple.corrupt(x0, label, 0.0, TRAINING, 0)
    torch.testing.assert_close(weighted.loss(noised)["simple"], simple.loss(noised)["simple"])  # snr is 1 on eps


def test_the_bound_alone_teaches_mean_and_variance():
    model = ddpm(LinearBetas(T=100), batch_size=64, learned_variance=True, simple_weight=0.0, vlb_weight=1.0)
    x0, label = data(64)
    terms = model.loss(model.corrupt(x0, label, 0.0, TRAINING, 0))
    assert terms.keys() == {"vlb"}
    off, v = model.denoiser.backbone.off, model.denoiser.backbone.v
    assert all(g != 0 for g in torch.autograd.grad(terms["vlb"].mean(), (off, v)))


def test_any_number_of_draws_explains_the_noisy_sample():
    """x_t is what the pair it is compared with would give."""
    schedule = LinearBetas(T=64)
    for draws in (One(), Two(), Chain()):
        noised = ddpm(schedule, batch_size=256, draws=draws).corrupt(*data(256), 0.0, TRAINING, 0)
        torch.testing.assert_close(schedule(noised.t)(noised.x0, noised.eps), noised.x_t)
        assert noised.x_t.shape == (256, 1, 2, 2), draws
        marginal = noised.x_t - scale(schedule(noised.t).alpha * MEAN, torch.ones_like(noised.x_t))
        variance = schedule(noised.t).alpha ** 2 * VAR + schedule(noised.t).sigma ** 2
        assert (scale(1 / variance, marginal**2)).mean().item() == pytest.approx(1, abs=0.2), draws


def test_more_draws_have_the_same_gradient_with_more_noise():
    """Each estimator's gradient at a network that is off by 0.1: equal means, and standard deviations in this order."""
    schedule, n, steps, found = LinearBetas(T=64), 1024, 75, {}
    x0, label = data(n * steps)
    for draws in (One(), Two(), Chain()):
        model = ddpm(schedule, batch_size=n, draws=draws)
        torch.nn.init.constant_(model.denoiser.backbone.off, 0.1)
        gradients = []
        for step in range(steps):
            mine = slice(n * step, n * step + n)
            loss = model.loss(model.corrupt(x0[mine], label[mine], 0.0, TRAINING, step))["simple"].mean()
            gradients += torch.autograd.grad(loss, model.denoiser.backbone.off)
        found[type(draws).__name__] = torch.stack(gradients)
    mean = {k: g.mean().item() for k, g in found.items()}
    std = {k: g.std().item() for k, g in found.items()}
    for name in ("Two", "Chain"):
        error = (std[name] ** 2 + std["One"] ** 2) ** 0.5 / steps**0.5
        assert mean[name] == pytest.approx(mean["One"], abs=4 * error)
    assert mean["One"] == pytest.approx(0.2, abs=0.02)  # d/d off of |eps - (E[eps | x_t] + off)|^2
    assert std["One"] < std["Two"] < std["Chain"]


def test_a_chain_that_does_not_divide_the_batch_is_refused():
    with pytest.raises(ValueError, match=r"choose schedule\.T=100"):
        ddpm(LinearBetas(T=64), batch_size=100, draws=Chain())


def test_averages_follow_the_recursion_with_warm_up():
    network = nn.Linear(1, 1, bias=False)
    average, expected = average_of(network, decaying(0.9)), None
    for n, value in enumerate(torch.linspace(1, 2, 200).tolist()):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)
