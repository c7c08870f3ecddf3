"""The Frechet distance of infinitely many generated samples."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from difflab.metric.distance import frechet
from difflab.metric.extrapolated import FEWEST, frechet_and_limit

D = 16


def white(n, seed):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_limit_is_near_the_closed_form_and_the_distance_is_not(subtests):
    for n in [FEWEST * D, 10 * D + 1]:
        with subtests.test(f"n={n}"):
            scale, shift = 1.1, 0.1
            real = white(40_000, seed=0)
            # and the bias of the real set
            truth = D * ((scale - 1) ** 2 + shift**2) + frechet(white(40_000, seed=1), real) / 2
            found = np.array([frechet_and_limit(scale * white(n, seed) + shift, real) for seed in range(2, 152)])
            plain, limit = found.mean(0) - truth
            error = found[:, 1].std() / len(found) ** 0.5
            assert abs(limit) < 3 * error + 0.1 * plain
            assert plain > 20 * error


def test_agrees_with_the_line_through_many_sizes():
    real, generated = white(3000, seed=0), 1.2 * white(2000, seed=1) + 0.3
    rng = np.random.default_rng(0)
    sizes = np.linspace(200, 2000, 15).astype(int)  # Chong & Forsyth's procedure
    values = [frechet(generated[rng.choice(2000, size, replace=False)], real) for size in sizes]
    line = LinearRegression().fit(1 / sizes[:, None], values)
    plain, limit = frechet_and_limit(generated, real)
    assert plain == frechet(generated, real)
    assert limit == pytest.approx(line.intercept_, rel=0.03)
    assert limit < plain


def test_is_the_same_every_time_and_leaves_the_global_generator_alone():
    real, generated = white(500, seed=0), white(301, seed=1)
    before = torch.get_rng_state()
    assert frechet_and_limit(generated, real) == frechet_and_limit(generated, real)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_order_of_balanced_samples_does_not_matter():
    real = white(2000, seed=0)
    sorted_ = white(1000, seed=1).sort(0).values  # halves in this order would lie apart
    mixed = sorted_[torch.randperm(1000, generator=torch.Generator().manual_seed(5))]
    assert frechet_and_limit(sorted_, real)[1] == pytest.approx(frechet_and_limit(mixed, real)[1], rel=0.1)


def test_there_is_no_limit_of_too_few():
    real = white(200, seed=0)
    assert math.isnan(frechet_and_limit(white(FEWEST * D - 1, seed=1), real)[1])
    assert math.isfinite(frechet_and_limit(white(FEWEST * D, seed=1), real)[1])
