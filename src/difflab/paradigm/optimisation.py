"""What training steps by: an optimizer, its learning rate over the images seen, and a bound on the gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
from torch import nn
from torch.optim import Optimizer

from difflab.paradigm.lr_schedule import Cosine, LRSchedule
from difflab.paradigm.muon import MuonAndAdamW, hidden_matrices
from difflab.process.ranges import Bound, Size


class MakesOptimizer(Protocol):
    """The settings of an optimizer, which take what is to be trained and the rate."""

    def __call__(self, module: nn.Module, lr: float) -> Optimizer:
        """The optimizer of all parameters of the module."""


def check_shares(**shares: float) -> None:
    """Raise ValueError for a setting of the optimizer outside [0, 1)."""
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"optimizer.{name}={share} must lie in [0, 1)")


def check_weight_decay(weight_decay: float) -> None:
    """Raise ValueError for a negative weight decay."""
    if weight_decay < 0:
        raise ValueError(f"optimizer.weight_decay={weight_decay} must be 0 or more")


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay, in one fused kernel. Loshchilov & Hutter 2019 (arXiv:1711.05101), Algorithm 2.

    Raises ValueError for betas outside [0, 1) and a negative decay.
    """

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        check_weight_decay(self.weight_decay)
        check_shares(**{f"betas[{k}]": beta for k, beta in enumerate(self.betas)})

    def __call__(self, module: nn.Module, lr: float) -> Optimizer:
        """The optimizer of all parameters."""
        return torch.optim.AdamW(module.parameters(), lr, self.betas, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class Adam:
    """Adam, in one fused kernel. Kingma & Ba 2015 (arXiv:1412.6980), Algorithm 1.

    `weight_decay` is an L2 penalty, a part of the gradient. Raises ValueError as `AdamW` does.
    """

    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        check_weight_decay(self.weight_decay)
        check_shares(**{f"betas[{k}]": beta for k, beta in enumerate(self.betas)})

    def __call__(self, module: nn.Module, lr: float) -> Optimizer:
        """The optimizer of all parameters."""
        return torch.optim.Adam(module.parameters(), lr, self.betas, weight_decay=self.weight_decay, fused=True)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent with momentum. Sutskever et al. 2013 (ICML), eqs. 1-4.

    `weight_decay` is an L2 penalty, a part of the gradient. Raises ValueError for a momentum outside [0, 1), for a
    negative decay, and for `nesterov` without momentum.
    """

    weight_decay: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_weight_decay(self.weight_decay)
        check_shares(momentum=self.momentum)
        if self.nesterov and not self.momentum:
            raise ValueError("optimizer.nesterov=true needs optimizer.momentum above 0")

    def __call__(self, module: nn.Module, lr: float) -> Optimizer:
        """The optimizer of all parameters."""
        parameters, decay = module.parameters(), self.weight_decay
        return torch.optim.SGD(parameters, lr, self.momentum, weight_decay=decay, nesterov=self.nesterov)


@dataclass(frozen=True)
class Muon:
    """Nesterov momentum, orthogonalised, for hidden matrices and convolutions; AdamW with `betas` for the rest.

    The update of a matrix is its momentum with all singular values near 1, by five Newton-Schulz steps: Jordan et al.
    2024 (kellerjordan.github.io/posts/muon). See `MuonAndAdamW` for the rate. Raises ValueError as `AdamW` and `SGD`.
    """

    weight_decay: float = 0.0
    momentum: float = 0.95
    betas: tuple[float, float] = (0.9, 0.99)

    def __post_init__(self) -> None:
        check_weight_decay(self.weight_decay)
        check_shares(momentum=self.momentum, **{f"betas[{k}]": beta for k, beta in enumerate(self.betas)})

    def __call__(self, module: nn.Module, lr: float) -> Optimizer:
        """The optimizer of all parameters. Raises ValueError for networks without `outer_layers`."""
        hidden = hidden_matrices(module)
        chosen = {*hidden}
        others = [p for p in module.parameters() if p not in chosen]
        return MuonAndAdamW(hidden, others, lr, self.momentum, self.weight_decay, self.betas)


@dataclass(frozen=True)
class Optimisation:
    """The optimizer, its learning rate `lr` at the peak, the course of the rate, and `clip`.

    `clip` bounds the norm of the whole gradient. Raises ValueError for a negative rate, and for a bound that is not
    positive.
    """

    # Until the optimizer and the course of the rate could be chosen, AdamW's and Cosine's arguments stood here.
    inline: ClassVar[Mapping[str, type]] = {"optimizer": AdamW, "lr_schedule": Cosine}

    optimizer: MakesOptimizer = field(default_factory=AdamW)
    lr_schedule: LRSchedule = field(default_factory=Cosine)
    lr: Size = 2e-3
    clip: Bound = 1.0

    def __post_init__(self) -> None:
        if self.lr < 0:
            raise ValueError(f"lr={self.lr} must be 0 or more")
        if self.clip <= 0:
            raise ValueError(f"model.optimisation.clip={self.clip} must be positive; inf does not clip")

    def __call__(self, module: nn.Module, share: float = 1.0) -> Optimizer:
        """The optimizer of all parameters of a module, at a share of the peak rate.

        Raises ValueError where it cannot train it.
        """
        return self.optimizer(module, share * self.lr)

    def factor(self, step: int, steps: int, batch_size: int) -> float:
        """The learning rate at a step in 0..steps - 1, as a share of `lr`.

        The budget is counted one batch longer than it is, so that the last step of a decay to zero moves, too.
        """
        return self.lr_schedule((step + 1) * batch_size, (steps + 1) * batch_size, batch_size)
