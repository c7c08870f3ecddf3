"""DPM-Solver, on eps, and DPM-Solver++, on x0; both with the nodes of past steps or of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from typing_extensions import override

from difflab.denoiser.base import Denoise
from difflab.process.gaussian import Mix, scale
from difflab.process.schedule import Schedule
from difflab.sampler.exponential import DATA, NOISE, Exponential, Form, Node, Nodes, moment


@dataclass(frozen=True)
class DPMSolver(Exponential):
    """`x_s = alpha_s x0 + sigma_s eps - sigma_s int_0^h exp(h - u) (p(u) - eps) du`, p through past estimates of eps.

    Lu et al. 2022 (arXiv:2206.00927), eq. 3.4, with past nodes as in `DPMSolverPP`.
    """

    form: ClassVar[Form] = NOISE


@dataclass(frozen=True)
class DPMSolverPP(Exponential):
    """`x_s = alpha_s x0 + sigma_s eps + alpha_s int_0^h exp(u - h) (p(u) - x0) du`, p through past estimates of x0.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 2 (2M), which integrates the line by the published rule, `h / 2` in
    place of u. `solver_order = 3` integrates the parabola through three estimates exactly; `DPMSolverPP3M` is the
    published rule.

    `noise > 0` is the reverse SDE of Euler-Maruyama's `noise`, 1 being SDE-DPM-Solver++: with `n = noise^2` it keeps
    `exp(-n h)` of the noise and adds `sigma_s sqrt(1 - exp(-2 n h)) z`; the integral is
    `(1 + n) alpha_s int_0^h exp((1 + n) (u - h)) (p(u) - x0) du`.
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise < 0:
            raise ValueError(f"sampler.noise={self.noise} must be at least 0: 0 is the flow, 1 the reverse SDE")

    @property
    @override
    def stochastic(self) -> bool:
        """Whether it draws noise."""
        return self.noise > 0

    @property
    @override
    def form(self) -> Form:
        """The integral of x0."""
        return Form(DATA.part, DATA.rate * (1 + self.noise**2))

    def kept(self, m_t: Mix, m_s: Mix) -> Tensor:
        """`exp(-noise^2 h)`, and 1 for the flow where h is infinite."""
        return ((m_t.log_snr - m_s.log_snr) / 2).exp() ** self.noise**2

    @override
    def first(self, schedule: Schedule, t: Tensor, s: Tensor) -> Mix:
        m_t, m_s = schedule(t), schedule(s)
        return Mix(m_s.alpha, m_s.sigma * self.kept(m_t, m_s))

    def kick(self, schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
        """The size of the noise of a step."""
        m_t, m_s = schedule(t), schedule(s)
        return m_s.sigma * (1 - self.kept(m_t, m_s) ** 2).sqrt()

    @override
    def step(
        self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, state: Nodes, noise: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Nodes]:
        x, state = super().step(denoise, x, t, s, state, noise)
        kick = denoise.schedule.at(self.kick, t, s)
        return (x + scale(kick, noise(x)) if kick > 0 else x), state


@dataclass(frozen=True)
class DPMSolverPP3M(DPMSolverPP):
    """DPM-Solver++(3M) as published, with the integral of u^2 halved; a line is integrated exactly.

    Lu et al. 2022 (arXiv:2211.01095), in whose code, as in k-diffusion's and diffusers' (`solver_type="heun"`), the
    coefficient of the second difference has half of its size. It is of order 2 even from an exact start, and at few
    evaluations often the better one for that: `DPMSolverPP(solver_order=3)` extrapolates further.
    """

    solver_order: int = field(default=3, init=False)

    @override
    def slope(self, h: Tensor) -> Tensor:
        return moment(h, self.form.rate, 1)

    @override
    def bend(self, h: Tensor) -> Tensor:
        return super().bend(h) / 2


@dataclass(frozen=True)
class Singlestep(Exponential):
    """Blocks of `solver_order` steps: each goes out from its block's start, with the polynomial through what followed.

    The k-th step of a block is of order k, and a block that the grid's end cuts short stays of its last step's order.
    The nodes are the grid's own: k evaluations for one step of theirs are here k steps of one.
    """

    @property
    @override
    def order(self) -> int:
        """The order of convergence."""
        return self.solver_order

    @override
    def slope(self, h: Tensor) -> Tensor:
        return moment(h, self.form.rate, 1) if self.solver_order == 3 else super().slope(h)  # as published

    @override
    def gather(self, schedule: Schedule, state: Nodes, node: Node) -> Nodes:
        return (*state, node) if len(state) < self.solver_order else (node,)


@dataclass(frozen=True)
class DPMSolverSinglestep(Singlestep):
    """DPM-Solver-k: the integral of `DPMSolver` over a block of k steps, with eps at the block's own nodes.

    Lu et al. 2022 (arXiv:2206.00927), Algorithms 1 and 2 and appendix B; the third order integrates the parabola
    exactly, so that it holds wherever the nodes lie.
    """

    solver_order: int = 3
    form: ClassVar[Form] = NOISE


@dataclass(frozen=True)
class DPMSolverPPSinglestep(Singlestep):
    """DPM-Solver++(kS): the integral of `DPMSolverPP` over a block of k steps, with x0 at the block's own nodes.

    Lu et al. 2022 (arXiv:2211.01095), Algorithm 1 (2S); the third order is as in `DPMSolverSinglestep`.
    """

    form: ClassVar[Form] = DATA
