"""Runs, as users start them: killed, interrupted, resumed, on two processes, logged, sampled and measured."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from difflab.experiment.run import Run, find
from difflab.experiment.weights import load_denoiser
from helpers.jobs import TINY, finish, run_here, start


def the_run(folder):
    (config,) = Path(folder).glob("runs/*/config.yaml")
    return Run(config.parent)


def measured(run):
    """What the only evaluation of a run found."""
    (path,) = run.folder.glob("evaluations/*.json")
    return json.loads(path.read_text())


def wait_for(path, process):
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which one run has been trained to its end, mirrored on W&B offline."""
    folder = tmp_path_factory.mktemp("finished")
    said = finish(start("train", *TINY, "images=1600", "check_every=800", "ema=[0.9,0.99]", cwd=folder))
    return folder, the_run(folder), said


def test_a_run_leaves_what_was_promised(finished):
    _, run, said = finished
    for name in ("config.yaml", "metrics.jsonl", "checkpoints/last.ckpt", "weights.safetensors", "weights.json"):
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
    for word in ("fd_lite0", "kid_lite0", "NFE", "difflab-sample run=", run.folder.name):
        assert word in said


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
    said = finish(start("train", *TINY, "images=1600", "check_every=800", "ema=[0.9,0.99]", cwd=folder))
    assert "fd_lite0" in said
    assert {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()} == before


def test_wandb_has_the_same_numbers(finished):
    _, run, _ = finished
    training, final = sorted((run.folder / "wandb").glob("offline-run-*/*.wandb"))
    assert training.name == final.name, "one run, taken up again"
    lines = []
    for file in (training, final):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines += subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.splitlines()
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
    finish(start("sample", *words, "task.singles=true", "out=a", cwd=folder))
    finish(start("sample", *words, "batch_size=5", "out=b", cwd=folder))
    a, b = np.load(folder / "a" / "samples.npz"), np.load(folder / "b" / "samples.npz")
    assert a["arr_0"].shape == (12, 8, 8, 1)
    assert a["labels"].tolist() == [*range(10), 0, 1]
    # one convolution of another batch size may round differently in the last bit
    assert np.abs(a["arr_0"].astype(int) - b["arr_0"]).max() <= 1
    assert np.array_equal(np.asarray(Image.open(folder / "a" / "000003.png")), a["arr_0"][3, :, :, 0])
    assert Image.open(folder / "a" / "grid.png").size[0] > 100


def test_evaluating_writes_metrics_with_their_card(finished):
    folder, run, _ = finished
    words = [f"run={run.folder}", "n=24", "nfe=6", "sampler=ddim", "ema=0.99"]
    said = finish(start("evaluate", *words, cwd=folder))
    found = json.loads(Path(folder, said.strip().splitlines()[-1]).read_text())
    card = found["card"]
    assert (card["n_generated"], card["nfe"], card["sampler"]) == (24, 6, "DDIM(eta=0.0)")
    assert (card["weights"], card["reference"]) == ("ema=0.99", "Digits/test")
    assert found["metrics"]["fd_lite0"] > found["metrics"]["fd_lite0_floor"]


LONG = [*TINY, "images=3200", "check_every=480", "logger=local"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    finish(start("train", *LONG, cwd=folder))
    return the_run(folder)


def comparable(run):
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "per_s" not in k} for row in rows]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_and_resumed_is_uninterrupted(uninterrupted, tmp_path, signum, status):
    process = start("train", *LONG, cwd=tmp_path)
    checkpoint = tmp_path / "runs" / uninterrupted.folder.name / "checkpoints" / "last.ckpt"
    wait_for(checkpoint, process)
    process.send_signal(signum)
    finish(process, status)
    run = the_run(tmp_path)
    reached = torch.load(run.checkpoint, weights_only=True)["global_step"]
    assert 0 < reached < 200
    assert run.result is None
    finish(start("train", *LONG, cwd=tmp_path))
    ours, theirs = load_file(run.weights), load_file(uninterrupted.weights)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    assert measured(run)["metrics"] == measured(uninterrupted)["metrics"]
    assert comparable(run) == comparable(uninterrupted)


