"""How often an image finds its text among many, and a text its image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

DEPTHS = (1, 5)  # the k of R@k


def recall_at(own: Tensor, others: Tensor, of: Tensor, to: Tensor, k: int) -> Tensor:
    """Whether one of the `k` nearest others is of the same text: float64 `(n,)`, whose mean is R@k.

    `own` `(n, D)` and `others` `(N, D)` are unit vectors, `of` `(n,)` and `to` `(N,)` say which text they belong to.
    """
    nearest = (own.double() @ others.double().T).topk(min(k, len(others)), dim=1).indices
    return (to[nearest] == of[:, None]).any(1).double()


class Retrieval(Metric):
    """R@1 and R@5 from image to text and back among all pairs, and the mean product of a pair, its `alignment`.

        metric = Retrieval()
        metric.update(images, texts, label)  # unit vectors (B, D) twice, int64 (B,)
        metric.compute()  # {"image_to_text_R@1": .., "text_to_image_R@1": .., .., "alignment": ..}

    A text that several images have counts once among those that an image is to find. Chance is `1 / texts` at R@1.
    Radford et al. 2021 (arXiv:2103.00020), section 3.1.4.
    """

    full_state_update = False
    images: list[Tensor]
    texts: list[Tensor]
    labels: list[Tensor]

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        for name in ("images", "texts", "labels"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, images: Tensor, texts: Tensor, label: Tensor) -> None:
        """Take in the vectors of images and of their texts, and which texts they are."""
        for state, value in zip((self.images, self.texts, self.labels), (images, texts, label), strict=True):
            state.append(value.detach().to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """The scores over all pairs."""
        images, texts, labels = (dim_zero_cat(state) for state in (self.images, self.texts, self.labels))
        distinct, of = torch.unique(labels, return_inverse=True)
        once = torch.zeros(len(distinct), texts.shape[1], dtype=texts.dtype, device=texts.device)
        once[of] = texts
        found = {}
        for k in DEPTHS:
            found[f"image_to_text_R@{k}"] = recall_at(images, once, labels, distinct, k).mean()
            found[f"text_to_image_R@{k}"] = recall_at(once, images, distinct, labels, k).mean()
        return found | {"alignment": (images.double() * texts.double()).sum(1).mean()}
