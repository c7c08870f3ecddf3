"""Nichol & Dhariwal 2021: the numbers of openai/improved-diffusion, whose steps count from zero."""

import torch

from difflab.laws import close
from difflab.process.discrete import CosineBetas, LinearBetas
from difflab.process.gaussian import bridge
from difflab.sampler.grid import Linspace, Sections
from helpers.laws import assert_law

PUBLISHED = {  # at t = 0, 1, T/2 - 1, T - 1 of its zero-based steps
    LinearBetas(): {
        "beta": [1e-4, 1.199199199e-4, 0.01004004, 0.02],
        "alpha_bar": [0.9999, 0.99978009207, 0.078587242882, 4.0358297654e-5],
        "variance": [0, 5.4531876613e-5, 0.010031355415, 0.019999983527],
        "log_variance": [-9.8167251353, -9.8167251353, -4.6020395501, -3.9120238291],
        "on_x0": [1, 0.54529149951, 3.0700711143e-3, 1.2835148717e-4],
        "on_x_t": [0, 0.454708499, 0.9941066702, 0.9899486783],
        "sum": 275.5132333968,
    },
    CosineBetas(): {
        "beta": [4.1284224822e-5, 4.6141752737e-5, 3.1458862305e-3, 0.999],
        "alpha_bar": [0.99995871578, 0.99991257593, 0.49384359044, 2.4287669070e-9],
        "variance": [0, 2.1789496146e-5, 3.1361999041e-3, 0.99899757609],
        "log_variance": [-10.734082532, -10.734082532, -5.7647434336, -1.0029266747e-3],
        "on_x0": [1, 0.5277814093, 4.3745882e-3, 1.5568917e-3],
        "on_x_t": [0, 0.4722185904, 0.9953516195, 0.0316226999],
        "sum": 495.5775125825,
    },
}


def test_betas_and_posteriors_are_the_published_ones(subtests):
    for schedule in PUBLISHED:
        with subtests.test(str(schedule)):
            t = torch.tensor([1, 2, 500, 1000], dtype=torch.float64)
            m_s, m_t = schedule(t - 1), schedule(t)
            posterior = bridge(m_s, m_t)
            on_x_t = posterior.mean.sigma / m_t.sigma
            found = {
                "beta": 1 - (m_t.alpha / m_s.alpha) ** 2,
                "alpha_bar": m_t.alpha**2,
                "variance": posterior.lower,
                "log_variance": schedule.bridge(t - 1, t).lower.log(),
                "on_x0": posterior.mean.alpha - on_x_t * m_t.alpha,
                "on_x_t": on_x_t,
                "sum": schedule.alpha_bar[1:].sum(),
            }
            published = {key: torch.tensor(value, dtype=torch.float64) for key, value in PUBLISHED[schedule].items()}
            assert_law(close(key, found[key], value, rtol=2e-8, atol=1e-12) for key, value in published.items())


def test_the_cosine_schedule_of_4000_steps():
    schedule = CosineBetas(T=4000)
    expected = torch.tensor([9.8658188137e-6, 1.0169414884e-5, 7.883212766e-4, 0.999], dtype=torch.float64)
    torch.testing.assert_close(schedule.betas()[[0, 1, 1999, 3999]], expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(schedule.alpha_bar[1:].sum().item(), 1983.8100381778, rtol=1e-12, atol=0)


def zero_based(grid, steps, schedule):
    """The rising steps without the data end, counted from zero."""
    return (grid(schedule, steps)[:-1].flip(0) - 1).long().tolist()


def test_respacings_are_the_published_ones():
    sections = zero_based(Sections((10, 15, 20)), 45, LinearBetas(T=300))
    assert sections[:2] == [0, 11]
    assert sections[9:12] == [99, 100, 107]
    assert sections[24:29] == [199, 200, 205, 210, 216]
    assert sections[-1] == 299
    quarter = zero_based(Sections((250,)), 250, LinearBetas())
    assert quarter[:3] == [0, 4, 8]
    assert quarter[-4:] == [987, 991, 995, 999]
    assert sum(quarter) == 124875
    fifty = zero_based(Linspace(), 50, LinearBetas(T=4000))
    assert fifty[:4] == [0, 82, 163, 245]
    assert sum(fifty) == 99975
    assert sum(zero_based(Sections((90, 60, 60, 20, 20)), 250, LinearBetas())) == 88875


def test_the_respaced_chain_has_the_published_betas():
    alpha = LinearBetas()(Linspace()(LinearBetas(), 10).flip(0)).alpha
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
    betas = (1 - (alpha[1:] / alpha[:-1]) ** 2)[: len(published)]
    torch.testing.assert_close(betas, torch.tensor(published, dtype=torch.float64), rtol=1e-9, atol=0)
