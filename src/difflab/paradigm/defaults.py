"""What a paradigm takes where it is given nothing else, and how `trainer.predict` draws its samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from difflab.guidance.base import Guidance, Unguided
from difflab.objective.coupling import Coupling, Independent
from difflab.objective.times import Times
from difflab.objective.times import Uniform as UniformTimes
from difflab.objective.weighting import Simple, Weighting
from difflab.process.ranges import Seed
from difflab.process.schedule import Schedule
from difflab.process.target import Target
from difflab.sampler.base import Sampler
from difflab.sampler.grid import Grid, Uniform


@dataclass(frozen=True)
class Sampling:
    """How `trainer.predict` draws: by a sampler along a grid, with `nfe` network evaluations a sample.

    The estimates are guided, and then kept in the `range`.

    Sample k is a function of the seed, k and its label alone; for samplers that take as many evaluations as their
    tolerances ask, which `nfe=0` stands for, it is so to these tolerances.
    """

    sampler: Sampler
    grid: Grid = field(default_factory=Uniform)
    nfe: int = 50
    guidance: Guidance = field(default_factory=Unguided)
    range: Guidance = field(default_factory=Unguided)
    seed: Seed = 0


@dataclass(frozen=True)
class Defaults:
    """The choices of a paradigm's paper, for samples in [-1, 1].

    The presets in `conf/paradigm` make their own, for small images and budgets.
    """

    schedule: Schedule
    target: Target
    sampling: Sampling
    times: Times = field(default_factory=UniformTimes)
    weighting: Weighting = field(default_factory=Simple)
    coupling: Coupling = field(default_factory=Independent)


class Prediction(NamedTuple):
    """Some of the samples to be drawn, as models see them, and the network evaluations of each."""

    k: Tensor  # int64 (B,), their places among all of them
    label: Tensor  # int64 (B,)
    x: Tensor  # float (B, *)
    nfe: float
