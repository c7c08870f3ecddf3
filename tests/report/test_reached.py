"""The cost of a target quality: the least measured NFE that reaches it, and what is said where none does."""

from __future__ import annotations

import pytest

from difflab.report.reached import Target, reached, reached_text, target_of
from difflab.report.study import Study
from helpers.studies import NFES, card, config, distance, record


@pytest.fixture(scope="module")
def exact():
    """The distances of the made-up study without noise, and floors that are 1 of a distance and -1 of another."""
    return Study.of(
        [
            record(
                config(paradigm),
                card(sampler=sampler, nfe=nfe),
                fd_lite0=distance(paradigm, sampler, nfe),
                **{"fd_lite0_floor": 2.0, "kid_lite0": 0.1, "kid_lite0_floor": -1.0, "precision_lite0": 1 - 1 / nfe},
            )
            for paradigm in ("vp_sde", "rectified_flow")
            for sampler in ("DDIM(eta=0.0)", "Heun()")
            for nfe in NFES
        ]
    )


def test_the_target_is_twice_the_floor_of_a_distance_unless_another_is_asked_for(exact):
    (group,) = exact.groups
    target = target_of(group, "fd_lite0")
    assert (target.value, str(target)) == (4.0, "≤ 4 (2 × floor)")
    assert str(target_of(group, "fd_lite0", 3.5)) == "≤ 3.5 (as asked)"
    assert target_of(group, "kid_lite0") is None  # twice a negative floor is better than the floor
    assert target_of(group, "precision_lite0") is None
    assert str(target_of(group, "precision_lite0", 0.9)) == "≥ 0.9 (as asked)"


def test_each_series_has_the_least_nfe_that_reaches_the_target(exact):
    (group,) = exact.groups
    for value in (3.0, 4.0, 6.0):
        found = {each.label: each for each in reached(exact, group, Target("fd_lite0", value, "as asked"))}
        for paradigm in ("vp_sde", "rectified_flow"):
            for sampler, name in (("DDIM(eta=0.0)", "ddim"), ("Heun()", "heun")):
                enough = [nfe for nfe in NFES if distance(paradigm, sampler, nfe) <= value]
                each = found[f"paradigm={paradigm} sampler={name}"]
                assert (each.cell.nfe if each.cell else None) == (min(enough) if enough else None)
                assert each.best.nfe == max(NFES)


def test_the_cheapest_series_come_first_and_those_that_do_not_reach_it_last(exact):
    (group,) = exact.groups
    found = reached(exact, group, Target("fd_lite0", 3.0, "as asked"))
    costs = [each.cell.cost["nfe"] for each in found if each.cell]
    assert costs == sorted(costs)
    assert [each.cell is None for each in found] == sorted(each.cell is None for each in found)
    unreachable = reached(exact, group, Target("fd_lite0", 0.1, "as asked"))
    assert all(each.cell is None for each in unreachable)
    means = [each.best.estimate("fd_lite0").mean for each in unreachable]
    assert means == sorted(means)


def test_a_sentence_states_the_target_the_costs_and_who_does_not_reach_it(exact):
    (group,) = exact.groups
    text = reached_text(exact, group, Target("fd_lite0", 3.0, "as asked"))
    assert text.startswith("Fréchet distance (EfficientNet-Lite0) ≤ 3 (as asked), at the fewest measured evaluations: ")
    assert "paradigm=rectified_flow sampler=heun 49 NFE, 0.049 s" in text
    none = reached_text(exact, group, Target("fd_lite0", 0.1, "as asked"))
    assert none.endswith("evaluations: not reached by any.")
