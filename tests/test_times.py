"""Laws of training times: the densities they promise, and weights that keep the uniform objective."""

import pytest
import torch
from scipy.stats import kstest, logistic, lognorm, norm, uniform

from conftest import built, options, schedules
from difflab.objective.times import Curriculum, Importance, LogitNormal, LogNormal, Stratified, Uniform
from difflab.process.discrete import LinearBetas
from difflab.process.schedule import EDM, VP, Linear

LAWS = [pytest.param(built("times", option), id=option) for option in options("times")]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def skewed(schedule, bins=20):
    """Importance that has seen losses which differ by orders of magnitude along the axis."""
    times = Importance(bins=bins, history=10, uniform=0.01)
    t = schedule.time((torch.arange(50 * bins, dtype=torch.float64) + 0.5) / (50 * bins))
    times.observe(schedule, t, 0.01 + torch.linspace(0, 1, len(t), dtype=torch.float64) ** 3)
    return times


@pytest.mark.parametrize("times", LAWS)
@pytest.mark.parametrize("schedule", schedules())
def test_times_lie_on_the_trained_axis_and_weights_are_positive(times, schedule):
    for progress in (0.0, 0.3, 1.0):
        t, weight = times(schedule, 500, seeded(), progress)
        assert t.shape == weight.shape == (500,)
        assert t.dtype == weight.dtype == torch.float64
        assert t.min() >= schedule.t_min
        assert t.max() <= schedule.t_max
        assert (weight > 0).all()
        assert not schedule.discrete or (t == t.round()).all()


@pytest.mark.parametrize("times", LAWS)
def test_a_draw_is_a_function_of_the_generator(times):
    (t, _), (again, _), (other, _) = (times(VP(), 64, seeded(k)) for k in (1, 1, 2))
    assert torch.equal(t, again)
    assert not torch.equal(t, other)


