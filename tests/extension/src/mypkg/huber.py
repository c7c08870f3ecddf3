"""Flow matching with a robust loss."""

from torch import Tensor

from difflab.objective import Noised
from difflab.paradigm import FlowMatching
from difflab.process import scale


class HuberFlow(FlowMatching):
    """Flow matching whose squared error `e^2` of a sample becomes `sqrt(e^2 + c^2) - c`, with c = 0.00054 sqrt(d).

    Lee et al. 2024 (arXiv:2405.20320), section 4.2: the pseudo-Huber loss.
    """

    def loss(self, noised: Noised) -> dict[str, Tensor]:
        estimate = self.denoiser(noised.x_t, noised.t, noised.label)
        target = self.denoiser.target.mix(self.schedule, noised.t)(noised.x0, noised.eps)
        error = ((estimate.out - target) ** 2).flatten(1)
        c = 0.00054 * error.shape[1] ** 0.5
        weight = self.weighting(self.schedule, self.denoiser.target, noised.t)
        return {"huber": scale(weight, (error.sum(1) + c**2).sqrt() - c)}
