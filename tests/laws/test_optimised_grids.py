"""Times that are found: smaller errors than on fixed grids, on noise that they were not found with."""

import pytest
import torch

from difflab.process.discrete import CosineBetas, GeometricSigmas
from difflab.process.schedule import VP
from difflab.sampler import DDIM, Adaptive, Ancestral, DPMSolverPP, Heun, Optimised, generate
from difflab.sampler.generate import count_nfe, integrate, times_for
from difflab.sampler.regime import GRIDS, last, mixtures


@pytest.mark.parametrize("schedules", [[VP()], pytest.param([VP(), CosineBetas()], marks=pytest.mark.long)], ids=len)
def test_errors_are_those_of_the_best_fixed_grid_or_less(schedules):
    """On mixtures with 6 evaluations: the samples' distance from the flow's ends, from other noise."""
    grid, ratios = Optimised(candidates=20), {}
    for clusters in mixtures():
        for schedule in schedules:
            denoiser = clusters.denoiser(schedule)
            for sampler in (DDIM(), Heun(), DPMSolverPP()):
                times = grid.fit(denoiser, sampler, times_for(denoiser, sampler, grid, 6))
                m = schedule(times[0])
                end = last(denoiser, sampler, times, m.sigma * clusters.noise)
                error = (end - clusters.end((m.sigma / m.alpha).item())).square().mean().sqrt().item()
                assert count_nfe(denoiser, sampler, times) <= 6
                assert times[-1] == 0
                assert (times.diff() < 0).all()
                assert torch.equal(schedule.snap(times), times)
                best = min(clusters.error(sampler, schedule, each, 6) for each in GRIDS.values())
                ratios[clusters.name, str(schedule), str(sampler)] = error / best
    worst = max(ratios, key=ratios.get)
    assert ratios[worst] < 1.1, (worst, ratios[worst])
    assert sum(ratios.values()) / len(ratios) < 0.8


def test_tables_with_fewer_steps_than_candidates_have_times_too():
    """Of the steps that they have, each once."""
    for T in (5, 30):
        schedule = GeometricSigmas(T=T)
        for sampler in (DDIM(), DPMSolverPP()):
            denoiser, grid = mixtures()[0].denoiser(schedule), Optimised(n=8)
            times = grid.fit(denoiser, sampler, times_for(denoiser, sampler, grid, 4))
            assert times[-1] == 0
            assert (times.diff() < 0).all()
            assert torch.equal(schedule.snap(times), times)


def test_generate_samples_at_the_times_found():
    clusters, sampler, grid = mixtures()[0], DDIM(), Optimised(n=16, candidates=12)
    denoiser, labels = clusters.denoiser(VP()), torch.zeros(8, dtype=torch.long)
    times = grid.fit(denoiser, sampler, times_for(denoiser, sampler, grid, 4))
    found = generate(denoiser, sampler, grid, nfe=4, labels=labels)
    assert found.nfe == 4
    assert torch.equal(found.images, integrate(denoiser, sampler, times, None, labels).images)


@pytest.mark.parametrize(
    ("sampler", "nfe", "reason"),
    [(Ancestral(), 4, "draws noise"), (Adaptive(), 0, "makes its own times"), (DDIM(), 20, r"grid\.candidates=40")],
)
def test_what_has_no_such_times_is_refused(sampler, nfe, reason):
    denoiser = mixtures()[0].denoiser(VP())
    with pytest.raises(ValueError, match=reason):
        generate(denoiser, sampler, Optimised(), nfe=nfe, labels=torch.zeros(2, dtype=torch.long))
