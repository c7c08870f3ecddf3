"""The unified predictor-corrector."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from difflab.process.gaussian import Mix
from difflab.process.schedule import Schedule
from difflab.sampler.exponential import DATA, NOISE, Exponential, Form, Node, Nodes, moment


@dataclass(frozen=True)
class UniPC(Exponential):
    """A multistep update, corrected once the estimate at its end is known, which the next one needs anyway.

    Predictor and corrector integrate the polynomial in lambda through the last `solver_order` estimates, and the
    corrector's goes through the new one besides; they are of x0, or of eps if not `predict_x0`. Zhao et al. 2023
    (arXiv:2302.04867), section 3. Where a line is left, `h B(h) / 2` is the factor of its slope, with `B_1 = h` or
    `B_2 = int_0^h exp(rate u) du` as `bh` says: elsewhere B cancels. The corrector is of one order more than the
    predictor, but the first is of order 2: hence 3 at most.
    """

    bh: int = 2
    predict_x0: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bh not in (1, 2):
            raise ValueError(f"sampler.bh={self.bh} must be 1, for B(h) = h, or 2, for B(h) = exp(h) - 1")

    @property
    @override
    def order(self) -> int:
        """The order of convergence."""
        return min(self.solver_order + 1, 3)

    @property
    @override
    def form(self) -> Form:
        """The integral that is approximated."""
        return DATA if self.predict_x0 else NOISE

    @override
    def slope(self, h: Tensor) -> Tensor:
        return h / 2 * (h if self.bh == 1 else moment(h, self.form.rate, 0))

    @override
    def gather(self, schedule: Schedule, state: Nodes, node: Node) -> Nodes:
        return super().gather(schedule, state, self.corrected(schedule, state, node) if state else node)

    def corrected(self, schedule: Schedule, state: Nodes, node: Node) -> Node:
        """The node of the corrected sample, with the estimate made before: what is not predicted follows from it."""
        (x0, eps), other = node.estimates, schedule.at(self.following, node.time)
        x = self.update(schedule, (*state, node), node.time)
        return node._replace(estimates=(x0, other(x, x0)) if self.predict_x0 else (other(x, eps), eps))

    def following(self, schedule: Schedule, t: Tensor) -> Mix:
        """The one of x0 and eps that is not predicted, as a mix of the sample and the other."""
        alpha, sigma = schedule(t)
        return Mix(1 / sigma, -alpha / sigma) if self.predict_x0 else Mix(1 / alpha, -sigma / alpha)
