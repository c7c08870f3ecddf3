"""What is measured on held-out samples: the likelihood, and the denoising error by noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from difflab.data.module import DataModule
from difflab.denoiser.likelihood import BitsPerDim
from difflab.metric.moments import MeanAndError
from difflab.objective.draws import Noised
from difflab.paradigm.batch import place
from difflab.paradigm.diffusion import Diffusion
from difflab.paradigm.flow_map import FlowMapMatching
from difflab.process.noise import keyed

LIKELIHOOD_BATCH = 500
LEVELS = range(-8, 9, 2)  # log-SNRs at which denoising errors are reported
ERROR_SAMPLES = 512
PARTS = 8  # of the axis, between which residuals of a flow map are reported
RESIDUAL_SAMPLES = 64


def likelihood(model: Diffusion, data: DataModule, n: int, likelihoods: Sequence[BitsPerDim]) -> dict[str, float]:
    """Bits/dim of `n` samples spread over the held-out split, by each of the `likelihoods`.

    Beside each stands its standard error `_se`, which the choice of the samples and of times and noise for each of them
    make together. `bits_per_dim` is of the flow and `bits_per_dim_bound` a bound: compare bounds with bounds. Where the
    law behind the data is known the floor is what that law itself gives to the same samples.
    """
    if not likelihoods:
        return {}
    x, y = held_out(data, n)
    denoiser, device = model.denoiser, model.denoiser.device
    parts = [*zip(torch.split(x, LIKELIHOOD_BATCH), torch.split(y, LIKELIHOOD_BATCH), strict=True)]
    metrics, (me, world) = {each.score: MeanAndError() for each in likelihoods}, place()
    for part, label in parts[me::world]:  # whole ones: noise is drawn for all of a part
        for each in likelihoods:
            metrics[each.score].update(each(denoiser.bind(label.to(device)), part.to(device), model.levels))
    found = {}
    for score, metric in metrics.items():
        found[score], found[f"{score}_se"] = metric.compute().tolist()
        if log_prob := getattr(data.source, "log_prob", None):
            found[f"{score}_floor"] = -log_prob(x).mean().item() / (math.log(2) * x[0].numel())
    return found


@torch.no_grad()
def denoising_error(model: Diffusion, data: DataModule) -> dict[str, float]:
    """`E |eps_hat - eps|^2` per dimension on held-out samples, by log-SNR, where the schedule reaches it.

    The one error that does not depend on target, weighting or schedule: of the ideal denoiser it is as small as can be.
    """
    x0, label = held_out(data, ERROR_SAMPLES)
    denoiser, schedule = model.denoiser, model.denoiser.schedule
    x0, label = x0.to(denoiser.device), label.to(denoiser.device)
    found = {}
    for level in LEVELS:
        t = schedule.time_at(torch.tensor(float(level), dtype=torch.float64))
        if abs(float(schedule.log_snr(t)) - level) > 0.5:
            continue
        eps = torch.randn(x0.shape, generator=keyed(level + 100)).to(x0)
        estimate = denoiser(schedule(t)(x0, eps).to(x0.dtype), t, label)
        found[str(level)] = float((estimate.eps - eps).square().mean())
    return found


@torch.no_grad()
def residuals(model: FlowMapMatching, data: DataModule) -> list[list[float | None]]:
    """`E |R|^2` per dimension of the method's own residual on held-out samples, by the ends of the step.

    It is that of the exported weights against themselves, also where training regressed on other weights.
    Row i is of steps from the time `(i + 1) / PARTS` of the axis, column j of steps to `j / PARTS`, for j up to i. None
    where it is not finite. Residuals of two methods are not comparable; those of two trainings by one method are.
    """
    x0, label = (each.to(model.denoiser.device) for each in held_out(data, RESIDUAL_SAMPLES))
    schedule, g = model.denoiser.schedule, keyed(PARTS)
    eps, u = torch.randn(x0.shape, generator=g).to(x0), torch.rand(len(x0), generator=g, dtype=torch.float64)
    ends = [0.0, *schedule.time(torch.arange(1, PARTS + 1).double() / PARTS).tolist()]
    found: list[list[float | None]] = []
    for i in range(PARTS):
        found.append([])
        for j in range(i + 1):
            t, s = torch.full_like(u, ends[i + 1]), torch.full_like(u, ends[j])
            noised = Noised(t, torch.ones_like(t), schedule(t)(x0, eps), x0, eps, label, 1.0, s, u)
            size = float(model.found(noised, model.residual, model.drive, model.denoiser).square().mean())
            found[-1].append(size if math.isfinite(size) else None)
    return found


def held_out(data: DataModule, n: int) -> tuple[Tensor, Tensor]:
    """Held-out samples as models see them, n of them or all, spread over the split; and their labels."""
    test = data.images.test
    chosen = torch.linspace(0, len(test) - 1, min(n, len(test))).round().long()
    return data.encoded(test, chosen), test.y[chosen]
