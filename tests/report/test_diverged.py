"""Seeds that are named as diverged: healthy ones seldom, of any score, and those that collapse."""

import math

import numpy as np
import pytest

from difflab.report.diverged import diverged

STUDIES = 1000


def share_named(draw, k, n):
    """In which share of studies of k cells with n seeds a seed is named, in logarithms where all are positive."""
    found = 0
    for _ in range(STUDIES):
        y = draw(k, n)
        positive = bool((y > 0).all())
        found += any(seed is not None for seed in diverged(np.log(y) if positive else y, positive))
    return found / STUDIES


@pytest.mark.parametrize("n", [2, 3, 5])
def test_healthy_seeds_are_seldom_named(n):
    rng = np.random.default_rng(n)
    scores = {  # of equal cells
        "of noise 5 %": (lambda k, n: np.exp(0.05 * rng.normal(size=(k, n))), 0.001),
        "of noise 40 %": (lambda k, n: np.exp(0.4 * rng.normal(size=(k, n))), 0.03),
        "of both signs": (lambda k, n: rng.normal(size=(k, n)), 0.013),
        "rare copies": (lambda k, n: rng.binomial(500, 0.003, size=(k, n)) / 500, 0.013),
        "copies": (lambda k, n: rng.binomial(500, 0.01, size=(k, n)) / 500, 0.03),
        "zeros": (lambda k, n: (rng.random((k, n)) < 0.05).astype(float), 0.0),
    }
    for name, (draw, most) in scores.items():
        for k in (2, 3, 6, 18):
            assert share_named(draw, k, n) <= most + 3 * math.sqrt(most / STUDIES), (name, k)


def test_cells_of_another_size_are_not_taken_for_seeds_that_diverged():
    """Noise that grows with the value, one cell around 0: then no logarithms are compared."""
    rng = np.random.default_rng(0)
    means = np.array([0.0, 0.01, 0.02, 0.05, 0.1, 0.2])[:, None]
    draw = lambda k, n: means + (0.05 * means + 5e-4) * rng.normal(size=(k, n))  # noqa: E731
    assert share_named(draw, 6, 3) <= 0.02


def test_a_seed_that_collapses_is_named_in_logarithms_and_without():
    rng = np.random.default_rng(0)
    recall = 0.3 + 0.01 * rng.normal(size=(6, 3))
    recall[4, 1] = 0.0
    assert diverged(-recall, False) == [None] * 4 + [1, None]
    distance = 5 * np.exp(0.05 * rng.normal(size=(6, 3)))
    distance[2, 0] *= 3
    assert diverged(np.log(distance), True) == [None, None, 0, None, None, None]