@pytest.mark.parametrize("schedule", [VP(), EDM(), LinearBetas(T=1000), LinearBetas(T=50), LinearBetas(T=1003)])
@pytest.mark.parametrize("law", [lambda s: Uniform(), lambda s: Stratified(), lambda s: Importance(), skewed])
def test_the_weighted_mean_is_the_uniform_one(schedule, law):
    """E[weight f(t)] = E_uniform[f(t)], for an f that is not symmetric: within five standard errors."""

    def f(t):
        return (schedule.fraction(t) * 3).exp()

    t, weight = law(schedule)(schedule, 200_000, seeded())
    truth = f(schedule.time((torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000)).mean()
    terms = weight * f(t)
    assert (terms.mean() - truth).abs() < 5 * terms.std() / len(t) ** 0.5 + 1e-4
    assert (weight.mean() - 1).abs() < 5 * weight.std() / len(t) ** 0.5 + 1e-12


def test_stratified_times_take_each_stratum_once_and_their_ranks_share_one_draw():
    t, _ = Stratified()(Linear(t_min=0), 64, seeded())
    assert (t * 64).floor().sort().values.tolist() == list(range(64))
    each = (t * 64) % 1
    torch.testing.assert_close(each, each[:1].expand(64))
    halves = t.reshape(2, 32)  # what two processes train on: random, not the quiet and the noisy half
    assert (halves.mean(1) - 0.5).abs().max() < 0.2


def test_logit_normal_is_the_papers_density():
    """Esser et al. 2024, eq. 19: of the fraction of the axis."""
    t, weight = LogitNormal(mean=0.5, std=0.8)(Linear(t_min=0), 20_000, seeded())
    assert kstest(t.logit().numpy(), norm(0.5, 0.8).cdf).pvalue > 0.01
    assert (weight == 1).all()
    assert t.mean() > 0.5, "a positive mean favours noise"


def test_logit_normal_is_neither_uniform_nor_logistic():
    t, _ = LogitNormal()(Linear(t_min=0), 20_000, seeded())
    assert kstest(t.numpy(), uniform.cdf).pvalue < 1e-9
    assert kstest(t.logit().numpy(), logistic.cdf).pvalue < 1e-9


@pytest.mark.parametrize("schedule", [EDM(sigma_min=1e-4, sigma_max=1e4), VP(t_min=1e-9), Linear(t_min=1e-6)])
def test_log_normal_is_the_papers_density_of_the_noise_level_on_any_schedule(schedule):
    """Karras et al. 2022, table 1: ln(sigma) ~ N(P_mean, P_std^2)."""
    t, weight = LogNormal(mean=-1.2, std=1.2)(schedule, 20_000, seeded())
    alpha, sigma = schedule(t)
    assert kstest((sigma / alpha).numpy(), lognorm(1.2, scale=torch.tensor(-1.2).exp().item()).cdf).pvalue > 0.01
    assert (weight == 1).all()


@pytest.mark.parametrize(("progress", "lowest"), [(0, 0.75), (0.2, 0.5), (0.39, 0.5), (0.4, 0.25), (0.6, 0), (1, 0)])
def test_a_curriculum_begins_with_the_noisiest_piece_and_ends_uniform(progress, lowest):
    t, _ = Curriculum(stages=4, share=0.6)(Linear(t_min=0), 20_000, seeded(), progress)
    assert kstest(t.numpy(), uniform(lowest, 1 - lowest).cdf).pvalue > 0.01


@pytest.mark.parametrize("settings", [{"stages": 0}, {"share": 0.0}, {"share": 1.5}])
def test_a_curriculum_without_meaning_is_refused(settings):
    with pytest.raises(ValueError, match="a curriculum needs"):
        Curriculum(**settings)


@pytest.mark.parametrize("settings", [{"bins": 0}, {"history": 0}, {"uniform": 0.0}])
def test_importance_without_meaning_is_refused(settings):
    with pytest.raises(ValueError, match="Importance"):
        Importance(**settings)


def test_importance_draws_by_the_root_of_the_second_moment_of_each_step_s_last_losses():
    """Nichol & Dhariwal 2021, eq. 18, kept as one list of losses for each step."""
    table, history = LinearBetas(T=60), 4
    times = Importance(bins=100, history=history, uniform=0.1)
    losses = {step: [] for step in range(1, 61)}
    g = seeded(3)
    for batch in range(12):
        assert batch > 2 or torch.equal(times.law(table), torch.full((60,), 1 / 60, dtype=torch.float64))
        t = torch.randint(1, 61, (200,), generator=g).double()
        loss = torch.rand(200, generator=g) * t
        times.observe(table, t, loss)
        for step, value in zip(t.long().tolist(), loss.tolist(), strict=True):
            losses[step].append(value)
    assert min(map(len, losses.values())) >= history
    root = torch.tensor([sum(v**2 for v in seen[-history:]) / history for seen in losses.values()]).double().sqrt()
    expected = 0.9 * root / root.sum() + 0.1 / 60
    torch.testing.assert_close(times.law(table), expected, rtol=1e-5, atol=0)
    t, weight = times(table, 100_000, g)
    torch.testing.assert_close(weight, 1 / (60 * expected[t.long() - 1]), rtol=1e-5, atol=0)
    counts = torch.bincount(t.long() - 1, minlength=60) / len(t)
    assert (counts - expected).abs().max() < 5 * (expected.max() / len(t)) ** 0.5


@pytest.mark.parametrize("schedule", [VP(), EDM(), LinearBetas(T=30), LinearBetas(T=1003), LinearBetas(T=4000)])
def test_importance_finds_the_piece_that_a_time_was_drawn_from(schedule):
    times = Importance()
    pieces = times.pieces(schedule)
    assert pieces == (30 if schedule == LinearBetas(T=30) else 100)
    middles = (torch.arange(pieces, dtype=torch.float64) + 0.5) / pieces
    times.observe(schedule, schedule.time(middles), torch.ones(pieces))
    assert times.seen[:pieces].tolist() == [1] * pieces


def test_importance_survives_its_state_and_more_losses_than_its_memory_in_one_batch():
    old, new = skewed(VP()), Importance(bins=20, history=10, uniform=0.01)
    assert old.seen.min() == 50
    new.load_state_dict(old.state_dict())
    for a, b in zip(old(VP(), 64, seeded()), new(VP(), 64, seeded()), strict=True):
        assert torch.equal(a, b)
