"""The labelled mixture of the laws, and its density."""

import torch

from difflab.laws.labelled import CLASS, MEANS, VAR, WEIGHTS, Bayes, Labelled

__all__ = ["CLASS", "MEANS", "VAR", "WEIGHTS", "Bayes", "Labelled", "density"]


def density(m, chosen, var=VAR):
    """The density of x_t under some components."""
    spread = (m.alpha**2 * var[chosen] + m.sigma**2).sqrt()[:, None].expand(-1, 2)
    parts = torch.distributions.Independent(torch.distributions.Normal(m.alpha * MEANS[chosen], spread), 1)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(WEIGHTS[chosen]), parts)
