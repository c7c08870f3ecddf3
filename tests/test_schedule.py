"""Schedules: laws for every option, and the tables and rates that others published."""

import pytest
import torch

from conftest import schedules
from difflab.gaussian import bridge
from difflab.schedule import VE, VP, SubVP
from difflab.table import CosineTable, LinearTable, QuadraticTable, SigmoidTable


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
    t = training_times(schedule)[20:-20]
    h = schedule.tick if schedule.tick == 1 else 1e-6
    rate, before, after = schedule.rate(t), schedule(t - h), schedule(t + h)
    scale = schedule.t_max
    for slope, low, high in zip(rate, before, after, strict=True):
        # over one tick of a table the second-order remainder of alpha and sigma themselves is still there
        tolerance = 2e-2 if h == 1 else 1e-5
        torch.testing.assert_close(slope * scale, (high - low) / (2 * h) * scale, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("schedule", schedules())
def test_drift_and_diffusion_reproduce_the_marginal(schedule):
    """d log alpha = f dt, and d sigma^2 = (2 f sigma^2 + g^2) dt: the forward SDE's moments."""
    t = training_times(schedule)[20:-20]
    m, rate, f, g = schedule(t), schedule.rate(t), schedule.drift(t), schedule.diffusion(t)
    torch.testing.assert_close(f * m.alpha, rate.alpha, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(2 * f * m.sigma**2 + g**2, 2 * m.sigma * rate.sigma, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("schedule", schedules())
def test_equal_parameters_are_an_equal_schedule(schedule):
    schedule(torch.tensor(schedule.t_max))  # filling a cache changes nothing
    assert schedule == type(schedule)(**{k: getattr(schedule, k) for k in schedule.__dataclass_fields__})


def test_uniform_training_times_of_a_table_are_exactly_its_steps():
    table = LinearTable(T=100)
    fractions = (torch.arange(10000, dtype=torch.float64) + 0.5) / 10000
    steps, counts = table.time(fractions).unique(return_counts=True)
    assert steps.tolist() == list(range(1, 101))
    assert counts.tolist() == [100] * 100


PUBLISHED = {  # openai/improved-diffusion; at t = 0, 1, T/2 - 1, T - 1 of its zero-based steps
    "linear": (
        LinearTable(),
        {
            "beta": [1e-4, 1.199199199e-4, 0.01004004, 0.02],
            "alpha_bar": [0.9999, 0.99978009207, 0.078587242882, 4.0358297654e-5],
            "variance": [0, 5.4531876613e-5, 0.010031355415, 0.019999983527],
            "log_variance": [-9.8167251353, -9.8167251353, -4.6020395501, -3.9120238291],
            "on_x0": [1, 0.54529149951, 3.0700711143e-3, 1.2835148717e-4],
            "on_x_t": [0, 0.454708499, 0.9941066702, 0.9899486783],
            "sum": 275.5132333968,
        },
    ),
    "cosine": (
        CosineTable(),
        {
            "beta": [4.1284224822e-5, 4.6141752737e-5, 3.1458862305e-3, 0.999],
            "alpha_bar": [0.99995871578, 0.99991257593, 0.49384359044, 2.4287669070e-9],
            "variance": [0, 2.1789496146e-5, 3.1361999041e-3, 0.99899757609],
            "log_variance": [-10.734082532, -10.734082532, -5.7647434336, -1.0029266747e-3],
            "on_x0": [1, 0.5277814093, 4.3745882e-3, 1.5568917e-3],
            "on_x_t": [0, 0.4722185904, 0.9953516195, 0.0316226999],
            "sum": 495.5775125825,
        },
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tables_and_posteriors_are_the_published_ones(name):
    table, published = PUBLISHED[name]
    t = torch.tensor([1, 2, 500, 1000], dtype=torch.float64)
    s = t - 1
    now, then = table(s), table(t)
    posterior = bridge(now, then)
    on_x_t = posterior.mean.sigma / then.sigma
    found = {
        "beta": 1 - (then.alpha / now.alpha) ** 2,
        "alpha_bar": then.alpha**2,
        "variance": posterior.lower,
        "log_variance": table.bridge(s, t).lower.log(),
        "on_x0": posterior.mean.alpha - on_x_t * then.alpha,
        "on_x_t": on_x_t,
        "sum": table.alpha_bar[1:].sum(),
    }
    for key, value in published.items():
        torch.testing.assert_close(found[key], torch.tensor(value, dtype=torch.float64), rtol=2e-8, atol=1e-12)


def test_the_cosine_table_of_4000_steps():
    table = CosineTable(T=4000)
    expected = torch.tensor([9.8658188137e-6, 1.0169414884e-5, 7.883212766e-4, 0.999], dtype=torch.float64)
    torch.testing.assert_close(table.betas()[[0, 1, 1999, 3999]], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(table.alpha_bar[1:].sum().item(), 1983.8100381778, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (LinearTable(), "linear"),
        (QuadraticTable(), "scaled_linear"),
        (CosineTable(), "squaredcos_cap_v2"),
        (SigmoidTable(), "sigmoid"),
    ],
)
def test_tables_are_those_of_diffusers(table, kind):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, 1e-4, 0.02, kind).betas
    torch.testing.assert_close(table.betas().float(), theirs, rtol=1e-5, atol=1e-9)


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
    for steps in (1, 7, 200):
        times = schedule.snap(schedule.t_max * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 3)
        assert len(times) == steps + 1
        assert (times.diff() < 0).all()
        assert times[0] == schedule.t_max
        assert times[-1] == 0


def test_a_table_refuses_more_steps_than_it_has():
    with pytest.raises(ValueError, match="at most 50 are possible"):
        LinearTable(T=50).snap(torch.linspace(50, 0, 52, dtype=torch.float64))


@pytest.mark.parametrize("settings", [{"T": 1}, {"T": 10}, {"beta_min": -1e-4}])
def test_a_table_whose_betas_leave_the_unit_interval_is_refused(settings):
    with pytest.raises(ValueError, match="every beta in"):
        LinearTable(**settings)
