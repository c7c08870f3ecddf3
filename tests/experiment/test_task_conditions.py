"""Tasks with a run whose labels look up more than a class: what samples are called, with prompts and without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from difflab.backbone import Images, UNet, Vectors
from difflab.data import DataModule, Digits
from difflab.data.conditioned import Brightness, Conditioned, LowResolution
from difflab.denoiser import Denoiser
from difflab.experiment.machine.terminal import silently
from difflab.experiment.model.conditions import Prompts, fill
from difflab.experiment.sampling.recipe import Recipe
from difflab.experiment.store.run import Run
from difflab.experiment.task.base import Job
from difflab.experiment.task.draw import Draw
from difflab.experiment.task.edit import Edit
from difflab.experiment.task.interpolate import Interpolate
from difflab.experiment.task.invert import Invert, encode
from difflab.experiment.task.restore import Restore
from difflab.experiment.task.trajectory import Trajectory
from difflab.guidance.base import Chain
from difflab.guidance.problem import InpaintPixels
from difflab.guidance.restoration import Replacement
from difflab.process import VP, Eps
from difflab.sampler import DDIM, LogSNR
from helpers.pictures import words_of

RESTORE = Restore(InpaintPixels((1, 8, 8)), Replacement())
HELD_OUT = Interpolate(frames=2, held_out=True)


@pytest.fixture(scope="module")
def datas():
    """The digits by an image, and by their brightness."""
    known = {"images": LowResolution(), "numbers": Brightness()}
    return {
        name: DataModule(Conditioned(Digits(), each), [1, 8, 8], 1797, 0.5, batch_size=4)
        for name, each in known.items()
    }


def job_of(data, book, folder, asked=(), prompts=None):
    """A job of an untrained network, whose labels matter."""
    torch.manual_seed(0)
    denoiser = Denoiser(
        UNet([1, 8, 8], 1797, width=16, multipliers=[1, 2], attention=[], head_channels=None, book=book), VP(), Eps()
    )
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.1)
    denoiser.eval().requires_grad_(False)
    prompts.fill(denoiser, {}, "a run") if prompts else fill(denoiser, data)
    recipe = Recipe(DDIM(), LogSNR(), Chain(), 2)
    return Job(Run(folder), denoiser, recipe, 2, 0, asked, 4, folder, data, silently, prompts)


def test_labels_that_look_up_images_are_numbered(datas, tmp_path, subtests):
    data = datas["images"]
    held_out = int(data.images.test.y[0])
    for name, task, asked in [
        ("grid", Draw(), (held_out,)),
        ("grid", Draw(), ()),
        ("invert", Invert(), ()),
        ("edit", Edit(label=3), ()),
        ("trajectory", Trajectory(columns=2), ()),
        ("interpolate", HELD_OUT, ()),
        ("restore", RESTORE, ()),
    ]:
        with subtests.test(type(task).__name__, asked=asked):
            job = job_of(data, Images, tmp_path, asked)
            task.require(job)
            task(job)
            shown = words_of(Image.open(tmp_path / f"{name}.png"))
            assert f"class {job.labels[0]}" in shown


def test_prompts_are_not_what_held_out_samples_are_called(datas, tmp_path, subtests):
    data, prompts = datas["numbers"], Prompts(["0.25", "0.75"])
    plain, asked = job_of(data, Vectors, tmp_path), job_of(data, Vectors, tmp_path, prompts=prompts)
    test = {x.numpy().tobytes(): y for x, y in zip(data.images.test.x, data.images.test.y.tolist(), strict=True)}
    for name, task in [
        ("edit", Edit(label="0.75", strength=1.0)),
        ("edit", Edit(label="0.75", strength=1.0, invert=True)),
        ("invert", Invert()),
        ("restore", RESTORE),
    ]:
        with subtests.test(name, task=task):
            task.require(asked)
            task(asked)
            known, shown = np.load(tmp_path / "samples.npz"), words_of(Image.open(tmp_path / f"{name}.png"))
            labels = [test[np.moveaxis(x, -1, 0).tobytes()] for x in known["held_out"]]
            assert all(data.images.names[label].replace("-", "−") in shown.replace("-", "−") for label in labels)
            assert "0.25" not in shown
            assert known.get("held_out_labels", np.array(labels)).tolist() == labels
    task, x0 = Edit(label="0.75", strength=1.0, invert=True), plain.held_out(0)
    assert torch.equal(asked.held_out(0), x0)
    expected = encode(plain, x0, plain.labels, plain.times)
    assert torch.equal(task.noised(asked, x0, asked.times).images, expected.images)
    assert torch.equal(HELD_OUT.noise(asked, 0).images, expected.images)
    assert Invert()(asked).measured == Invert()(plain).measured
    assert asked.denoiser.classes == 2


def test_prompts_decide_what_is_restored(datas, tmp_path):
    found = [
        RESTORE.restored(job, RESTORE.measure(job, job.held_out(0))).images
        for texts in (["0.25", "0.75"], ["0.75", "0.25"], None)
        for job in [job_of(datas["numbers"], Vectors, tmp_path, prompts=texts and Prompts(texts))]
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_too_few_held_out_samples_of_a_label_are_named(datas, tmp_path):
    job = job_of(datas["numbers"], Vectors, tmp_path)
    label = int(datas["numbers"].images.test.y[0])
    job = replace(job, asked=(label,))
    name = datas["numbers"].images.names[label]
    with pytest.raises(
        ValueError, match=rf"n=2 asks for 2 held-out samples with the label {name}: 1 exist, .* other labels="
    ):
        Invert().require(job)
