"""The terms of a run's variational bound over time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from difflab.denoiser.likelihood.bounds import DECODABLE, DECODER, MIN_LOG_SNR, limited, prior_term, vlb_term
from difflab.denoiser.likelihood.decoder import bits
from difflab.experiment.machine.hardware import autocast
from difflab.experiment.sampling.recipe import Trained
from difflab.process.gaussian import scale
from difflab.process.noise import keyed
from difflab.process.schedule import derivative
from difflab.report.figure.base import SMALL, Drawing
from difflab.report.style import COLOURS
from difflab.report.text import in_figure

POINTS = 40  # times


class Terms(NamedTuple):
    """The bound's terms at K noise levels, from noise to data, of n samples, in bits/dim."""

    share: Tensor  # of the time axis, (K,)
    log_snr: Tensor  # (K,); of a chain the middle of each step
    ends: tuple[float, float]  # log-SNRs between which the terms add up
    each: Tensor  # for a unit of log-SNR, (K, n)
    slope: Tensor  # -dlog_snr / dshare, (K,)
    last: Tensor  # L_T, (n,)
    first: Tensor  # L_0, (n,)

    @property
    def sums(self) -> Tensor:
        """The bound from noise down to each level and at last to the data's end, without L_0; (K + 1,).

        By trapezoids in log-SNR, with the first and the last value up to the ends.
        """
        value = self.each.mean(1)
        noisiest, cleanest = (torch.tensor([end], dtype=torch.float64) for end in self.ends)
        places = torch.cat([noisiest, self.log_snr, cleanest])
        return torch.cumulative_trapezoid(torch.cat([value[:1], value, value[-1:]]), places) + self.last.mean()


