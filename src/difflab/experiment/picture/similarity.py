"""How well images go with texts, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from difflab.experiment.picture.sheet import Sheet

COLD, WARM = (255, 255, 255), (8, 48, 107)  # of the least and of the largest product


def similarity_sheet(
    images: Sequence[Image.Image], texts: Sequence[str], products: Tensor, title: str, footer: str
) -> Sheet:
    """Images in a row, and for each text a row of squares: the darker, the nearer are text and image.

    `products` `(texts, images)` are those of the unit vectors; colours run from the least to the largest of them.
    """
    low, high = products.min(), products.max()
    shades = ((products - low) / (high - low).clamp(min=1e-6)).tolist()
    size = images[0].size
    squares = [[Image.new("RGB", size, mixed(shade)) for shade in row] for row in shades]
    return Sheet([[*images], *squares], row_titles=["", *texts], title=title, footer=footer)


def mixed(share: float) -> tuple[int, int, int]:
    """The colour at a share of the way from cold to warm."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(COLD, WARM, strict=True))
    return red, green, blue
