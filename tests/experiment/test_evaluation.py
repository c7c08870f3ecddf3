"""A measurement: its card is known before it is made, its labels are the guided denoiser's, and each is made once."""

import json

import pytest
import torch
from PIL import Image

from difflab.data.images import Images, Split
from difflab.experiment.evaluation.meter import Meter
from difflab.experiment.picture.measured import STEPS
from difflab.experiment.training.job import Training
from difflab.guidance.base import Chain, Guided
from difflab.metric.moments import MeanAndError
from helpers.conf import composed
from helpers.jobs import TINY
from helpers.pictures import faults, tiles_of, words_of

WORDS = [*TINY, "images=16", "logger=local", "protocol.n=20"]


class Conditioned(Guided):
    """A guidance that knows classes which the denoiser does not, as that by a classifier does."""

    def __init__(self, denoiser):
        super().__init__(denoiser)
        self.classes = 3

    def forward(self, x, t, label, s=None):
        assert int(label.max()) < 3
        return self.denoiser(x, t, torch.zeros_like(label), s)


def measurements(folder, *words):
    return Training.of(composed(*WORDS, *words, f"runs_dir={folder}")).evaluations


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A measurement, its card as it was known before, and what it found."""
    folder = tmp_path_factory.mktemp("measured")
    (measurement,) = measurements(folder)
    assert not list(folder.iterdir())
    card = measurement.card
    return measurement, card, measurement()


def test_the_card_is_known_before_anything_is_drawn(measured):
    measurement, card, found = measured
    assert found["card"] == card.to_dict() == json.loads(measurement.path.read_text())["card"]
    assert found["cost"]["nfe"] == card.nfe == 4
    assert measurement.path.stem == card.fingerprint


def test_the_card_names_the_chain_and_the_likelihoods_that_the_protocol_wants(tmp_path):
    bound = "ChainBound(v=1.0, decoder_v=0.0, limit=1.0, steps=16)"
    continuous = "ContinuousBound(n=16, decoder=FlatPrior(), limit=1.0)"
    flow = "FlowLikelihood(trace=Hutchinson(probes=1), rtol=0.001, atol=0.001)"
    few = "protocol.n_likelihood=2"
    for words, expected in [
        ([few, "sampler=ancestral_large"], bound),
        ([few, "sampler=ancestral"], bound.replace("v=1.0", "v=0.0")),
        ([few, "sampler=ddim"], bound),  # which draws no chain: Ho et al.'s
        ([few, "paradigm=vp_sde"], continuous),
        ([few, "paradigm=vdm"], continuous.replace("1.0", "None")),  # as Kingma et al.
        ([few, "paradigm=vp_sde", "protocol.flow_likelihood=true"], f"{flow}, {continuous}"),
        (["protocol.n_likelihood=0"], ""),
    ]:
        (measurement,) = measurements(tmp_path, *words)
        assert measurement.card.likelihood == expected, words
        assert measurement.card.likelihood not in measurement.card.protocol.values() or not expected


def test_bits_per_dim_are_measured_once_for_all_samplers_of_one_chain(tmp_path, monkeypatch):
    seen = []
    update = MeanAndError.update
    monkeypatch.setattr(MeanAndError, "update", lambda self, bits: (seen.append(len(bits)), update(self, bits))[1])
    bounds = []
    for words, measured in [
        (["sampler=ancestral"], 5),
        (["sampler=ancestral", "nfe=3", "range=none"], 5),
        (["sampler=ancestral_large"], 10),  # of another variance
        (["sampler=ddim"], 10),  # which is measured by that variance
        (["sampler=ddim", "nfe=3", "protocol.n_likelihood=6"], 16),
    ]:
        (measurement,) = measurements(tmp_path, "protocol.n_likelihood=5", *words)
        metrics = measurement()["metrics"]
        assert sum(seen) == measured, words
        bounds.append((metrics["bits_per_dim_bound"], metrics["bits_per_dim_bound_se"]))
    assert bounds[0] == bounds[1] != bounds[2] == bounds[3] != bounds[4]


def test_what_is_measured_is_not_measured_again(measured):
    measurement, _, found = measured
    touched = measurement.path.stat().st_mtime_ns
    drawn = []
    assert measurement(drawn.append) == found
    assert drawn == []
    assert measurement.path.stat().st_mtime_ns == touched


def test_samples_are_measured_in_any_batches_and_each_once(measured):
    measurement, _, found = measured
    protocol, data = measurement.protocol, measurement.data
    labels = protocol.labels_for(data, measurement.classes)
    samples = data.codec.decode(measurement.recipe.draw(measurement.model.denoiser, labels, measurement.seed).x)
    meter = Meter(protocol, data, measurement.classes, measurement.cache)
    for k in torch.arange(protocol.n).flip(0).split(7):
        meter.update(samples[k], labels[k], k)
    again, _ = meter.compute()
    known = [name for name in found["metrics"] if not name.startswith("bits_per_dim")]
    assert [*again] == known
    assert again == pytest.approx({name: found["metrics"][name] for name in known}, rel=1e-9)
    meter.update(samples[:1], labels[:1], torch.tensor([0]))
    with pytest.raises(ValueError, match="n=20 samples are measured together, not 21"):
        meter.compute()


def test_each_seed_of_the_noise_is_a_measurement_of_its_own(tmp_path):
    several = measurements(tmp_path, "protocol.seeds=3", "protocol.seed=5")
    assert [each.card.seed for each in several] == [5, 6, 7]
    assert several[0].card.differences(several[1].card) == ("seed",)
    assert several[0].card.protocol == several[1].card.protocol


def test_pictures_lie_beside(measured):
    measurement, _, _ = measured
    assert measurement.pictures.keys() == {"samples", "steps", "pairs"}
    shown = {what: Image.open(path) for what, path in measurement.pictures.items()}
    assert {what: tiles_of(image) for what, image in shown.items()} == {
        "samples": (10, 2),
        "pairs": (10, 2),
        "steps": (STEPS, 4),
    }
    assert faults(shown["pairs"]) == []
    for image in shown.values():
        assert f"run {measurement.run.folder.name} · sampler" in words_of(image)
    assert "The first 20 samples 0 1 2 3 4 5 6 7 8 9" in words_of(shown["samples"])
    assert "call 1" in words_of(shown["steps"])
    assert "generated nearest in training" in words_of(shown["pairs"])


def test_labels_are_those_of_the_guided_denoiser(tmp_path):
    """A network without classes, measured under a guidance that has some, is asked for them."""
    (plain,) = measurements(tmp_path, "backbone.classes=0")
    guided = Chain((Conditioned,))
    recipe = plain.recipe.__class__(plain.recipe.sampler, plain.recipe.grid, guided, 4)
    under = type(plain)(*(recipe if f == "recipe" else getattr(plain, f) for f in plain.__dataclass_fields__))
    assert (plain.card.labels, under.card.labels) == ("none", "balanced")
    assert plain.protocol.labels_for(plain.data, plain.classes).unique().tolist() == [0]
    assert under.protocol.labels_for(under.data, under.classes).unique().tolist() == [0, 1, 2]


def test_labels_may_follow_the_data(tmp_path, monkeypatch):
    (measurement,) = measurements(tmp_path, "protocol.labels=data", "protocol.n=4000")
    real = measurement.data.images
    y = torch.tensor([0] * 30 + [7] * 10)
    skewed = Images(Split(real.train.x[:40], y), real.test, real.names)
    monkeypatch.setitem(measurement.data.__dict__, "images", skewed)
    labels = measurement.protocol.labels_for(measurement.data, 10)
    assert labels.unique().tolist() == [0, 7]
    assert (labels == 0).double().mean().item() == pytest.approx(0.75, abs=4 * (0.75 * 0.25 / 4000) ** 0.5)


def test_the_card_holds_what_was_used_and_notes_name_what_is_too_small(tmp_path, monkeypatch, capsys):
    """A split of 7 held-out samples, of which 500 were asked for."""
    words = ("protocol.n_likelihood=500", "paradigm=rectified_flow")
    (measurement,) = measurements(tmp_path, *words)
    real = measurement.data.images
    few = Images(real.train, Split(real.test.x[:7], real.test.y[:7]), real.names)
    monkeypatch.setitem(measurement.data.__dict__, "images", few)
    monkeypatch.delitem(measurement.data.__dict__, "measured", raising=False)
    seen = []
    update = MeanAndError.update
    monkeypatch.setattr(MeanAndError, "update", lambda self, bits: (seen.append(len(bits)), update(self, bits))[1])
    capsys.readouterr()
    measurement.protocol.print_notes(measurement.data)
    before = capsys.readouterr().out
    assert seen == []
    assert "note on bits_per_dim, bits_per_dim_bound: only 7 held-out samples" in before
    found = measurement()
    assert found["card"]["n_likelihood"] == sum(seen) == 7
    assert found["notes"]["bits_per_dim_bound"] == "only 7 held-out samples"
    assert found["notes"]["kid_lite0"] == "only 20 generated samples; only 7 reference samples"
    assert "7 reference samples for" in found["notes"]["fd_lite0"]
    assert found["notes"].keys() <= found["metrics"].keys()
    one = Images(real.train, Split(real.test.x[:1], real.test.y[:1]), real.names)
    monkeypatch.setitem(measurement.data.__dict__, "images", one)
    with pytest.raises(ValueError, match="n_likelihood=500 of 1 held-out samples"):
        measurement.protocol.dry_run(measurement.data)
