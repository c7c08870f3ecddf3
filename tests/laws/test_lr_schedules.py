"""Schedules of the learning rate: their closed forms, what they depend on, and that of Ho et al."""

import itertools
import math

import pytest

from difflab.experiment.parts.build import build
from difflab.paradigm import WSD, Adam, Constant, Cosine, InverseSquareRoot, Optimisation, Restarts
from helpers.conf import composed, every

BUDGET = 100_000
IMAGES = range(500, BUDGET, 500)


def test_schedules_are_their_closed_forms():
    for u in IMAGES:
        share = u / BUDGET
        cosine = share / 0.1 if share < 0.1 else (1 + math.cos(math.pi * (share - 0.1) / 0.9)) / 2
        assert Cosine(0.1)(u, BUDGET) == pytest.approx(cosine)
        assert Constant(20_000)(u, BUDGET) == pytest.approx(min(1, u / 20_000))
        wsd = u / 20_000 if u < 20_000 else 1 if u < 70_000 else (100_000 - u) / 30_000
        assert WSD(20_000, 0.3)(u, BUDGET) == pytest.approx(wsd)
        root = u / 5000 if u < 5000 else 1 if u < 20_000 else math.sqrt(20_000 / u)
        assert InverseSquareRoot(5000, 20_000)(u, BUDGET) == pytest.approx(root)
        vaswani = min(u**-0.5, u * 20_000**-1.5) * 20_000**0.5  # eq. 3, 1 at its peak
        assert InverseSquareRoot(20_000, 20_000)(u, BUDGET) == pytest.approx(vaswani)
        assert Restarts(4)(u, BUDGET) == pytest.approx(1 - (u % 25_000) / 25_000)
    assert Constant(0)(1, BUDGET) == 1


def test_every_schedule_of_conf_rises_to_the_peak_and_stays_below_it():
    """In each of its rounds, if it restarts."""
    for option, schedule in every("lr_schedule").items():
        rounds = getattr(schedule, "rounds", 1)
        for k in range(rounds):
            factors = [schedule(u, BUDGET) for u in IMAGES if u * rounds // BUDGET == k]
            assert all(0 < factor <= 1 for factor in factors), option
            assert max(factors) == pytest.approx(1, abs=1e-3 if rounds == 1 else 0.04), option  # IMAGES lie .03 apart
            peak = factors.index(max(factors))
            assert all(a < b for a, b in itertools.pairwise(factors[: peak + 1])), option
            assert all(a >= b for a, b in itertools.pairwise(factors[peak:])), option


def test_constant_and_inverse_square_root_ignore_the_budget_and_wsd_until_its_decay():
    longer = 10 * BUDGET
    for u in IMAGES:
        for schedule in (Constant(20_000), InverseSquareRoot(5000, 20_000)):
            assert schedule(u, BUDGET) == schedule(u, longer)
        if u <= 0.7 * BUDGET:
            assert WSD(20_000, 0.3)(u, BUDGET) == WSD(20_000, 0.3)(u, longer)
    assert Cosine(0.1)(BUDGET // 2, BUDGET) != Cosine(0.1)(BUDGET // 2, longer)


def test_no_step_of_a_training_has_the_rate_zero():
    for option, schedule in every("lr_schedule").items():
        o = Optimisation(lr_schedule=schedule)
        factors = [o.factor(step, 1000, 128) for step in range(1000)]
        assert min(factors) > 0, option


def test_ho2020_has_the_rate_of_its_code():
    """`2e-4 min(k / 5000, 1)` in the k-th step of 128 images, whatever the budget; theirs is at k in step k + 1."""
    for images in (80_000, 102_400_000):
        config = composed("experiment=ho2020", f"images={images}")
        o, steps = build(config["model"]["optimisation"]), images // 128
        assert (config["batch_size"], config["ema"], config["backbone"]["dropout"], o.clip) == (128, [0.9999], 0.1, 1)
        assert o.optimizer == Adam(0.0, [0.9, 0.999])
        for step in {0, 1, 100, 4999, 5000, 5001, 700_000} & {*range(steps)}:
            assert o.lr * o.factor(step, steps, 128) == pytest.approx(2e-4 * min((step + 1) / 5000, 1), rel=1e-12)
