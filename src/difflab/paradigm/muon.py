"""Muon for the hidden matrices of a network, and AdamW for its other parameters, as one optimizer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from typing_extensions import override

from difflab.paradigm.bf16 import has_bf16

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


def orthogonal(matrices: Tensor) -> Tensor:
    """`U V^T` of the singular value decompositions of `(n, rows, columns)`, roughly: singular values in 0.7 to 1.2.

    Five steps of a quintic Newton-Schulz iteration for all matrices at once: Jordan et al. 2024
    (kellerjordan.github.io/posts/muon), and its coefficients. In bf16 as theirs where the hardware multiplies it, else
    in fp32, which takes a twentieth of the time there. `torch.optim.Muon` takes one matrix at a time: a step of the
    default network is 31 ms on an H100, where the time goes into starting kernels, and 17 ms here.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16() if has_bf16(matrices.device) else matrices
    if high := x.shape[1] > x.shape[2]:
        x = x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if high else x).to(matrices.dtype)


class MuonAndAdamW(Optimizer):
    """Muon on `hidden` weights as matrices `(out, rest)`, with Nesterov's momentum; AdamW on the `others`.

    The rate of a matrix is scaled by `0.2 sqrt(max(out, rest))`, which gives its update the size of AdamW's, so that
    one rate and one weight decay serve both: Liu et al. 2025 (arXiv:2502.16982), eq. 4. It has two parameter groups,
    to which those of another may be added, one state, and one learning-rate schedule, as any optimizer of torch.
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
        self.adamw = torch.optim.AdamW(others, lr, betas, weight_decay=weight_decay, fused=True)
        own = {"params": list(hidden), "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([own, *self.adamw.param_groups], {"lr": lr})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both, with the state and the settings of this optimizer; returns the loss of the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        hidden, others = ([g for g in self.param_groups if ("momentum" in g) == own] for own in (True, False))
        for group in hidden:
            self.step_of_muon(group)
        self.adamw.param_groups, self.adamw.state = others, self.state
        self.adamw.step()
        return loss

    def step_of_muon(self, group: Mapping[str, Any]) -> None:
        """`m += (1 - momentum) (g - m)`, then `w -= lr (s orthogonal(g + momentum (m - g)) + weight_decay w)`."""
        by_shape: defaultdict[torch.Size, list[tuple[Tensor, Tensor, Tensor]]] = defaultdict(list)
        lr, momentum, weight_decay = (group[key] for key in ("lr", "momentum", "weight_decay"))
        for p in group["params"]:
            if p.grad is None:
                continue
            w = matrix_view(p)
            if not self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(w)
            by_shape[w.shape].append((w, cast(Tensor, w.grad), self.state[p]["momentum_buffer"]))
        for shape, alike in by_shape.items():
            w_s, g_s, m_s = (list(each) for each in zip(*alike, strict=True))
            torch._foreach_lerp_(m_s, g_s, 1 - momentum)
            update = orthogonal(torch.stack(list(torch._foreach_lerp(g_s, m_s, momentum))))
            torch._foreach_mul_(w_s, 1 - lr * weight_decay)
            torch._foreach_add_(w_s, list(update.unbind()), alpha=-lr * 0.2 * math.sqrt(max(shape)))
