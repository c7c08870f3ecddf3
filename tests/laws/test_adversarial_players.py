"""Two players: gradients that stay apart, logits and patches, rates and bounds of their own, and what does not fit."""

import copy
import math

import pytest
import torch
from torch import nn

from difflab.backbone import (
    Autoencoder,
    ConvDiscriminator,
    ConvGenerator,
    MLPDiscriminator,
    MLPGenerator,
    PatchDiscriminator,
)
from difflab.objective import Hinge, NonSaturating
from difflab.paradigm import GAN, SGD, Adversary, KLAutoencoder, Muon, Optimisation
from difflab.paradigm.players import Player, bounded, joint_optimizer

IMAGES = {
    "patch": lambda: PatchDiscriminator((1, 8, 8), width=16, layers=1),
    "whole": lambda: ConvDiscriminator((1, 8, 8), classes=3, width=8),
    "normalised": lambda: ConvDiscriminator((1, 16, 8), classes=3, width=16, norm=True),
}
POINTS = {"mlp": lambda: MLPDiscriminator((2,), classes=3, width=16)}


def models():
    """A model of each paradigm and game, and a batch of it."""
    for make in IMAGES.values():
        shape, adversary = (net := make()).shape, Adversary(net, Hinge(), gamma=1.0)
        stage = Autoencoder(shape, classes=3, channels=2, width=16, multipliers=(1, 1))
        yield KLAutoencoder(stage, adversary=adversary, adversarial_start=0.0, batch_size=8), torch.randn(8, *shape)
    for make in (*IMAGES.values(), *POINTS.values()):
        shape, adversary = (net := make()).shape, Adversary(net, NonSaturating(), gamma=1.0)
        cls = MLPGenerator if len(shape) == 1 else ConvGenerator
        generator = cls(shape, classes=3, width=16, latent=2, **({} if len(shape) == 1 else {"multipliers": (1, 2)}))
        yield GAN(generator, adversary, batch_size=8), torch.randn(8, *shape)


def losses_of(model, x, step=0):
    label = torch.arange(len(x)) % 3
    return model.loss(model.corrupt(x, label, 0.0, 0, step))


def test_a_players_loss_has_no_gradient_for_the_other():
    for model, x in models():
        for name, loss in losses_of(model, x).items():
            other = model.learned if name in ("discriminator", "penalty") else model.adversary
            grads = torch.autograd.grad(loss.mean(), [*other.parameters()], retain_graph=True, allow_unused=True)
            assert all(g is None or not g.any() for g in grads), name


def test_every_parameter_of_both_players_learns():
    for model, x in models():
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for step in range(4):
            optimizer.step()
            optimizer.zero_grad()
            sum(loss.mean() for loss in losses_of(model, x, step).values()).backward()
        # the last bias cancels in the hinge game as long as no logit is beyond the margin
        idle = [
            name for name, p in model.named_parameters() if not (p.grad.any() or ("head" in name and "bias" in name))
        ]
        assert not idle, type(model).__name__


def test_a_logit_depends_on_its_own_sample_and_the_label_where_it_is_seen():
    for make in (*IMAGES.values(), *POINTS.values()):
        net = make().double()
        x, label = torch.randn(4, *net.shape, dtype=torch.float64), torch.arange(4) % 3
        whole = net(x, label)
        alone = torch.cat([net(x[k, None], label[k, None]) for k in range(4)])
        assert torch.allclose(whole, alone, atol=1e-12)
        assert bool((net(x, (label + 1) % 3) == whole).all()) == (net.classes == 0)
        with torch.autocast("cpu", torch.bfloat16):
            assert net.float()(x.float(), label).dtype == torch.float32


