"""What a training costs in network evaluations, which do not depend on the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from difflab.data.module import DataModule
from difflab.paradigm.base import HELD_OUT, Paradigm

SAMPLES, FEW = 64, 2
HALVES = ("encode", "decode")  # methods of networks that are used by halves


@torch.no_grad()
def evaluations_an_image(model: Paradigm, data: DataModule) -> float:
    """Network evaluations that the loss takes for each image, a mean over `SAMPLES` held-out ones or a batch.

    The trained network, its held copy, a teacher, a discriminator, an encoder and a decoder each count as one, of any
    size; guidance adds evaluations of the teacher. Backward passes are not counted, and a derivative in forward mode
    counts as one evaluation.
    """
    seen = 0

    def count(module: nn.Module, inputs: Any, output: Any = None) -> None:  # noqa: ANN401  # any input of a module
        nonlocal seen
        if hasattr(module, "outer_layers") and isinstance(inputs[0], Tensor):  # a network
            seen += len(inputs[0])

    x0, label, eps = held_out_batch(model, data, SAMPLES)
    hook = register_module_forward_hook(count)
    try:
        with halves_seen(model, count):
            held_out_loss(model, x0, label, eps)
    finally:
        hook.remove()
    return seen / len(x0)


@contextmanager
def halves_seen(model: nn.Module, see: Callable[[nn.Module, tuple[Any, ...]], None]) -> Iterator[None]:
    """Show a function each call of a network's `encode` and `decode`, of which hooks of `forward` know nothing."""
    halves = [(net, name) for net in model.modules() for name in HALVES if callable(getattr(net, name, None))]
    halves = [(net, name) for net, name in halves if hasattr(net, "outer_layers")]

    def shown(net: nn.Module, half: Callable[..., Any]) -> Callable[..., Any]:
        def seen(*inputs: Any) -> Any:  # noqa: ANN401  # any input and output of a module
            see(net, inputs)
            return half(*inputs)

        return seen

    for net, name in halves:
        setattr(net, name, shown(net, getattr(net, name)))
    try:
        yield
    finally:
        for net, name in halves:
            delattr(net, name)


@torch.no_grad()
def flops_an_image(model: Paradigm, data: DataModule) -> float:
    """Floating-point operations that the loss takes for each image, forwards; a multiplication and an addition are two.

    Of matrix products, convolutions and attention, in all networks that take part.
    """
    x0, label, eps = held_out_batch(model, data, FEW)
    with Operations() as operations:
        held_out_loss(model, x0, label, eps)
    return float(operations.total / len(x0))


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by torch's formulas.

    `FlopCounterMode` counts by module, with hooks that a loss with gradients in it, as R1, does not allow.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Compute an operation, and count it."""
        found = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=found)
        return found


def held_out_batch(model: Paradigm, data: DataModule, n: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Of n held-out images or a batch what the model sees, the labels and, where they have some, the noise.

    Latents are encoded here, which is no part of what the loss takes.
    """
    split = data.held_out
    rows = torch.arange(min(n, model.batch_size)) % len(split)
    device = next(model.parameters()).device
    eps = None if split.eps is None else split.eps[rows].to(device)
    return data.encoded(split, rows).to(device), split.y[rows].to(device), eps


def held_out_loss(model: Paradigm, x0: Tensor, label: Tensor, eps: Tensor | None) -> None:
    """Compute the loss of such a batch."""
    was_training = model.training
    try:
        with torch.compiler.set_stance("force_eager"):
            model.eval().loss(model.corrupt(x0, label, 0.0, HELD_OUT, eps=eps))
    finally:
        model.train(was_training)
