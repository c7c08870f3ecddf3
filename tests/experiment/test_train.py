"""A run as users train it: what it leaves, how it is logged, found, sampled and measured."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from difflab.experiment.store.run import Run, find
from difflab.experiment.store.weights import load_denoiser
from difflab.experiment.training.job import Training
from helpers.jobs import TINY, measured, said_here, the_run
from helpers.pictures import tiles_of, words_of

WORDS = [*TINY, "images=1600", "check_every=800", "ema=[0.9,0.99]"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which one run has been trained to its end, mirrored on W&B offline."""
    folder = tmp_path_factory.mktemp("finished")
    said = said_here("train", *WORDS, cwd=folder)
    return folder, the_run(folder), said


def test_a_run_leaves_what_was_promised(finished):
    _, run, said = finished
    promised = ("config.yaml", "metrics.jsonl", "checkpoints/last.ckpt", "weights.safetensors", "weights.json")
    for name in (*promised, "summary.json"):
        assert (run.folder / name).is_file(), name
    assert sorted(p.name for p in (run.folder / "samples").glob("*.png")) == [
        "final.png",
        "step-0000050.png",
        "step-0000100.png",
    ]
    found = measured(run)
    assert found["metrics"].keys() >= {"fd_lite0", "fd_lite0_floor", "kid_lite0", "kid_lite0_floor", "n", "copies"}
    assert found["card"]["nfe"] == found["cost"]["nfe"] == 4
    assert found["card"]["weights"] == "ema=0.9"
    assert 0 < found["cost"]["network_share"] < 1
    assert found["command"].startswith("difflab-train data=digits")
    assert run.config["choices"]["schedule"] == "ddpm_cosine"
    for what in ("samples", "steps", "pairs"):
        assert len(list(run.folder.glob(f"evaluations/*-{what}.png"))) == 1
    assert run.result["training"]["images_seen"] == 1600
    errors = run.result["denoising_error"]
    assert errors["8"] > errors["0"] > errors["-8"], "the more of it there is, the better noise is told"
    for word in ("fd_lite0", "coverage_lite0", "copies", "difflab-sample run=", run.folder.name):
        assert word in said


def test_pictures_say_how_far_the_training_was_and_how_they_were_drawn(finished):
    _, run, _ = finished
    for name, seen in {"step-0000050.png": "step 50, 800 images", "final.png": "step 100, 1,600 images"}.items():
        with Image.open(run.folder / "samples" / name) as image:
            assert tiles_of(image) == (10, 8)
            assert words_of(image).startswith(f"Samples at {seen} seen 0 1 2 3 4 5 6 7 8 9 run {run.folder.name} ·")
            for word in ("sampler Ancestral", "NFE 4", "guidance none", "range Clip", "seed 0"):
                assert word in words_of(image)
    assert json.loads(run.facts.read_text())["names"] == [*"0123456789"]


def test_the_final_picture_is_of_the_exported_weights(finished):
    """It is that of the last validation, which is not drawn twice."""
    folder, run, _ = finished
    job = Training.of({**run.config, "runs_dir": str(folder / "runs")})
    again = job.pictures["samples"](load_denoiser(run)[0], job.steps)
    with Image.open(run.folder / "samples" / "final.png") as image:
        assert image.tobytes() == again.convert(image.mode).tobytes()


def test_metrics_are_a_line_a_step_and_the_loss_falls(finished):
    _, run, _ = finished
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert all(row["images_seen"] == (row["step"] + 1) * 16 for row in rows)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    held_out = [row["val/loss"] for row in rows if "val/loss" in row]
    assert len(held_out) == 2
    assert losses[-1] < 0.8 * losses[0]
    for key in ("train/lr", "train/grad_norm", "train/images_per_s"):
        assert any(key in row for row in rows), key


def test_a_finished_run_returns_at_once_and_touches_nothing(finished):
    folder, run, _ = finished
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()}
    said = said_here("train", *WORDS, cwd=folder)
    assert "fd_lite0" in said
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()} == before


def test_wandb_has_the_same_numbers(finished):
    folder, run, said = finished
    assert "W&B failed" not in said
    (training,) = (run.folder / "wandb").glob("offline-run-*/*.wandb")  # one session, from the first step to the scores
    assert f"wandb sync {training.parent.relative_to(folder)} " in said
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(training)]
    lines = subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.splitlines()
    summaries = [json.loads(line)["summary"] for line in lines if '"type":"summary"' in line]
    score = measured(run)["metrics"]["fd_lite0"]
    assert any(each.get("update", {}).get("fd_lite0") == pytest.approx(score) for each in summaries), summaries
    items = [json.loads(line).get("history", {}).get("item", {}) for line in lines if '"type":"history"' in line]
    mirrored = [item["train/loss"] for item in items if "train/loss" in item]
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert mirrored == pytest.approx([row["train/loss"] for row in rows if "train/loss" in row])
    assert any("images_seen" in item for item in items)
    assert [item["final/loss"] for item in items if "final/loss" in item] == [run.result["loss"]]
    assert list((training.parent / "files" / "media" / "images").glob("samples*.png"))


