"""Guidance: a denoiser made from a denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.process.gaussian import Mix, inverse
from difflab.process.schedule import Schedule
from difflab.process.target import X0

Guidance = Callable[[AnyDenoiser], AnyDenoiser]


@dataclass(frozen=True)
class Chain:
    """Guidances applied one after the other, the first innermost; an empty chain is no guidance."""

    parts: Sequence[Guidance] = ()

    def __post_init__(self) -> None:
        if other := [part for part in self.parts if not callable(part)]:
            raise ValueError(
                f"{other[0]} is no guidance; several guidances are a list, guidance=[classifier_free,rescale]"
            )
        if self.parts and getattr(self.parts[0], "limits", False):
            raise ValueError(f"{self.parts[0]} limits the guidances before it, and there are none: name it after them")

    def __str__(self) -> str:
        return ", ".join(map(str, self.parts))

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The guided denoiser."""
        for part in self.parts:
            denoiser = part(denoiser)
        return denoiser


@dataclass(frozen=True)
class Unguided:
    """No guidance, where one must be named."""

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The denoiser itself."""
        return denoiser


class Guided(AnyDenoiser):
    """Base class of guided denoisers: its attributes are those of the denoiser that it wraps."""

    always_on: bool = False  # at every noise level, also under a guidance that limits others to some

    def __init__(self, denoiser: AnyDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.schedule, self.target = denoiser.schedule, denoiser.target
        self.resemble(denoiser)

    def nfe(self, t: Tensor) -> int:
        """Network evaluations of one call at the time `t`, for each sample."""
        return self.denoiser.nfe(t)

    def gain(self, t: Tensor) -> Tensor:
        """That of the denoiser inside."""
        return self.denoiser.gain(t)

    def with_x0(self, estimate: Estimate, x: Tensor, t: Tensor, x0: Tensor) -> Estimate:
        """The estimate with another clean sample, and the noise that then explains `x`."""
        noise, target = self.schedule.at(self.explaining, t)
        eps = noise(x, x0)
        return estimate._replace(x0=x0, eps=eps, out=target(x0, eps))

    def explaining(self, schedule: Schedule, t: Tensor) -> tuple[Mix, Mix]:
        """The noise as a mix of `(x_t, x0)`, and the target as one of `(x0, eps)`."""
        return inverse(schedule(t), X0().mix(schedule, t))[1], self.target.mix(schedule, t)


def unguided(denoiser: AnyDenoiser) -> AnyDenoiser:
    """The denoiser under all guidance that can be left out."""
    while isinstance(denoiser, Guided) and not denoiser.always_on:
        denoiser = denoiser.denoiser
    return denoiser
