"""Averages of any length of a finished run, from the snapshots that its training kept."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from difflab.experiment import train
from difflab.experiment.store.run import Run
from difflab.experiment.store.weights import load_denoiser, tensors_of, weights_identity
from helpers.conf import composed
from helpers.jobs import TINY, said_here, the_run

WORDS = [*TINY, "images=320", "check_every=320", "snapshots=8", "logger=local"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one run of 40 steps that kept 8 snapshots, and what was said."""
    folder = tmp_path_factory.mktemp("snapshots")
    said_here("train", *WORDS, cwd=folder)
    return folder, the_run(folder)


@pytest.mark.long
def test_a_sweep_over_lengths_is_one_line(finished):
    folder, run = finished
    said_here("evaluate", "-m", "ema=0.05,0.15", f"run={run.folder.name}", "n=24", "logger=local", cwd=folder)
    found = [json.loads(path.read_text()) for path in run.evaluations.glob("*.json")]
    assert {each["card"]["weights"] for each in found} == {
        "ema=0.999",
        "ema=0.05 of 8 snapshots",
        "ema=0.15 of 8 snapshots",
    }


def test_a_tracked_length_is_what_was_kept(finished):
    _, run = finished
    kept = load_file(run.folder / "snapshots" / "20.safetensors")
    made = {length: tensors_of(run, float(length)) for length in {key.partition("/")[0] for key in kept}}
    for key, value in kept.items():
        length, _, name = key.partition("/")
        torch.testing.assert_close(made[length][name], value.float(), rtol=1e-4, atol=1e-5)
    assert weights_identity(run, 0.05)["weights"] == weights_identity(run, 0.07)["weights"]
    assert weights_identity(run, 0.05) != weights_identity(run, None)


def test_what_the_snapshots_cannot_give_is_said(finished, tmp_path):
    _, run = finished
    with pytest.warns(UserWarning, match=r"ema=0\.01 .* 8 snapshots .* error of \d\d%"):
        load_denoiser(run, 0.01)
    with pytest.raises(ValueError, match=r"ema=0\.5 is not in .*valid: 0\.999.* lengths up to 0\.2887"):
        load_denoiser(run, 0.5)
    said = said_here("train", *WORDS, "snapshots=21", cwd=tmp_path, status=1)
    assert "snapshots=21 are more than the 20 steps of this training" in said
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.folder, copy.folder)
    damaged = copy.folder / "snapshots" / "10.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x01")
    load_denoiser(copy)
    with pytest.raises(ValueError, match=r"10\.safetensors is damaged"):
        load_denoiser(copy, 0.1)


def test_a_dry_run_counts_their_bytes(finished):
    folder, run = finished
    plans = [
        train({**composed(*WORDS, "seed=1", f"snapshots={count}", f"runs_dir={folder}/other"), "dry_run": True})["plan"]
        for count in (8, 16)
    ]
    size = sum(path.stat().st_size for path in (run.folder / "snapshots").iterdir())
    assert plans[1]["disk MB"] - plans[0]["disk MB"] == pytest.approx(size / 1e6, rel=0.1)
