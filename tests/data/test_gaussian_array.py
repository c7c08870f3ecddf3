"""Gaussians of any shape: the law against torch's, and its closed form from the configuration to the pictures."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.distributions import Independent, Normal

from difflab.data.gaussian_array import GaussianArray
from difflab.denoiser import Gaussian, Known
from difflab.experiment.jobs import train
from difflab.experiment.machine.terminal import silently
from difflab.experiment.picture.samples import square
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.store.run import Run
from difflab.experiment.task.base import Job
from difflab.experiment.task.draw import Draw
from difflab.experiment.task.interpolate import Interpolate
from difflab.experiment.task.invert import Invert
from difflab.experiment.task.trajectory import Trajectory
from difflab.experiment.training.job import Training
from difflab.process import VP
from difflab.process.noise import SampleNoise
from difflab.sampler.generate import times_for
from helpers.closed_forms import MEAN, VAR, moments
from helpers.conf import composed
from helpers.pictures import faults, tiles_of

SHAPES = {"signal": [1, 64], "volume": [1, 8, 16, 16]}


def test_the_law_is_that_of_torch_and_the_draws_follow_it():
    for shape in SHAPES.values():
        source = GaussianArray(shape=shape, mean=MEAN, var=VAR, n=500, held_out=20)
        law = Independent(Normal(torch.full(shape, MEAN).double(), math.sqrt(VAR)), len(shape))
        images = source.load()
        x = images.train.x
        torch.testing.assert_close(source.log_prob(x), law.log_prob(x.double()))
        count = x.numel()
        assert abs(x.double().mean() - MEAN) < 4 * math.sqrt(VAR / count)
        assert abs(x.double().var() / VAR - 1) < 4 * math.sqrt(2 / count)
        assert (images.train.shape, len(images.test), images.names) == (tuple(shape), 20, ())
        assert images.train.sha256 == source.load().train.sha256
        assert not torch.equal(x[:20], images.test.x)


def test_arrays_of_no_law_are_refused():
    for wrong in ({"shape": []}, {"shape": [1, 0]}, {"shape": [1, 4], "var": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            GaussianArray(**wrong)
    with pytest.raises(ValueError, match="1 at least"):
        GaussianArray(shape=[1, 4], n=0)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def job(request, tmp_path_factory):
    """A job without training on such data, its denoiser the optimum for the law."""
    runs = tmp_path_factory.mktemp("runs")
    shape = f"data.shape=[{','.join(map(str, SHAPES[request.param]))}]"
    data = ["data=gaussian_array", shape, f"data.source.mean={MEAN}", f"data.source.var={VAR}"]
    data += ["data.source.n=200", "data.source.held_out=100"]
    how = ["paradigm=exact", "denoiser=known", "range=none", "protocol=toy", "logger=local", "trainer=cpu"]
    few = ["protocol.n=100", "protocol.n_likelihood=20", "nfe=63", "precision=fp32"]
    return Training.of(composed(*data, *how, *few, f"runs_dir={runs}"))


@pytest.fixture(scope="module")
def measured(job):
    """What training and measuring that job gives."""
    return train(job.config)


def recipe_of(sampler):
    return Recipe.of(composed(f"sampler={sampler}", "grid=log_snr", "range=none", "nfe=31"), "fp32")


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpm_solver_pp", "ancestral", "euler_maruyama"])
def test_what_a_recipe_draws_has_the_moments_that_the_sampler_has_on_gaussians(job, sampler):
    """On Gaussian data every step is affine, so that the moments after the last one are known without drawing."""
    denoiser, recipe = job.model.denoiser, recipe_of(sampler)
    x = recipe.draw(denoiser, torch.zeros(200, dtype=torch.long), seed=3).x.double()
    assert x.shape == (200, *job.data.shape)
    times = times_for(denoiser, recipe.sampler, recipe.grid, recipe.nfe)
    mean, var = moments(recipe.sampler, denoiser.schedule, times)
    assert abs(x.mean() - mean) < 4 * math.sqrt(var / x.numel())
    assert abs(x.var() / var - 1) < 4 * math.sqrt(2 / x.numel())


def test_a_solver_of_tight_tolerance_follows_the_flow_of_the_law(job):
    """`x_0 = mean + sqrt(var / (alpha^2 var + sigma^2)) (x_T - alpha mean)`, whose law is that of the data."""
    drawn = recipe_of("adaptive").draw(job.model.denoiser, torch.zeros(200, dtype=torch.long), seed=3)
    m = VP()(torch.tensor(1.0, dtype=torch.float64))
    x_T = m.sigma * SampleNoise(3, range(200))(torch.empty(200, *job.data.shape), 0).double()
    exact = MEAN + (VAR / (m.alpha**2 * VAR + m.sigma**2)).sqrt() * (x_T - m.alpha * MEAN)
    torch.testing.assert_close(drawn.x.double(), exact, rtol=0, atol=2e-3)


def test_the_known_denoiser_is_the_gaussian_one(job):
    one = torch.ones(job.data.shape)
    x, t = torch.randn(5, *job.data.shape), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    assert isinstance(job.model.denoiser, Known)
    ours, closed = (each(x, t, torch.zeros(5)) for each in (job.model.denoiser, Gaussian(VP(), MEAN * one, VAR * one)))
    torch.testing.assert_close(ours.x0, closed.x0)


def test_a_job_on_such_data_is_measured_and_writes_its_pictures(measured):
    run = Run(Path(measured["folder"]))
    (found,) = run.folder.glob("evaluations/*.json")
    metrics = json.loads(found.read_text())["metrics"]
    entropy = 0.5 * math.log2(2 * math.pi * math.e * VAR)  # bits of a dimension
    assert metrics["bits_per_dim"] == pytest.approx(entropy, abs=4 * metrics["bits_per_dim_se"] + 1e-3)
    assert metrics["bits_per_dim"] == pytest.approx(metrics["bits_per_dim_floor"], abs=1e-2)
    assert metrics["w2"] < 1.5 * metrics["w2_floor"]
    for level, error in measured["denoising_error"].items():
        snr = math.exp(float(level))
        optimum = snr * VAR / (1 + snr * VAR)  # Var(eps | x_t) of N(mean, var)
        assert error == pytest.approx(optimum, rel=0.05), level
    pictures = [run.folder / "samples" / "final.png", *run.folder.glob("evaluations/*.png")]
    assert len(pictures) == 4, "final, samples, steps, and pairs of a sample and its nearest one"
    for path in pictures:
        grey = np.asarray(Image.open(path).convert("L"))
        assert 0.02 < (grey < 200).mean() < 0.98, f"{path.name} is neither blank nor saturated"


def test_every_task_of_a_run_on_such_data_writes_its_pictures(job, measured, tmp_path):
    run = Run(Path(measured["folder"]))
    denoiser, recipe = job.model.denoiser, replace(recipe_of("heun"), nfe=11)
    wide, high = job.data.codec.show(job.data.images.test.x[:1]).shape[:-3:-1]
    columns = square(8, wide, high)
    for task, name, tiles in (
        (Draw(singles=True), "grid.png", (columns, -(-8 // columns))),
        (Invert(), "invert.png", (4, 3)),
        (Interpolate(frames=3), "interpolate.png", (3, 4)),
        (Trajectory(columns=3), "trajectory.png", (3, 8)),
    ):
        n = 8 if isinstance(task, Draw) else 4
        what = Job(run, denoiser, recipe, n, 0, (), 250, tmp_path / name, job.data, silently)
        task.require(what)
        outcome = task(what)
        assert outcome.picture == tmp_path / name / name
        assert tiles_of(picture := Image.open(outcome.picture)) == tiles
        assert not [fault for fault in faults(picture) if "saturated" not in fault]  # curves are black on white
    drawn = np.load(tmp_path / "grid.png" / "samples.npz")["arr_0"]
    assert drawn.shape == (8, *job.data.shape[1:], 1), "channels last, as evaluators expect"
    assert Image.open(tmp_path / "grid.png" / "000007.png").size == (wide, high)
