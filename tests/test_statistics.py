from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
from scipy import stats

from difflab.experiment.run import Run
from difflab.report.statistics import Interval, compare, estimate, interval, pareto, ranking
from difflab.report.study import Cell
from studies import card, config, evaluation, write


@functools.cache
def blank(seed, noise_seed, **changes):
    return evaluation(config(seed=seed), card(seed=noise_seed, **changes))


def cell(values, name="a", **changes):
    """A cell of values by (training seed, noise seed)."""
    found = [
        dataclasses.replace(blank(*seeds, **changes), metrics={"fd_lite0": value, "precision_lite0": -value})
        for seeds, value in values.items()
    ]
    return Cell({"paradigm": name}, tuple(found))


def seeded(values):
    return {(s, 0): float(value) for s, value in enumerate(values)}


def draws(*shape):
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_the_interval_is_that_of_students_law(n, level):
    values = draws(n)
    found = interval(list(values), "training seeds", level)
    expected = stats.t.interval(level, n - 1, loc=values.mean(), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(values.mean())
    assert found.n == n


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_interval_covers_the_mean_as_often_as_it_says(n):
    trials = 4000
    covered = sum(found.low <= 0 <= found.high for found in (interval(list(row), "") for row in draws(trials, n)))
    assert covered / trials == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / trials))


def test_a_training_counts_once_however_often_it_was_sampled():
    values = {((s,), z): 10.0 * s + z for s in range(3) for z in range(4)}
    assert estimate(values) == interval([1.5, 11.5, 21.5], "training seeds")


def test_one_training_has_an_interval_of_sampling_noise_and_one_value_has_none():
    noise = estimate({((7,), z): float(z) for z in range(3)})
    assert (noise.over, noise.n, noise.known) == ("noise seeds", 3, True)
    single = estimate({((7,), 0): 2.0})
    assert (single.mean, single.n, single.known) == (2.0, 1, False)
    assert str(single) == "2"


def test_a_comparison_is_the_paired_t_test():
    for a, b in draws(200, 2, 4):
        found = compare(cell(seeded(a)), cell(seeded(b)), "fd_lite0")
        expected = stats.ttest_rel(a, b)
        ends = expected.confidence_interval(0.95)
        assert (found.difference.low, found.difference.high) == pytest.approx((ends.low, ends.high))
        assert (found.word == "inconclusive") == (expected.pvalue >= 0.05)
        assert found.word in ("inconclusive", "better" if expected.statistic < 0 else "worse")


def test_direction_follows_the_metric():
    low, high = cell(seeded([1, 1.1, 0.9])), cell(seeded([5, 5.2, 4.8]))
    assert compare(low, high, "fd_lite0").word == "better"
    assert compare(high, low, "fd_lite0").word == "worse"
    assert compare(low, high, "precision_lite0").word == "better"


def test_pairing_takes_away_the_noise_in_common():
    common, own = 100 * draws(5), 0.1 * draws(2, 5)
    a, b = cell(seeded(common + own[0])), cell(seeded(common + own[1] + 1))
    assert compare(a, b, "fd_lite0").word == "better"
    assert a.estimate("fd_lite0").high > b.estimate("fd_lite0").mean  # which the intervals alone do not show


def test_only_common_seeds_are_compared():
    a, b = cell({(0, 0): 1.0, (1, 0): 2.0, (2, 0): 90.0}), cell({(0, 0): 2.0, (1, 0): 3.01, (5, 0): -90.0})
    assert compare(a, b, "fd_lite0").difference.mean == pytest.approx(-1.005)
    assert compare(a, b, "fd_lite0").word == "better"
    alone = compare(cell({(0, 0): 1.0}), cell({(0, 0): 9.0}), "fd_lite0")
    assert (alone.word, alone.why) == ("inconclusive", "one seed in common")
    apart = compare(cell({(0, 0): 1.0}), cell({(0, 1): 9.0}), "fd_lite0")
    assert (apart.word, apart.why) == ("inconclusive", "no seed in common")


def test_unlike_protocols_are_not_compared():
    a, b = cell(seeded([1, 1.1, 0.9])), cell(seeded([5, 5.2, 4.8]), n_generated=500)
    found = compare(a, b, "fd_lite0")
    assert (found.word, found.why) == ("inconclusive", "unlike protocol: n_generated")
    with pytest.raises(ValueError, match="unlike protocols"):
        ranking([a, b], "fd_lite0", 20)


@pytest.mark.parametrize("cells", [2, 6, 18])
@pytest.mark.parametrize("law", ["positive", "of both signs"])
def test_equals_are_seldom_told_from_the_best(cells, law):
    trials = 200
    values = draws(trials, cells, 3) + draws(trials, 1, 3)  # what is common to a seed counts for nothing
    values = np.exp(0.05 * values) if law == "positive" else values
    found = [ranking([cell(seeded(v)) for v in row], "fd_lite0", 20) for row in values]
    wrong = sum(any(place.says == "worse" for place in places) for places in found) / trials
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_equals_are_seldom_told_from_the_best_beside_others_whose_noise_is_as_large_as_they():
    trials, means = 200, np.array([1.0] * 9 + [2.0, 3, 4, 6, 8, 10, 15, 20, 30])[:, None]
    found = [
        ranking([cell(seeded(v), f"{k}") for k, v in enumerate(row)], "fd_lite0", 20)
        for row in means * (1 + 0.05 * draws(trials, 18, 3))
    ]
    equals = {f"{k}" for k in range(9)}
    worse = [{place.cell.factors["paradigm"] for place in places if place.says == "worse"} for places in found]
    assert sum(bool(each & equals) for each in worse) / trials <= 0.05
    assert all(len(each - equals) == 9 for each in worse)  # three seeds settle these


