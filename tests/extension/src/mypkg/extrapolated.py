"""A two-step sampler."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from difflab.denoiser import Denoise
from difflab.process import scale


@dataclass(frozen=True)
class ExtrapolatedDDIM:
    """DDIM in `x0`, which is extrapolated to the middle of a step in log-SNR from the last two evaluations.

    Lu et al. 2022 (arXiv:2211.01095), eq. 13, written out as an example: it is sampler=dpm_solver_pp.
    """

    order = 2.0
    evaluations = 1
    stochastic = False

    def init(self, x: Tensor) -> tuple[Tensor, Tensor] | None:
        return None

    def step(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: Any, noise: Any) -> tuple[Tensor, Any]:
        m_t, m_s, x0 = denoise.schedule(t), denoise.schedule(s), denoise(x, t).x0
        now, middle = m_t.log_snr, x0
        if state is not None and m_s.sigma > 0:
            before, old = state
            ratio = (m_s.log_snr - now) / (now - before)
            middle = x0 + scale(ratio / 2, x0 - old)
        x = scale(m_s.sigma / m_t.sigma, x) + scale(m_s.alpha - m_s.sigma * m_t.alpha / m_t.sigma, middle)
        return x, (now, x0)
