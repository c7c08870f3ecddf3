"""Schedules: laws for every option, and the rates that others published."""

from dataclasses import is_dataclass

import pytest
import torch

from conftest import schedules
from difflab.process.schedule import VE, VP, SubVP


def training_times(schedule, n=200):
    return schedule.time(torch.linspace(0, 1 - 1e-9, n, dtype=torch.float64))


@pytest.mark.parametrize("schedule", schedules())
def test_log_snr_strictly_falls(schedule):
    t = training_times(schedule).unique()
    assert (schedule.log_snr(t).diff() < 0).all()
    assert t.min() >= schedule.t_min
    assert t.max() <= schedule.t_max


@pytest.mark.parametrize("schedule", schedules())
def test_time_zero_is_data(schedule):
    alpha, sigma = schedule(torch.zeros((), dtype=torch.float64))
    assert alpha == 1
    assert sigma == 0


@pytest.mark.parametrize("schedule", schedules())
def test_time_at_inverts_log_snr(schedule):
    t = training_times(schedule)[:-1]  # at alpha = 0 the log-SNR leaves the floats
    torch.testing.assert_close(schedule.time_at(schedule.log_snr(t)), t, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("schedule", schedules())
def test_rate_is_the_finite_difference(schedule):
    length = schedule.t_max
    t, h = length * torch.linspace(0.05, 0.95, 200, dtype=torch.float64), 1e-6 * length  # on tables between the steps
    for slope, low, high in zip(schedule.rate(t), schedule(t - h), schedule(t + h), strict=True):
        torch.testing.assert_close(slope * length, (high - low) / (2 * h) * length, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("schedule", schedules())
def test_drift_and_diffusion_reproduce_the_marginal(schedule):
    """d log alpha = f dt, and d sigma^2 = (2 f sigma^2 + g^2) dt: the forward SDE's moments."""
    t = training_times(schedule)[20:-20]
    m, rate, f, g = schedule(t), schedule.rate(t), schedule.drift(t), schedule.diffusion(t)
    torch.testing.assert_close(f * m.alpha, rate.alpha, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(2 * f * m.sigma**2 + g**2, 2 * m.sigma * rate.sigma, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("schedule", [s for s in schedules() if is_dataclass(s.values[0])])
def test_equal_parameters_are_an_equal_schedule(schedule):
    schedule(torch.tensor(schedule.t_max))  # filling a cache changes nothing
    assert schedule == type(schedule)(**{k: getattr(schedule, k) for k in schedule.__dataclass_fields__})


SONG = {  # yang-song/score_sde_pytorch at t = 1e-5, 1e-3, .1, .5, 1: alpha, sigma, g
    "vp": (
        VP(),
        [0.99999952, 0.99994504, 0.94672179, 0.28118288, 0.00657159],
        [0.00100662, 0.01048669, 0.32205257, 0.95965421, 0.99997836],
        [0.31654227, 0.34626579, 1.4456832, 3.1701734, 4.4721360],
    ),
    "sub_vp": (
        SubVP(),
        [0.99999952, 0.99994504, 0.94672179, 0.28118288, 0.00657159],
        [1.0132790e-6, 1.0997057e-4, 0.10371786, 0.92093617, 0.99995679],
        [4.5062e-4, 5.134569e-3, 0.64113772, 3.1602495, 4.4721360],
    ),
    "ve": (
        VE(),
        [1, 1, 1, 1, 1],
        [0.01000085, 0.01008554, 0.02343673, 0.70710677, 50],
        [0.04127625, 0.04162577, 0.09672979, 2.9184232, 206.36368],
    ),
}


@pytest.mark.parametrize("name", SONG)
def test_sdes_are_the_published_ones(name):
    schedule, *published = SONG[name]
    t = torch.tensor([1e-5, 1e-3, 0.1, 0.5, 1], dtype=torch.float64)
    for found, value in zip((*schedule(t), schedule.diffusion(t)), published, strict=True):
        # the published values are float32: near t = 0 their 1 - alpha^2 has lost digits
        torch.testing.assert_close(found[1:], torch.tensor(value[1:], dtype=torch.float64), rtol=2e-4, atol=1e-7)
        torch.testing.assert_close(found[0].item(), float(value[0]), rtol=2e-2, atol=1e-7)


@pytest.mark.parametrize("schedule", schedules())
def test_snapped_times_are_distinct_and_end_in_data(schedule):
    for steps in (1, 7, min(200, round(schedule.t_max / schedule.step))):
        times = schedule.snap(schedule.t_max * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 3)
        assert len(times) == steps + 1
        assert (times.diff() < 0).all()
        assert times[0] == schedule.t_max
        assert times[-1] == 0
