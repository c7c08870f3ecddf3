"""Score-based models."""

from __future__ import annotations

from torch import Tensor

from difflab.paradigm.base import Noised
from difflab.paradigm.diffusion import Diffusion


class ScoreSDE(Diffusion):
    """Denoising score matching at the noise levels of an SDE, or of a ladder.

    Song et al. 2021 (arXiv:2011.13456), eq. 7, whose weight `lambda = sigma^2` on the score is 1 on eps; Song & Ermon
    2019 (arXiv:1907.05600), eq. 6, on a ladder; Karras et al. 2022 (arXiv:2206.00364), eq. 108, with the target,
    times and weighting of EDM. `weighting=likelihood` bounds the likelihood: Song et al. 2021b (arXiv:2101.09258).
    """

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        """The weighted regression; shape `(B,)`."""
        return {"regression": self.regress(self.denoiser(noised.x_t, noised.t, noised.label), noised)}

    def bits_per_dim(self, x0: Tensor, label: Tensor) -> Tensor:
        """The exact likelihood of the probability flow; shape `(B,)`. Song et al. 2021, eq. 39."""
        return self.flow_likelihood(x0, label)