@dataclass(frozen=True)
class Likelihood(Drawing):
    """L_T, L_t over t and L_0 of the bound of held-out samples, in bits/dim.

    n: held-out samples. seed: of the noise. Raises ValueError for a run that has no likelihood, and for more samples
    than there are.
    """

    run: Trained
    n: int = 32
    seed: int = 0
    title: ClassVar[str] = "Where the bits are"

    def __post_init__(self) -> None:
        if not self.run.denoiser.has_density:
            raise ValueError(f"{self.run.run.folder.name} generates training samples, which have no likelihood")
        self.run.denoiser.require_mixes("this figure")
        if not 1 <= self.n <= len(self.run.data.images.test):
            raise ValueError(f"n={self.n} must lie in 1..{len(self.run.data.images.test)}, the held-out samples")

    @property
    def caption(self) -> str:
        """What is shown, with its formula."""
        discrete = self.run.denoiser.schedule.discrete
        term = (
            r"$L_{t-1}=\mathrm{KL}(q(x_{t-1}|x_t,x_0)\,\|\,p_\theta(x_{t-1}|x_t))$, times $T$,"
            if discrete
            else r"$-\frac{1}{2}\,\frac{d\log\mathrm{SNR}}{dt}\,\|\varepsilon-\hat\varepsilon\|^2$"
        )
        return (
            rf"$-\log p(x_0)\leq L_T+\sum_t L_t+L_0$. Left: {term} for each unit of the time axis, so that the area "
            r"below is the sum; the band is one standard error over samples. Right: the sum from noise down to each "
            f"time, and with $L_0$ (dot). Estimates of images are kept in their range. {self.n} held-out samples, "
            f"{POINTS} times. Run {in_figure(self.run.run.folder.name)}, {self.run.weights}."
        )

    @cached_property
    def levels(self) -> tuple[Tensor, Tensor]:
        """The times, falling, and their log-SNRs, which are equidistant or, of a table, nearly so."""
        schedule, levels = self.run.denoiser.schedule, self.run.data.codec.levels
        cleanest = torch.tensor(2 * schedule.step if schedule.discrete else schedule.t_min, dtype=torch.float64)
        noisiest = torch.tensor(schedule.t_max, dtype=torch.float64)
        last = math.inf if levels is None or schedule.discrete else -2 * math.log(DECODABLE * 2 / (levels - 1))
        ends = schedule.log_snr(torch.stack([noisiest, cleanest])).clamp(min=MIN_LOG_SNR, max=last)
        log_snr = torch.linspace(*ends.tolist(), POINTS, dtype=torch.float64)  # type: ignore[call-overload]
        times = schedule.time_at(log_snr)
        if schedule.discrete:
            times = torch.unique(times.clamp(min=2 * schedule.step)).flip(0)
            log_snr = schedule.log_snr(times)
        return times, log_snr

    @cached_property
    def terms(self) -> Terms:
        """What each noise level adds, and both ends."""
        denoiser, schedule, data, g = self.run.denoiser, self.run.denoiser.schedule, self.run.data, keyed(self.seed)
        rows = torch.randperm(len(data.images.test), generator=g)[: self.n]
        x0 = data.encoded(data.images.test, rows).to(denoiser.device)
        label = data.images.test.y[rows] if denoiser.classes else torch.zeros(self.n, dtype=torch.int64)
        denoise, levels = denoiser.bind(label.to(denoiser.device)), data.codec.levels
        limit = None if levels is None else 1.0
        times, log_snr = self.levels

        def term(t: Tensor) -> Tensor:
            """`L_{t-1}` of a table; `|eps - eps_hat|^2 / 2`, for a unit of log-SNR, in continuous time."""
            eps = torch.randn(x0.shape, generator=g).to(x0)
            x = schedule(t)(x0, eps)
            estimate = limited(denoise(x, t), schedule, x, t, limit)
            if schedule.discrete:
                return vlb_term(schedule, estimate, x0, eps, t, levels=levels).cpu()
            return bits(0.5 * (eps - estimate.eps) ** 2).cpu()

        with torch.no_grad(), autocast(denoiser.device, self.run.recipe.precision):
            each = torch.stack([term(t) for t in times]).double()
            ends = float(log_snr[0]), float(log_snr[-1])
            if schedule.discrete:
                below = schedule.log_snr(times - schedule.step)
                width, ends = below - log_snr, (ends[0], float(below[-1]))  # of each term, in log-SNR
                slope, first = width * schedule.t_max / schedule.step, term(torch.tensor(schedule.step).double())
                each = each / width[:, None]
            else:
                slope = -derivative(schedule.log_snr, times) * (schedule.t_max - schedule.t_min)
                eps = torch.randn(x0.shape, generator=g).to(x0)
                first = bits(DECODER(x0, x0 + scale((-0.5 * log_snr[-1]).exp(), eps), log_snr[-1], levels)).cpu()
        last = prior_term(log_snr[0], x0).cpu()
        middles = (log_snr + below) / 2 if schedule.discrete else log_snr
        return Terms(schedule.fraction(times), middles, ends, each, slope, last, first)

    def draw(self) -> Figure:
        """Draw the terms over the time axis, and their sum from noise to data."""
        terms = self.terms
        value = terms.each.mean(1) * terms.slope
        error = terms.each.std(1) * terms.slope / self.n**0.5 if self.n > 1 else torch.zeros_like(value)
        figure = self.canvas(2.5)
        left, right = figure.subplots(1, 2)
        left.plot(terms.share, value, color=COLOURS[0], lw=1.3)
        left.fill_between(
            terms.share, (value - error).clamp(min=1e-9), value + error, color=COLOURS[0], alpha=0.25, lw=0
        )
        left.set(xlabel="share of the time axis (0: data, 1: noise)", ylabel="bits/dim for a unit of the axis")
        left.set_yscale("log")
        right.plot(torch.cat([terms.share, torch.zeros(1)]), terms.sums, color=COLOURS[1], lw=1.3)
        diffusion = float(terms.sums[-1] - terms.last.mean())
        parts = (float(terms.last.mean()), diffusion, float(terms.first.mean()))
        right.plot([0], [sum(parts)], marker="o", color=COLOURS[1])
        right.set(xlabel="share of the time axis", ylabel="bits/dim down to here")
        prior, middle, first = parts
        right.set_title(
            f"$L_T$ {prior:.3f} + $L_t$ {middle:.3f} + $L_0$ {first:.3f}\n= {sum(parts):.2f} bits/dim", fontsize=SMALL
        )
        return figure
