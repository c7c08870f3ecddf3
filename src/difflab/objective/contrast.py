"""The contrastive loss of pairs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(own: Tensor, others: Tensor, at: Tensor, alike: Tensor, scale: Tensor) -> Tensor:
    """`-log softmax_j(scale <a_i, b_j>)` at `j = at_i`, in nats: shape `(B,)`.

    `own` are unit vectors `a` `(B, D)`, `others` are `b` `(N, D)`, of which `at` `(B,)` are the partners. A pair that
    is `alike` `(B, N)` is no contrast and left out of the sum, but for the partner itself. The mean over independent
    pairs is at least `ln N - I(a; b)`. van den Oord et al. 2018 (arXiv:1807.03748), eq. 4 and 5.
    """
    logits = scale * own @ others.T
    partner = F.one_hot(at, len(others)).bool()
    return F.cross_entropy(logits.masked_fill(alike & ~partner, -torch.inf), at, reduction="none")
