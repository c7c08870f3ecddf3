"""Flow maps: denoisers that are given where the step ends, and return the chord of the probability flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from difflab.denoiser.base import Denoiser, Estimate
from difflab.process.gaussian import scale, unmix
from difflab.process.schedule import Schedule
from difflab.process.target import PosteriorMean, Target


class TimeCode(Protocol):
    """The number by which a network knows a time."""

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The number of the times `t`, of their shape."""


@dataclass(frozen=True)
class Fraction:
    """The share of the axis, in [0, 1]: an output changes slowly with it, as derivatives by time need.

    Lu & Song 2024 (arXiv:2410.11081). By the thousandths of the axis that other networks are given, the derivative of a
    fresh one is some twenty times its output.
    """

    def __call__(self, schedule: Schedule, t: Tensor) -> Tensor:
        """The share."""
        return schedule.fraction(t)


class FlowMap(Denoiser):
    """A network that is given both times, backbone + schedule + target: `y(x, t, s) = n_t(x0, eps)`.

    `(x0, eps)` is the chord of the probability flow from `t` to `s`: `m_t(x0, eps) = x_t`, `m_s(x0, eps) = x_s`.
    Without `s` it is `s = t`: the ordinary denoiser, which every solver can follow. The embedding of the second time
    starts at zero, so that the weights of a trained `Denoiser` give its outputs, bit for bit. On straight paths with
    the velocity y is the average velocity of MeanFlow (Geng et al. 2025, arXiv:2505.13447), on the circle with v it is
    the output of sCM (Lu & Song 2024, arXiv:2410.11081), and with s = 0 x0 is the consistency function of Song et al.
    2023 (arXiv:2303.01469).

    `code` is how the network knows the times; None is that of the target, which a trained denoiser has. `guided` is for
    training by a drive that guides: samples of such a run are guided as they are.

    Raises ValueError as `Denoiser` does, for a backbone without a second time, and for a target that has no derivative
    by time.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        target: Target,
        code: TimeCode | None = None,
        guided: bool = False,
    ) -> None:
        super().__init__(backbone, schedule, target)
        self.code, self.guidance_learned = code or target.c_noise, guided
        if not getattr(backbone, "second_time", False):
            raise ValueError(
                f"{type(backbone).__name__} is given one time and a flow map has two: choose backbone.second_time=true"
            )
        if isinstance(target, PosteriorMean):
            raise ValueError("target=mean is of a step of one length and a flow map makes steps of all: choose another")

    def output(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> tuple[Tensor, ...]:
        """`y(x, t, s)`, and what the network says of its variance; times `()` or `(B,)`, shapes `(B, *)`."""
        code = [
            self.code(self.schedule, u.clamp(min=self.schedule.t_min)).to(x).expand(len(x))
            for u in (t, t if s is None else s)
        ]
        raw = self.backbone(scale(self.target.c_in(self.schedule(t)), x), torch.stack(code, 1), label).to(x.dtype)
        parts: tuple[Tensor, ...] = raw.split(x.shape[1], dim=1)
        return parts

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """The chord from samples `(B, *)` at times `t` to `s`, `()` or `(B,)`, for labels `(B,)`."""
        out, *v = self.output(x, t, label, s)
        x0, eps = unmix(x, self.schedule(t), out, self.target.mix(self.schedule, t))
        return Estimate(x0, eps, out, (v[0] + 1) / 2 if v else None)
