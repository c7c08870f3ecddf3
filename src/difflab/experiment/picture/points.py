"""Points in the plane: their density, and the paths that they take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from torch import Tensor

EXTENT = 3.0  # densities show the square -EXTENT..EXTENT
INK = np.array([16, 42, 131])
PATH, START = (150, 172, 226), (214, 94, 0)  # colours of paths and of the marks at their starts
FINE = 2  # paths are drawn so many times larger and then reduced, which smooths their edges


def scatter(points: Tensor, side: int = 400, extent: float = EXTENT) -> Image.Image:
    """Points `(N, 2)` on the square -extent..extent: one dot each, the darker the more of them lie there, as log n.

    Dots shrink as N^(-1/6), Scott's rule for two dimensions. Points beyond the square are drawn on its edge, and those
    that are not finite are left out.
    """
    at = points.double().numpy()
    at = at[np.isfinite(at).all(1)]
    column, row = (((at * (1, -1) / extent + 1) / 2 * side).clip(0, side - 1)).astype(int).T
    radius = max(1.0, side / 50 * max(1, len(at)) ** (-1 / 6))
    count = np.zeros((side, side))
    reach = np.arange(-int(radius), int(radius) + 1)
    for down, right in [(i, j) for i in reach for j in reach if i * i + j * j <= radius * radius]:
        np.add.at(count, ((row + down).clip(0, side - 1), (column + right).clip(0, side - 1)), 1)
    shade = np.log1p(count) / np.log1p(max(1.0, count.max()))
    return Image.fromarray((255 + shade[..., None] * (INK - 255)).round().astype(np.uint8), "RGB")


def extent_of(points: Tensor) -> float:
    """The extent of a square around the origin that holds all finite points `(..., 2)`, with some room; at least 1."""
    finite = points[points.isfinite()].abs()
    return max(1.0, 1.08 * finite.max().item()) if len(finite) else 1.0


def paths(points: Tensor, extent: float, side: int = 560) -> Image.Image:
    """The paths of points `(T, N, 2)` on the square -extent..extent: a ring at each start and a dot at each end.

    A path with a point that is not finite is left out.
    """
    large = side * FINE
    at = (points.double().numpy() * (1, -1) / extent + 1) / 2 * large
    at = at[:, np.isfinite(at).all((0, 2))]
    canvas = Image.new("RGB", (large, large), "white")
    draw = ImageDraw.Draw(canvas)
    for path in at.transpose(1, 0, 2):
        draw.line([*map(tuple, path)], fill=PATH, width=FINE)
    for x, y in at[0]:
        ring = 3 * FINE
        draw.ellipse((x - ring, y - ring, x + ring, y + ring), outline=START, width=FINE)
    for x, y in at[-1]:
        dot = 2.5 * FINE
        draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=tuple(INK))
    return canvas.reduce(FINE)
