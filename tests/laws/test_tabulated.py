"""A schedule over a sampling grid is the schedule, and computes nothing twice."""

import itertools

import torch

from difflab.guidance import Clip
from difflab.laws.gaussian import gaussian
from difflab.laws.worst import close
from difflab.process import VP, CosineBetas, Linear, Velocity
from difflab.process.noise import SampleNoise
from difflab.process.tabulated import Tabulated
from difflab.sampler import DDIM, Ancestral, DPMSolverPP, Heun, Uniform
from difflab.sampler.evaluations import tabulated
from difflab.sampler.generate import integrate, trajectory
from helpers.laws import assert_law


def test_a_table_has_what_the_schedule_has_at_every_time():
    cases = []
    for schedule in (VP(), Linear(), CosineBetas(T=100)):
        table = Tabulated(schedule, times := Uniform()(schedule, 10))
        assert table == schedule
        assert schedule == table
        assert str(table) == str(schedule)
        for t in (*times, times[1:3].mean().round(), times):
            pairs = [*zip(table(t), schedule(t), strict=True), (table.log_snr(t), schedule.log_snr(t))]
            if (t > 0).all():
                target = Velocity().mix
                pairs += [*zip(table.rate(t), schedule.rate(t), strict=True)]
                pairs += [*zip(table.at(target, t), schedule.at(target, t), strict=True)]
            cases += [close(f"{schedule} at {t}", found, known, atol=1e-12) for found, known in pairs]
    assert_law(cases)


def test_what_is_made_of_times_is_computed_once_for_a_grid():
    called = []

    def difference(schedule, t, s):
        called.append(t.shape)
        return schedule(t).sigma - schedule(s).sigma

    table = Tabulated(VP(), times := Uniform()(VP(), 5))
    for t, s in itertools.pairwise(times):
        assert table.at(difference, t, s) == VP()(t).sigma - VP()(s).sigma
    assert called == [(5,)]
    t = times[:2].clone().requires_grad_()
    assert table(t).sigma.requires_grad  # of times that are differentiated, anew


def test_samples_are_those_of_the_schedule_itself_and_it_is_put_back():
    cases, labels = [], torch.zeros(3, dtype=torch.long)
    for schedule in (VP(), Linear(), CosineBetas(T=100)):
        denoiser = Clip(3.0)(gaussian(schedule))
        for sampler in (DDIM(), DDIM(eta=1.0), Ancestral(), Heun(), DPMSolverPP()):
            times, noise = Uniform()(schedule, 10), SampleNoise(0, range(3))
            start = schedule(times[0]).sigma * noise(torch.empty(3, *denoiser.shape), 0)
            with torch.no_grad():
                *_, (_, expected) = trajectory(denoiser.bind(labels), sampler, times, start, noise)
            found = integrate(denoiser, sampler, times, None, labels).images
            cases.append(close(f"{sampler} on {schedule}", found, expected, atol=1e-5))
        with tabulated(denoiser, times):
            assert isinstance(denoiser.schedule, Tabulated)
            assert denoiser.schedule is denoiser.denoiser.schedule
        assert denoiser.schedule is denoiser.denoiser.schedule is schedule
    assert_law(cases)
