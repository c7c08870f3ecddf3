"""Laws of backbones: what their outputs look like, and what they depend on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from difflab.backbone.book import DataBook
from difflab.laws.worst import Worst, close, violations, worst


def filled(net: nn.Module) -> nn.Module:
    """The network, with examples in the books whose entries are data."""
    for book in net.modules():
        if isinstance(book, DataBook):
            book.fill(book.example(net.shape, torch.Generator().manual_seed(3)))  # type: ignore[arg-type]  # an attribute of every backbone
    return net


def perturbed(net: nn.Module) -> nn.Module:
    """A copy of the network with noise on every weight, so that no branch is closed by its zero initialisation."""
    net, generator = filled(copy.deepcopy(net)).eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return net


def inputs(
    shape: Sequence[int], classes: int = 3, batch: int = 4, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Noisy samples `(B, *)`, timesteps `(B,)` in [0, 1000) and labels `(B,)`, the null label among them."""
    g = torch.Generator().manual_seed(2)
    timestep = 1000 * torch.rand(batch, generator=g, dtype=dtype)
    label = torch.randint(classes + 1, (batch,), generator=g)
    return torch.randn(batch, *shape, generator=g, dtype=dtype), timestep, label


def of(net: nn.Module, dtype: torch.dtype = torch.float32, batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs that fit the network."""
    return inputs(net.shape, net.classes, batch, dtype)  # type: ignore[arg-type]  # attributes of every backbone


def name(net: nn.Module) -> str:
    """The network in the name of a case."""
    return f"{type(net).__name__} on {list(net.shape)}"  # type: ignore[arg-type]


def output_is_like_the_input(net: nn.Module) -> Worst:
    """The output has the shape and type of the input, twice the channels where the variance is learned."""
    cases = []
    for dtype in (torch.float32, torch.float64):
        x, timestep, label = of(net, dtype)
        channels = (1 + bool(net.learned_variance)) * x.shape[1]
        like, out = x.new_zeros(len(x), channels, *x.shape[2:]), copy.deepcopy(net).to(dtype)(x, timestep, label)
        cases.append(close(f"{name(net)}: shape and type", torch.zeros_like(out), like))
    return worst(cases)


def output_is_zero_at_initialisation(net: nn.Module) -> Worst:
    """A network that was just built returns zeros, and not so once its weights move."""
    out, moved = net(*of(net)), perturbed(net)(*of(net))
    return worst(
        [
            close(f"{name(net)}: at initialisation", out, torch.zeros_like(out)),
            violations(f"{name(net)}: with other weights", torch.tensor([not moved.any()])),
        ]
    )


def a_sample_depends_on_itself_alone(net: nn.Module) -> Worst:
    """The output of a sample does not depend on the samples and labels beside it."""
    net = perturbed(net).double()
    x, timestep, label = of(net, torch.float64)
    alone = torch.cat([net(x[k, None], timestep[k, None], label[k, None]) for k in range(len(x))])
    return close(f"{name(net)}: alone", alone, net(x, timestep, label), atol=1e-11)


def labels_differ(net: nn.Module) -> Worst:
    """Every label and the null label have their own output; a network without classes ignores labels."""
    net = perturbed(net)
    x, timestep, label = of(net)
    if not net.classes:
        return close(f"{name(net)}: no classes", net(x, timestep, label + 2), net(x, timestep, label))
    labels = range(int(net.classes) + 1)  # type: ignore[arg-type]
    outputs = torch.stack([net(x, timestep, torch.full_like(label, k)).flatten() for k in labels])
    near = torch.pdist(outputs) <= 0.01 * outputs.norm(dim=1).mean()
    return violations(f"{name(net)}: pairs of labels with one output", near)


def timesteps_differ(net: nn.Module) -> Worst:
    """Another timestep has another output, in every sample."""
    net = perturbed(net)
    x, timestep, label = of(net)
    out, later = net(x, timestep, label), net(x, timestep + 1, label)
    same = (later - out).flatten(1).abs().amax(1) <= 1e-5 * out.flatten(1).abs().amax(1)
    return violations(f"{name(net)}: the timestep is ignored", same)


def autocast_is_close(net: nn.Module) -> Worst:
    """Under bf16 autocast the output has the input's type, and an error of 3% of the deviation in float64."""
    net = perturbed(net)
    x, timestep, label = of(net)
    with torch.autocast("cpu", torch.bfloat16):
        low = net(x, timestep, label)
    exact = net.double()(x.double(), timestep.double(), label)
    error = ((low - exact).square().mean() / exact.var()).sqrt()
    return worst(
        [
            close(f"{name(net)}: type under autocast", torch.zeros_like(low), exact.float().zero_()),
            Worst(f"{name(net)}: error under autocast", error.item(), 0.03),
        ]
    )


def every_parameter_learns(net: nn.Module) -> Worst:
    """After five steps of gradient descent every parameter has a gradient: zeroed layers open one after another."""
    net = filled(copy.deepcopy(net))
    x, timestep, label = of(net, batch=8)
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(5):
        optimiser.step()
        optimiser.zero_grad()
        (net(x, timestep, label)[:, : x.shape[1]] - x).square().mean().backward()
    return worst(
        violations(f"{name(net)}: {key} learns nothing", torch.tensor([p.grad is None or not p.grad.any()]))
        for key, p in net.named_parameters()
    )


def the_state_is_all_that_it_is(net: nn.Module) -> Worst:
    """A network with the state of another gives its outputs; only parameters are saved, and nothing that is fixed."""
    other = perturbed(net)
    copied = filled(copy.deepcopy(net)).eval()
    copied.load_state_dict(other.state_dict())
    fixed = other.state_dict().keys() - dict(other.named_parameters()).keys()
    return worst(
        [
            close(f"{name(net)}: from its state", copied(*of(net)), other(*of(net))),
            violations(f"{name(net)}: saved though it is fixed: {sorted(fixed)}", torch.tensor([bool(fixed)])),
        ]
    )


Law = Callable[[nn.Module], Worst]

LAWS: tuple[Law, ...] = (
    output_is_like_the_input,
    output_is_zero_at_initialisation,
    a_sample_depends_on_itself_alone,
    labels_differ,
    timesteps_differ,
    autocast_is_close,
    every_parameter_learns,
    the_state_is_all_that_it_is,
)
