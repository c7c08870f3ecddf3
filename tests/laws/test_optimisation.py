"""Optimizers: all parameters once, the matrices of Muon, and a state that goes on bit for bit."""

import copy
import functools
import itertools

import pytest
import torch
from torch import nn

from difflab.laws.backbones import inputs
from difflab.paradigm import SGD, WSD, Adam, AdamW, Constant, Cosine, InverseSquareRoot, Muon, Optimisation
from difflab.paradigm.muon import LAYERS, hidden_matrices
from helpers.conf import every, options
from helpers.networks import WITH_TEXT, WITHOUT_LEVELS, fitting

BACKBONES = options("backbone")


@functools.cache
def built(option):
    """A backbone of conf/, built once, since composing takes its time."""
    return fitting(option)


def network(option, seed=0):
    """The same with random weights, so that no gradient is zero by construction."""
    net, g = copy.deepcopy(built(option)), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(0.1 * torch.randn(p.shape, generator=g))
    return net


def output(net):
    """What it makes of its kind of sample: a classifier reads no label."""
    x, timestep, label = inputs(net.shape, net.classes)
    return net(x, timestep, label) if hasattr(net, "learned_variance") else net(x, timestep)


def test_every_optimizer_takes_every_parameter_of_every_backbone_once():
    for option, backbone in itertools.product(options("optimizer"), BACKBONES):
        net = built(backbone)
        groups = every("optimizer")[option](net, 1e-3).param_groups
        taken = [id(p) for group in groups for p in group["params"]]
        assert sorted(taken) == sorted(id(p) for p in net.parameters()), (option, backbone)
        assert {group["lr"] for group in groups} == {1e-3}


def called_layers(net, change):
    """The linear layers and convolutions, in the order of their calls, whose output `change` of the input changes.

    `change(x, timestep, label)` gives another input. Each layer comes with whether its own input changed, too.
    """

    def run(x, timestep, label):
        calls = []
        hooks = [
            layer.register_forward_hook(lambda module, given, out: calls.append((module, given[0], out)))
            for layer in net.modules()
            if isinstance(layer, LAYERS)
        ]
        net(x, timestep, label) if hasattr(net, "learned_variance") else net(x, timestep)
        for hook in hooks:
            hook.remove()
        return calls

    given = inputs(net.shape, net.classes)
    pairs = zip(run(*given), run(*change(*given)), strict=True)
    return [a[0] for a, b in pairs if not torch.equal(a[2], b[2])]


def test_hidden_matrices_neither_read_what_a_network_is_given_nor_make_its_output():
    """The first layer that another sample, or another noise level, changes is an outer one; so is the last of all."""
    for option in (option for option in BACKBONES if option not in WITHOUT_LEVELS):
        net = network(option)
        hidden = {id(weight) for weight in hidden_matrices(net)}
        by_sample = called_layers(net, lambda x, timestep, label: (x + 1, timestep, label))
        by_level = called_layers(net, lambda x, timestep, label: (x, timestep + 100, label))
        for layer in (by_sample[0], by_level[0], by_sample[-1]):
            assert id(layer.weight) not in hidden, option
        assert any(id(layer.weight) in hidden for layer in by_sample), option


def test_hidden_matrices_are_most_of_a_network_and_no_norm_bias_or_embedding():
    for option in BACKBONES:
        net = network(option)
        hidden = hidden_matrices(net)
        assert all(weight.ndim >= 2 for weight in hidden)
        others = {*net.parameters()} - {*hidden}
        embeddings = [p for key, p in net.named_parameters() if "table" in key]
        assert {*embeddings} <= others
        if option in WITH_TEXT:  # the words of captions are most of a small one
            continue
        assert len(embeddings) == (0 if option.startswith("half_") else 1), option
        assert sum(w.numel() for w in hidden) > 0.5 * sum(p.numel() for p in net.parameters()), option


def test_a_network_that_names_no_outer_layers_is_refused_by_muon_alone():
    net = nn.Linear(3, 3)
    assert AdamW()(net, 1e-3)
    with pytest.raises(ValueError, match=r"Linear has no `outer_layers` .* choose optimizer=adamw"):
        Muon()(net, 1e-3)


def test_the_parameters_that_muon_leaves_are_adamws():
    ours, theirs = network("mlp"), network("mlp")
    optimizers = Muon(betas=(0.8, 0.9))(ours, 0.01), AdamW(betas=(0.8, 0.9))(theirs, 0.01)
    for net, optimizer in zip((ours, theirs), optimizers, strict=True):
        output(net).square().mean().backward()
        optimizer.step()
    hidden = {id(weight) for weight in hidden_matrices(ours)}
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(p, q) != (id(p) in hidden)


def train(net, optimizer, steps):
    """Fit a fixed target; the loss of each step."""
    target = inputs(net.shape, net.classes)[0].square()
    losses = []
    for _ in range(steps):

        def closure():
            optimizer.zero_grad()
            loss = (output(net) - target).square().mean()
            loss.backward()
            return loss

        losses.append(optimizer.step(closure).item())
    return losses


def test_every_optimizer_lowers_the_loss():
    for option, optimizer in every("optimizer").items():
        for backbone in ("mlp", "unet"):
            net = copy.deepcopy(built(backbone))
            losses = train(net, optimizer(net, 0.01), 12)
            assert losses[-1] < 0.9 * losses[0], (option, backbone)


def test_a_saved_state_goes_on_bit_for_bit(tmp_path):
    for option, optimizer in every("optimizer").items():
        backbone = "unet" if option.startswith("muon") else "mlp"  # whose convolutions lie in channels_last
        whole, first = network(backbone), network(backbone)
        losses = train(whole, optimizer(whole, 0.01), 6)
        started = optimizer(first, 0.01)
        assert train(first, started, 3) == losses[:3]
        torch.save([first.state_dict(), started.state_dict()], tmp_path / "state")
        second = network(backbone, seed=1)
        resumed = optimizer(second, 0.5)
        weights, state = torch.load(tmp_path / "state", weights_only=True)
        second.load_state_dict(weights)
        resumed.load_state_dict(state)
        assert train(second, resumed, 3) == losses[3:], option
        assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), second.parameters(), strict=True)), option


def test_settings_out_of_range_are_refused_by_the_word_that_sets_them(subtests):
    for wrong, message in [
        (lambda: Optimisation(lr=-1.0), r"lr=-1\.0 must be 0 or more"),
        (lambda: Optimisation(clip=0.0), r"model\.optimisation\.clip=0\.0 must be positive"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"optimizer\.betas\[1\]=1\.0 must lie in \[0, 1\)"),
        (lambda: Adam(weight_decay=-0.1), r"optimizer\.weight_decay=-0\.1 must be 0 or more"),
        (lambda: SGD(momentum=1.0), r"optimizer\.momentum=1\.0 must lie in \[0, 1\)"),
        (lambda: SGD(momentum=0.0, nesterov=True), r"optimizer\.nesterov=true needs optimizer\.momentum above 0"),
        (lambda: Muon(momentum=-0.1), r"optimizer\.momentum=-0\.1"),
        (lambda: Cosine(warmup=5000), r"lr_schedule\.warmup=5000 must lie in \[0, 1\).*constant, wsd"),
        (lambda: Constant(warmup=-1), r"lr_schedule\.warmup=-1 is a number of images"),
        (lambda: WSD(decay=0.0), r"lr_schedule\.decay=0\.0 must lie in \(0, 1\]"),
        (lambda: InverseSquareRoot(5000, 4000), r"lr_schedule\.decay_from=4000 .* lr_schedule\.warmup=5000"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            wrong()
