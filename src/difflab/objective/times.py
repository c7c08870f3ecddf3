"""Training times: which noise levels a batch is trained at, and the weight that keeps the objective unbiased."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Generator, Tensor, nn
from typing_extensions import override

from difflab.objective.gap import ramp
from difflab.process.ranges import Count, Positive, Real
from difflab.process.schedule import Schedule


class Times:
    """Base class of distributions of training times; most implement `__call__` only."""

    observes: ClassVar[bool] = False  # whether `observe` is called with the losses
    uniform_mean: ClassVar[bool] = True  # whether weighted losses have the mean that uniform times give: see `__call__`

    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """`n` times for the whole batch and their weights, both of shape `(n,)`, float64 on the CPU.

        The weight is `p_uniform(t) / p(t)` where the objective is the uniform one, and 1 where the law is part of the
        objective. `progress` is the share of the training budget that is over, in [0, 1].
        """
        raise NotImplementedError

    @property
    def held_out(self) -> Times:
        """The law that held-out losses are taken at, which must not move with the training: this one."""
        return self

    def observe(self, schedule: Schedule, t: Tensor, loss: Tensor) -> None:
        """Take note of the unweighted losses of the whole batch at its times, both of shape `(n,)`."""


def unweighted(t: Tensor) -> tuple[Tensor, Tensor]:
    """The times with weights of 1."""
    return t, torch.ones_like(t)


@dataclass(frozen=True)
class Uniform(Times):
    """Independent and uniform: U{1..T} on a table. Ho et al. 2020 (arXiv:2006.11239), Algorithm 1."""

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        return unweighted(schedule.time(torch.rand(n, generator=generator, dtype=torch.float64)))


@dataclass(frozen=True)
class Stratified(Times):
    """Uniform, one time in each n-th of the axis, in random order: `(k + u) / n` with a common offset u.

    Kingma et al. 2021 (arXiv:2107.00630), appendix I.1.
    """

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        u = torch.rand(1, generator=generator, dtype=torch.float64)
        k = torch.randperm(n, generator=generator)
        return unweighted(schedule.time((k + u) / n))


@dataclass(frozen=True)
class LogitNormal(Times):
    """The fraction of the axis is `sigmoid(z)`, `z ~ N(mean, std^2)`: the middle of the path most often.

    Esser et al. 2024 (arXiv:2403.03206), section 3.1. Their time too runs from data (0) to noise (1): a positive `mean`
    favours noise.
    """

    uniform_mean: ClassVar[bool] = False
    mean: Real = 0.0
    std: Positive = 1.0

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, generator=generator, dtype=torch.float64)
        return unweighted(schedule.time((self.mean + self.std * z).sigmoid()))


@dataclass(frozen=True)
class LogNormal(Times):
    """`log(sigma / alpha) ~ N(mean, std^2)`, as far as the schedule reaches: the same noise levels on any schedule.

    Karras et al. 2022 (arXiv:2206.00364), table 1 and section 5.
    """

    uniform_mean: ClassVar[bool] = False
    mean: Real = -1.2
    std: Positive = 1.2

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, generator=generator, dtype=torch.float64)
        return unweighted(schedule.time_at(-2 * (self.mean + self.std * z)))


@dataclass(frozen=True)
class KarrasUniform(Times):
    """Uniform in `(sigma / alpha)^(1 / rho)`, as the points of the grid of Karras et al. 2022 (arXiv:2206.00364).

    Song et al. 2023 (arXiv:2303.01469) draw one of them.
    """

    uniform_mean: ClassVar[bool] = False
    rho: Positive = 7.0

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        low, high = ramp(schedule, self.rho)
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        return unweighted(schedule.time_at(-2 * self.rho * (low + (high - low) * u).log()))


@dataclass(frozen=True)
class Curriculum(Times):
    """From easy to hard: stage k of `stages` draws uniformly from the noisiest `k / stages` of the axis.

    The stages follow each other evenly over the first `share` of the budget; after it times are uniform. Kim et al.
    2024 (arXiv:2403.10348), which goes on to the next stage when the loss no longer falls.
    """

    uniform_mean: ClassVar[bool] = False
    stages: Count = 20
    share: float = 0.5

    def __post_init__(self) -> None:
        if self.stages < 1 or not 0 < self.share <= 1:
            raise ValueError(f"{self}: a curriculum needs stages >= 1 and share in (0, 1]")

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        stage = 1 + int(min(progress / self.share, 1) * (self.stages - 1))
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        return unweighted(schedule.time(1 + stage / self.stages * (u - 1)))


class Importance(nn.Module, Times):
    """Where the loss is large: each of `bins` equal pieces of the axis with `p ~ sqrt(E[loss^2])`, weighted back.

    The mean is over the piece's last `history` losses; `p` is uniform until every piece has as many, and keeps the
    share `uniform` of it later. A table of fewer steps than `bins` has a piece for each. A module, so that the losses
    are in the checkpoint. Nichol & Dhariwal 2021 (arXiv:2102.09672), section 3.3.
    """

    observes = True
    losses: Tensor
    seen: Tensor

    def __init__(self, bins: Count = 100, history: Count = 10, uniform: float = 0.001) -> None:
        super().__init__()
        if bins < 1 or history < 1 or not 0 < uniform <= 1:
            raise ValueError(
                f"Importance({bins=}, {history=}, {uniform=}) needs whole numbers >= 1 and uniform in (0, 1]"
            )
        self.uniform = uniform
        self.register_buffer("losses", torch.zeros(bins, history))
        self.register_buffer("seen", torch.zeros(bins, dtype=torch.long))

    @property
    @override
    def held_out(self) -> Times:
        """Uniform times, which the weights make it stand for."""
        return Uniform()

    def pieces(self, schedule: Schedule) -> int:
        """The number of pieces: `bins`, or the number of steps where there are fewer."""
        return min(len(self.losses), 1 + round((schedule.t_max - schedule.t_min) / schedule.step))

    def law(self, schedule: Schedule) -> Tensor:
        """The probability of each piece, shape `(pieces,)`, float64 on the CPU."""
        losses, seen = (buffer[: self.pieces(schedule)].cpu() for buffer in (self.losses, self.seen))
        flat = torch.full((len(losses),), 1 / len(losses), dtype=torch.float64)
        if seen.min() < losses.shape[1]:
            return flat
        size = losses.double().square().mean(1).sqrt()
        return torch.lerp(size / size.sum(), flat, self.uniform)

    @override
    def __call__(
        self, schedule: Schedule, n: int, generator: Generator, progress: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        p = self.law(schedule)
        piece = torch.multinomial(p, n, replacement=True, generator=generator)
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        return schedule.time((piece + u) / len(p)), 1 / (len(p) * p[piece])

    @override
    def observe(self, schedule: Schedule, t: Tensor, loss: Tensor) -> None:
        device, pieces, history = self.losses.device, self.pieces(schedule), self.losses.shape[1]
        place = (t - schedule.t_min) / (schedule.t_max - schedule.t_min)
        piece = (place * pieces).long().clamp(0, pieces - 1).to(device)
        nth = nn.functional.one_hot(piece, len(self.seen)).cumsum(0)  # of its piece, counted from the batch's start
        rank, new = nth.gather(1, piece[:, None])[:, 0] - 1, nth[-1]
        slot = (self.seen[piece] + rank) % history
        last = rank >= new[piece] - history  # so that no two are written to one place, in any order
        self.losses[piece[last], slot[last]] = loss.to(self.losses)[last]
        self.seen += new
