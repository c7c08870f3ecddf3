"""What a generator and its discriminator play for: losses of both by the discriminator's logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor


class Game(Protocol):
    """The losses of two players, by logits of any shape, which are high for samples of the data."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """That of the discriminator, of its logits of samples of the data and of the generator."""

    def generator(self, fake: Tensor) -> Tensor:
        """That of the generator, of the logits of its samples."""


@dataclass(frozen=True)
class NonSaturating:
    """`-log D(x) - log(1 - D(G(z)))` against `-log D(G(z))`, with `D = sigmoid(logit)`.

    Goodfellow et al. 2014 (arXiv:1406.2661), eq. 1, and the generator's loss of their section 3. At the best
    discriminator, whose logit is `log(p_data / p_G)`, the first is `log 4 - 2 JS(p_data, p_G)`.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """`softplus(-real) + softplus(fake)`."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Tensor) -> Tensor:
        """`softplus(-fake)`."""
        return F.softplus(-fake)


@dataclass(frozen=True)
class Hinge:
    """`max(0, 1 - D(x)) + max(0, 1 + D(G(z)))` against `-D(G(z))`. Lim & Ye 2017 (arXiv:1705.02894).

    The code of latent diffusion has half of the first. At the best discriminator, `sign(p_data - p_G)`, the first is
    `2 - 2 TV(p_data, p_G)`.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """`relu(1 - real) + relu(1 + fake)`."""
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, fake: Tensor) -> Tensor:
        """`-fake`."""
        return -fake
