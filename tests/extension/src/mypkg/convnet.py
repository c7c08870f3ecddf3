"""A small convolutional network."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from difflab.backbone.embedding import Condition


class ConvNet(nn.Module):
    """Residual 3x3 convolutions at one resolution, each shifted by the embedding of noise level and class."""

    def __init__(self, shape: Sequence[int], classes: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.shape, self.classes, self.learned_variance = tuple(shape), classes, False
        self.condition = Condition(width, width, classes)
        self.enter = nn.Conv2d(shape[0], width, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.shifts = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.leave = nn.Conv2d(width, shape[0], 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the input and write the output, which optimizer=muon leaves to AdamW."""
        return self.enter, self.condition, self.leave

    def forward(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        condition = self.condition(code, label)
        h = self.enter(x)
        for layer, shift in zip(self.layers, self.shifts, strict=True):
            h = h + layer(F.silu(h + shift(condition)[:, :, None, None]))
        return self.leave(F.silu(h)).to(x.dtype)
