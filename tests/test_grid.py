"""Grids: laws for every option and schedule, and the spacings that others publish, which count from zero."""

import pytest
import torch

from conftest import built, options, schedules
from difflab.grid import Leading, Linspace, Sections, Uniform
from difflab.table import LinearTable


def zero_based(grid, steps, table=None):
    return (grid(table or LinearTable(), steps)[:-1].flip(0) - 1).long().tolist()


@pytest.mark.parametrize("option", options("grid"))
@pytest.mark.parametrize("schedule", schedules())
def test_grids_fall_strictly_from_noise_to_data(option, schedule):
    times = (
        built("grid", option)(schedule, 45 if option == "sections" else 10)
        if option != "sections"
        else Sections((3, 4, 3))(schedule, 10)
    )
    assert len(times) == 11
    assert (times.diff() < 0).all()
    assert times[-1] == 0
    assert times[0] <= schedule.t_max
    if option not in ("leading",):
        assert times[0] == pytest.approx(schedule.t_max, rel=1e-3)


def test_spacings_are_those_of_diffusers():
    assert zero_based(Leading(), 10) == list(range(0, 1000, 100))
    assert zero_based(Uniform(), 10) == list(range(99, 1000, 100))
    assert zero_based(Linspace(), 10) == list(range(0, 1000, 111))


def test_respacings_are_those_of_improved_diffusion():
    sections = zero_based(Sections((10, 15, 20)), 45, LinearTable(T=300))
    assert sections[:2] == [0, 11]
    assert sections[9:12] == [99, 100, 107]
    assert sections[24:29] == [199, 200, 205, 210, 216]
    assert sections[-1] == 299
    quarter = zero_based(Sections((250,)), 250)
    assert quarter[:3] == [0, 4, 8]
    assert quarter[-4:] == [987, 991, 995, 999]
    assert sum(quarter) == 124875
    fifty = zero_based(Linspace(), 50, LinearTable(T=4000))
    assert fifty[:4] == [0, 82, 163, 245]
    assert sum(fifty) == 99975
    assert sum(zero_based(Sections((90, 60, 60, 20, 20)), 250)) == 88875


def test_the_respaced_chain_has_the_published_betas():
    times = Linspace()(LinearTable(), 10).flip(0)
    alpha = LinearTable()(times).alpha
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
        Sections((10, 15, 20))(LinearTable(), 50)
