"""Cells of made-up values, and how often their rankings are wrong and right: for laws and for the benchmark."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from difflab.report.cell import Cell
from difflab.report.ranking import Place, ranking
from difflab.report.record import Record
from difflab.report.variance import Array
from helpers.studies import card, config, record

NOISE = 0.05  # of a value, relative to it
QUIET = 0.1  # times that, of quiet cells
COLLAPSED = 3.0  # times its value, of a seed that collapsed


@functools.cache
def blank(seed: int, noise_seed: int, **changes: object) -> Record:
    return record(config(seed=seed), card(seed=noise_seed, **changes))


def cell(values: dict[tuple[int, int], float], name: str = "a", **changes: object) -> Cell:
    """A cell of values by (training seed, noise seed)."""
    records = [
        dataclasses.replace(blank(*seeds, **changes), metrics={"fd_lite0": value, "precision_lite0": -value})
        for seeds, value in values.items()
    ]
    return Cell({"paradigm": name}, tuple(records))


def seeded(values: Array) -> dict[tuple[int, int], float]:
    return {(s, 0): float(value) for s, value in enumerate(values)}


def relative_noise(law: str, cells: int) -> Array:
    """Of each cell, in units of NOISE: "equal", "half" (are ten times quieter), "one4" and "one10" (is noisier)."""
    scale = np.ones(cells)
    if law == "half":
        scale[: cells // 2] = QUIET
    if law.startswith("one"):
        scale[1:] = 1 / int(law.removeprefix("one"))
    if law == "range4":
        scale = np.linspace(0.25, 1, cells)
    return scale


def study(rng: np.random.Generator, cells: int, seeds: int, law: str = "equal", collapsed: int = 0) -> Array:
    """Values (cells, seeds) of equals, with a noise that each seed's cells share; of some cells one seed collapsed."""
    noise = relative_noise(law, cells)[:, None] * rng.normal(size=(cells, seeds)) + rng.normal(size=seeds)
    y: Array = 5 * np.exp(NOISE * noise)
    for k in rng.permutation(cells)[:collapsed]:
        y[k, rng.integers(seeds)] *= COLLAPSED
    return y


def places(y: Array, nfe: float = 20, beside: Sequence[float] = ()) -> list[Place]:
    """The ranking of the cells with values y (cells, seeds), named by their index, at one NFE of several."""
    cells = [cell(seeded(row), f"{k}", nfe=nfe) for k, row in enumerate(y)]
    others = [cell(seeded(y[0]), nfe=other) for other in beside]
    return ranking([*cells, *others], "fd_lite0", nfe)


def called_worse(ranked: Sequence[Place]) -> set[int]:
    """The indices of the cells that are called worse."""
    return {int(place.cell.factors["paradigm"]) for place in ranked if place.outcome == "worse"}


def worse(y: Array) -> set[int]:
    """The indices of the cells with values y (cells, seeds) that are called worse."""
    return called_worse(places(y))


def page(rankings: Sequence[Array]) -> list[set[int]]:
    """The cells that are called worse at each NFE of a page, where any are."""
    nfes = [10.0 * (k + 1) for k in range(len(rankings))]
    each = (called_worse(places(y, nfe, [x for x in nfes if x != nfe])) for y, nfe in zip(rankings, nfes, strict=True))
    return [found for found in each if found]