def test_checkpoints_hold_plain_values_and_raw_weights_beside_the_averages(finished):
    _, run, _ = finished
    checkpoint = torch.load(run.checkpoint, weights_only=True)
    averaged = load_file(run.weights)
    name = "conv1.weight"
    key = next(k for k in checkpoint["state_dict"] if k.endswith(name)).removeprefix("denoiser.")
    raw = checkpoint["state_dict"][f"denoiser.{key}"]
    assert not torch.equal(raw, averaged[f"0.9/{key}"])
    assert not torch.equal(averaged[f"0.99/{key}"], averaged[f"0.9/{key}"])
    assert checkpoint["global_step"] == 100


def test_weights_are_read_back_and_damage_is_noticed(finished, tmp_path):
    _, run, _ = finished
    first, name = load_denoiser(run)
    second, other = load_denoiser(run, 0.99)
    assert (name, other) == ("ema=0.9", "ema=0.99")
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"ema=0\.5 is not in .*valid: 0\.9, 0\.99"):
        load_denoiser(run, 0.5)
    copy = Run(tmp_path)
    copy.weights.with_suffix(".json").write_text(run.weights.with_suffix(".json").read_text())
    copy.weights.write_bytes(run.weights.read_bytes()[:-1] + b"\x00")
    with pytest.raises(ValueError, match="is damaged"):
        load_denoiser(copy)


def test_a_run_is_found_by_folder_or_beginning(finished, tmp_path):
    folder, run, _ = finished
    assert find(folder / "runs", str(run.folder)).folder == run.folder
    assert find(folder / "runs", run.folder.name[:6]).folder == run.folder
    with pytest.raises(ValueError, match=f"Runs there: {run.folder.name}"):
        find(folder / "runs", "nothing")
    with pytest.raises(ValueError, match="is no run"):
        find(folder / "runs", str(tmp_path))


def test_sampling_writes_grid_arrays_and_single_images_whatever_the_batch(finished):
    folder, run, _ = finished
    words = [f"run={run.folder.name}", "n=12", "nfe=6", "sampler=ddim", "seed=1"]
    said_here("sample", *words, "task.singles=true", "out=a", cwd=folder)
    said_here("sample", *words, "batch_size=5", "out=b", cwd=folder)
    a, b = np.load(folder / "a" / "samples.npz"), np.load(folder / "b" / "samples.npz")
    assert a["arr_0"].shape == (12, 8, 8, 1)
    assert a["labels"].tolist() == [*range(10), 0, 1]
    # Convolutions of another batch size may round differently: of 768 bytes one may be the next grey value.
    off = np.abs(a["arr_0"].astype(int) - b["arr_0"])
    assert off.max() <= 1
    assert off.sum() <= 1
    assert np.array_equal(np.asarray(Image.open(folder / "a" / "000003.png")), a["arr_0"][3, :, :, 0])
    assert Image.open(folder / "a" / "grid.png").size[0] > 100


def test_evaluating_writes_metrics_with_their_card(finished):
    folder, run, _ = finished
    words = [f"run={run.folder}", "n=24", "nfe=6", "sampler=ddim", "ema=0.99"]
    said = said_here("evaluate", *words, cwd=folder)
    found = json.loads(Path(folder, said.strip().splitlines()[-1]).read_text())
    card = found["card"]
    assert (card["n_generated"], card["nfe"], card["sampler"]) == (24, 6, "DDIM(eta=0.0)")
    assert (card["weights"], card["reference"]) == ("ema=0.99", "Digits/test")
    assert found["metrics"]["fd_lite0"] > found["metrics"]["fd_lite0_floor"]


@pytest.mark.long
def test_times_are_found_once_for_a_run_and_a_sampler(finished):
    folder, run, _ = finished
    words = [f"run={run.folder}", "n=24", "nfe=3", "sampler=ddim", "grid=optimised", "grid.n=8", "grid.candidates=6"]
    said = said_here("evaluate", *words, cwd=folder)
    assert said.count("finding 3 times for DDIM(eta=0.0), once") == 1
    found = json.loads(Path(folder, said.strip().splitlines()[-1]).read_text())
    assert found["card"]["grid"] == "Optimised(n=8, candidates=6)"
    assert len(found["times"]) == 4
    assert found["times"] == sorted(found["times"], reverse=True)
    again = said_here("sample", *words, cwd=folder)
    assert "finding" not in again
    refused = said_here("evaluate", *words, "sampler=ancestral", cwd=folder, status=1)
    assert "grid=optimised finds times of samplers that follow the flow" in refused
