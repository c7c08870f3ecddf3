"""Another path for a trained network: the same mixes of clean sample and noise, up to scale, at other times."""

from __future__ import annotations

import torch
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.process.gaussian import Mix, scale
from difflab.process.schedule import Schedule
from difflab.process.target import X0


def nearest(schedule: Schedule, m: Mix) -> Tensor:
    """The time of `schedule` whose log-SNR is that of `m`, or is nearest to it, as beyond its ends and on a table."""
    return schedule.time_at(m.log_snr.clamp(-1e3, 1e3))  # to an infinite one all steps of a table are equally near


def matched(schedule: Schedule, x: Tensor, m: Mix) -> tuple[Tensor, Tensor]:
    """Samples `x` of the mix `m` as a network that was trained on `schedule` knows them, and their time there.

    `x' = x hypot(alpha', sigma') / hypot(alpha, sigma)` at the time of equal log-SNR, where `m' ~ m`. Karras et al.
    2022 (arXiv:2206.00364), section 2: a schedule is a path of noise levels and a scale.
    """
    t = nearest(schedule, m)
    n = schedule(t)
    return scale(torch.hypot(n.alpha, n.sigma) / torch.hypot(m.alpha, m.sigma), x), t


def chord_end(schedule: Schedule, m: Mix) -> Tensor:
    """The time of `schedule` at which a chord to the mix `m` ends: 0 for data, else the `nearest`."""
    return torch.where(m.sigma > 0, nearest(schedule, m), 0.0)


class Rescheduled(AnyDenoiser):
    """A denoiser on another schedule than the one it was trained on: any network along any path.

    Exact where the two schedules share the log-SNR. Outside the trained log-SNR range the nearest trained level is
    used, and for a network trained on a discrete schedule its nearest step, whose log-SNR is at most half a step off.
    There `x0` is kept, and `eps` follows from it and `x`. The output is in terms of the clean sample for every target.
    A chord from `t` to `s` is the same pair on both schedules, so a flow map is given the matching time of `s`, which
    is 0 for data. Raises ValueError for a denoiser with a learned encoder, whose noisy samples are on no other path.
    """

    def __init__(self, denoiser: AnyDenoiser, schedule: Schedule) -> None:
        super().__init__()
        denoiser.require_mixes(f"{schedule} as the path")
        self.resemble(denoiser)
        self.denoiser, self.schedule, self.target = denoiser, schedule, X0()

    def nfe(self, t: Tensor) -> int:
        """Network evaluations of one call at the time `t`, for each sample."""
        return self.denoiser.nfe(nearest(self.denoiser.schedule, self.schedule(t)))

    def gain(self, t: Tensor) -> Tensor:
        """That of the trained network at the same noise level."""
        return self.denoiser.gain(nearest(self.denoiser.schedule, self.schedule(t)))

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; `s` as in `Denoise`."""
        m = self.schedule(t)
        inner = self.denoiser.schedule
        estimate: Estimate = self.denoiser(
            *matched(inner, x, m), label, None if s is None else chord_end(inner, self.schedule(s))
        )
        x0, gap = estimate.x0, x - m(estimate.x0, estimate.eps)
        eps = estimate.eps + scale(torch.where(m.sigma > 0, 1 / m.sigma, 0.0), gap)  # data say nothing of the noise
        return Estimate(x0, eps, out=x0, v=estimate.v)
