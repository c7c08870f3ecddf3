"""Training times: the laws, for every option on every schedule, and what the single options promise."""

import copy
import itertools

import pytest
import torch
from scipy.stats import kstest, uniform

from difflab.laws.times import LAWS, weights_keep_the_uniform_mean
from difflab.objective.times import Curriculum, Importance, Stratified, Uniform
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import EDM, VP, Linear
from helpers.conf import every, schedules
from helpers.laws import assert_law


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def skewed(schedule, bins=20):
    """Importance that has seen losses which differ by orders of magnitude along the axis."""
    times = Importance(bins=bins, history=10, uniform=0.01)
    t = schedule.time((torch.arange(50 * bins, dtype=torch.float64) + 0.5) / (50 * bins))
    times.observe(schedule, t, 0.01 + torch.linspace(0, 1, len(t), dtype=torch.float64) ** 3)
    return times


def test_every_law_of_training_times(subtests):
    for law in LAWS:
        with subtests.test(law.__name__):
            assert_law(law(*pair) for pair in itertools.product(every("times").values(), schedules().values()))


def test_a_law_changes_no_times():
    before = copy.deepcopy(every("times")["importance"].state_dict())
    for law in LAWS:
        law(every("times")["importance"], VP())
    assert all(torch.equal(value, before[key]) for key, value in every("times")["importance"].state_dict().items())


def test_the_weighted_mean_is_the_uniform_one():
    """Also on chains whose steps the pieces of importance do not divide."""
    on = [VP(), EDM(), LinearBetas(T=1000), LinearBetas(T=50), LinearBetas(T=1003)]
    assert_law(
        weights_keep_the_uniform_mean(times, schedule)
        for schedule in on
        for times in (Uniform(), Stratified(), Importance(), skewed(schedule))
    )


def test_stratified_times_take_each_stratum_once_and_their_ranks_share_one_draw():
    t, _ = Stratified()(Linear(t_min=0), 64, seeded())
    assert (t * 64).floor().sort().values.tolist() == list(range(64))
    each = (t * 64) % 1
    torch.testing.assert_close(each, each[:1].expand(64))
    halves = t.reshape(2, 32)  # what two processes train on: random, not the quiet and the noisy half
    assert (halves.mean(1) - 0.5).abs().max() < 0.2


def test_a_curriculum_begins_with_the_noisiest_piece_and_ends_uniform():
    for progress, lowest in [(0, 0.75), (0.2, 0.5), (0.39, 0.5), (0.4, 0.25), (0.6, 0), (1, 0)]:
        t, _ = Curriculum(stages=4, share=0.6)(Linear(t_min=0), 20_000, seeded(), progress)
        assert kstest(t.numpy(), uniform(lowest, 1 - lowest).cdf).pvalue > 0.01, progress


def test_a_curriculum_without_meaning_is_refused(subtests):
    for settings in [{"stages": 0}, {"share": 0.0}, {"share": 1.5}]:
        with subtests.test(str(settings)), pytest.raises(ValueError, match="a curriculum needs"):
            Curriculum(**settings)


def test_importance_without_meaning_is_refused(subtests):
    for settings in [{"bins": 0}, {"history": 0}, {"uniform": 0.0}]:
        with subtests.test(str(settings)), pytest.raises(ValueError, match="Importance"):
            Importance(**settings)


def test_importance_finds_the_piece_that_a_time_was_drawn_from():
    for schedule in (VP(), EDM(), LinearBetas(T=30), LinearBetas(T=1003), LinearBetas(T=4000)):
        times = Importance()
        pieces = times.pieces(schedule)
        assert pieces == (30 if schedule == LinearBetas(T=30) else 100), schedule
        middles = (torch.arange(pieces, dtype=torch.float64) + 0.5) / pieces
        times.observe(schedule, schedule.time(middles), torch.ones(pieces))
        assert times.seen[:pieces].tolist() == [1] * pieces, schedule


def test_importance_survives_its_state_and_more_losses_than_its_memory_in_one_batch():
    old, new = skewed(VP()), Importance(bins=20, history=10, uniform=0.01)
    assert old.seen.min() == 50
    new.load_state_dict(old.state_dict())
    for a, b in zip(old(VP(), 64, seeded()), new(VP(), 64, seeded()), strict=True):
        assert torch.equal(a, b)
