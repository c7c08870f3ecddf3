"""Denoisers: from a noisy sample and its time to an estimate of the clean sample and the noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from difflab.process.gaussian import Mix, det, inverse, scale
from difflab.process.schedule import Schedule
from difflab.process.target import Target


class Estimate(NamedTuple):
    """What a denoiser says of `x_t`: `x_t = alpha x0 + sigma eps` holds between the two estimates."""

    x0: Tensor
    eps: Tensor
    out: Tensor  # the network's output, in its own target
    v: Tensor | None = None  # in [0, 1]: the learned log-variance between its bounds, see Bridge.log_variance
    unguided: Tensor | None = None  # `out` as it was before guidance


class Denoise(Protocol):
    """What a sampler sees: no labels, no targets, no guidance."""

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at a time `t`, `()` or `(B,)`; `s <= t`, of the same shape, is for flow maps.

        A flow map that is given `s` returns the chord of the probability flow from `t` to `s`: the `(x0, eps)` with
        `m_t(x0, eps) = x_t` and `m_s(x0, eps) = X(x_t; t -> s)`, so that a DDIM step to `s` is exact at any length.
        Without `s`, and in the limit `s -> t`, it is the denoiser `E[(x0, eps) | x_t]`. Other denoisers ignore `s`.
        """


def velocity(denoise: Denoise, x: Tensor, t: Tensor) -> Tensor:
    """`dx/dt = alpha' x0 + sigma' eps` of the probability flow, of which `denoise` gives `x0` and `eps` at `x`.

    Song et al. 2021 (arXiv:2011.13456), eq. 13, for any schedule.
    """
    estimate = denoise(x, t)
    return denoise.schedule.rate(t)(estimate.x0, estimate.eps)


class AnyDenoiser(nn.Module):
    """A denoiser whose labels are still open: `forward(x, t, label, s=None) -> Estimate`, with `s` as in `Denoise`."""

    schedule: Schedule
    target: Target  # that `Estimate.out` is in
    shape: tuple[int, ...]  # of one sample
    classes: int  # 0: unconditional; the index `classes` is the null label
    is_network: bool = False  # each forward call is one function evaluation
    learned_variance: bool = False  # whether estimates have `v`
    has_density: bool = True  # bits/dim is defined
    whole_way: bool = False  # whether it knows one step alone, from noise to data
    guidance_learned: bool = False  # whether it was trained to say what guidance would make of it
    learned_encoder: bool = False  # whether its x_t come from an encoder, and are no mixes of x0 and noise

    def resemble(self, other: AnyDenoiser) -> None:
        """Copy the facts of a denoiser that this one wraps, except its schedule and target, which may differ."""
        for name in AnyDenoiser.__annotations__.keys() - {"is_network", "schedule", "target"}:  # it is no network
            setattr(self, name, getattr(other, name))

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def nfe(self, t: Tensor) -> int:
        """Network evaluations of one call at the time `t`, for each sample."""
        return 1

    def gain(self, t: Tensor) -> Tensor:
        """The error of x0 for an error of the output, in units of its size, at times `t` of any shape: of that shape.

        `sigma |n_t| / |det(m_t, n_t)|`, n_t being the mix of the target: `sigma / alpha` for eps and the score, `sigma`
        for v of a schedule that preserves variance, 1 for x0.
        """
        m, n = self.schedule(t), self.target.mix(self.schedule, t)
        return m.sigma * torch.hypot(*n) / det(m, n).abs()

    def require_mixes(self, what: str) -> None:
        """Raise ValueError that names `what` takes x_t for a mix of x0 and noise, if an encoder was learned instead."""
        if self.learned_encoder:
            raise ValueError(
                f"{what} takes x_t to be the schedule's mix of x0 and noise, and this run learned its encoder: choose "
                f"sampler=ancestral_learned nfe={self.schedule.t_max / self.schedule.step:g}, or train with "
                f"encoder=fixed"
            )

    def bind(self, label: Tensor) -> Bound:
        """The denoiser of these labels, of shape `(B,)`."""
        return Bound(self, label)


@dataclass(frozen=True)
class Bound:
    """A denoiser with its labels bound."""

    denoiser: AnyDenoiser
    label: Tensor

    @property
    def schedule(self) -> Schedule:
        """The schedule that times refer to."""
        return self.denoiser.schedule

    def __call__(self, x: Tensor, t: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at a time `()` or `(B,)`; `s` as in `Denoise`."""
        estimate: Estimate = self.denoiser(x, t, self.label, s)
        return estimate


class Backbone(Protocol):
    """The network: `(x: (B, C, ...), code: (B,), label: (B,)) -> (B, C, ...)`, or `(B, 2C, ...)` with spread."""

    shape: Sequence[int]
    classes: int
    learned_variance: bool

    def __call__(self, x: Tensor, code: Tensor, label: Tensor) -> Tensor:
        """The raw output."""


class Reading(NamedTuple):
    """How a network is used at a time: the factor of its input, its code, and `(x0, eps)` as mixes of `(x_t, out)`."""

    c_in: Tensor
    code: Tensor
    x0: Mix
    eps: Mix


class Denoiser(AnyDenoiser):
    """backbone + schedule + target.

    Raises ValueError where the target does not determine the noise and the clean sample, as eps where alpha = 0.
    """

    is_network = True

    def __init__(self, backbone: nn.Module, schedule: Schedule, target: Target) -> None:
        super().__init__()
        if not hasattr(backbone, "learned_variance"):
            raise ValueError(
                f"{type(backbone).__name__} classifies and gives no samples: choose backbone=unet or dit, "
                f"or paradigm=noisy_classifier"
            )
        for t in torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64):
            d = det(schedule(t), target.mix(schedule, t)).abs()
            if not (d.isfinite() and d > 1e-12 and target.c_noise(schedule, t).isfinite()):
                raise ValueError(
                    f"target {target} is singular on {schedule} at t={t:g}, where alpha={schedule(t).alpha:.3g}: "
                    f"choose target=v, velocity or x0, or end the schedule earlier with schedule.t_max=0.999"
                )
        self.backbone = backbone
        self.schedule = schedule
        self.target = target
        network = cast(Backbone, backbone)
        self.shape, self.learned_variance = tuple(network.shape), network.learned_variance

    @property
    def classes(self) -> int:  # type: ignore[override]  # what labels look up may be replaced, as by prompts
        """Those of the network."""
        return cast(Backbone, self.backbone).classes

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """Estimate from samples `(B, *)` at times `()` or `(B,)` and labels `(B,)`; the backbone does not use `s`."""
        c_in, code, x0, eps = self.schedule.at(self.reading, t, x.dtype, x.device)
        raw = self.backbone(scale(c_in, x), code.expand(x.shape[0]), label).to(x.dtype)
        out, *v = raw.split(x.shape[1], dim=1)
        return Estimate(x0(x, out), eps(x, out), out, (v[0] + 1) / 2 if v else None)

    def reading(self, schedule: Schedule, t: Tensor, dtype: torch.dtype, device: torch.device) -> Reading:
        """How the network is used at times `()` or `(B,)`, in the type and on the device of samples, by one copy."""
        m, n = schedule(t), self.target.mix(schedule, t)
        x0, eps = inverse(m, n)
        numbers = torch.stack([self.target.c_in(m), self.target.c_noise(schedule, t), *x0, *eps])
        c_in, code, *solved = numbers.to(device, dtype, non_blocking=True)
        return Reading(c_in, code, Mix(*solved[:2]), Mix(*solved[2:]))
