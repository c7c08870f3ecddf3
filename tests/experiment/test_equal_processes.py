"""One process and four: the same weights, samples, scores, likelihoods and logged losses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from difflab.experiment import evaluate
from helpers.jobs import TINY, measured, said_here, share_cache, the_run

pytestmark = pytest.mark.long

# Dropout is drawn for the images of a process, as torch draws it, and so it is left out.
# Muon rounds to bf16 between its steps, by which weights differ 1e-4 after 30 of them.
WORDS = [
    *TINY,
    "optimizer=adamw",
    "images=160",
    "check_every=160",
    "backbone.dropout=0.0",
    "logger=local",
    "protocol.n=24",
]
WORDS += ["protocol.n_likelihood=6", "protocol.flow_likelihood=true", "paradigm=vp_sde", "sampler=heun"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run of each number of processes, with the features of the real images computed once."""
    found, first = {}, None
    for devices in (1, 4):
        folder = tmp_path_factory.mktemp(f"{devices}")
        if first:
            share_cache(first, folder)
        first = first or folder
        said_here("train", *WORDS, f"trainer.devices={devices}", cwd=folder)
        found[devices] = the_run(folder)
    return found


def rows(run):
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "per_s" not in k} for line in lines]


def test_weights_and_logged_losses(runs):
    one, four = runs[1], runs[4]
    assert four.folder.name == one.folder.name
    ours, theirs = load_file(four.weights), load_file(one.weights)
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(rows(four), rows(one), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert four.result["loss"] == pytest.approx(one.result["loss"], rel=1e-6)
    assert four.result["loss_spread"] == pytest.approx(one.result["loss_spread"], rel=1e-5)


def test_scores_likelihoods_and_pictures_of_one_run(runs):
    """One run measured by one process and by four: the weights are the same ones."""
    run, found = runs[1], {}
    for devices in (1, 4):
        words = {"run": str(run.folder), "seed": 7, "n": 30, "out": f"{run.folder.parent.parent}/{devices}"}
        found[devices] = evaluate({**words, "trainer.devices": devices, "trainer": "cpu"})
        assert found[devices]["measured"] == 1
    assert found[4]["metrics"] == pytest.approx(found[1]["metrics"], rel=1e-6)
    assert found[4]["cost"]["nfe"] == found[1]["cost"]["nfe"]
    shown = [sorted((run.folder.parent.parent / f"{k}").rglob("*.png")) for k in (1, 4)]
    assert [path.name for path in shown[0]] == [path.name for path in shown[1]]
    assert len(shown[0]) == 3
    for one, other in zip(*shown, strict=True):
        difference = np.asarray(Image.open(one), int) - np.asarray(Image.open(other), int)
        assert abs(difference).max() <= 1, "another batch size rounds otherwise"


def test_a_process_without_a_sample_takes_part(runs):
    run, found = runs[1], {}
    for devices in (1, 4):
        words = {"run": str(run.folder), "n": 3, "n_likelihood": 0, "out": f"{run.folder.parent.parent}/few{devices}"}
        found[devices] = evaluate({**words, "trainer.devices": devices, "trainer": "cpu"})["metrics"]
    assert found[4] == pytest.approx(found[1], rel=1e-6)


def test_what_processes_measure_is_measured(runs):
    for run in runs.values():
        found = measured(run)
        assert found["metrics"]["n"] == 24
        assert found["metrics"]["bits_per_dim"] > 0
