"""Inversion along the flow of Gaussian data, by every sampler without noise."""

from pathlib import Path

import pytest
import torch

from difflab.cli.check.placement import STD, images
from difflab.data.codec import Arrays
from difflab.data.fashion16 import Fashion16
from difflab.data.gaussian_array import GaussianArray
from difflab.data.module import DataModule
from difflab.denoiser.exact import Gaussian, Mixture
from difflab.experiment.machine.terminal import silently
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.store.run import Run
from difflab.experiment.task.base import Job
from difflab.experiment.task.invert import Invert, decode, encode, rising, smoothed
from difflab.guidance.base import Chain
from difflab.objective.nearness import psnr
from difflab.process.discrete import CosineBetas
from difflab.process.schedule import VP, Linear
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.grid import LogSNR
from difflab.sampler.heun import Heun
from helpers.conf import samplers

MEAN, VAR = 0.3, 0.25
HERE = Path()
DETERMINISTIC = {name: sampler for name, sampler in samplers().items() if not sampler.stochastic}


def gaussian_job(sampler, schedule, steps):
    """Images of 2x2 numbers, independent and N(MEAN, VAR)."""
    one = torch.ones(1, 2, 2, dtype=torch.float64)
    source = GaussianArray(shape=[1, 2, 2], mean=MEAN, var=VAR, n=4, held_out=4)
    data = DataModule(source, source.shape, 0, VAR**0.5, batch_size=4, codec=Arrays())
    recipe = Recipe(sampler, LogSNR(), Chain(), steps * (sampler.evaluations or 1))
    return Job(Run(HERE), Gaussian(schedule, MEAN * one, VAR * one), recipe, 4, 0, (), 4, HERE, data, silently)


def there_and_back(sampler, schedule, steps):
    """The largest errors of the noise, in units of sigma, and of the reconstruction."""
    job = gaussian_job(sampler, schedule, steps)
    x0 = MEAN + VAR**0.5 * torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = encode(job, x0, job.labels, job.times).images
    start = rising(job.times, schedule)[0]
    top, low = schedule(job.times[0]), schedule(start)
    away = (smoothed(job, x0, start) - low.alpha * MEAN) / (low.alpha**2 * VAR + low.sigma**2).sqrt()
    flown = top.alpha * MEAN + (top.alpha**2 * VAR + top.sigma**2).sqrt() * away
    again = decode(job, noise, job.labels, job.times).images
    return ((noise - flown) / top.sigma).abs().max(), (again - (MEAN + VAR**0.5 * away)).abs().max()


def test_inversion_follows_the_exact_flow_up_and_back_to_the_order_of_the_solver(subtests):
    for name, sampler in DETERMINISTIC.items():
        with subtests.test(name):
            coarse, fine = (there_and_back(sampler, VP(), steps) for steps in (30, 120))
            if sampler.evaluations is None:
                assert max(fine) < 1e-3  # as its tolerances ask
                continue
            for before, after in zip(coarse, fine, strict=True):
                assert after < max(before * 4 ** (0.4 - min(sampler.order, 3)), 2e-5)  # the data end is seen at t_min


def test_inversion_reaches_pure_noise(subtests):
    """Where alpha = 0 the last step up is into a log-SNR of minus infinity, which no history must enter."""
    for name, sampler in DETERMINISTIC.items():
        with subtests.test(name):
            noise, again = there_and_back(sampler, Linear(), 60)
            assert noise < 0.25
            assert again < 0.25


def test_the_way_up_starts_at_the_least_noisy_trained_time_or_where_noise_is_a_grey_value():
    assert VP().log_snr(rising(torch.tensor([1.0, 0.0]), VP())[0]).item() == pytest.approx(9, abs=1e-3)
    schedule = VP(t_min=0.01)
    assert rising(torch.tensor([1.0, 0.5, 0.0]), schedule).tolist() == pytest.approx([0.01, 0.5, 1.0])
    assert rising(torch.tensor([1.0, 0.5, 0.01, 0.005, 0.0]), schedule).tolist() == pytest.approx([0.01, 0.5, 1.0])
    assert rising(torch.tensor([0.0]), schedule).tolist() == [0.0]


def test_stochastic_samplers_cannot_invert_and_are_told_which_can():
    job = gaussian_job(Ancestral(), VP(), 5)
    with pytest.raises(ValueError, match=r"draws noise.* choose sampler=.*heun") as refused:
        Invert().require(job)
    assert "ancestral" not in str(refused.value).partition("choose")[2]


def test_multistep_solvers_start_afresh_up_and_down():
    """One step of a multistep solver has no history: up and down it is the step of first order."""
    job = gaussian_job(DPMSolverPP(), VP(), 1)
    x0 = torch.full((4, 1, 2, 2), 0.7, dtype=torch.float64)
    first, then = (encode(job, x0, job.labels, job.times).images for _ in range(2))
    assert torch.equal(first, then)
    start, top = rising(job.times, VP())[0], VP()(job.times[0])
    estimate = job.guided(smoothed(job, x0, start), start, job.labels)
    torch.testing.assert_close(first, top(estimate.x0, estimate.eps))


def test_images_have_codes_that_are_noise_and_come_back():
    """PSNR of 30 dB and more; codes at log-SNR -5 or below whose std is 1, by the spread of 256 numbers for each."""
    data, means = DataModule(Fashion16(), (1, 16, 16), 10, 0.63, batch_size=4), images()
    law = Mixture(CosineBetas(T=1000), means, means.new_full((1,), STD**2), torch.full((len(means),), 1 / len(means)))
    recipe = Recipe(Heun(), LogSNR(-9, 7), Chain(), 49)
    job = Job(Run(HERE), law, recipe, 16, 0, (), 16, HERE, data, silently)
    x0 = means[::13][:16] + STD * torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    noise = encode(job, x0, job.labels, job.times).images
    m = law.schedule(job.times[0])
    stds = noise.flatten(1).std(1) / torch.hypot(*m)
    assert m.log_snr <= -5
    assert stds.mean() == pytest.approx(1, abs=0.05)
    assert (stds - 1).abs().max() < 4 / (2 * 256) ** 0.5
    assert psnr(decode(job, noise, job.labels, job.times).images, x0).min() > 30
