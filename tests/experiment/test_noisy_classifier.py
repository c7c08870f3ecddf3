"""A classifier of noisy samples as a run: its training, its weights by name, and its guidance."""

import hashlib

import pytest
import torch

from difflab.backbone.unet import UNet
from difflab.denoiser.base import Denoiser
from difflab.denoiser.classifier import Classifier
from difflab.experiment.model.from_run import FromRun
from difflab.experiment.parts.identity import line
from difflab.experiment.training.fitting import finished
from difflab.experiment.training.job import Training
from difflab.guidance.classifier import ClassifierGuidance
from difflab.process.schedule import Linear
from difflab.process.target import Velocity
from difflab.sampler.ddim import DDIM
from difflab.sampler.generate import generate
from difflab.sampler.grid import Uniform
from helpers.conf import composed
from helpers.networks import perturbed

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of some seconds on 8x8 digits."""
    runs = tmp_path_factory.mktemp("runs")
    small = ["backbone.width=16", "backbone.multipliers=[1,2]", "backbone.attention=[4]", "batch_size=32"]
    budget = ["images=6400", "check_every=6400", "trainer=cpu", "precision=fp32", "logger=local", "ema=[0.9]"]
    config = composed("paradigm=noisy_classifier", "data=digits", *small, *budget, f"runs_dir={runs}")
    job = Training.of(config)
    finished(job)
    return runs, job.run, job.run.result


def test_a_short_training_tells_clean_digits_and_is_at_a_loss_in_noise(trained):
    _, run, result = trained
    assert result["accuracy@4.."] > 0.5
    assert result["accuracy@..-4"] < 0.3
    assert result["accuracy@..-4"] < result["accuracy"] < result["accuracy@4.."]
    assert "metrics" not in result
    assert not (run.folder / "samples").exists()


def test_weights_from_a_run_are_named_by_what_they_are(trained):
    runs, run, _ = trained
    by_name, by_folder = FromRun("noisy_class", str(runs)), FromRun(str(run.folder), "elsewhere", 0.9)
    sha256 = hashlib.sha256(run.weights.read_bytes()).hexdigest()
    assert line(by_name) == line(by_folder) == f"FromRun(weights='{sha256}', ema=0.9)"
    assert str(runs) not in line(ClassifierGuidance(by_name))
    classifier = by_name()
    assert isinstance(classifier, Classifier)
    assert not classifier.training
    assert not any(p.requires_grad for p in classifier.parameters())
    with pytest.raises(ValueError, match=r"ema=0\.5 is not in"):
        FromRun("noisy_class", str(runs), 0.5)
    with pytest.raises(ValueError, match="no run in"):
        FromRun("nothing", str(runs))


def test_velocities_are_guided_too(trained):
    """A flow along straight paths, guided by the trained classifier of a cosine table."""
    runs, _, _ = trained
    torch.manual_seed(0)
    flow = Denoiser(perturbed(UNet((1, 8, 8), 0, 16, (1, 2), 1, (4,), None)), Linear(), Velocity())
    guided = ClassifierGuidance(FromRun("noisy_class", str(runs)))(flow)
    drawn = generate(guided, DDIM(), Uniform(), nfe=8, labels=torch.arange(10))
    assert drawn.images.isfinite().all()
    assert drawn.nfe == 8