def test_two_are_held_against_each_other_by_the_paired_t_test_of_their_logarithms():
    for a, b in np.exp(draws(100, 2, 4)):
        *_, last = ranking([cell(seeded(a)), cell(seeded(b))], "fd_lite0", 20)
        p = stats.ttest_rel(np.log(a), np.log(b)).pvalue
        assert (last.says == "worse") == (p < 0.05 and last.verdict.difference.mean > 0)


def test_of_many_cells_the_range_is_tukeys():
    rows = 5 + draws(6, 4)
    places = ranking([cell(seeded(row)) for row in rows], "fd_lite0", 20)
    y = np.log(rows)
    rest = y - y.mean(0) - y.mean(1, keepdims=True) + y.mean()
    half = stats.studentized_range.ppf(0.95, 6, 15) * math.sqrt((rest**2).sum() / 15 / 4)
    assert all(place.verdict.difference.half_width >= half * (1 - 1e-9) for place in places[1:])
    assert any(place.verdict.difference.half_width == pytest.approx(half) for place in places[1:])


def test_of_one_training_of_each_only_samplers_are_compared():
    low, high = {(0, z): 1 + 0.01 * z for z in range(4)}, {(0, z): 9 + 0.02 * z for z in range(4)}
    sampled = ranking([cell(low), cell(high, sampler="DDIM()")], "fd_lite0", 20)
    assert sampled[1].says == "worse"
    other = cell(high, "b")
    moved = [dataclasses.replace(e, run=Run(e.run.folder.with_name("other"))) for e in other.evaluations]
    trained = ranking([cell(low), Cell(other.factors, tuple(moved))], "fd_lite0", 20)
    assert trained[1].says == "inconclusive against the best"
    assert trained[1].verdict.why == "one training of each: only the noise was repeated"


def test_what_is_no_number_is_never_the_best_and_comes_last():
    for metric in ("fd_lite0", "precision_lite0"):
        places = ranking([cell(seeded([math.nan, 1, 1])), cell(seeded([2, 2.1, 2.2]))], metric, 20)
        assert [place.says for place in places] == ["best", "not a number"]
        assert places[0].value.mean == pytest.approx(2.1 if metric == "fd_lite0" else -2.1)
    assert [place.says for place in ranking([cell(seeded([math.nan]))], "fd_lite0", 20)] == ["not a number"]
    assert pareto([cell(seeded([math.nan])), found := cell(seeded([2.0]))], "fd_lite0") == [found]


def test_who_takes_more_evaluations_than_were_asked_for_is_ranked_apart():
    honest, greedy = cell(seeded([3, 3.1, 3.2])), cell(seeded([1, 1.1, 1.2]))
    more = [dataclasses.replace(e, cost={**e.cost, "nfe": 87.5, "device": "cpu"}) for e in greedy.evaluations]
    greedy = Cell(greedy.factors, tuple(more))
    assert [place.cell for place in ranking([honest, greedy], "fd_lite0", 20)] == [honest]
    assert [place.cell for place in ranking([honest, greedy], "fd_lite0", 0)] == [greedy]
    assert pareto([honest, greedy], "fd_lite0") == [honest, greedy]


def test_a_network_that_was_trained_on_meets_its_first_at_the_seeds_of_that(tmp_path):
    first, second = [], []
    for seed, level in enumerate((3.0, 30.0, 300.0)):
        teacher = evaluation(config(seed=seed), card(), tmp_path, fd_lite0=level)
        write(teacher, pictures=False)
        student = config("rectified_flow", 7, init=str(teacher.run.folder))
        first.append(teacher)
        second.append(evaluation(student, card(), tmp_path, fd_lite0=0.5 * level * (1 + seed / 100)))
    a, b = Cell({"paradigm": "a"}, tuple(first)), Cell({"paradigm": "b"}, tuple(second))
    assert compare(a, b, "fd_lite0").difference.n == 3
    assert [place.says for place in ranking([a, b], "fd_lite0", 20)] == ["best", "worse"]  # though the levels overlap


def test_a_ranking_says_who_may_be_the_best():
    near, far = cell(seeded([1.1, 0.8, 1.2])), cell(seeded([4, 4.1, 3.9]))
    best, second, third = ranking([far, near, cell(seeded([1, 1, 1]))], "fd_lite0", 20)
    assert [best.says, second.says, third.says] == ["best", "inconclusive against the best", "worse"]
    assert (second.cell, third.cell) == (near, far)
    assert ranking([far, near], "precision_lite0", 20)[0].cell is near
    assert ranking([far, near], "fd_lite0", 10) == []


def test_the_front_holds_what_nothing_betters_at_no_more_cost():
    cells = [cell({(0, 0): value}, nfe=nfe) for nfe, value in ((5, 9.0), (5, 8.0), (10, 8.5), (20, 3.0), (50, 3.0))]
    assert [(c.nfe, c.estimate("fd_lite0").mean) for c in pareto(cells, "fd_lite0")] == [(5, 8.0), (20, 3.0)]


def test_an_interval_prints_two_digits_of_its_half():
    assert str(Interval(4.2731, 3.9931, 4.5531, 3)) == "4.27 ± 0.28"
    assert str(Interval(4.0, 3.7, 4.3, 3)) == "4.00 ± 0.30"
    assert str(Interval(312.4, 288.9, 335.9, 3)) == "312 ± 24"
    assert str(Interval(0.01, 0.0095, 0.0105, 3)) == "0.01000 ± 0.00050"


def test_says_what_was_measured_instead():
    with pytest.raises(ValueError, match=r"'fid' was not measured of a nfe=20; there is .*fd_lite0"):
        cell(seeded([1, 2])).estimate("fid")
