"""Confidence intervals against scipy, and their coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from difflab.report.statistics import Interval, estimate, interval, range_of_equals


def draws(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_the_interval_is_that_of_students_t():
    for n in (2, 3, 10):
        for level in (0.9, 0.95, 0.999):
            values = draws(n)
            found = interval(list(values), "training seeds", level)
            expected = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
            assert (found.low, found.high) == pytest.approx(expected), (n, level)
            assert found.mean == pytest.approx(values.mean()), (n, level)
            assert found.n == n


def test_the_interval_covers_the_mean_in_95_percent_of_samples():
    trials = 4000
    for n in (2, 3, 5):
        covered = sum(each.low <= 0 <= each.high for each in (interval(list(row), "") for row in draws(trials, n)))
        assert covered / trials == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / trials)), n


def test_the_range_of_equals_is_tukeys_and_of_two_that_of_students_t():
    """Tukey's q(0.05; 3, 10) = 3.877 and q(0.05; 5, 20) = 4.232 (Harter 1960)."""
    for cells, freedom, q in ((3, 10, 3.877), (5, 20, 4.232)):
        assert range_of_equals(cells, freedom) == pytest.approx(q / math.sqrt(2), abs=5e-4)
    for freedom in (1, 2, 10):
        assert range_of_equals(2, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)


def test_a_training_counts_once_however_often_it_was_sampled():
    values = {((s,), z): 10.0 * s + z for s in range(3) for z in range(4)}
    assert estimate(values) == interval([1.5, 11.5, 21.5], "training seeds")


def test_one_training_has_an_interval_of_sampling_noise_and_one_value_has_none():
    noise = estimate({((7,), z): float(z) for z in range(3)})
    assert (noise.over, noise.n, noise.known) == ("noise seeds", 3, True)
    single = estimate({((7,), 0): 2.0})
    assert (single.mean, single.n, single.known) == (2.0, 1, False)
    assert str(single) == "2"


def test_an_interval_prints_two_digits_of_its_half_width():
    for value, text in (
        (Interval(4.2731, 3.9931, 4.5531, 3), "4.27 ± 0.28"),
        (Interval(4.0, 3.7, 4.3, 3), "4.00 ± 0.30"),
        (Interval(312.4, 288.9, 335.9, 3), "312 ± 24"),
        (Interval(0.01, 0.0095, 0.0105, 3), "0.01000 ± 0.00050"),
    ):
        assert str(value) == text


def test_an_interval_with_a_common_error_covers_the_mean_too():
    """Three seeds that measured on the same held-out samples: the interval of the seeds alone is too short."""
    trials, common = 4000, 2.0
    seeds, shared = draws(trials, 3), common * np.random.default_rng(1).normal(size=(trials, 1))
    alone = [interval(list(row), "") for row in seeds + shared]
    covered = [np.mean([each.low <= 0 <= each.high for each in some]) for some in (alone, widened(alone, common))]
    assert covered[0] < 0.8
    assert 0.95 - 4 * math.sqrt(0.05 * 0.95 / trials) < covered[1]
    assert interval([1.0], "").widened(common).known is False


def widened(intervals, error):
    return [each.widened(error) for each in intervals]
