"""Games of two players: their values at the best discriminator, R1, convergence, and the adaptive weight."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from difflab.backbone.attention import SelfAttention
from difflab.objective import Hinge, NonSaturating
from difflab.paradigm import SGD, Adversary, Constant, Optimisation
from difflab.paradigm.adversary import adaptive_weight
from difflab.paradigm.players import Player, joint_optimizer

X = torch.linspace(-14, 14, 200_001, dtype=torch.float64)


def integral(values):
    return float(torch.trapezoid(values, X))


def best(p, q, game, logit):
    """The discriminator's mean loss at some logits of X, by quadrature."""
    zero = torch.zeros_like(X)
    one, other = game.discriminator(logit, zero), game.discriminator(zero, logit)
    constant = game.discriminator(zero, zero)  # a loss is a sum of a part of each
    half = constant / 2
    return integral(p * (one - half)) + integral(q * (other - half))


def test_the_best_discriminator_of_the_non_saturating_game_measures_the_jensen_shannon_divergence():
    """`log 4 - 2 JS`, the JS by the entropies of Gaussians and of their mixture: Goodfellow et al. 2014, theorem 1."""
    a, b = Normal(torch.zeros((), dtype=torch.float64), 1.0), Normal(torch.tensor(1.5, dtype=torch.float64), 0.6)
    p, q = a.log_prob(X).exp(), b.log_prob(X).exp()
    mixture = (p + q) / 2
    entropy = -integral(mixture * mixture.clamp(min=1e-300).log())
    js = entropy - float(a.entropy() + b.entropy()) / 2
    found = best(p, q, NonSaturating(), a.log_prob(X) - b.log_prob(X))
    assert found == pytest.approx(math.log(4) - 2 * js, abs=1e-9)
    assert best(p, p, NonSaturating(), torch.zeros_like(X)) == pytest.approx(math.log(4), abs=1e-9)
    for off in (-0.1, 0.1):
        assert best(p, q, NonSaturating(), a.log_prob(X) - b.log_prob(X) + off) > found


def test_the_best_discriminator_of_the_hinge_game_measures_the_total_variation():
    """`2 - 2 TV`; of two unit Gaussians that are m apart TV = erf(m / sqrt(8))."""
    m = 1.3
    a, b = Normal(torch.zeros((), dtype=torch.float64), 1.0), Normal(torch.tensor(m, dtype=torch.float64), 1.0)
    p, q = a.log_prob(X).exp(), b.log_prob(X).exp()
    found = best(p, q, Hinge(), (p - q).sign())
    assert found == pytest.approx(2 - 2 * math.erf(m / math.sqrt(8)), abs=1e-4)
    assert best(p, q, Hinge(), 0.8 * (p - q).sign()) > found


class Quadratic(nn.Module):
    """`D(x) = w x + x A x / 2`."""

    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.randn(3, generator=g, dtype=torch.float64))
        a = torch.randn(3, 3, generator=g, dtype=torch.float64)
        self.a = nn.Parameter(a + a.T)

    def forward(self, x, label):
        return (x @ self.w + 0.5 * ((x @ self.a) * x).sum(1))[:, None]


def test_r1_is_the_squared_gradient_on_the_data():
    net, x = Quadratic(), torch.randn(5, 3, dtype=torch.float64)
    label = torch.zeros(5, dtype=torch.int64)
    found = Adversary(net, gamma=3.0).judged(x, x + 1, label).losses["penalty"]
    expected = 1.5 * (net.w + x @ (net.a + net.a.T) / 2).square().sum(1)
    assert torch.allclose(found, expected)
    ours, theirs = (torch.autograd.grad(each.mean(), net.a, retain_graph=True)[0] for each in (found, expected))
    assert torch.allclose(ours, theirs)
    with torch.no_grad():
        assert torch.allclose(Adversary(net, gamma=3.0).judged(x, x, label).losses["penalty"], expected)
    assert "penalty" not in Adversary(net).judged(x, x, label).losses


