"""Sampling grids: the laws, for every grid on every schedule, and what is refused."""

import itertools

import pytest
import torch

from difflab.laws import close
from difflab.laws.grids import LAWS
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import EDM, VP, Linear
from difflab.sampler.grid import Cosine, Explicit, Karras, Leading, Levels, Sections, Shift, Uniform
from difflab.sampler.optimised import FIXED, Optimised
from helpers.closed_forms import f64
from helpers.conf import every, schedules
from helpers.laws import assert_law


def ten_steps(grid, schedule):
    """The grid of ten steps; those that state their own times or number of steps, with ten."""
    if isinstance(grid, Sections):
        return Sections((3, 4, 3))
    if isinstance(grid, Explicit):
        share = [0.1 * k for k in range(10, 0, -1)]
        return Explicit(tuple(1 + round(u * (schedule.t_max - 1)) if schedule.discrete else u for u in share))
    return grid


def any_steps():
    """The grids that make any number of steps."""
    return [grid for grid in every("grid").values() if grid.steps is None]


def test_every_grid_on_every_schedule(subtests):
    for law in LAWS:
        with subtests.test(law.__name__):
            pairs = itertools.product(every("grid").values(), schedules().values())
            assert_law(law(ten_steps(grid, schedule), schedule, 10) for grid, schedule in pairs)


def test_every_grid_but_leading_starts_at_the_noisiest_time_or_at_its_own_first_level():
    def noisiest(grid, schedule):
        end = f64(schedule.t_max)[0]
        own = isinstance(grid, Levels) and schedule.log_snr(end) < grid.noisy
        return schedule.time_at(torch.full_like(end, grid.noisy)) if own else end

    def cases():
        for grid, schedule in itertools.product(every("grid").values(), schedules().values()):
            grid = grid if not isinstance(grid, Optimised) else FIXED[0]  # what it is before its times are found
            if not isinstance(grid, Leading):
                first = ten_steps(grid, schedule)(schedule, 10)[0]
                yield close(f"{grid} on {schedule}", first, noisiest(grid, schedule), rtol=1e-3)

    assert_law(cases())


def test_a_short_chain_has_each_of_its_steps_once_at_most(subtests):
    for law in LAWS:
        with subtests.test(law.__name__):
            chain = GeometricSigmas(T=20)
            assert_law(law(grid, chain, steps) for grid in any_steps() for steps in (1, 7, 19, 20))


def test_more_steps_than_a_chain_has_are_refused():
    assert any_steps()
    for grid in any_steps():
        with pytest.raises(ValueError, match="at most 20"):
            grid(GeometricSigmas(T=20), 21)


def test_sections_must_sum_up():
    with pytest.raises(ValueError, match="makes 45 steps, not 50"):
        Sections((10, 15, 20))(LinearBetas(), 50)


def test_a_list_must_have_as_many_times_as_there_are_steps():
    with pytest.raises(ValueError, match=r"grid\.times makes 3 steps, not 4: set nfe"):
        Explicit((1.0, 0.5, 0.2))(VP(), 4)


def test_a_shift_multiplies_the_noise_on_the_straight_path():
    for grid in (Uniform(), Karras(), Cosine()):
        plain, moved = (Mix(*(part[1:-1] for part in Linear()(g(Linear(), 10)))) for g in (grid, Shift(3.0, grid)))
        torch.testing.assert_close(moved.sigma / moved.alpha, 3 * plain.sigma / plain.alpha)


def test_shifts_follow_one_another_and_1_moves_nothing():
    for schedule in (VP(), Linear(t_max=0.999), EDM()):
        torch.testing.assert_close(Shift(3.0, Shift(2.0))(schedule, 10), Shift(6.0)(schedule, 10))
        torch.testing.assert_close(Shift(1.0)(schedule, 10), Uniform()(schedule, 10))
    assert torch.equal(Shift(1.0)(LinearBetas(), 10), Uniform()(LinearBetas(), 10))


def test_a_list_is_taken_as_it_is_and_the_data_end_added():
    ours = f64(1, 0.7, 0.1, 0)
    assert torch.equal(Explicit((1.0, 0.7, 0.1))(VP(), 3), ours)
    assert torch.equal(Explicit((1.0, 0.7, 0.1, 0.0))(VP(), 3), ours)
    assert Explicit((999, 400, 7))(LinearBetas(), 3).tolist() == [999, 400, 7, 0]


def test_a_list_that_does_not_fall_to_data_is_refused(subtests):
    for times in [(0.5, 1.0), (0.5, 0.5), (0.5, -0.5), (0.0,), ()]:
        with subtests.test(str(times)), pytest.raises(ValueError, match="must fall"):
            Explicit(times)


def test_settings_without_meaning_are_named(subtests):
    for make, message in [
        (lambda: Shift(0.0), r"grid\.shift=0\.0 must be positive"),
        (lambda: Explicit((1000, 500))(VP(), 2), r"VP\(.*\) has times up to 1"),
        (lambda: Explicit((1000, 500))(GeometricSigmas(T=50), 2), "has whole times up to 50"),
        (lambda: Explicit((1.0, 0.5))(LinearBetas(), 2), "has whole times up to 1000"),
    ]:
        with subtests.test(message), pytest.raises(ValueError, match=message):
            make()
