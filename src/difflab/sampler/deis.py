"""The diffusion exponential integrator sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from difflab.sampler.exponential import NOISE, Exponential, Form, moment


@dataclass(frozen=True)
class DEIS(Exponential):
    """`x_s = alpha_s x_t / alpha_t + alpha_s int p drho`, with `rho = sigma / alpha` and p through past estimates.

    `p` is the polynomial in `log rho` that takes the last estimates of eps, integrated exactly. Zhang & Chen 2022
    (arXiv:2204.13902), the Adams-Bashforth family of section 3, with log rho for its variable as in diffusers. Since
    `log rho = -lambda`, it is `DPMSolver` but for the line, which there is not integrated exactly.
    """

    solver_order: int = 3
    form: ClassVar[Form] = NOISE

    @override
    def slope(self, h: Tensor) -> Tensor:
        return moment(h, self.form.rate, 1)
