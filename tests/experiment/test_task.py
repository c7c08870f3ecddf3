"""What the tasks of `difflab-sample` do: laws on closed forms."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from difflab.data.folder import Folder
from difflab.data.module import DataModule
from difflab.experiment.machine.terminal import silently
from difflab.experiment.sampling.recipe import trained
from difflab.experiment.store.run import Run
from difflab.experiment.store.weights import save_weights
from difflab.experiment.task.base import Job
from difflab.experiment.task.classes import Classes
from difflab.experiment.task.edit import Edit
from difflab.experiment.task.interpolate import Interpolate, slerp
from difflab.experiment.task.invert import decode, encode
from difflab.experiment.task.restore import Restore
from difflab.experiment.task.trajectory import Trajectory
from difflab.guidance.problem import InpaintPixels
from difflab.guidance.restoration import Replacement
from difflab.process.schedule import Linear
from helpers.conf import composed
from helpers.runs import EXACT, write_exact_run

HERE = Path()


def test_arcs_keep_their_ends_and_their_length():
    a, b = torch.randn(2, 3, 1, 64, 64, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.equal(slerp(a, b, 1.0), b)
    assert torch.equal(slerp(a, a, 0.3), a * 0.7 + a * 0.3)
    across = torch.tensor([[0.0, 1.0]])
    torch.testing.assert_close(slerp(torch.tensor([[1.0, 0.0]]), across, 1 / 3), torch.tensor([[0.75**0.5, 0.5]]))
    assert slerp(a, b, 0.5).std() == pytest.approx(1, abs=0.02)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of two runs without training: the digits themselves, by their labels, and points."""
    folder = tmp_path_factory.mktemp("runs")
    for name in EXACT:
        write_exact_run(folder, name)
    return folder


def job_of(folder, *words, n=4, seed=0):
    run, denoiser, _, recipe, data = trained(composed(f"runs_dir={folder}", "precision=fp32", *words, name="sample"))
    return Job(run, denoiser, recipe, n, seed, (), 3, HERE, data, silently)


def test_held_out_images_are_of_the_labels_in_turn_and_of_the_seed(runs):
    job = job_of(runs, "run=digits", n=20)
    test = job.data.images.test
    known = {image.numpy().tobytes(): label for image, label in zip(test.x, test.y.tolist(), strict=True)}
    chosen = [known[image.numpy().tobytes()] for image in ((job.held_out(0) + 1) * 127.5).round().to(torch.uint8)]
    assert chosen == job.labels.tolist()
    assert torch.equal(job.held_out(0), job.held_out(0))
    assert not torch.equal(job.held_out(0), job.held_out(1))
    with pytest.raises(ValueError, match=r"n=1000 asks for 100 held-out samples with the label 0: .* labels="):
        replace(job, n=1000).held_out(0)


def test_classes_are_named_by_the_weights_or_the_data_or_else_by_numbers(runs, tmp_path):
    job = job_of(runs, "run=digits")
    nowhere = DataModule(Folder(str(tmp_path / "nowhere"), (1, 8, 8)), (1, 8, 8), 10, 0.5, 4)
    assert [*job.names] == [*"0123456789"]
    assert replace(job, data=nowhere).names == [f"class {k}" for k in range(10)]
    run = Run(tmp_path / "named")
    run.folder.mkdir()
    save_weights(run, {}, {0.9: {}}, {}, names=(words := [f"word {k}" for k in range(10)]))
    assert replace(job, run=run, data=nowhere).names == words
    assert job_of(runs, "run=points").names == []


def test_an_edit_of_no_strength_changes_nothing(runs, subtests):
    for invert in [False, True]:
        with subtests.test(f"invert={invert}"):
            job = job_of(runs, "run=digits")
            x0 = job.held_out(0)
            assert torch.equal(Edit(label=3, strength=0.0, invert=invert).edited(job, x0).images, x0)


def test_an_edit_of_full_strength_is_a_new_sample(runs):
    """Along a path that ends in pure noise, where nothing is left of the image."""
    job = job_of(runs, "run=digits", "sampler=ancestral")
    job = replace(job, recipe=replace(job.recipe, path=Linear()))
    labels = torch.full_like(job.labels, 3)
    after = Edit(label=3, strength=1.0).edited(job, job.held_out(0)).images
    torch.testing.assert_close(after, job.recipe.draw(job.denoiser, labels, job.seed).x)


def test_an_edit_takes_the_share_of_the_steps(runs):
    job = job_of(runs, "run=digits", "sampler=ddim", "nfe=10")
    assert Edit(label=3, strength=0.3).edited(job, job.held_out(0)).nfe == 3
    assert torch.equal(Edit(label=3, strength=0.3).times(job), job.times[-4:])


def test_interpolation_ends_in_the_plain_samples_of_its_seeds(runs):
    job, task = job_of(runs, "run=digits"), Interpolate(to=5, frames=3)
    first, _, last = task.arcs(job).images.split(job.n)
    for end, seed in ((first, job.seed), (last, 5)):
        torch.testing.assert_close(end, job.recipe.draw(job.denoiser, job.labels, seed).x)


def test_interpolation_between_images_ends_in_their_reconstructions(runs):
    job = job_of(runs, "run=digits", "nfe=60")
    ends = Interpolate(to=5, frames=2, held_out=True).arcs(job).images.split(job.n)
    for end, seed in zip(ends, (job.seed, 5), strict=True):
        noise = encode(job, job.held_out(seed), job.labels, job.times).images
        torch.testing.assert_close(end, decode(job, noise, job.labels, job.times).images)


def test_a_trajectory_leads_from_noise_to_what_is_generated(runs, subtests):
    for sampler in ["heun", "ancestral"]:
        with subtests.test(sampler):
            job = job_of(runs, "run=digits", f"sampler={sampler}")
            drawn = job.recipe.draw(job.denoiser, job.labels, job.seed)
            times, x, estimates, evaluations = Trajectory().follow(job)
            assert evaluations == drawn.nfe
            torch.testing.assert_close(x[-1], drawn.x)
            torch.testing.assert_close(estimates[-1], drawn.x)
            torch.testing.assert_close(x[0], job.noise(0))
            assert len(times) == len(x) == len(estimates) == len(job.times)


def test_classes_share_their_noise(runs, subtests):
    for sampler in ["heun", "ancestral"]:
        with subtests.test(sampler):
            job = job_of(runs, "run=digits", f"sampler={sampler}")
            for label, row in enumerate(Classes().samples(job).images.split(job.n)):
                alone = job.recipe.draw(job.denoiser, torch.full((job.n,), label), job.seed).x
                torch.testing.assert_close(row, alone)


def test_restoration_keeps_what_was_measured_whatever_the_batch(runs):
    job, task = job_of(runs, "run=digits", "range=none"), Restore(InpaintPixels((1, 8, 8)), Replacement())
    y = task.measure(job, job.held_out(0))
    x = task.restored(job, y).images
    torch.testing.assert_close(task.problem(x), y)
    torch.testing.assert_close(task.restored(replace(job, batch_size=250), y).images, x)


def test_the_noise_of_a_measurement_is_as_asked(runs):
    job, problem = job_of(runs, "run=digits", n=100), InpaintPixels((1, 8, 8))
    x0 = job.held_out(0)
    noise = Restore(problem, Replacement(), 0.3).measure(job, x0) - problem(x0)
    assert noise.std() == pytest.approx(0.3, abs=0.03)
