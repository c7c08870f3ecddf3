"""Variances of cells, moderated by those of all: against simulated laws and against scipy and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma
from sklearn.linear_model import LinearRegression

from difflab.report.variance import against_best, inverse_trigamma, noise, prior


def test_the_prior_of_many_variances_is_the_law_that_they_were_drawn_from():
    rng = np.random.default_rng(0)
    for d_0, s_0, f in ((4.0, 2.0, 2.0), (10.0, 0.3, 4.0)):
        true = s_0 * d_0 / rng.chisquare(d_0, 40_000)
        v = true * rng.chisquare(f, 40_000) / f
        assert prior(v, np.full(len(v), f), 100) == pytest.approx((d_0, s_0), rel=0.07)
        assert prior(v, np.full(len(v), f), 3)[0] == 3
    alike = rng.chisquare(2, 40_000) / 2
    assert prior(alike, np.full(len(alike), 2.0), 100)[1] == pytest.approx(1, rel=0.05)


def test_trigamma_is_inverted():
    for y in (0.05, 0.5, 2.0, 40.0, 3000.0):
        assert inverse_trigamma(float(polygamma(1, y))) == pytest.approx(y, rel=1e-9)


def test_two_rows_are_compared_by_the_paired_t_test():
    for y in np.random.default_rng(0).normal(size=(50, 2, 4)):
        (found,) = against_best(y, 0.95)
        ends = stats.ttest_rel(y[1], y[0]).confidence_interval(0.95)
        assert (found.mean - found.half, found.mean + found.half) == pytest.approx((ends.low, ends.high), rel=1e-6)


def test_equal_variances_are_pooled_as_tukeys_range_does():
    """With rows whose residuals are equally large the moderated variance is the pooled one."""
    n, k = 3, 4
    waves = np.array([[1.0, -1, 0], [-1, 1, 0], [1, -1, 0], [-1, 1, 0]])  # no mean of a row or a column
    y = waves + np.array([0, 1, 2, 3])[:, None]
    variance = 2 * k / ((k - 1) * (n - 1))
    assert noise(y).variance == pytest.approx(np.full(k, variance))
    q = stats.studentized_range.ppf(0.95, k, (k - 1) * (n - 1)) / math.sqrt(2)
    halves = [found.half for found in against_best(y, 0.95)]
    assert halves[1] == pytest.approx(q * math.sqrt(2 * variance / n))  # of rows that vary alike


def test_a_value_that_is_left_out_is_left_out_of_the_fit():
    y = np.random.default_rng(0).normal(size=(5, 3))
    y[1, 2] = math.nan
    cell, seed = np.nonzero(~np.isnan(y))
    design = np.concatenate([np.eye(5)[cell], np.eye(3)[seed]], 1)
    residual = y[cell, seed] - LinearRegression(fit_intercept=False).fit(design, y[cell, seed]).predict(design)
    found = noise(y)
    assert found.freedom.max() <= 14 - 7
    free = 1 - np.diag(design @ np.linalg.pinv(design))
    raw = np.array([(residual[cell == i] ** 2).sum() / free[cell == i].sum() for i in range(5)])
    d_0, s_0 = prior(raw, np.array([2.0, 1, 2, 2, 2]), 4)
    f = np.array([2.0, 1, 2, 2, 2])
    assert found.variance == pytest.approx((d_0 * s_0 + f * raw) / (d_0 + f))
    assert [each.n for each in against_best(y, 0.95)] == [2, 3, 3, 3]


def test_there_is_no_interval_where_nothing_is_left_to_estimate_the_noise_from():
    (found,) = against_best(np.array([[1.0, 2.0], [3.0, math.nan]]), 0.95)
    assert found.n == 1
    assert math.isnan(found.half)
    for agree in ([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [[0.010, 0.010], [0.012, 0.012]]):  # as counts may
        assert all(math.isnan(each.half) for each in against_best(np.array(agree), 0.95))
