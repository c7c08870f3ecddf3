"""What `difflab-sample` does: laws on closed forms, and every task as a user runs it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from difflab.data.codec import Arrays
from difflab.data.gaussian_array import GaussianArray
from difflab.data.module import DataModule
from difflab.denoiser.exact import Gaussian
from difflab.experiment.recipe import Recipe, trained
from difflab.experiment.run import Run, find
from difflab.experiment.task.base import Job, silently
from difflab.experiment.task.classes import Classes
from difflab.experiment.task.edit import Edit
from difflab.experiment.task.interpolate import Interpolate, slerp
from difflab.experiment.task.invert import Invert, decode, encode, rising
from difflab.experiment.task.restore import Restore
from difflab.experiment.task.trajectory import Trajectory
from difflab.experiment.weights import save_weights
from difflab.guidance.base import Chain
from difflab.guidance.problem import InpaintPixels
from difflab.guidance.restoration import Replacement
from difflab.process.schedule import VP, Linear
from difflab.sampler.ancestral import Ancestral
from difflab.sampler.dpm_solver import DPMSolverPP
from difflab.sampler.grid import LogSNR
from helpers.conf import composed, samplers
from helpers.jobs import run_here

MEAN, VAR = 0.3, 0.25
HERE = Path()
DETERMINISTIC = {name: sampler for name, sampler in samplers().items() if not sampler.stochastic}


def gaussian_job(sampler, schedule, steps):
    """Images of 2x2 numbers, independent and N(MEAN, VAR)."""
    one = torch.ones(1, 2, 2, dtype=torch.float64)
    source = GaussianArray(shape=[1, 2, 2], mean=MEAN, var=VAR, n=4, held_out=4)
    data = DataModule(source, source.shape, 0, VAR**0.5, batch_size=4, codec=Arrays())
    recipe = Recipe(sampler, LogSNR(), Chain(), steps * (sampler.evaluations or 1))
    return Job(Run(HERE), Gaussian(schedule, MEAN * one, VAR * one), recipe, 4, 0, None, 4, HERE, data, silently)


def there_and_back(sampler, schedule, steps):
    """The largest errors of the noise, in units of sigma, and of the reconstruction."""
    job = gaussian_job(sampler, schedule, steps)
    x0 = MEAN + VAR**0.5 * torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = encode(job, x0, job.labels, job.times).images
    top = schedule(job.times[0])
    flown = top.alpha * MEAN + (top.alpha**2 * VAR + top.sigma**2).sqrt() / VAR**0.5 * (x0 - MEAN)
    again = decode(job, noise, job.labels, job.times).images
    return ((noise - flown) / top.sigma).abs().max(), (again - x0).abs().max()


def test_inversion_follows_the_exact_flow_up_and_back_to_the_order_of_the_solver(subtests):
    for name, sampler in DETERMINISTIC.items():
        with subtests.test(name):
            coarse, fine = (there_and_back(sampler, VP(), steps) for steps in (15, 60))
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


def test_the_way_up_starts_at_the_least_noisy_trained_time():
    schedule = VP(t_min=0.01)
    assert rising(torch.tensor([1.0, 0.5, 0.0]), schedule).tolist() == pytest.approx([0.01, 0.5, 1.0])
    assert rising(torch.tensor([1.0, 0.5, 0.01, 0.005, 0.0]), schedule).tolist() == pytest.approx([0.01, 0.5, 1.0])
    assert rising(torch.tensor([0.0]), schedule).tolist() == [0.0]


def test_stochastic_samplers_cannot_invert_and_are_told_which_can():
    job = gaussian_job(Ancestral(), VP(), 5)
    with pytest.raises(ValueError, match=r"draws noise.* choose sampler=.*heun") as refused:
        Invert().require(job)
    assert "ancestral" not in str(refused.value).partition("choose")[2]


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
    tiny = ["paradigm=exact", "nfe=11", "precision=fp32"]
    words = {"digits": ["data=digits"], "points": ["experiment=toy", "data=mixture", "denoiser=known"]}
    for name, own in words.items():
        config = composed(*tiny, *own)
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(yaml.dump(config))
        save_weights(Run(folder / name), config["denoiser"], {0.999: {}}, {})
    return folder


def job_of(folder, *words, n=4, seed=0):
    run, denoiser, _, recipe, data = trained(composed(f"runs_dir={folder}", "precision=fp32", *words, name="sample"))
    return Job(run, denoiser, recipe, n, seed, None, 3, HERE, data, silently)


def sample(folder, *words):
    """What `difflab-sample` does with these words."""
    run_here("sample", f"runs_dir={folder}", "precision=fp32", *words)


def test_held_out_images_are_of_the_labels_in_turn_and_of_the_seed(runs):
    job = job_of(runs, "run=digits", n=20)
    test = job.data.images.test
    known = {image.numpy().tobytes(): label for image, label in zip(test.x, test.y.tolist(), strict=True)}
    chosen = [known[image.numpy().tobytes()] for image in ((job.held_out(0) + 1) * 127.5).round().to(torch.uint8)]
    assert chosen == job.labels.tolist()
    assert torch.equal(job.held_out(0), job.held_out(0))
    assert not torch.equal(job.held_out(0), job.held_out(1))
    with pytest.raises(ValueError, match="n=1000 asks for 100 held-out samples of one label"):
        replace(job, n=1000).held_out(0)


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
            seen, estimates, evaluations = Trajectory().follow(job)
            assert evaluations == drawn.nfe
            torch.testing.assert_close(seen[-1], drawn.x)
            torch.testing.assert_close(estimates[-1], drawn.x)
            torch.testing.assert_close(seen[0], job.looks(job.noise(0), job.times[0]))
            assert len(seen) == len(estimates) == len(job.times)


def test_classes_share_their_noise(runs, subtests):
    for sampler in ["heun", "ancestral"]:
        with subtests.test(sampler):
            job = job_of(runs, "run=digits", f"sampler={sampler}")
            for label, row in enumerate(Classes().samples(job).images.split(job.n)):
                alone = job.recipe.draw(job.denoiser, torch.full((job.n,), label), job.seed).x
                torch.testing.assert_close(row, alone)


def test_restoration_keeps_what_was_measured_whatever_the_batch(runs):
    job, task = job_of(runs, "run=digits", "guidance=[none]"), Restore(InpaintPixels((1, 8, 8)), Replacement())
    y = task.measure(job, job.held_out(0))
    x = task.restored(job, y).images
    torch.testing.assert_close(task.problem(x), y)
    torch.testing.assert_close(task.restored(replace(job, batch_size=250), y).images, x)


def test_the_noise_of_a_measurement_is_as_asked(runs):
    job, problem = job_of(runs, "run=digits", n=100), InpaintPixels((1, 8, 8))
    x0 = job.held_out(0)
    noise = Restore(problem, Replacement(), 0.3).measure(job, x0) - problem(x0)
    assert noise.std() == pytest.approx(0.3, abs=0.03)


WRITTEN = [  # the words, and the tiles across and down of each picture
    (["run=digits", "task=draw", "n=12", "task.singles=true"], {"grid.png": (10, 2), "000011.png": None}),
    (["run=digits", "task=invert", "n=5"], {"invert.png": (5, 3)}),
    (
        ["run=digits", "task=interpolate", "n=2", "task.frames=4"],
        {"interpolate.png": (4, 2), "interpolate.gif": (2, 1)},
    ),
    (["run=digits", "task=edit", "n=20", "task.label=3"], {"edit.png": (4, 10)}),
    (["run=digits", "task=edit", "n=20", "task.label=3", "task.invert=true"], {"edit.png": (4, 10)}),
    (
        ["run=digits", "task=trajectory", "n=2", "task.columns=3"],
        {"trajectory.png": (3, 4), "trajectory.gif": (2, 2)},
    ),
    (["run=digits", "task=classes", "n=3"], {"classes.png": (3, 10)}),
    (
        ["run=digits", "task=restore", "n=5", "problem=super_resolution", "restoration=pigdm", "task.noise_std=0.1"],
        {"restore.png": (5, 3)},
    ),
    (["run=points", "task=draw"], {"grid.png": None}),
    (["run=points", "task=invert"], {"invert.png": (1, 3)}),
    (["run=points", "task=interpolate", "task.frames=4"], {"interpolate.png": (4, 1), "interpolate.gif": (1, 1)}),
    (["run=points", "task=trajectory", "task.columns=3"], {"trajectory.png": (3, 2), "trajectory.gif": (1, 2)}),
]


def test_every_task_writes_its_pictures_and_how_they_were_made(runs, tmp_path, capsys, subtests):
    for k, (words, pictures) in enumerate(WRITTEN):
        out = tmp_path / str(k)
        with subtests.test(" ".join(words)):
            sample(runs, *words, f"out={out}")
            side = 48 if words[0] == "run=digits" else 160
            for name, tiles in pictures.items():
                picture = Image.open(out / name)
                assert tiles is None or picture.size == tuple(2 + k * (side + 2) for k in tiles)
                assert getattr(picture, "n_frames", 1) > 1 or not name.endswith("gif")
            said, report = capsys.readouterr().out, json.loads((out / "report.json").read_text())
            assert f"{next(iter(pictures))}" in said
            assert report["task"].lower().startswith(words[1].removeprefix("task="))
            assert report["sampler"] == "Heun()"
            found = {"task=invert": {"rmse", "psnr"} if side == 48 else {"rmse"}, "task=restore": {"psnr", "psnr_pinv"}}
            assert set(report["measured"]) == found.get(words[1], set())


def test_what_inversion_prints_is_what_it_writes(runs, tmp_path, capsys):
    sample(runs, "run=points", "task=invert", "nfe=99", "n=200", f"out={tmp_path}")
    measured = json.loads((tmp_path / "report.json").read_text())["measured"]
    assert f"rmse {measured['rmse']:.4g}" in capsys.readouterr().out
    assert measured["rmse"] < 0.01


def test_tasks_do_not_share_a_folder(runs):
    for words in (
        ["task=classes"],
        ["task=classes", "seed=1"],
        ["task=interpolate"],
        ["task=interpolate", "task.to=2"],
    ):
        sample(runs, "run=digits", "n=1", *words)
    folders = {path.parent.name for path in find(runs, "digits").folder.glob("samples/*/report.json")}
    assert len(folders) == 4


def test_what_cannot_be_done_is_refused_before_anything_is(runs, tmp_path, subtests):
    for words, message in [
        (["run=points", "task=classes"], "this run is unconditional"),
        (["run=points", "task=edit", "task.label=0"], "this run is unconditional"),
        (["run=points", "task.singles=true"], "these samples are points"),
        (["run=digits", "task=classes", "label=2"], "leave out label=2"),
        (["run=digits", "task=edit"], "please give a value: task.label"),
        (["run=digits", "task=edit", "task.label=10"], "none of this run's 10 classes"),
        (["run=digits", "task=edit", "task.label=1", "task.strength=2"], "must lie in"),
        (["run=digits", "task=edit", "task.label=1", "task.invert=true", "sampler=ancestral"], "choose sampler="),
        (["run=digits", "task=interpolate", "sampler=ancestral"], "choose sampler="),
        (["run=digits", "task=interpolate", "task.frames=1"], "two ends"),
        (["run=digits", "task=trajectory", "task.columns=1"], "two at least"),
        (["run=digits", "task=invert", "n=1000"], "held-out samples of one label"),
        (["run=digits", "task=restore"], "Restore needs problem, restoration"),
        (["run=digits", "problem=deblur"], "'problem' is not a key of Draw"),
        (["run=points", "task=restore", "problem=deblur", "restoration=dps"], "inverse problems are about images"),
        (["run=digits", "task=restore", "problem=deblur", "restoration=dps", "task.noise_std=-1.0"], "noise_std=-1"),
        (["run=digits", "n=0"], "n and batch_size must be at least 1"),
        (["run=digits", "label=10"], "none of this run's 10 classes"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit, match=message):
                sample(runs, *words, f"out={tmp_path / 'out'}")
            assert not (tmp_path / "out").exists()


def test_multistep_solvers_start_afresh_up_and_down():
    """One step of a multistep solver has no history: up and down it is the step of first order."""
    job = gaussian_job(DPMSolverPP(), VP(), 1)
    x0 = torch.full((4, 1, 2, 2), 0.7, dtype=torch.float64)
    first, then = (encode(job, x0, job.labels, job.times).images for _ in range(2))
    assert torch.equal(first, then)
    below, top = job.guided.schedule(torch.tensor(VP().t_min, dtype=torch.float64)), VP()(job.times[0])
    estimate = job.guided(x0 * below.alpha, torch.tensor(VP().t_min, dtype=torch.float64), job.labels)
    torch.testing.assert_close(first, top(estimate.x0, estimate.eps))
