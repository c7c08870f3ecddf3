"""Images and their captions in one space, by contrast."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn

from difflab.denoiser.contrast import Contrast
from difflab.objective.contrast import info_nce
from difflab.objective.draws import Noised
from difflab.objective.times import Times, Uniform
from difflab.paradigm.base import Paradigm
from difflab.paradigm.batch import Batch, gathered, place, unpacked
from difflab.paradigm.group_sums import GroupSums
from difflab.paradigm.optimisation import Optimisation
from difflab.paradigm.retrieval import Retrieval


class Contrastive(Paradigm):
    """`1/2 (CE(image i among all texts) + CE(text i among all images))`, over the batches of all processes.

    Radford et al. 2021 (arXiv:2103.00020), figure 3; `Contrast` has its scale and its start. Deviation: two different
    images of one concept, whose texts differ in style alone, are no contrast to each other. The best loss of a batch of
    N is 0, that of chance is ln N.

    Held-out samples give the loss, which depends on the batch size, R@1 and R@5 among all of them in both directions
    (`Retrieval`), and, where the captions have class prompts, `zero_shot`: the share of images whose nearest class
    prompt is the true one (section 3.1).

    Raises ValueError for a model that is no `Contrast`, and in training for batches of one pair, whose loss is 0.
    """

    learns: ClassVar[str] = "contrast"
    follows_budget: ClassVar[bool] = False
    at_times: ClassVar[bool] = False
    hint: ClassVar[str] = "difflab-evaluate run=... protocol=quick protocol.contrastive={run}"

    def __init__(
        self,
        contrast: nn.Module,
        times: Times | None = None,
        optimisation: Optimisation | None = None,
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(times or Uniform(), optimisation, batch_size, seed)
        if not isinstance(contrast, Contrast):
            raise ValueError(f"{type(contrast).__name__} is no pair of towers: give a difflab.denoiser.Contrast")
        self.contrast = contrast
        self.retrieval, self.right = Retrieval(), GroupSums()

    def check_training(self) -> None:
        """Raise ValueError for batches without a contrast."""
        if self.given_batch_size == 1:
            raise ValueError("batch_size=1 has no contrast, and a loss of 0: choose 64 or more")

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """Both cross-entropies in nats, a half of each; shape `(B,)`."""
        images, texts = self.contrast(noised.x0, noised.label)
        return self.both(images, texts, noised.label, everywhere=self.training)

    def both(self, images: Tensor, texts: Tensor, label: Tensor, everywhere: bool) -> dict[str, Tensor]:
        """The loss of unit vectors `(B, D)`, among those of all processes or of this one."""
        rank = place()[0] if everywhere else 0
        all_images, all_texts = (joined(each) if everywhere else each for each in (images, texts))
        all_labels = gathered(label, self.device) if everywhere else label
        at = rank * len(label) + torch.arange(len(label), device=label.device)
        alike = self.contrast.concept(label)[:, None] == self.contrast.concept(all_labels)
        to_text = info_nce(images, all_texts, at, alike, self.contrast.scale)
        to_image = info_nce(texts, all_images, at, alike, self.contrast.scale)
        return {"image_to_text": to_text / 2, "text_to_image": to_image / 2}

    def held_out_loss(self, noised: Noised) -> dict[str, Tensor]:
        """The same; and take in the vectors."""
        images, texts = self.contrast(noised.x0, noised.label)
        self.retrieval.update(images, texts, noised.label)
        if self.contrast.kinds is not None:
            self.right.update(self.contrast.nearest(images) == self.contrast.kinds[noised.label], 0)
        return self.both(images, texts, noised.label, everywhere=False)

    def on_validation_epoch_start(self) -> None:
        """Forget the vectors, too."""
        super().on_validation_epoch_start()
        self.retrieval.reset()
        self.right.reset()

    def on_validation_epoch_end(self) -> None:
        """Log retrieval, zero-shot accuracy and the scale, too."""
        super().on_validation_epoch_end()
        found = {name: value.item() for name, value in self.retrieval.compute().items()}
        found["scale"] = self.contrast.scale.item()
        if self.contrast.kinds is not None:
            ((right, seen),) = self.right.compute()
            found["zero_shot"] = (right / seen).item()
        self.log_dict({f"{self.split}/{name}": value for name, value in found.items()}, sync_dist=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> tuple[Tensor, Tensor]:
        """The unit vectors of images and of their captions, each `(B, D)`."""
        x0, label, _ = unpacked(batch, self.contrast.shape)
        found: tuple[Tensor, Tensor] = self.contrast(x0, label)
        return found


def joined(own: Tensor) -> Tensor:
    """The rows of all processes in order, through which gradients flow back to each."""
    if place()[1] == 1:
        return own
    rows: tuple[Tensor, ...] = differentiable.all_gather(own)  # type: ignore[no-untyped-call]  # torch leaves it so
    return torch.cat(rows)