class WithAttention(nn.Module):
    """A logit by attention between pixels."""

    def __init__(self):
        super().__init__()
        self.attention, self.logit = SelfAttention(16, 8, 1), nn.Linear(16, 1)

    def forward(self, x, label):
        return self.logit(self.attention(x).mean((2, 3)))


def test_r1_trains_discriminators_with_attention():
    """torch's fused attention has no second derivative."""
    torch.manual_seed(0)
    net, x = WithAttention(), torch.randn(4, 16, 4, 4)
    nn.init.normal_(net.attention.project.weight)
    penalty = Adversary(net, gamma=1.0).judged(x, x + 1, torch.zeros(4, dtype=torch.int64)).losses["penalty"]
    (gradient,) = torch.autograd.grad(penalty.mean(), net.attention.qkv.weight)
    way, values, h = torch.randn_like(gradient), [], 1e-2
    for sign in (1, -1):
        moved = copy.deepcopy(net)
        with torch.no_grad():
            moved.attention.qkv.weight += sign * h * way
        values.append(Adversary(moved, gamma=1.0).judged(x, x, torch.zeros(4).long()).losses["penalty"].mean().item())
    assert (gradient * way).sum().item() == pytest.approx((values[0] - values[1]) / (2 * h), rel=0.02)


class Dirac(nn.Module):
    """A generator of one point, or a linear discriminator."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, x, label):
        return self.value * x


def dirac_gan(game, gamma, steps=400):
    """The distances from the equilibrium on the way, by simultaneous descent with a rate of 0.1."""
    generator, adversary = Dirac(0.1), Adversary(Dirac(0.1), game, gamma, clip=math.inf)
    players = Player("", generator, math.inf), adversary.player
    optimizer = joint_optimizer(Optimisation(SGD(momentum=0.0, nesterov=False), Constant(0), lr=0.1), players)
    real, label, path = torch.zeros(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64), []
    for _ in range(steps):
        fake = generator(torch.ones_like(real), label)
        losses = [adversary.against(fake, label), *adversary.judged(real, fake, label).losses.values()]
        optimizer.zero_grad()
        sum(each.sum() for each in losses).backward()
        optimizer.step()
        path.append(math.hypot(float(generator.value.detach()), float(adversary.discriminator.value.detach())))
    return path


def test_the_dirac_gan_converges_with_r1_and_not_without():
    """Mescheder et al. 2018, section 2. The hinge game is bilinear there: a step moves away by sqrt(1 + h^2)."""
    for game in (Hinge(), NonSaturating()):
        assert dirac_gan(game, gamma=1.0)[-1] < 1e-6, game
    assert min(dirac_gan(NonSaturating(), gamma=0.0)) > 0.1
    expected = [0.1 * math.sqrt(2) * 1.01 ** ((k + 1) / 2) for k in range(200)]
    assert dirac_gan(Hinge(), gamma=0.0, steps=200) == pytest.approx(expected, rel=1e-9)


def test_the_adaptive_weight_of_a_linear_decoder_is_in_closed_form():
    """`x = W h`; the gradient of the mean of `a x` is the mean of the outer products of a and h."""
    layer, g = nn.Linear(4, 3, bias=False), torch.Generator().manual_seed(0)
    h, a, b = (torch.randn(6, n, generator=g) for n in (4, 3, 3))
    x = layer(h)
    found = adaptive_weight((a * x).sum(1).mean(), (b * x).sum(1).mean(), layer)
    outer = [torch.einsum("bi,bj->ij", each, h).div(6).norm() for each in (a, b)]
    assert torch.allclose(found, outer[0] / (outer[1] + 1e-4))
    assert adaptive_weight((a * x).sum(1).mean(), 0 * x.sum(), layer) == 1e4
    with torch.no_grad():
        assert adaptive_weight(x.sum(), x.sum(), layer) == 1
