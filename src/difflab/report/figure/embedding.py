"""The sinusoidal code of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from matplotlib.figure import Figure

from difflab.backbone.layers import sinusoid
from difflab.report.figure.base import Drawing
from difflab.report.style import COLOURS


@dataclass(frozen=True)
class Embedding(Drawing):
    """The sines and cosines that tell a network the noise level, as a picture, and how alike two levels are.

    width: numbers in the code; T: the numbers that are coded, 0..T-1.
    """

    width: int = 64
    T: int = 1000
    title: ClassVar[str] = "The sinusoidal code of time"

    def __post_init__(self) -> None:
        if self.width < 4 or self.width % 2 or self.T < 2:
            raise ValueError(f"width={self.width} must be even and 4 at least, T={self.T} 2 at least")

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        return (
            r"$\gamma(t)=(\sin(t f_i),\,\cos(t f_i))$ with $f_i=10000^{-i/(d/2-1)}$, "
            f"$d={self.width}$. Left: each column is the code of one time. Right: the cosine between the codes of two "
            "times, which falls with their distance, so that near times look alike to the network."
        )

    def draw(self) -> Figure:
        """Draw the code and its likeness."""
        figure = self.canvas(2.4)
        left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
        t = torch.arange(self.T, dtype=torch.float64)
        code = sinusoid(t, self.width)
        reach = (0, self.T, self.width, 0)
        shade = left.imshow(code.T, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, extent=reach)
        left.set(xlabel="t", ylabel="entry of the code")
        left.axhline(self.width / 2, color="#888888", lw=0.6)
        figure.colorbar(shade, ax=left, label="value", ticks=[-1, 0, 1])
        for colour, share in zip(COLOURS, (0.1, 0.5, 0.9), strict=False):
            k = int(share * self.T)
            right.plot(t, torch.cosine_similarity(code[k : k + 1], code), color=colour, lw=1, label=f"to t = {k}")
        right.set(xlabel="t", ylabel="cosine of two codes", ylim=(None, 1.45))
        right.legend(fontsize=6.5, loc="upper center", ncols=1)
        return figure
