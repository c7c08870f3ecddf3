"""Two towers: images and texts as unit vectors of one space."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difflab.process.schedule import Linear

START, LARGEST = math.log(1 / 0.07), math.log(100)  # of the logarithm of the scale


class ImageNetwork(Protocol):
    """A network from images to `classes` numbers, as `difflab.backbone.HalfUNet`."""

    shape: Sequence[int]
    classes: int

    def __call__(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W), and a noise level (B,) that is 0 -> (B, classes)."""


class Text(Protocol):
    """A book of captions, as `difflab.backbone.Tokens`."""

    classes: int
    features: int

    def read(self, ids: Tensor) -> Any:  # noqa: ANN401  # an entry of a backbone's book
        """What the ids of captions `(B, context)` mean: `vector` is `(B, features)`."""


class Contrast(nn.Module):
    """`f(image)` and `g(text)`, unit vectors whose product says how well they go together; and a scale `exp(tau)`.

    Radford et al. 2021 (arXiv:2103.00020), figure 3: `tau` starts at `ln(1 / 0.07)` and stays below `ln 100`. `f` is
    the `backbone`, whose outputs are the dimensions of the space; `g` is the vector of a `book` of captions for as
    many features. The scale is learned beside them.

    Raises ValueError for a network without such outputs, and for a book of something else than captions.
    """

    is_network = True
    concepts: Tensor | None
    kinds: Tensor | None
    prompts: Tensor | None

    def __init__(self, backbone: nn.Module, book: Callable[[int, int], nn.Module], classes: int) -> None:
        super().__init__()
        if hasattr(backbone, "learned_variance") or not hasattr(backbone, "readout"):
            raise ValueError(
                f"{type(backbone).__name__} does not map images to vectors: choose backbone=half_unet or half_dit"
            )
        network = cast(ImageNetwork, backbone)
        self.backbone, self.shape = backbone, tuple(network.shape)
        self.book = book(classes, network.classes)
        if not getattr(self.book, "width", 0):
            raise ValueError(
                f"{type(self.book).__name__} has no captions: choose book=tokens and data with captions, as "
                f"data=emoji_captions"
            )
        self.tau = nn.Parameter(torch.tensor(START))
        self.schedule = Linear(t_min=0.0, t_max=0.0)  # images are seen as they are
        for name in ("concepts", "kinds", "prompts"):
            self.register_buffer(name, None, persistent=False)

    def know(self, concepts: Tensor | None, kinds: Tensor | None = None, prompts: Tensor | None = None) -> None:
        """Take in what is known of the captions beside their words.

        The concept of each label, int64 `(classes,)`; and, to tell kinds of images by class prompts, the kind of each
        label and the ids of the prompt of each kind `(kinds, context)`.
        """
        if concepts is not None:
            concepts = F.pad(concepts, (0, 1), value=-1)  # the null label is about nothing else
        self.concepts, self.kinds, self.prompts = (
            None if each is None else each.to(self.device) for each in (concepts, kinds, prompts)
        )

    def concept(self, label: Tensor) -> Tensor:
        """What captions are about: the label itself where nothing is known."""
        return label if self.concepts is None else self.concepts[label]

    def nearest(self, images: Tensor) -> Tensor:
        """The kinds whose class prompts are nearest to images by their unit vectors `(B, D)`: int64 `(B,)`."""
        return (images @ self.vectors(cast(Tensor, self.prompts)).T).argmax(1)

    @property
    def classes(self) -> int:
        """How many captions there are."""
        return cast(Text, self.book).classes

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @property
    def scale(self) -> Tensor:
        """`exp(tau)`, at most 100."""
        return self.tau.clamp(max=LARGEST).exp()

    def images(self, x0: Tensor) -> Tensor:
        """Images `(B, *shape)` as models see them -> unit vectors `(B, D)`."""
        return unit(cast(ImageNetwork, self.backbone)(x0, x0.new_zeros(len(x0))))

    def texts(self, label: Tensor) -> Tensor:
        """Captions by their labels `(B,)` -> unit vectors `(B, D)`."""
        return unit(self.book(label).vector)

    def vectors(self, ids: Tensor) -> Tensor:
        """Captions by their ids `(B, context)` -> unit vectors `(B, D)`."""
        return unit(cast(Text, self.book).read(ids).vector)

    def forward(self, x0: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Both, of images and their captions."""
        return self.images(x0), self.texts(label)


def unit(x: Tensor) -> Tensor:
    """Vectors `(B, D)` of length 1, in float32 at least."""
    return F.normalize(x.to(torch.promote_types(x.dtype, torch.float32)), dim=1)
