"""A classifier of clean samples: its training, and what it says of others as extractor and as judge."""

from types import SimpleNamespace

import pytest
import torch

from difflab.data.codec import Pixels
from difflab.data.images import Split
from difflab.experiment.evaluation.meter import Meter
from difflab.experiment.evaluation.protocol import Protocol
from difflab.experiment.model.from_run import FromRun
from difflab.experiment.model.trained_classifier import TrainedClassifier
from difflab.experiment.parts.build import build
from difflab.experiment.store.run import Run
from difflab.experiment.store.weights import save_weights
from difflab.experiment.training.fitting import finished
from difflab.experiment.training.job import Training
from difflab.metric.classes import class_accuracy, inception_score
from difflab.metric.reference import measure
from difflab.process.gaussian import scale
from helpers.conf import composed
from helpers.networks import perturbed

SMALL = ["data=digits", "backbone.width=16", "backbone.multipliers=[1,2]", "backbone.attention=[4]"]
QUIET = ["trainer=cpu", "precision=fp32", "logger=local"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of some seconds on 8x8 digits: its folder, its result, its job."""
    runs = tmp_path_factory.mktemp("runs")
    budget = ["images=4800", "check_every=4800", "ema=[0.9,0.5]"]
    config = composed("paradigm=classifier", *SMALL, *QUIET, *budget, f"runs_dir={runs}")
    job = Training.of(config)
    finished(job)
    return SimpleNamespace(runs=str(runs), job=job, result=job.run.result, test=job.data.images.test)


@pytest.fixture(scope="module")
def judge(trained):
    return TrainedClassifier("classifier", trained.runs)


def untrained(folder, *words):
    """The run of a network that nobody trained, as `difflab-train WORDS` would have left it."""
    config = composed(*words, *SMALL, *QUIET)
    model = build(config["model"])
    run = Run(folder / "untrained")
    run.folder.mkdir()
    (run.folder / "config.yaml").write_text("")
    save_weights(run, config["model"][model.learns], {0.9: perturbed(model.learned).state_dict()}, {})
    return run


# Training


@pytest.mark.long
def test_a_short_training_tells_held_out_digits(trained):
    assert trained.result["accuracy"] > 0.9  # chance: 0.1
    assert [key for key in trained.result if key.startswith("accuracy@")] == []  # all samples are of one noise level


def test_it_is_trained_on_clean_samples(trained):
    model, x0 = trained.job.model.train(), Pixels().encode(trained.test.x[:32])
    noised = model.corrupt(x0, trained.test.y[:32], 0.0, 0, 0)
    assert torch.equal(noised.x_t, x0)
    assert torch.equal(noised.label, trained.test.y[:32])


# What it sees


def test_one_pass_gives_the_classes_and_the_features_that_they_are_linear_in(trained, judge):
    classifier = FromRun("classifier", trained.runs)()
    seen = judge(trained.test.x[:16])
    passes = []
    judge._network.classifier.register_forward_hook(lambda *_: passes.append(1))
    judge(trained.test.x[:16])
    assert passes == [1]
    told = classifier(Pixels().encode(trained.test.x[:16]), torch.tensor(0.0, dtype=torch.float64))
    torch.testing.assert_close(seen["log_probs"], told)
    torch.testing.assert_close(classifier.backbone.readout(seen["features"]).log_softmax(1), told)


def test_what_it_sees_of_an_image_does_not_depend_on_the_images_beside_it_or_on_autocast(trained, judge):
    x = trained.test.x[:21]
    together, reversed_ = judge(x), judge(x.flip(0))
    with torch.autocast("cpu", torch.bfloat16):
        alone = [judge(image[None]) for image in x]
    for layer, seen in together.items():
        assert seen.dtype == torch.float32
        torch.testing.assert_close(torch.cat([each[layer] for each in alone]), seen, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(reversed_[layer].flip(0), seen, rtol=1e-5, atol=1e-5)


def test_its_features_measure_distances(trained, judge, cache):
    """Nothing lies between a set and itself; noise is further from digits than digits are."""
    train, test = trained.job.data.images.train, trained.test
    same = measure(judge, test.x, test, train, cache)
    noise = torch.randint(0, 256, test.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    other = measure(judge, noise, test, train, cache)
    assert same["fd_classifier"] < 1e-6
    assert same["precision_classifier"] == same["coverage_classifier"] == 1
    for key in ("fd_classifier", "kid_classifier"):
        assert other[key] > 10 * other[f"{key}_floor"]


# What it says


def test_its_verdict_on_held_out_samples_is_the_floor_and_what_training_told(trained, judge, cache):
    """In batches, in whatever order; and no accuracy where no classes were asked for."""
    test, data = trained.test, trained.job.data
    n = len(test)
    protocol = Protocol(n, ["test"], judge, [0], 0, "balanced", judge, flow_likelihood=False)
    meter = Meter(protocol, data, 10, cache)
    for k in torch.arange(n).flip(0).split(100):
        meter.update(test.x[k], test.y[k], k)
    found, _ = meter.compute()
    assert found["class_accuracy"] == pytest.approx(found["class_accuracy_floor"], rel=1e-12)
    assert found["class_accuracy"] == pytest.approx(trained.result["accuracy"])
    assert found["is_classifier"] == pytest.approx(found["is_classifier_floor"], rel=1e-12)
    assert 5 < found["is_classifier"] < 10
    assert judge.floors(n, test, cache)["is_classifier"] == found["is_classifier_floor"]  # from the cache
    unasked = Meter(protocol, data, 0, cache)
    unasked.update(test.x, test.y, torch.arange(n))
    assert found.keys() - unasked.compute()[0].keys() == {"class_accuracy", "class_accuracy_floor"}


def test_a_floor_of_fewer_samples_is_of_their_own_labels(trained, judge, cache):
    order = trained.test.y.argsort(stable=True)
    by_class = Split(trained.test.x[order], trained.test.y[order])
    floors = judge.floors(60, by_class, cache)
    assert floors["class_accuracy"] > 0.9
    told = judge(by_class.x[:60])["log_probs"]  # of two classes
    assert class_accuracy(told, by_class.y[:60].flip(0)) < 0.7
    assert inception_score(told) < 4 < 5 < floors["is_classifier"] < 10


# Which runs


def test_a_judge_is_known_by_its_weights_wherever_they_lie(trained, judge):
    by_folder = TrainedClassifier(str(trained.job.run.folder), "elsewhere", 0.9)
    other = TrainedClassifier("classifier", trained.runs, 0.5)
    assert str(by_folder) == str(judge)
    assert (by_folder.sha256, by_folder.classes, by_folder.shape) == (judge.sha256, 10, (1, 8, 8))
    assert other.sha256 != judge.sha256
    assert str(other) != str(judge)


def test_a_classifier_of_noisy_samples_judges_at_the_least_noise_that_it_knows(tmp_path):
    run = untrained(tmp_path, "paradigm=noisy_classifier", "schedule.T=4")
    classifier = FromRun(str(run.folder), "elsewhere")()
    x = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    t = torch.tensor(1.0, dtype=torch.float64)
    assert classifier.schedule(t).alpha < 0.99
    told = classifier(scale(classifier.schedule(t).alpha, Pixels().encode(x)), t)
    torch.testing.assert_close(TrainedClassifier(str(run.folder), "elsewhere")(x)["log_probs"], told)


def test_what_cannot_judge_is_refused(trained, judge, tmp_path):
    denoiser = untrained(tmp_path, "paradigm=ddpm")
    with pytest.raises(ValueError, match=r"untrained is a denoiser, .*difflab-train paradigm=classifier"):
        TrainedClassifier(str(denoiser.folder), "elsewhere")
    with pytest.raises(ValueError, match="no run in"):
        TrainedClassifier("nothing", trained.runs)
    with pytest.raises(ValueError, match=r"ema=0\.7 is not in"):
        TrainedClassifier("classifier", trained.runs, 0.7)
    with pytest.raises(ValueError, match=r"classifies images of shape \(1, 8, 8\), not \(3, 8, 8\); difflab-train"):
        judge(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        judge(torch.zeros(2, 1, 8, 8))
