"""Tables: the published numbers at the integers, and a smooth way between them."""

import numpy as np
import pytest
import torch

from difflab.process.discrete import Betas, CosineBetas, GeometricSigmas, LinearBetas, QuadraticBetas, SigmoidBetas
from difflab.process.gaussian import bridge
from difflab.process.schedule import VP

TABLES = [
    LinearBetas(),
    QuadraticBetas(),
    QuadraticBetas(beta_min=0.00085, beta_max=0.012),
    SigmoidBetas(),
    CosineBetas(),
    CosineBetas(T=4000),
    CosineBetas(T=10),
    LinearBetas(T=25),
    GeometricSigmas(),
    GeometricSigmas(T=2),
]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


class Steep(Betas):
    """Betas that leap, which an unlimited spline would overshoot."""

    def betas(self):
        return f64(1e-4, 1e-4, 0.99, 1e-4, 0.5, 0.999)


def test_uniform_training_times_of_a_table_are_exactly_its_steps():
    table = LinearBetas(T=100)
    fractions = (torch.arange(10000, dtype=torch.float64) + 0.5) / 10000
    steps, counts = table.time(fractions).unique(return_counts=True)
    assert steps.tolist() == list(range(1, 101))
    assert counts.tolist() == [100] * 100


PUBLISHED = {  # openai/improved-diffusion; at t = 0, 1, T/2 - 1, T - 1 of its zero-based steps
    "linear": (
        LinearBetas(),
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
        CosineBetas(),
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
    table = CosineBetas(T=4000)
    expected = torch.tensor([9.8658188137e-6, 1.0169414884e-5, 7.883212766e-4, 0.999], dtype=torch.float64)
    torch.testing.assert_close(table.betas()[[0, 1, 1999, 3999]], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(table.alpha_bar[1:].sum().item(), 1983.8100381778, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (LinearBetas(), "linear"),
        (QuadraticBetas(), "scaled_linear"),
        (CosineBetas(), "squaredcos_cap_v2"),
        (SigmoidBetas(), "sigmoid"),
    ],
)
def test_tables_are_those_of_diffusers(table, kind):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(1000, 1e-4, 0.02, kind).betas
    torch.testing.assert_close(table.betas().float(), theirs, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("table", [t for t in TABLES if isinstance(t, Betas)], ids=str)
def test_at_the_integers_a_table_is_the_product_of_its_betas(table):
    alpha, sigma = table(torch.arange(table.T + 1, dtype=torch.float64))
    product = torch.cat([f64(1), torch.cumprod(1 - table.betas(), 0)])
    torch.testing.assert_close(alpha, product.sqrt(), rtol=2e-15, atol=0)
    torch.testing.assert_close(sigma, (1 - product).sqrt(), rtol=2e-15, atol=0)


@pytest.mark.parametrize("table", [*TABLES, Steep(T=6)], ids=str)
def test_between_the_integers_log_snr_falls_and_its_rate_is_continuous(table):
    t = torch.linspace(0, table.T, 50 * table.T + 1, dtype=torch.float64)
    assert (table.log_snr(t).diff() < 0).all()
    inner = torch.arange(2, table.T, dtype=torch.float64)
    for before, after in zip(table.rate(inner - 1e-9), table.rate(inner + 1e-9), strict=True):
        torch.testing.assert_close(before, after, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_below_the_first_step_the_noise_to_signal_ratio_is_linear(table):
    t = f64(0, 0.25, 0.5, 1 - 1e-12, 1)
    alpha, sigma = table(t)
    torch.testing.assert_close((sigma / alpha) ** 2, t * (sigma / alpha)[-1] ** 2, rtol=1e-9, atol=0)
    assert (alpha[0], sigma[0]) == (1, 0)


def test_a_fine_table_is_the_process_that_it_discretises():
    """Betas b / T with b linear from 0.1 to 20, T times finer than a step: VP, whose alpha at 1 differs by O(1 / T)."""
    for T, tolerance in ((1000, 2e-2), (10000, 2e-3)):
        t = torch.linspace(0.1, 0.99, 7, dtype=torch.float64)
        table, vp = LinearBetas(T=T), VP()
        torch.testing.assert_close(table.log_snr(t * T), vp.log_snr(t), rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(T * table.rate(t * T).sigma, vp.rate(t).sigma, rtol=5 * tolerance, atol=tolerance)


def test_the_geometric_ladder_is_that_of_ncsn():
    """Song & Ermon 2019: np.exp(np.linspace(np.log(sigma_begin), np.log(sigma_end), L)), noisiest first."""
    table = GeometricSigmas(T=10, sigma_min=0.01, sigma_max=1.0)
    theirs = np.exp(np.linspace(np.log(1.0), np.log(0.01), 10))
    alpha, sigma = table(torch.arange(10, 0, -1, dtype=torch.float64))
    torch.testing.assert_close(sigma, torch.from_numpy(theirs))
    assert (alpha == 1).all()
    between = table(f64(3.25)).sigma
    torch.testing.assert_close(between, f64(0.01 * 100 ** (2.25 / 9)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_grids_and_training_times_stay_integers(table):
    t = table.time_at(torch.linspace(-9, 9, 50, dtype=torch.float64))
    assert table.discrete
    assert torch.equal(t, t.round())
    assert ((t >= 1) & (t <= table.T)).all()


def test_a_table_refuses_more_steps_than_it_has():
    with pytest.raises(ValueError, match="at most 50 are possible"):
        LinearBetas(T=50).snap(torch.linspace(50, 0, 52, dtype=torch.float64))


@pytest.mark.parametrize("settings", [{"T": 1}, {"T": 10}, {"beta_min": -1e-4}])
def test_a_table_whose_betas_leave_the_unit_interval_is_refused(settings):
    with pytest.raises(ValueError, match="every beta in"):
        LinearBetas(**settings)


@pytest.mark.parametrize("settings", [{"sigma_min": 0.0}, {"sigma_min": 2.0, "sigma_max": 1.0}, {"T": 1}])
def test_a_ladder_that_does_not_climb_is_refused(settings):
    with pytest.raises(ValueError, match=r"sigma_min must lie|T >= 2"):
        GeometricSigmas(**settings)