def test_two_processes_are_one_process(uninterrupted, tmp_path):
    """The same data, times and noise for each image; the sums of gradients differ in rounding alone."""
    no_dropout = [*LONG, "backbone.dropout=0.0", "images=480"]
    finish(start("train", *no_dropout, cwd=tmp_path))
    two = tmp_path / "two"
    two.mkdir()
    finish(start("train", *no_dropout, "trainer.devices=2", "trainer.strategy=ddp", cwd=two))
    alone, together = the_run(tmp_path), the_run(two)
    assert alone.folder.name == together.folder.name
    ours, theirs = load_file(together.weights), load_file(alone.weights)
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-3, atol=1e-4)
    assert together.result["loss"] == pytest.approx(alone.result["loss"], rel=1e-3)
    held_out = [[row["val/loss"] for row in comparable(run) if "val/loss" in row] for run in (alone, together)]
    assert held_out[0] == pytest.approx(held_out[1], rel=1e-3)
    assert len(held_out[0]) == 1


def test_two_jobs_that_ask_for_the_same_run_train_it_once(tmp_path):
    """And measure it once: the one that comes later says that it waits, and finds what the other made."""
    words = [*TINY, "images=1600", "logger=local"]
    both = [start("evaluate", *words, cwd=tmp_path) for _ in range(2)]
    said = [finish(process) for process in both]
    assert sum("training: 1600/1600" in each for each in said) == 1
    assert sum("is being trained by another process: waiting for it" in each for each in said) == 1
    assert sum("measuring: 32/32" in each for each in said) == 1
    assert all("fd_lite0" in each for each in said)
    assert len(list(tmp_path.glob("runs/*/evaluations/*.json"))) == 1


def test_what_cannot_work_is_refused_in_one_line_with_nothing_written(tmp_path, monkeypatch, capfd, subtests):
    monkeypatch.chdir(tmp_path)
    for words, message in [
        (["seed=abc"], "could not be converted to Integer"),
        (["images=10"], "images=10 is less than one batch"),
        (["nfe=1001"], "at most 1000 are possible"),
        (["schedule=linear"], "schedule.t_max=0.999"),
        (["sampler=ancestral_learned"], "backbone.learned_variance=true"),
        (["precision=fp8"], "none of auto, bf16, fp32"),
        (["backbone.multipliers=[1,2,2,2,2,2]"], "divide"),
        (["data=folder"], "please give a value: data.source.root"),
        (["data=folder", "data.source.root=nowhere"], "no folder nowhere"),
        (["protocol.n=1"], "two images at least"),
        (["trainer.accelerator=gpu"] if not torch.cuda.is_available() else ["trainer.devices=99"], "trainer: "),
        (["+trainer.max_steps=5"], "trainer.max_steps is no setting"),
        (["sampler=ddim", "sampler.eta=2"], "sampler.eta=2 must lie in [0, 1]"),
        (["ema=[1.5]"], r"decays in [0, 1)"),
    ]:
        with subtests.test(" ".join(words)):
            with pytest.raises(SystemExit) as refusal:
                run_here("train", *words)
            said = "".join((*capfd.readouterr(), refusal.value.code if isinstance(refusal.value.code, str) else ""))
            assert message in said
            assert len(said.strip().splitlines()) == 1
            assert list(tmp_path.iterdir()) == []


def test_help_lists_groups_and_settings_without_loading_torch(tmp_path, subtests):
    for command in ["train", "sample", "evaluate", "search"]:
        with subtests.test(command):
            said = finish(start(command, "--help", cwd=tmp_path))
            for word in ("sampler", "nfe", f"difflab-{command}"):
                assert word in said
            light = (
                f"import sys, difflab.cli.{command}; assert not {{'torch', 'lightning', 'wandb'}} & set(sys.modules)"
            )
            subprocess.run([sys.executable, "-c", light], check=True)
