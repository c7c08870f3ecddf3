"""Pictures of discs."""

from dataclasses import dataclass

import torch

from difflab.data import Images, Split


@dataclass(frozen=True)
class Discs:
    """Grey images of one disc each, small (class 0) or large (class 1), at a place drawn by `seed`."""

    size: int = 16
    n: int = 2000
    held_out: int = 500
    seed: int = 0

    def load(self) -> Images:
        g = torch.Generator().manual_seed(self.seed)
        total = self.n + self.held_out
        y = torch.arange(total) % 2
        radius = (2.0 + 2.0 * y)[:, None, None]
        centre = 4 + (self.size - 8) * torch.rand(total, 2, 1, 1, generator=g)
        rows, columns = torch.meshgrid(torch.arange(self.size), torch.arange(self.size), indexing="ij")
        distance = ((rows - centre[:, 0]) ** 2 + (columns - centre[:, 1]) ** 2).sqrt()
        x = (255 * (radius - distance + 0.5).clamp(0, 1)).round().to(torch.uint8)[:, None]
        return Images(Split(x[: self.n], y[: self.n]), Split(x[self.n :], y[self.n :]), ("small", "large"))
