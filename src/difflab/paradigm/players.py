"""Players: modules that are trained together by one optimizer, each with a gradient and a rate of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from difflab.paradigm.optimisation import Optimisation
from difflab.paradigm.sharding import full


class Player(NamedTuple):
    """A module, the bound `clip` on the norm of its whole gradient, and its learning rate as a factor of the others'.

    `name` is what its gradient's norm is logged with; empty for what is learned.
    """

    name: str
    module: nn.Module
    clip: float
    lr: float = 1.0

    @property
    def norm(self) -> Tensor:
        """That of its whole gradient."""
        return full(nn.utils.get_total_norm([p.grad for p in self.module.parameters() if p.grad is not None]))

    @property
    def norm_name(self) -> str:
        """The name that the norm is logged under."""
        return f"train/grad_norm_{self.name}" if self.name else "train/grad_norm"


def bounded(players: Sequence[Player]) -> tuple[dict[str, Tensor], nn.Module | None]:
    """Scale each player's gradient to a norm of its `clip` at most, unless one of them is not finite.

    Returns the norms before by the names that they are logged under, and the first module whose norm is not finite.
    """
    norms = [player.norm for player in players]
    broken = [player.module for player, norm in zip(players, norms, strict=True) if not norm.isfinite()]
    for player, norm in zip(players, norms, strict=True) if not broken else ():
        nn.utils.clip_grads_with_norm_([*player.module.parameters()], player.clip, norm)
    return {player.norm_name: norm for player, norm in zip(players, norms, strict=True)}, next(iter(broken), None)


def joint_optimizer(optimisation: Optimisation, players: Sequence[Player]) -> Optimizer:
    """One optimizer of all players, so that a batch is one step for any number of them: a group or more for each.

    Raises ValueError where it cannot train one of them.
    """
    first, *others = (optimisation(player.module, player.lr) for player in players)
    for other in others:
        for group in other.param_groups:
            first.add_param_group(group)
    return first
