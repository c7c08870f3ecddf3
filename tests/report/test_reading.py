"""What stands beside a number: its floor with its n, notes, the interval of a difference, the seeds that diverged."""

from __future__ import annotations

import dataclasses
import math

import pytest

from difflab.metric.direction import possible, title
from difflab.report.floor import floor_of
from difflab.report.ranking import Verdict, ranking
from difflab.report.reading import any_error, bars, difference_text, divergences
from difflab.report.statistics import Interval, summary
from difflab.report.study import Study
from difflab.report.tables import ranking_tables
from helpers.studies import card, config, grid, record
from helpers.verdicts import cell, seeded


def evaluation(seed=0, notes=(), **metrics):
    found = record(config(seed=seed), card(n_generated=25_000), fd_lite0=3.0 + seed / 10, **metrics)
    return dataclasses.replace(found, notes=dict(notes))


def test_a_floor_stands_with_its_n_or_with_the_reason_why_there_is_none():
    for metrics, notes, text in (
        ({"fd_lite0_floor": 1.5, "n_floor": 25_000}, {}, "1.5 (n=25,000)"),
        (
            {"fd_lite0_floor": 1.5, "n_floor": 25_000, "n_floor_from": 1000},
            {},
            "1.5 (n=25,000, from 1,000 real samples)",
        ),
        ({"fd_lite0_floor": 9.0, "n_floor": 1000}, {}, "none: it was measured at n=1,000 by an older difflab"),
        ({}, {"fd_lite0": "only 7 reference samples; no floor: it takes 448 real samples"}, "none: it takes 448 real"),
    ):
        found = [evaluation(seed, notes, **metrics) for seed in (0, 1)]
        assert str(floor_of(found, "fd_lite0")).startswith(text)
        (table,) = ranking_tables(Study.of(found), "fd_lite0")
        assert table.rows[0]["real against real"] == text.partition(":")[0]
        assert any(note.startswith(f"No floor{text.removeprefix('none')}") for note in table.notes) == ("none" in text)
        assert any("Only 7 reference samples." in note for note in table.notes) == bool(notes)
    assert floor_of([evaluation()], "fd_lite0") is None
    other = [evaluation(fd_lite0_vs_train_floor=2.0, n_floor_vs_train=25_000, copies=0.1, copies_floor=0.01)]
    assert str(floor_of(other, "fd_lite0_vs_train")) == "2 (n=25,000)"
    assert str(floor_of(other, "copies")) == "0.01 (of held-out samples)"


def test_floors_that_are_of_other_samples_say_of_which():
    found = evaluation(
        notes={"is_classifier": "floor extrapolated to n=25000 from 2000 real samples"},
        **{"n_floor": 25_000, "n_floor_from": 25_000, "is_classifier": 9.0, "is_classifier_floor": 9.5},
        **{"class_accuracy": 0.9, "class_accuracy_floor": 0.95, "text_retrieval": 0.4, "text_retrieval_floor": 0.7},
    )
    texts = {
        "is_classifier": "9.5 (n=25,000, from 2,000 real samples)",
        "class_accuracy": "0.95 (of held-out samples)",
        "text_retrieval": "0.7 (of the real images of these texts)",
    }
    for metric, text in texts.items():
        assert str(floor_of([found], metric)) == text


def test_intervals_stay_in_the_range_of_possible_values():
    assert possible("recall_lite0_vs_train") == (0, 1)
    assert possible("kid_lite0") == (-math.inf, math.inf)
    for values, text in (([0.9, 0.3, 0.6], "0.60 (0.00 to 1.00)"), ([0.2, 0.9], "0.55 (0.20, 0.90)")):
        found = summary(values, "training seeds", *possible("recall_lite0"))
        assert str(found) == text
        assert 0 <= found.low <= found.mean <= found.high <= 1
    assert str(summary([4.0, 4.1, 4.2], "training seeds", 0, math.inf)) == "4.10 ± 0.25"
    assert str(summary([2.0], "training seeds", 0, 1)) == "2"


def test_a_difference_reads_as_a_ratio_where_it_is_one():
    ratio = Interval(math.log(1.2), math.log(1.02), math.log(1.4), 3, ratio=True)
    assert difference_text(Verdict("worse", ratio, "")) == "+20 % (+2.0 to +40)"
    assert difference_text(Verdict("worse", Interval(-0.1, -0.15, -0.05, 3), "")) == "-0.1 (-0.15 to -0.05)"
    assert difference_text(Verdict("inconclusive", Interval(math.nan, math.nan, math.nan, 0), "")) == ""


def test_the_bar_of_a_difference_reaches_the_line_where_the_verdict_is_inconclusive():
    ranked = ranking(
        [cell(seeded(row), f"{k}") for k, row in enumerate(([5, 5.1, 5], [5, 5.2, 4.9], [6, 6.2, 6.1]))], "fd_lite0", 20
    )
    drawn = bars(ranked)
    assert [place.outcome for place in ranked] == ["best", "inconclusive against the best", "worse"]
    assert drawn.keys() == {2, 3}
    assert drawn[2].zero == drawn[3].zero
    assert drawn[2].left <= drawn[2].zero <= 100 - drawn[2].right
    assert drawn[3].zero < drawn[3].left < drawn[3].mean < 100 - drawn[3].right <= 100


def test_a_seed_that_diverged_is_one_line_for_all_cells_of_its_training(tmp_path):
    records = grid(tmp_path)
    for each in records:
        if each.config["choices"]["paradigm"] == "vp_sde" and each.seed == 2:
            each.metrics["fd_lite0"] *= 3.1
    found = Study.of(records)
    (table,) = ranking_tables(found, "fd_lite0")
    (line,) = divergences(found, table.places)
    assert line.startswith("paradigm=vp_sde: seed 2 diverged, 3")
    assert line.endswith("times its siblings in 8 cells")
    assert sum("‡ seed 2 diverged" in note for note in table.notes) == 8
    assert sum(row[title("fd_lite0")].endswith("‡") for row in table.rows) == 8
    assert {row["against the best"] for row in table.rows if "‡" not in row[title("fd_lite0")]} == {"best", "worse"}


def test_the_error_of_a_page_is_counted_over_its_metrics():
    """Of independent metrics: of six, one study in four."""
    assert any_error(6) == pytest.approx(0.265, abs=1e-3)
