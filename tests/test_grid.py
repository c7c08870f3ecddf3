"""Grids: laws for every option and schedule, and the spacings that others publish, which count from zero."""

import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from conftest import built, options, schedules
from difflab.process.discrete import GeometricSigmas, LinearBetas
from difflab.process.gaussian import Mix
from difflab.process.schedule import EDM, VP, Linear
from difflab.sampler.grid import Cosine, Explicit, Karras, Leading, Linspace, Sections, Shift, Uniform

GRIDS = {option: built("grid", option) for option in options("grid")}


def zero_based(grid, steps, table=None):
    return (grid(table or LinearBetas(), steps)[:-1].flip(0) - 1).long().tolist()


def grid_of_ten(option, schedule):
    """The option's grid of ten steps, which two of them must be told."""
    ten = [1 + round(0.1 * k * (schedule.t_max - 1)) if schedule.discrete else 0.1 * k for k in range(10, 0, -1)]
    told = {"sections": Sections((3, 4, 3)), "explicit": Explicit(tuple(ten))}
    return told.get(option) or GRIDS[option]


@pytest.mark.parametrize("option", GRIDS)
@pytest.mark.parametrize("schedule", schedules())
def test_grids_fall_strictly_from_noise_to_data(option, schedule):
    times = grid_of_ten(option, schedule)(schedule, 10)
    assert len(times) == 11
    assert times.dtype == torch.float64
    assert (times.diff() < 0).all()
    assert times[-1] == 0
    assert times[0] <= schedule.t_max
    if option not in ("leading",):
        assert times[0] == pytest.approx(schedule.t_max, rel=1e-3)
    if schedule.discrete:
        assert torch.equal(times, times.round())


@pytest.mark.parametrize("option", [option for option in GRIDS if option not in ("sections", "explicit")])
@pytest.mark.parametrize("steps", [1, 7, 19, 20])
def test_a_table_is_asked_for_each_of_its_steps_once_at_most(option, steps):
    table = GeometricSigmas(T=20)
    times = GRIDS[option](table, steps)
    assert len(set(times.tolist())) == steps + 1
    assert set(times.tolist()) <= set(range(21))
    with pytest.raises(ValueError, match="at most 20"):
        GRIDS[option](table, 21)


def test_spacings_are_those_of_diffusers():
    assert zero_based(Leading(), 10) == list(range(0, 1000, 100))
    assert zero_based(Uniform(), 10) == list(range(99, 1000, 100))
    assert zero_based(Linspace(), 10) == list(range(0, 1000, 111))


def test_respacings_are_those_of_improved_diffusion():
    sections = zero_based(Sections((10, 15, 20)), 45, LinearBetas(T=300))
    assert sections[:2] == [0, 11]
    assert sections[9:12] == [99, 100, 107]
    assert sections[24:29] == [199, 200, 205, 210, 216]
    assert sections[-1] == 299
    quarter = zero_based(Sections((250,)), 250)
    assert quarter[:3] == [0, 4, 8]
    assert quarter[-4:] == [987, 991, 995, 999]
    assert sum(quarter) == 124875
    fifty = zero_based(Linspace(), 50, LinearBetas(T=4000))
    assert fifty[:4] == [0, 82, 163, 245]
    assert sum(fifty) == 99975
    assert sum(zero_based(Sections((90, 60, 60, 20, 20)), 250)) == 88875


def test_the_respaced_chain_has_the_published_betas():
    times = Linspace()(LinearBetas(), 10).flip(0)
    alpha = LinearBetas()(times).alpha
    published = [
        1e-4,
        0.12630763785,
        0.31684361779,
        0.46611906384,
        0.58300549443,
        0.67448063905,
        0.74602976698,
        0.80196259166,
    ]
    torch.testing.assert_close(
        (1 - (alpha[1:] / alpha[:-1]) ** 2)[:8], torch.tensor(published, dtype=torch.float64), rtol=1e-9, atol=0
    )


def test_sections_must_sum_up():
    with pytest.raises(ValueError, match="makes 45 steps, not 50"):
        Sections((10, 15, 20))(LinearBetas(), 50)


def test_a_list_must_have_as_many_times_as_there_are_steps():
    with pytest.raises(ValueError, match=r"grid\.times makes 3 steps, not 4: set nfe"):
        Explicit((1.0, 0.5, 0.2))(VP(), 4)


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_the_shift_is_that_of_diffusers(shift):
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(1, 0.1, 10))
    torch.testing.assert_close(Shift(shift)(Linear(), 10), theirs.sigmas.double(), rtol=1e-6, atol=1e-6)


def test_a_shift_multiplies_the_noise_on_the_straight_path():
    for grid in (Uniform(), Karras(), Cosine()):
        plain, moved = (Mix(*(part[1:-1] for part in Linear()(g(Linear(), 10)))) for g in (grid, Shift(3.0, grid)))
        torch.testing.assert_close(moved.sigma / moved.alpha, 3 * plain.sigma / plain.alpha)


def test_shifts_follow_one_another_and_1_moves_nothing():
    for schedule in (VP(), Linear(t_max=0.999), EDM()):
        torch.testing.assert_close(Shift(3.0, Shift(2.0))(schedule, 10), Shift(6.0)(schedule, 10))
        torch.testing.assert_close(Shift(1.0)(schedule, 10), Uniform()(schedule, 10))
    assert torch.equal(Shift(1.0)(LinearBetas(), 10), Uniform()(LinearBetas(), 10))


def test_the_cosine_of_equal_angles():
    """1 - cos(pi u / 2) counted from noise, as CosyVoice's flow does."""
    angles = torch.linspace(0, math.pi / 2, 11, dtype=torch.float64)
    torch.testing.assert_close(1 - Cosine()(Linear(), 10), 1 - angles.cos())
    assert (Cosine()(Linear(), 10).diff().diff() < 0).all(), "steps grow towards data"


def test_a_list_is_taken_as_it_is_and_the_data_end_added():
    ours = torch.tensor([1, 0.7, 0.1, 0], dtype=torch.float64)
    assert torch.equal(Explicit((1.0, 0.7, 0.1))(VP(), 3), ours)
    assert torch.equal(Explicit((1.0, 0.7, 0.1, 0.0))(VP(), 3), ours)
    assert Explicit((999, 400, 7))(LinearBetas(), 3).tolist() == [999, 400, 7, 0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Explicit((0.5, 1.0)), "must fall"),
        (lambda: Explicit((0.5, 0.5)), "must fall"),
        (lambda: Explicit((0.5, -0.5)), "must fall"),
        (lambda: Explicit((0.0,)), "must fall"),
        (lambda: Explicit(()), "must fall"),
        (lambda: Shift(0.0), r"grid\.shift=0\.0 must be positive"),
        (lambda: Explicit((1000, 500))(VP(), 2), r"VP\(.*\) has times up to 1"),
        (lambda: Explicit((1000, 500))(GeometricSigmas(T=50), 2), "has whole times up to 50"),
        (lambda: Explicit((1.0, 0.5))(LinearBetas(), 2), "has whole times up to 1000"),
    ],
)
def test_settings_without_meaning_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
