"""A noise schedule whose training times crowd around one log-SNR."""

from dataclasses import dataclass

import torch
from torch import Tensor

from difflab.process import Mix, Schedule


@dataclass(frozen=True)
class Laplace(Schedule):
    """Variance preserving, `log_snr = mu - b sgn(1/2 - t) log(1 - 2 |t - 1/2|)`: a Laplace law of the log-SNR.

    Hang et al. 2024 (arXiv:2407.03297), Table 1. The log-SNR is infinite at t = 0 and 1, which are cut off.
    """

    mu: float = 0.0
    b: float = 0.5
    t_min: float = 1e-5
    t_max: float = 0.99999

    def __call__(self, t: Tensor) -> Mix:
        one = torch.ones_like(t)
        log_snr = self.mu - self.b * (torch.minimum(2 * t, one).log() - torch.minimum(2 - 2 * t, one).log())
        return Mix(log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt())
