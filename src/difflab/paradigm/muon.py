"""Muon for the hidden matrices of a network, and AdamW for its other parameters, as one optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # their weights are (out, ...)


def hidden_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The weights of linear layers and convolutions, other than those in the `outer_layers` of a network.

    Outer layers are those that read the sample, the noise level or the label, and the one that makes the output: a
    backbone names them. Raises ValueError for a module in which no network does.
    """
    networks = [net for net in module.modules() if hasattr(net, "outer_layers")]
    if not networks:
        inner = type(getattr(module, "backbone", module)).__name__
        raise ValueError(
            f"optimizer=muon trains hidden matrices, and {inner} has no `outer_layers` that tell them from its first "
            f"and last layers: choose optimizer=adamw, or add the property to the network"
        )
    outer = {p for net in networks for layer in net.outer_layers for p in layer.parameters()}  # type: ignore[union-attr]
    weights = dict.fromkeys(layer.weight for layer in module.modules() if isinstance(layer, LAYERS))
    return [weight for weight in weights if isinstance(weight, nn.Parameter) and weight not in outer]


def matrix_view(weight: Tensor) -> Tensor:
    """A weight `(out, ...)` as a matrix `(out, rest)` in the same memory, in every memory format; with its gradient.

    The columns have their order in memory, on which orthogonalisation does not depend. Raises RuntimeError for weights
    whose rows are no blocks of memory.
    """
    order = sorted(range(1, weight.ndim), key=weight.stride, reverse=True)
    matrix = weight.detach().permute(0, *order).view(len(weight), -1)
    if weight.grad is not None:
        matrix.grad = weight.grad.permute(0, *order).reshape(len(weight), -1)
    return matrix


class MuonAndAdamW(Optimizer):
    """torch's Muon, which takes matrices alone, on `hidden` weights as matrices `(out, rest)`; AdamW on the `others`.

    The rate of a matrix is scaled by `0.2 sqrt(max(out, rest))`, which gives its update the size of AdamW's, so that
    one rate and one weight decay serve both: Liu et al. 2025 (arXiv:2502.16982), eq. 4. It has two parameter groups,
    one state, and one learning-rate schedule, as any optimizer of torch.
    """

    def __init__(
        self,
        hidden: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        lr: float,
        momentum: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        self.muon = torch.optim.Muon(
            map(matrix_view, hidden), lr, weight_decay, momentum, adjust_lr_fn="match_rms_adamw"
        )
        self.adamw = torch.optim.AdamW(others, lr, betas, weight_decay=weight_decay, fused=True)
        own = {**self.muon.param_groups[0], "params": list(hidden)}
        super().__init__([own, *self.adamw.param_groups], {"lr": lr})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both, with the state and the settings of this optimizer; returns the loss of the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hidden, others = self.param_groups
        state: defaultdict[Tensor, Any] = defaultdict(dict)
        for p in hidden["params"]:
            if p.grad is not None:
                state[matrix_view(p)] = self.state[p]
        self.muon.param_groups, self.muon.state = [{**hidden, "params": [*state]}], state
        self.adamw.param_groups, self.adamw.state = [others], self.state
        self.muon.step()  # type: ignore[no-untyped-call]  # torch leaves it so
        self.adamw.step()
        return loss
