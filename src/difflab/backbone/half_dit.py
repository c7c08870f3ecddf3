"""The diffusion transformer as a classifier."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from difflab.backbone.attention import AttentionPool
from difflab.backbone.dit import Transformer, gated_blocks
from difflab.backbone.ranges import ClassCount, Depth, Width


class HalfDiT(Transformer):
    """The blocks of a DiT, and attention pooling of their tokens in place of the way back to pixels.

    Peebles & Xie 2023 (arXiv:2212.09748) for the blocks, Dhariwal & Nichol 2021 (arXiv:2105.05233), section 4, for the
    pooling. `classes` is the number of outputs; the other settings are those of `DiT`.

    Raises ValueError as `DiT` does.
    """

    def __init__(
        self,
        shape: Sequence[Width],
        classes: ClassCount,
        width: Width = 128,
        depth: Depth = 4,
        heads: Width = 4,
        patch: Width = 2,
    ) -> None:
        super().__init__(shape, 0, width, heads, patch, gated_blocks(width, depth, heads))
        self.classes = classes
        self.pool = AttentionPool(width, classes, heads)

    @property
    def readout(self) -> nn.Linear:
        """The last layer, from features to logits."""
        return self.pool.project

    @property
    def outer_layers(self) -> tuple[nn.Module, ...]:
        """The layers that read the sample and the noise level, and the one that makes the logits."""
        return self.condition, self.enter, self.readout

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, C, H, W), (B,) -> (B, classes), in the dtype of x also under autocast."""
        logits: Tensor = self.pool(self.tokens(x, self.condition.entry(code)))
        return logits.to(x.dtype)
