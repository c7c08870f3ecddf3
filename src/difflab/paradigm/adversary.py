"""What a generator is trained against: a discriminator, in one step of both players for each batch."""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from difflab.objective.game import Game, NonSaturating
from difflab.paradigm.batch import gathered
from difflab.paradigm.players import Player
from difflab.process.ranges import Bound, Size

LARGEST, SMALLEST = 1e4, 1e-4  # of the adaptive weight, and added to the norm it divides by: Rombach et al.'s code


class Judged(NamedTuple):
    """A discriminator's losses `(B,)`, and its mean logits of samples of the data and of the generator."""

    losses: dict[str, Tensor]  # "discriminator", and with R1 "penalty"
    real: Tensor  # ()
    fake: Tensor  # ()


class Adversary(nn.Module):
    """A discriminator, the `game` that it and a generator play, and R1: `gamma / 2 E |grad D(x)|^2` on the data.

    R1: Mescheder, Geiger & Nowozin 2018 (arXiv:1801.04406), eq. 9; of patches D(x) is the mean logit.

    Both players descend at the same time: the generator's loss is that of the discriminator with its parameters held
    fixed, the discriminator's that of generated samples held fixed, and one backward pass of the sum gives each player
    the gradient of its own loss alone. So a batch is one step of one optimizer. Goodfellow et al. 2014
    (arXiv:1406.2661), algorithm 1, alternate instead; Mescheder et al. analyse both, section 2.

    - discriminator: `forward(x, label)` returns logits `(B, 1)`, or `(B, 1, h, w)` of patches;
    - lr: its learning rate as a factor of the generator's; clip: the largest norm of its gradient.

    It is in the checkpoint, and neither averaged nor exported. Raises ValueError for a negative `gamma` or `lr`, for a
    `clip` that is not positive, and without a discriminator.
    """

    def __init__(
        self,
        discriminator: nn.Module | None,
        game: Game | None = None,
        gamma: Size = 0.0,
        lr: Size = 1.0,
        clip: Bound = 1.0,
    ) -> None:
        super().__init__()
        if discriminator is None:
            raise ValueError("adversary= needs a network: choose discriminator=patch or conv (images) or mlp (points)")
        if gamma < 0 or lr < 0 or clip <= 0:
            raise ValueError(
                f"adversary.gamma={gamma} and adversary.lr={lr} must be 0 or more, and adversary.clip={clip} positive; "
                f"inf does not clip"
            )
        self.discriminator, self.game, self.gamma = discriminator, game or NonSaturating(), gamma
        self.lr, self.clip = lr, clip

    @property
    def player(self) -> Player:
        """The discriminator, as it is trained."""
        return Player("discriminator", self.discriminator, self.clip, self.lr)

    def against(self, fake: Tensor, label: Tensor) -> Tensor:
        """The generator's loss of its samples `(B, *)`, with no gradient for the discriminator; shape `(B,)`."""
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        return per_sample(self.game.generator(functional_call(self.discriminator, fixed, (fake, label))))

    def judged(self, real: Tensor, fake: Tensor, label: Tensor, penalised: bool = True) -> Judged:
        """The discriminator's losses of samples of both kinds `(B, *)`, with no gradient for the generator."""
        penalised, trained, penalty = penalised and self.gamma > 0, torch.is_grad_enabled(), {}
        with torch.set_grad_enabled(penalised or trained):
            x = real.detach().requires_grad_(penalised)
            twice = penalised and trained  # differentiated, for which fused attention has no rule
            with sdpa_kernel(SDPBackend.MATH) if twice else nullcontext():
                on_real = self.discriminator(x, label)
            if penalised:
                total = per_sample(on_real).sum()  # a sample's logits depend on that sample alone
                (slope,) = torch.autograd.grad(total, x, create_graph=trained)
                penalty = {"penalty": 0.5 * self.gamma * slope.flatten(1).square().sum(1)}
        on_fake = self.discriminator(fake.detach(), label)
        losses = {"discriminator": per_sample(self.game.discriminator(on_real, on_fake)), **penalty}
        return Judged(losses, on_real.detach().mean(), on_fake.detach().mean())


def per_sample(values: Tensor) -> Tensor:
    """The mean over all but the first axis; shape `(B,)`."""
    mean: Tensor = values.flatten(1).mean(1)
    return mean


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor, layer: nn.Module) -> Tensor:
    """`|grad reconstruction| / (|grad adversarial| + 1e-4)`, at the weight of a layer and at most 1e4; shape `()`.

    Both are means over the batch of this process; the gradients are averaged over all processes. Rombach et al. 2022
    (arXiv:2112.10752), appendix G, after Esser et al. 2021 (arXiv:2012.09841), eq. 7, whose offset is 1e-6. Where no
    gradients are taken, as where a training's cost is counted, it is 1.
    """
    if not torch.is_grad_enabled():
        return torch.ones_like(reconstruction)
    weight = cast(Tensor, layer.weight)
    slopes = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (reconstruction, adversarial)]
    ours, theirs = (gathered(slope[None], slope.device).mean(0).norm() for slope in slopes)
    share: Tensor = (ours / (theirs + SMALLEST)).clamp(max=LARGEST)
    return share