def test_patches_have_the_published_size():
    """16, 34 and 70 pixels: Isola et al. 2017, appendix 6.1.2. Of the gradient of one logit by the image."""
    for layers, side in ((1, 16), (2, 34), (3, 70)):
        net = PatchDiscriminator((1, 160, 160), width=4, layers=layers, norm=False)
        x = torch.randn(1, 1, 160, 160, requires_grad=True)
        logits = net(x, torch.zeros(1, dtype=torch.int64))
        middle = logits.shape[2] // 2
        (slope,) = torch.autograd.grad(logits[0, 0, middle, middle], x)
        seen = slope[0, 0].ne(0).any(0).nonzero()
        assert int(seen.max() - seen.min()) + 1 == side


def test_the_rates_and_bounds_of_players_are_their_own():
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    players = Player("", one, clip=1.0), Player("discriminator", two, clip=3.0, lr=0.25)
    groups = joint_optimizer(Optimisation(SGD(), lr=0.1), players).param_groups
    assert [group["lr"] for group in groups] == [0.1, 0.025]
    for net in (one, two):
        for p in net.parameters():
            p.grad = torch.full_like(p, 100.0)
    norms, broken = bounded(players)
    assert set(norms) == {"train/grad_norm", "train/grad_norm_discriminator"}
    assert broken is None
    assert [float(player.norm) for player in players] == pytest.approx([1.0, 3.0])
    two.bias.grad[0] = math.inf
    before = one.bias.grad.clone()
    assert bounded(players)[1] is two
    assert torch.equal(one.bias.grad, before)


def test_muon_moves_the_players_as_it_moves_each_alone():
    for model, x in list(models())[:2]:
        alone = copy.deepcopy(model)
        optimisation = Optimisation(Muon(), lr=0.01)
        together = [joint_optimizer(optimisation, model.players)]
        apart = [optimisation(player.module) for player in alone.players]
        for each, optimizers in ((model, together), (alone, apart)):
            for step in range(2):
                each.zero_grad()
                sum(loss.mean() for loss in losses_of(each, x, step).values()).backward()
                for optimizer in optimizers:
                    optimizer.step()
        for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_before_its_start_the_discriminator_neither_counts_nor_learns():
    stage = Autoencoder((1, 8, 8), channels=2, width=16, multipliers=(1, 1))
    adversary = Adversary(IMAGES["patch"](), Hinge())
    model = KLAutoencoder(stage, adversary=adversary, adversarial_start=0.5, batch_size=4)
    x, label = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    for progress, on in ((0.49, False), (0.5, True)):
        losses = model.loss(model.corrupt(x, label, 0.0, 0, 0, progress=progress))
        assert bool(losses["generator"].any()) == on
        grads = torch.autograd.grad(losses["discriminator"].mean(), [*adversary.parameters()])
        assert any(bool(g.any()) for g in grads) == on


def test_what_does_not_fit_is_refused_with_the_way_out(subtests):
    for make, message in (
        (lambda: Adversary(None), "discriminator=patch or conv"),
        (lambda: Adversary(nn.Linear(1, 1), gamma=-1.0), r"adversary\.gamma=-1\.0"),
        (lambda: GAN(MLPGenerator((2,))), "adversary=non_saturating or hinge"),
        (lambda: GAN(nn.Linear(1, 1), Adversary(nn.Linear(1, 1))), "conv_generator .images. or mlp_generator"),
        (lambda: MLPGenerator((1, 8, 8)), "backbone=conv_generator"),
        (lambda: ConvGenerator((1, 6, 6)), "can be halved"),
        (lambda: ConvGenerator((2,)), "choose backbone=mlp"),
        (lambda: MLPDiscriminator((1, 8, 8)), "discriminator=conv or patch"),
        (lambda: PatchDiscriminator((1, 8, 8), layers=3), "use fewer layers"),
        (lambda: GAN(MLPGenerator((2,), latent=3), Adversary(nn.Linear(1, 1))), r"smaller backbone\.latent"),
        (lambda: KLAutoencoder(ConvGenerator((1, 8, 8), multipliers=(1, 2))), "has no encoder: choose backbone=auto"),
    ):
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()
