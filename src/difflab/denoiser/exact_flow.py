"""The exact flow map of a Gaussian mixture: what a network with two times should learn, and nothing to train."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from difflab.denoiser.base import AnyDenoiser, Estimate
from difflab.denoiser.exact import Data, Gaussian, Known, Mixture
from difflab.process.gaussian import Mix, scale, unmix
from difflab.process.schedule import Schedule
from difflab.process.target import X0, Target


class ExactFlowMap(AnyDenoiser):
    """The chord of the probability flow of a known law; without `s` its optimal denoiser.

    All flows of one law are one: with `z = x / hypot(alpha, sigma)` and the angle `phi = atan2(sigma, alpha)`, which is
    0 for data, `dz/dphi = cos(phi) eps - sin(phi) x0` on any schedule. Of a Gaussian it has a closed form: the distance
    from the mean keeps its number of standard deviations. Of a mixture it is solved to a relative and absolute
    tolerance of `tolerance`, by the eighth-order method of Dormand & Prince, in float64.
    """

    is_network = True
    target: Target = X0()

    def __init__(self, exact: Gaussian | Mixture, tolerance: float = 1e-12) -> None:
        super().__init__()
        self.exact, self.tolerance = exact, tolerance
        self.schedule, self.shape, self.classes = exact.schedule, exact.shape, exact.classes

    def forward(self, x: Tensor, t: Tensor, label: Tensor, s: Tensor | None = None) -> Estimate:
        """The chord from samples `(B, *)` at times `t` to `s`, `()` or `(B,)`; labels do not matter."""
        if s is None or bool((s == t).all()):
            return self.exact.forward(x, t, label)  # one evaluation, which is this one's
        m, end = self.schedule(t), self.schedule(s)
        exact = self.exact
        moved = closed(exact, x, m, end) if isinstance(exact, Gaussian) else solved(exact, x, m, end, self.tolerance)
        x0, eps = unmix(x, m, moved, end)
        return Estimate(x0, eps, out=x0)


class KnownFlowMap(ExactFlowMap):
    """The exact flow map of the law that the data are drawn from, where that is a mixture of Gaussians.

    Raises ValueError where the source states none.
    """

    def __init__(self, schedule: Schedule, data: Data) -> None:
        law = Known(schedule, data)
        single = Gaussian(schedule, law.means[0], law.var[0].expand_as(law.means[0]))
        super().__init__(single if len(law.means) == 1 else law)


def closed(law: Gaussian, x: Tensor, m: Mix, end: Mix) -> Tensor:
    """`alpha_s mean + sqrt(var_s / var_t) (x - alpha_t mean)` with `var_t = alpha_t^2 var + sigma_t^2`."""
    mean, var, one = law.mean.to(x).expand_as(x), law.var.to(x).expand_as(x), torch.ones_like(x)
    before, after = (Mix(k.alpha**2, k.sigma**2)(var, one) for k in (m, end))
    return scale(end.alpha, mean) + (after / before).sqrt() * (x - scale(m.alpha, mean))


@torch.no_grad()
def solved(law: Mixture, x: Tensor, m: Mix, end: Mix, tolerance: float) -> Tensor:
    """The end of the flow, from angle to angle; without gradients."""
    start, stop = (torch.atan2(k.sigma, k.alpha).expand(len(x)) for k in (m, end))
    z = scale(torch.hypot(*m).reciprocal(), x).double().cpu()

    def slope(share: float, flat: np.ndarray) -> np.ndarray:
        here = torch.from_numpy(flat).view_as(z)
        return scale(stop - start, turn(law, here, start + share * (stop - start))).flatten().numpy()

    found = solve_ivp(slope, (0, 1), z.flatten().numpy(), "DOP853", rtol=tolerance, atol=tolerance)
    return scale(torch.hypot(*end), torch.from_numpy(found.y[:, -1]).view_as(z)).to(x)


def turn(law: Mixture, z: Tensor, phi: Tensor) -> Tensor:
    """`cos(phi) eps - sin(phi) x0`, which for a component is `sin cos (1 - var) (z - cos mean) / v - sin mean`.

    `v = cos^2 var + sin^2` is the component's variance.
    """
    c, s = phi.cos()[:, None], phi.sin()[:, None]
    null = torch.full((len(z),), law.classes)
    share = law.log_joint(z, Mix(phi.cos(), phi.sin()), null).softmax(1)
    var = law.var.to(z).expand(len(z), len(law.means))
    gain = share * s * c * (1 - var) / (c**2 * var + s**2)
    means = law.means.to(z).flatten(1)
    return (gain.sum(1, keepdim=True) * z.flatten(1) - (gain * c + share * s) @ means).view_as(z)
