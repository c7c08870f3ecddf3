"""Guidance: a denoiser made from a denoiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from difflab.denoiser import AnyDenoiser

Guidance = Callable[[AnyDenoiser], AnyDenoiser]


@dataclass(frozen=True)
class Chain:
    """Guidances applied one after the other, the first innermost; an empty chain is no guidance."""

    parts: Sequence[Guidance] = ()

    def __call__(self, denoiser: AnyDenoiser) -> AnyDenoiser:
        """The guided denoiser."""
        for part in self.parts:
            denoiser = part(denoiser)
        return denoiser
